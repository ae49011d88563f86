"""Fitting named tensors to a network: first every name and shape is compared, then values are copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vidrepro.errors import CheckpointError
from vidrepro.models.report import LoadReport

WRAPPER = "module."  # DataParallel and DistributedDataParallel put this in front of every name


def strip_wrappers(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """The same tensors without a data-parallel wrapper's prefix.

    Raises:
        CheckpointError: for a value that is not a tensor.
    """
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                "a state dict holds tensors by name", given=f"{name!r}: {type(value).__name__}", allowed="name: tensor"
            )
    wrapped = bool(tensors) and all(name.startswith(WRAPPER) for name in tensors)
    return {name.removeprefix(WRAPPER) if wrapped else name: tensor for name, tensor in tensors.items()}


def compare(model: nn.Module, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> LoadReport:
    """What would be loaded, without loading it.

    Args:
        names: our name of a tensor -> its name in `tensors`; a tensor of the network that is not in here is missing.
    """
    report = LoadReport()
    for key, value in model.state_dict().items():
        tensor = tensors.get(names[key]) if key in names else None
        if tensor is None:
            report.missing.append(key)
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
        CheckpointError: if `accept` says no.
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
    with torch.no_grad():
        for key in report.loaded:
            state[key].copy_(tensors[names[key]])
    return report
