"""Weights to start from: torchvision's ImageNet ones, or a file.

A file is only ever read with ``weights_only=True``: it cannot execute anything.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor
from torchvision.models import WeightsEnum

from vidrepro.errors import CheckpointError, ModelError
from vidrepro.models.backbones import BACKBONES
from vidrepro.models.classifier import VideoClassifier
from vidrepro.models.loading import load, strip_wrappers
from vidrepro.models.naming import file_names, is_file_head, is_head, is_inserted, layout_of, plain_file_names
from vidrepro.models.networks.stabn_released import dead_keys
from vidrepro.models.provenance import RECORD, check_record
from vidrepro.models.report import LoadReport

_NESTED = ("state_dict", "model", "model_state")  # where training checkpoints keep the network


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
    return _load_named(model, of_backbone, where=cached)


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
        _require_file(Path(weights))


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"there is no weight file '{path}'", given=path, hint="check the path")


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
    `vidrepro.models.naming`. A training checkpoint's ``state_dict`` or ``model`` entry is found. The linear layer may
    be missing or of another number of classes, and, if the file holds a backbone alone, the mechanisms are missing:
    they keep their random start, and the report says so. 2-D kernels are inflated where the network's are 3-D.

    A file of `vidrepro import-checkpoint` is loaded only into the network it was imported for.

    Raises:
        CheckpointError: for a file that is missing, damaged, would execute code, or belongs to another network.
    """
    tensors, record = read_state_dict(path)
    if record is not None:
        check_record(record, model.identity, path)
    absent = record["report"]["missing"] + record["report"]["wrong_shape"] if record else []
    return _load_named(model, strip_wrappers(tensors), where=path, absent={line.split(":")[0] for line in absent})


def read_state_dict(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """A file's tensors by name, as they are or as a training checkpoint's entry; and its record, if it was imported.

    Raises:
        CheckpointError: for a file that is missing, damaged, would execute code, or holds no state dict.
    """
    content = read_checkpoint(path)
    record = content.get(RECORD) if isinstance(content, Mapping) else None
    for entry in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(entry), Mapping):
            content = content[entry]
            break
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            "the file holds no state dict", given=type(content).__name__, allowed="tensors by name", where=path
        )
    return content, record


def read_checkpoint(path: Path) -> Any:
    """A file's content, tensors on the CPU; read without executing anything in it.

    Raises:
        CheckpointError: if the file is missing, is no checkpoint, or holds an object that would execute code.
    """
    _require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocol; what cannot be read is refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        refused = named[1] if named else _first_import(path)
        if refused:
            raise CheckpointError(
                f"the file holds '{refused}', which would execute code when read; nothing was executed",
                allowed="tensors, numbers and texts in plain lists and dicts",
                hint="save only the state dict: torch.save(model.state_dict(), FILE)",
                where=path,
            ) from error
        raise CheckpointError("the file is not a readable checkpoint", where=path) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        first_sentence = str(error).partition(". ")[0].partition("\n")[0]
        reason = first_sentence if " " in first_sentence else type(error).__name__
        raise CheckpointError(
            f"the file is not a readable checkpoint: {reason}",
            given=f"{path.stat().st_size} bytes",
            hint="it may be cut short: copy, download or make it again",
            where=path,
        ) from error


def _first_import(path: Path) -> str | None:
    """The first object a plain pickle would import, found by reading its opcodes; None if it is no pickle."""
    texts: list[str] = []
    try:
        with path.open("rb") as file:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if opcode.name == "STACK_GLOBAL":  # module and name are the last two texts before it
                    return ".".join(texts[-2:])
                if isinstance(argument, str):
                    texts.append(argument)
    except ValueError:
        pass
    return None


def _load_named(
    model: VideoClassifier, tensors: Mapping[str, Tensor], where: Path, absent: Collection[str] = ()
) -> LoadReport:
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

    def accept(report: LoadReport) -> bool:
        missing = [
            key
            for key in report.missing
            if not (is_head(key) or (plain and is_inserted(model, key)) or key in absent)  # absent: said at the import
        ]
        wrong_shape = [key for key in report.wrong_shape if not is_head(key)]
        unexpected = [name for name in report.unexpected if not (plain and is_file_head(name))]
        return bool(report.loaded) and not (missing or wrong_shape or unexpected)

    report = load(model, fitting, names, accept=accept, refusal="the weights belong to another network", where=where)
    report.inflated.extend(key for key in report.loaded if key in inflated)
    report.unused.extend(unused)
    return report


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
