"""Names to networks: the only constructor the rest of vidrepro calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidrepro.config import START_RUN, ModelConfig
from vidrepro.errors import ModelError, UnknownNameError, closest, unknown_name
from vidrepro.models.backbones import BACKBONES, backbone_entry, build_backbone, resolve_backbone
from vidrepro.models.classifier import HEAD_STD, VideoClassifier
from vidrepro.models.declared_options import is_number, require_positive_integer, require_switch
from vidrepro.models.insertion import insert
from vidrepro.models.mechanisms import (
    MECHANISMS,
    ResolvedMechanism,
    Spec,
    mechanism_entry,
    parse_spec,
    require_recorded_source,
    resolve_mechanism,
    split_temporal_shift,
)
from vidrepro.models.weights import check_weights, load_file, load_imagenet


def backbone_names() -> list[str]:
    """The backbones `build_model` knows."""
    return sorted(BACKBONES)


def mechanism_names() -> list[str]:
    """The mechanisms `build_model` knows."""
    return list(MECHANISMS)


def module_names() -> list[str]:
    """Those of them that are modules for a backbone's blocks, which `build_mechanism` knows too; not whole networks."""
    return [name for name, entry in MECHANISMS.items() if entry.network is None]


def build_model(
    backbone: str,
    mechanism: Spec = "none",
    *,
    frames: int,
    classes: int,
    temporal_shift: bool = False,
    variant: str = "official",
    weights: str | Path | None = None,
    dropout: float = 0.5,
    head_std: float = HEAD_STD,
    options: Mapping[str, Any] | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    **more_options: Any,
) -> VideoClassifier:
    """A video classifier: normalised float clips ``(N, frames, 3, H, W)`` to logits ``(N, classes)``.

    Args:
        backbone: one of `backbone_names`.
        mechanism: a name of `mechanism_names` or a spec (`vidrepro.models.mechanisms.resolve_mechanism`), placed as
            `vidrepro.models.insertion` says. ``tsm`` means ``none`` with ``temporal_shift=True``.
        frames: T; 1 and odd numbers are legal.
        temporal_shift: put TSM's shift in front of the blocks' first convolutions, after a mechanism there.
        variant: ``official`` or ``paper``: the bundle of the mechanism's options that stands for it.
        weights: ``"imagenet"`` (torchvision's IMAGENET1K_V1), a file (`vidrepro.models.weights.load_file`), or None
            for a random start. What was loaded is told by the network's `load_report`.
        dropout: probability, before the linear layer.
        head_std: standard deviation of the linear layer's start.
        options: the mechanism's options, each overriding one choice of the variant.
        backbone_options: the backbone's options, such as ``width`` and ``stem``.
        more_options: options of either, by name.

    Raises:
        UnknownNameError: for an unknown backbone, mechanism, variant or option, with the nearest valid one.
        ModelError: for a value or combination that cannot be built.
        CheckpointError: for weights that are missing, unsafe or of another network.
    """
    require_positive_integer("frames", frames)
    require_positive_integer("classes", classes)
    plan = _resolve(
        backbone,
        mechanism,
        temporal_shift=temporal_shift,
        variant=variant,
        weights=weights,
        dropout=dropout,
        head_std=head_std,
        options=options or {},
        backbone_options=backbone_options or {},
        more_options=more_options,
    )
    network, used_options = build_backbone(backbone, plan.backbone_options)
    make_whole = mechanism_entry(plan.mechanism.name).network
    if make_whole is not None:
        sizes = {"frames": frames, "classes": classes, "dropout": dropout, "head_std": head_std}
        model: VideoClassifier = make_whole(network, **sizes, **plan.mechanism.options)
    else:
        insertions = insert(network, plan.mechanism, frames, temporal_shift=plan.temporal_shift)
        model = VideoClassifier(
            network, frames=frames, classes=classes, dropout=dropout, head_std=head_std, insertions=insertions
        )
    model.backbone_options = used_options
    model.identity = {
        "backbone": backbone,
        "backbone_options": used_options,
        "mechanism_name": plan.mechanism.name,
        "options": plan.mechanism.options,
        "temporal_shift": plan.temporal_shift,
    }
    if weights == "imagenet":
        model.load_report = load_imagenet(model, backbone, used_options)
    elif weights is not None:
        model.load_report = load_file(model, Path(weights))
    return model


def check_config(config: ModelConfig) -> None:
    """Refuse settings that `build_from_config` would refuse, in the same words, without building or reading anything.

    What shows only in the building or reading is left to it: too few channels for a mechanism, what a weight file
    holds, whether ImageNet weights can be downloaded, whether a run to start from is there.

    Raises:
        UnknownNameError: for an unknown backbone, mechanism, variant or option.
        ModelError: for a value or combination that cannot be built.
        CheckpointError: for a weight file that does not exist.
    """
    from_run = config.weights is not None and config.weights.startswith(START_RUN)
    _resolve(
        config.backbone,
        config.mechanism,
        temporal_shift=config.temporal_shift,
        variant=config.variant,
        weights=None if from_run else config.weights,
        dropout=config.dropout,
        head_std=config.head_std,
        options=config.options,
        backbone_options=config.backbone_options,
        more_options={},
    )


def build_from_config(config: ModelConfig, *, frames: int, classes: int, pretrained: bool = True) -> VideoClassifier:
    """The network a run's settings describe; see `build_model`. Its start weights are left out unless `pretrained`.

    Raises:
        ModelError: also if the source of a user's own mechanism is not the recorded one.
    """
    require_recorded_source(config.mechanism, config.mechanism_digest)
    return build_model(
        config.backbone,
        config.mechanism,
        frames=frames,
        classes=classes,
        temporal_shift=config.temporal_shift,
        variant=config.variant,
        weights=config.weights if pretrained else None,
        dropout=config.dropout,
        head_std=config.head_std,
        options=config.options,
        backbone_options=config.backbone_options,
    )


@dataclass(frozen=True)
class _Plan:
    """What is to be built, every option filled in."""

    mechanism: ResolvedMechanism
    temporal_shift: bool
    backbone_options: dict[str, Any]


def _resolve(
    backbone: str,
    mechanism: Spec,
    *,
    temporal_shift: bool,
    variant: str,
    weights: str | Path | None,
    dropout: float,
    head_std: float,
    options: Mapping[str, Any],
    backbone_options: Mapping[str, Any],
    more_options: Mapping[str, Any],
) -> _Plan:
    """Everything that can be said about the arguments of `build_model` before anything is built or read."""
    if not is_number(dropout) or not 0 <= dropout < 1:
        raise ModelError("dropout is a probability", given=repr(dropout), allowed="0 <= dropout < 1")
    if not is_number(head_std) or head_std <= 0:
        raise ModelError("head_std is a standard deviation", given=repr(head_std), allowed="a number above 0")
    mechanism, shift_in_spec = split_temporal_shift(mechanism)
    shift = require_switch("temporal_shift", temporal_shift) or shift_in_spec
    of_mechanism, of_backbone = sort_options(backbone, mechanism, options, backbone_options, more_options)
    resolved = resolve_mechanism(mechanism, variant, of_mechanism)
    if resolved.name == "tsm":
        resolved, shift = resolve_mechanism("none", variant, {}), True
    _require_whole_network_fits(resolved.name, backbone, shift)
    used_options = resolve_backbone(backbone, of_backbone)
    if weights is not None:
        check_weights(weights, backbone, used_options)
    return _Plan(resolved, shift, used_options)


def _require_whole_network_fits(mechanism: str, backbone: str, temporal_shift: bool) -> None:
    """Refuse a mechanism that is a whole network around a backbone it was not made for, and the other way round."""
    entry, possible = mechanism_entry(mechanism), backbone_entry(backbone).mechanisms
    if possible is not None and mechanism not in possible:
        raise ModelError(f"backbone '{backbone}' takes no '{mechanism}'", given=mechanism, allowed=possible)
    if possible is not None and temporal_shift:
        raise ModelError(f"backbone '{backbone}' has no temporal shift", given="temporal_shift=True")
    if entry.network is None:
        return
    if backbone not in entry.backbones:
        raise ModelError(f"mechanism '{mechanism}' needs another backbone", given=backbone, allowed=entry.backbones)
    if temporal_shift:
        raise ModelError(f"mechanism '{mechanism}' has no temporal shift", given="temporal_shift=True")


def sort_options(
    backbone: str,
    mechanism: Spec,
    options: Mapping[str, Any],
    backbone_options: Mapping[str, Any],
    more: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All options of the mechanism, and of the backbone: `options`, `backbone_options`, and those of `more`.

    Raises:
        UnknownNameError: for one of `more` that neither declares.
        ModelError: for one that is given twice.
    """
    mechanism_name, _ = parse_spec(mechanism)
    of_backbone = backbone_entry(backbone).options
    of_mechanism = mechanism_entry(mechanism_name).options
    for_mechanism, for_backbone = dict(options), dict(backbone_options)
    for name, value in more.items():
        if name not in of_backbone and name not in of_mechanism:
            raise _unknown_option(name, backbone, mechanism_name)
        target = for_backbone if name in of_backbone else for_mechanism
        if name in target:
            raise ModelError(f"option '{name}' is given twice", given=f"{target[name]!r} and {value!r}")
        target[name] = value
    return for_mechanism, for_backbone


def _unknown_option(name: str, backbone: str, mechanism: str) -> UnknownNameError:
    owner_of = dict.fromkeys(mechanism_entry(mechanism).options, f"mechanism '{mechanism}'")
    owner_of |= dict.fromkeys(BACKBONES[backbone].options, f"backbone '{backbone}'")
    near = closest(name, owner_of, count=1)
    return unknown_name(
        f"option of backbone '{backbone}' with mechanism '{mechanism}'",
        name,
        owner_of,
        hint=f"did you mean '{near[0]}' of {owner_of[near[0]]}?" if near else None,
    )
