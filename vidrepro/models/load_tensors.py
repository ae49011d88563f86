"""Fitting named tensors to a network: first every name and shape is compared, then values are copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vidrepro.errors import CheckpointError
from vidrepro.finite import not_finite, require_finite
from vidrepro.models.load_report import LoadReport

WRAPPER = "module."  # data parallelism and torch's AveragedModel put this in front of every name
COMPILED = "_orig_mod."  # torch.compile, in front of the names of what it compiled: the network or parts of it
AVERAGED = "n_averaged"  # AveragedModel's own count, beside the names
ATTRIBUTES = ("model.", "net.", "network.")  # as which a larger module, such as Lightning's, usually keeps the network
BATCH_COUNT = ".num_batches_tracked"  # of BatchNorm; files from before 2018 have none


def strip_wrappers(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """The same tensors without what data parallelism, averaging and torch.compile put in front of their names.

    They may have been wrapped several times, in any order.

    Raises:
        CheckpointError: for a value that is not a tensor.
    """
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                "a state dict holds tensors by name", given=f"{name!r}: {type(value).__name__}", allowed="name: tensor"
            )
    stripped = {name.replace(COMPILED, ""): tensor for name, tensor in tensors.items()}
    if len(stripped) < len(tensors):  # two would have one name: these were no wrappers
        stripped = dict(tensors)
    while (inner := stripped.keys() - {AVERAGED}) and all(name.startswith(WRAPPER) for name in inner):
        stripped = {name.removeprefix(WRAPPER): stripped[name] for name in stripped if name in inner}
    return stripped


def readings(tensors: Mapping[str, Any]) -> list[dict[str, Tensor]]:
    """A file's tensors under every name the network in it may mean, from the outside in.

    First without wrappers; then what one of `ATTRIBUTES` holds, without that, as often as there is one. What stands
    beside such an attribute (a loss, a metric) belongs to the larger module.

    Raises:
        CheckpointError: see `strip_wrappers`.
    """
    found = [strip_wrappers(tensors)]
    while prefix := next((one for one in ATTRIBUTES if any(name.startswith(one) for name in found[-1])), None):
        inner = {name.removeprefix(prefix): one for name, one in found[-1].items() if name.startswith(prefix)}
        found.append(strip_wrappers(inner))
    return found


def compare(model: nn.Module, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> LoadReport:
    """What would be loaded, without loading it.

    Args:
        names: our name of a tensor -> its name in `tensors`; a tensor of the network that is not in here is missing.
    """
    report = LoadReport()
    for key, value in model.state_dict().items():
        tensor = tensors.get(names[key]) if key in names else None
        if tensor is None:
            (report.counted_anew if key.endswith(BATCH_COUNT) else report.missing).append(key)
        elif tensor.shape != value.shape:
            report.wrong_shape.append(f"{key}: {tuple(tensor.shape)} in the file, {tuple(value.shape)} in the network")
        else:
            report.loaded.append(key)
    known = set(names.values())
    report.unexpected.extend(name for name in tensors if name not in known)
    return report


def load(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    *,
    accept: Callable[[LoadReport], bool],
    refusal: str,
    where: object = None,
) -> LoadReport:
    """Copy the tensors that fit into the network, or refuse and leave it as it was.

    Args:
        names: see `compare`.
        accept: whether the comparison is good enough.
        refusal: what to say if it is not.
        where: the file, for the error.

    Raises:
        CheckpointError: if `accept` says no, or what would be loaded is not finite in the network's precision.
    """
    report = compare(model, tensors, names)
    if not accept(report):
        raise CheckpointError(
            refusal,
            given=report,
            allowed=f"the {len(names)} tensors of this network, by name and shape",
            where=None if where is None else str(where),
        )
    state = model.state_dict()
    for key in report.loaded:
        _require_same_kind(names[key], tensors[names[key]], state[key], where)
    values = {key: tensors[names[key]].to(state[key].dtype) for key in report.loaded}
    meant = [key for key in not_finite(values) if torch.equal(values[key], state[key].cpu())]  # a mask of -inf
    require_finite(
        "the tensors of the file",
        {names[key]: value for key, value in values.items() if key not in meant},
        error=CheckpointError,
        hint="it was saved after training had diverged, or in another precision than it was trained: use another",
        where=None if where is None else str(where),
    )
    with torch.no_grad():
        for key, value in values.items():
            state[key].copy_(value)
    return report


def _require_same_kind(name: str, tensor: Tensor, own: Tensor, where: object) -> None:
    """Refuse what a cast would turn into other values: integers of quantised weights, complex and sparse tensors."""
    plain = tensor.layout == torch.strided and not tensor.is_quantized
    if not plain or (own.is_floating_point() and not tensor.is_floating_point()):
        raise CheckpointError(
            f"tensor '{name}' holds no plain floating-point numbers",
            given=f"{tensor.dtype}, {tensor.layout}",
            allowed="float32, or another floating-point type, which is cast",
            hint="save the weights before they are quantised",
            where=None if where is None else str(where),
        )
