"""Weights to start from: torchvision's ImageNet ones, or a file."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor
from torchvision.models import WeightsEnum

from vidrepro.errors import CheckpointError, ModelError
from vidrepro.models.backbones import BACKBONES
from vidrepro.models.classifier import VideoClassifier
from vidrepro.models.load_report import LoadReport
from vidrepro.models.load_tensors import compare, load, readings, strip_wrappers
from vidrepro.models.networks.stabn_released import dead_keys
from vidrepro.models.released.naming import file_names, is_file_head, is_head, is_inserted, layout_of, plain_file_names
from vidrepro.models.released.provenance import check_record
from vidrepro.models.weight_files import read_state_dict, require_file


def load_imagenet(model: VideoClassifier, backbone: str, backbone_options: Mapping[str, Any]) -> LoadReport:
    """Load torchvision's IMAGENET1K_V1 weights (the ones TSM and M2A started from) into the backbone.

    The linear layer and the mechanisms keep their random start; the report lists them as missing.

    Raises:
        ModelError: if the backbone has no such weights, or not for these options.
        CheckpointError: if they are not in torch's cache and cannot be downloaded, naming the file to place.
    """
    weights = _imagenet_weights(backbone, backbone_options)
    url: str = weights.url
    name = Path(urlparse(url).path).name
    cached = Path(torch.hub.get_dir()) / "checkpoints" / name
    try:
        tensors = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        # URLError is an OSError; a download cut short or damaged is a RuntimeError (hash) or fails to unpickle.
        raise CheckpointError(
            f"ImageNet weights for '{backbone}' cannot be loaded or downloaded: {error}",
            given=url,
            allowed=f"the file {name}",
            hint=f"place it at {cached}, or give it as a file: --weights FILE",
        ) from error
    of_backbone = {name: tensor for name, tensor in strip_wrappers(tensors).items() if not is_file_head(name)}
    return _load_named(model, [of_backbone], where=cached)


def check_weights(weights: str | Path, backbone: str, backbone_options: Mapping[str, Any]) -> None:
    """Refuse weights of which it is plain, before anything is built or read, that they cannot be loaded.

    Args:
        weights: ``"imagenet"`` or a file.
        backbone_options: all of them, with their defaults.

    Raises:
        ModelError: if the backbone has no ImageNet weights, or not for these options.
        CheckpointError: if there is no such file.
    """
    if weights == "imagenet":
        _imagenet_weights(backbone, backbone_options)
    else:
        require_file(Path(weights))


def _imagenet_weights(backbone: str, backbone_options: Mapping[str, Any]) -> WeightsEnum:
    entry = BACKBONES[backbone]
    if entry.imagenet is None:
        raise ModelError(
            f"there are no ImageNet weights for backbone '{backbone}'",
            given="weights=imagenet",
            allowed=[name for name, other in BACKBONES.items() if other.imagenet is not None],
        )
    changed = {
        name: value
        for name, value in backbone_options.items()
        if value != entry.options[name].default and name not in entry.beside_weights
    }
    if changed:
        raise ModelError(
            f"ImageNet weights fit backbone '{backbone}' only as torchvision built it",
            given=", ".join(f"{name}={value}" for name, value in changed.items()),
            allowed=", ".join(f"{name}={entry.options[name].default}" for name in changed),
            hint="leave these options out, or train from a random start (weights=None)",
        )
    return entry.imagenet


def load_file(model: VideoClassifier, path: Path) -> LoadReport:
    """Load a file's weights into the network.

    The file holds this very network, or its backbone alone: by our names, torchvision's, or those of a layout of
    `vidrepro.models.released.naming`, in front of which wrappers may stand (`vidrepro.models.load_tensors.readings`).
    A training checkpoint's entry is found (`vidrepro.models.weight_files`). The linear layer may be missing or of
    another number of classes, and, if the file holds a backbone alone, the mechanisms are missing: they keep their
    random start, and the report says so. 2-D kernels are inflated where the network's are 3-D.

    A file of `vidrepro import-checkpoint` is loaded only into the network it was imported for.

    Raises:
        CheckpointError: for a file that is missing, damaged, would execute code, or belongs to another network.
    """
    file = read_state_dict(path)
    if file.record is not None:
        check_record(file.record, model.identity, path)
    absent = file.record["report"]["missing"] + file.record["report"]["wrong_shape"] if file.record else []
    report = _load_named(model, readings(file.tensors), where=path, absent={line.split(":")[0] for line in absent})
    report.entry = file.entry
    report.left_out[:0] = file.left_out
    return report


@dataclass(frozen=True)
class _Fit:
    """One reading of a file's names, held against a network.

    Attributes:
        tensors: by the file's names, 2-D kernels inflated.
        names: our name of a tensor -> the file's.
        inflated: our names of those that were.
        unused: what the code that wrote the file never uses.
        loaded: how many tensors fit.
        accepted: whether that is enough.
    """

    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    inflated: Collection[str]
    unused: list[str]
    loaded: int
    accepted: bool


def _load_named(
    model: VideoClassifier, possible: Sequence[Mapping[str, Tensor]], where: Path, absent: Collection[str] = ()
) -> LoadReport:
    """Load the first reading that belongs to this network; if none does, the refusal is about the one nearest to it."""
    fits = [_fit(model, tensors, absent) for tensors in possible]
    best = max(fits, key=lambda fit: (fit.accepted, fit.loaded))
    report = load(
        model,
        best.tensors,
        best.names,
        accept=lambda _: best.accepted,
        refusal="the weights belong to another network",
        where=where,
    )
    report.inflated.extend(key for key in report.loaded if key in best.inflated)
    report.unused.extend(best.unused)
    outside = len(possible[0]) - len(possible[fits.index(best)])
    report.left_out.extend([f"{outside} tensors beside the network's prefix"] if outside else [])
    return report


def _fit(model: VideoClassifier, tensors: Mapping[str, Tensor], absent: Collection[str]) -> _Fit:
    layout = layout_of(tensors)
    unused = dead_keys(tensors) if layout == "stabn" else []
    tensors = {name: tensor for name, tensor in tensors.items() if name not in unused}
    names = plain_file_names(model, layout)
    if any(is_inserted(model, key) for key in model.state_dict()) or model.insertions:
        try:
            own_names = file_names(model, layout)
        except ModelError:  # this layout cannot name the inserted parts, so the file can only be a plain backbone
            own_names = names
        if any(name in tensors for name in set(own_names.values()) - set(names.values())):
            names = own_names
    plain = not any(is_inserted(model, key) for key in names)
    fitting, inflated = _inflate(model, tensors, names)
    report = compare(model, fitting, names)
    missing = [
        key
        for key in report.missing
        if not (is_head(key) or (plain and is_inserted(model, key)) or key in absent)  # absent: said at the import
    ]
    wrong_shape = [key for key in report.wrong_shape if not is_head(key)]
    unexpected = [name for name in report.unexpected if not (plain and is_file_head(name))]
    accepted = bool(report.loaded) and not (missing or wrong_shape or unexpected)
    return _Fit(fitting, names, inflated, unused, len(report.loaded), accepted)


def _inflate(
    model: VideoClassifier, tensors: Mapping[str, Tensor], names: Mapping[str, str]
) -> tuple[dict[str, Tensor], set[str]]:
    """Make 2-D kernels 3-D where the network's are: repeated over time and, unless told otherwise, divided by its
    length.

    Divided, a clip that does not change over time gives what the 2-D network gives for a frame of it (but for the
    padding at the clip's ends). Source: Carreira & Zisserman 2017, section 2.1. The released M2A code does not divide.

    Returns:
        The tensors, and our names of those that were made 3-D.
    """
    divides = getattr(model.backbone, "inflation", "divide") == "divide"
    fitting, inflated = dict(tensors), set()
    for key, value in model.state_dict().items():
        flat = tensors.get(names[key]) if key in names else None
        if flat is not None and value.dim() == 5 and flat.dim() == 4:
            length = value.shape[2]
            repeated = flat.unsqueeze(2).expand(-1, -1, length, -1, -1)
            fitting[names[key]] = repeated / length if divides else repeated
            inflated.add(key)
    return fitting, inflated
