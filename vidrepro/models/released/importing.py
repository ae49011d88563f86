"""A released checkpoint becomes a weight file of ours, which says what network it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidrepro.errors import CheckpointError, ModelError, unknown_name
from vidrepro.files import atomic_file, file_digest
from vidrepro.models.build import backbone_names, build_model, sort_options
from vidrepro.models.load_report import LoadReport
from vidrepro.models.load_tensors import compare, readings
from vidrepro.models.mechanisms import build_mechanism, resolve_mechanism
from vidrepro.models.mechanisms.aia import TABLE_COMPOSITIONS
from vidrepro.models.mechanisms.m2a import MOTIONS
from vidrepro.models.networks.stabn_released import FRAMES_FROM
from vidrepro.models.released.checkpoints import SOURCES, load_official_state, released_names, split_unused
from vidrepro.models.released.naming import is_file_head, layout_of
from vidrepro.models.released.provenance import RECORD
from vidrepro.models.weight_files import read_state_dict

MODULE_ALONE = "none"  # in place of a backbone: the file holds one mechanism
_SHORT_NAMES = {
    ("m2a", "m2a"): "m2a",
    ("m2a", "none"): "m2a-motion",
    ("none", "m2a"): "m2a-attention",
    ("tea", "none"): "tea",
    ("tdn", "none"): "tdn",
    ("none", "tam"): "tam",
}


@dataclass(frozen=True)
class Imported:
    """What an import found, and, if it was accepted, what it would write.

    Attributes:
        report: what became of every key.
        record: what the file says about itself (`vidrepro.models.released.provenance`).
        tensors: the loaded ones, by our names.
    """

    report: LoadReport
    record: dict[str, Any]
    tensors: dict[str, Tensor]

    def write(self, path: Path) -> None:
        """Write the weight file, as a whole or not at all.

        Raises:
            ResultsError: if the folder cannot be written.
        """
        with atomic_file(path) as file:
            torch.save({RECORD: self.record, "state_dict": self.tensors}, file)


def import_checkpoint(
    path: Path,
    *,
    backbone: str,
    mechanism: str | None,
    source: str = "m2a",
    variant: str = "official",
    temporal_shift: bool = False,
    frames: int = 8,
    classes: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Imported:
    """Compare a released checkpoint with the network it is said to be, key by key, and take what fits.

    Whether a partial fit is good enough is for the caller to say: see ``report.complete``.

    Args:
        path: the released file: a state dict, alone or in a training checkpoint.
        backbone: one of `backbone_names`, or ``none`` for the state dict of one mechanism alone.
        mechanism: a name or spec; None is refused with those these keys fit.
        source: whose code wrote the file.
        frames: T the network was trained with (TAM's weights depend on it).
        classes: None to read it off the linear layer.
        options: of mechanism and backbone.

    Raises:
        UnknownNameError: for an unknown source, backbone, mechanism, variant or option.
        ModelError: for a network that cannot be built, or that the released code does not have.
        CheckpointError: for a file that is missing, unsafe or no state dict; without a mechanism; or if nothing fits.
    """
    if source not in SOURCES:
        raise unknown_name("checkpoint source", source, SOURCES)
    if backbone not in (MODULE_ALONE, *backbone_names()):
        raise unknown_name("backbone", backbone, (MODULE_ALONE, *backbone_names()))
    released = read_state_dict(path)
    tensors = _innermost(released.tensors)
    network = _Network(backbone, frames, _channels(tensors, source, path) if backbone == MODULE_ALONE else None)
    classes = classes or _classes(tensors, network, path)
    if source == "stabn":
        _require_frames(tensors, frames, path)
    if mechanism is None:
        raise _mechanism_is_needed(tensors, network, classes, source, path)
    model = network.build(mechanism, classes, variant=variant, temporal_shift=temporal_shift, options=options)
    report = load_official_state(model, tensors, source=source, strict=False, where=path)
    report.entry, report.left_out[:] = released.entry, released.left_out
    state = model.state_dict()
    record = {
        **network.identity(model, mechanism, variant, options or {}),
        "mechanism": mechanism,
        "variant": variant,
        "frames": frames,
        "classes": classes,
        "source": source,
        "project": SOURCES[source],
        "sha256": file_digest(path),
        "file": path.name,
        "report": asdict(report),
    }
    return Imported(report, record, {key: state[key] for key in report.loaded})


def _innermost(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The released names out of a larger module's: the innermost reading in a layout of released code."""
    possible = readings(tensors)
    released = [one for one in possible if layout_of(one) not in ("torchvision", "flat")]
    return (released or possible)[-1 if released else 0]


@dataclass(frozen=True)
class _Network:
    """What is known of the file's network before its mechanism: a classifier, or one module of so many channels."""

    backbone: str
    frames: int
    channels: int | None = None

    def build(
        self,
        mechanism: str,
        classes: int | None,
        *,
        variant: str = "official",
        temporal_shift: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> nn.Module:
        given = options or {}
        if self.channels is not None:
            resolve_mechanism(mechanism, variant, given)  # a name that is none of its options could be an argument's
            return build_mechanism(
                mechanism, self.channels, self.frames, variant, temporal_shift=temporal_shift, **given
            )
        assert classes is not None
        of_mechanism, of_backbone = sort_options(self.backbone, mechanism, {}, {}, given)
        return build_model(
            self.backbone,
            mechanism,
            frames=self.frames,
            classes=classes,
            variant=variant,
            temporal_shift=temporal_shift,
            options=of_mechanism,
            backbone_options=of_backbone,
        )

    def identity(self, model: nn.Module, mechanism: str, variant: str, options: Mapping[str, Any]) -> dict[str, Any]:
        if self.channels is None:
            return dict(model.identity)  # type: ignore[arg-type]
        resolved = resolve_mechanism(mechanism, variant, options)
        return {
            "backbone": MODULE_ALONE,
            "backbone_options": {"channels": self.channels},
            "mechanism_name": resolved.name,
            "options": resolved.options,
            "temporal_shift": False,
        }


def _require_frames(tensors: Mapping[str, Tensor], frames: int, path: Path) -> None:
    """Refuse a T that ST-ABN's file was not made for: the temporal attention has weights for its own T alone."""
    own = tensors[FRAMES_FROM].shape[0] if FRAMES_FROM in tensors else frames
    if own != frames:
        raise CheckpointError(
            "the file's temporal attention has weights for another number of frames",
            given=f"frames={frames}",
            allowed=f"frames={own}",
            hint=f"say --frames {own}",
            where=path,
        )


def _classes(tensors: Mapping[str, Tensor], network: _Network, path: Path) -> int | None:
    if network.channels is not None:
        return None
    heads = [tensor for name, tensor in tensors.items() if is_file_head(name) and tensor.dim() == 2]
    if len(heads) != 1:
        raise CheckpointError(
            "the number of classes cannot be read off the file: it holds no linear layer, or several",
            given=f"{len(heads)} of them among {len(tensors)} tensors",
            hint="say it: --classes K",
            where=path,
        )
    return heads[0].shape[0]


def _channels(tensors: Mapping[str, Tensor], source: str, path: Path) -> int:
    if source == "aia" and {"C_conv.weight", "T_conv.weight"} & tensors.keys():
        return 1  # nothing in AIA's modules depends on the channels
    down = tensors.get("conv_down.weight")
    if down is None or down.dim() < 2:
        raise CheckpointError(
            "this is not the state dict of one mechanism",
            given=f"{len(tensors)} tensors without {'C_conv or T_conv' if source == 'aia' else 'conv_down'}.weight",
            allowed="the released module's own keys: conv_down, conv_up, modules_list; AIA's: C_conv, T_conv, ...",
            hint="for a whole network say --backbone NAME",
            where=path,
        )
    return down.shape[1]


def _mechanism_is_needed(
    tensors: Mapping[str, Tensor], network: _Network, classes: int | None, source: str, path: Path
) -> CheckpointError:
    fitting = fitting_mechanisms(tensors, network.backbone, network.frames, classes, source, network.channels)
    return CheckpointError(
        "the mechanism has to be said: keys do not tell it"
        if len(fitting) != 1
        else "the mechanism has to be said: keys alone do not tell which variant and options it had",
        given=f"{len(tensors)} tensors, no --mechanism",
        allowed=f"these fit: {'; '.join(fitting)}"
        if fitting
        else f"(no released mechanism on '{network.backbone}' has these keys)",
        hint="say --mechanism, and --temporal-shift, as the network was trained"
        if fitting
        else f"is --backbone right? one of {', '.join(backbone_names())}; or --backbone none for one module alone",
        where=path,
    )


def fitting_mechanisms(
    tensors: Mapping[str, Tensor],
    backbone: str,
    frames: int,
    classes: int | None,
    source: str = "m2a",
    channels: int | None = None,
) -> list[str]:
    """The mechanisms of the released code whose keys and shapes are exactly these, as one would ask for them."""
    network = _Network(backbone, frames, channels)
    used, _ = split_unused(tensors, source)
    fitting = []
    for spec, shift, text in _RELEASED[source]():
        if channels is not None and shift:
            continue
        try:
            with torch.device("meta"):  # names and shapes are enough
                model = network.build(spec, classes, temporal_shift=shift)
            report = compare(model, used, released_names(model, source))
        except ModelError:  # the released code has no such network
            continue
        if report.complete:
            fitting.append(text)
    return fitting


def _released_aia() -> Iterator[tuple[str, bool, str]]:
    """The same for AIA's released code, whose keys do not even tell the shift."""
    yield "none", False, "none (tsm has the same tensors)"
    yield "none", True, "tsm (none has the same tensors)"
    for spec in TABLE_COMPOSITIONS:
        yield spec, False, spec
        yield spec, True, f"{spec} --temporal-shift"


def _released_stabn() -> Iterator[tuple[str, bool, str]]:
    """The same for ST-ABN's released code, which has this network alone."""
    yield "st-abn", False, "st-abn"


def _released_pytorchvideo() -> Iterator[tuple[str, bool, str]]:
    """The same for pytorchvideo, of which plain slow pathways are read."""
    yield "none", False, "none"


def _released_mechanisms() -> Iterator[tuple[str, bool, str]]:
    """Spec, whether the temporal shift is on, and how to ask for it, of every network the released code can build."""
    yield "none", False, "none (tsm has the same tensors, under conv.net)"
    yield "none", True, "tsm (none has the same tensors, not under conv.net)"
    for shift in (False, True):
        for motion in ("none", *MOTIONS):
            for attention in ("none", "m2a", "tam", *(["patch4"] if motion == "m2a" else [])):
                if motion == attention == "none":
                    continue
                spec = f"m2a(motion={motion}, attention={attention})"
                text = _SHORT_NAMES.get((motion, attention), spec)
                if attention == "patch4":
                    text = "m2a(attention=patch4), or of another patch size"
                yield spec, shift, f"{text} --temporal-shift" if shift else text


_RELEASED: dict[str, Callable[[], Iterator[tuple[str, bool, str]]]] = {
    "m2a": _released_mechanisms,
    "aia": _released_aia,
    "stabn": _released_stabn,
    "pytorchvideo": _released_pytorchvideo,
}
