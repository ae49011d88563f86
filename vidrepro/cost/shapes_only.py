"""Running a large network for its shapes alone: convolutions return zeros, so that a trace takes no arithmetic.

fvcore reads a trace, which torch (2.11 to 2.15) cannot make on the meta device: there a convolution's shape function
refuses the traced sizes. So tensors are real here, but the work is left out; zeros take no memory until written to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
_CONVOLUTION = torch.ops.aten._convolution.default  # what a trace calls any of them


def off_meta(model: nn.Module) -> nn.Module:
    """A copy of a network on the meta device, on the CPU with zeros for weights, in eval mode where it was."""
    real = copy.deepcopy(model).to_empty(device="cpu")
    for tensor in (*real.parameters(), *real.buffers()):
        tensor.data.zero_()
    return real


@contextmanager
def without_convolving() -> Iterator[None]:
    """Inside the block convolutions return zeros of the right shape; a trace records them as always."""
    with _NamedInTraces(), _Zeros():
        yield


class _NamedInTraces(TorchFunctionMode):
    """Calls the operator that traces record, which `_Zeros` would otherwise be too deep down to leave in them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in _CONVOLUTIONS or kwargs or len(args) != 7 or isinstance(args[4], str):
            return func(*args, **(kwargs or {}))
        inputs, weight, bias, stride, padding, dilation, groups = args
        sides = weight.dim() - 2
        stride, padding, dilation = (
            [item] * sides if isinstance(item, int) else list(item) for item in (stride, padding, dilation)
        )
        flags = (False, False, False, False)  # of cuDNN: benchmark, deterministic, enabled, TF32
        return _CONVOLUTION(inputs, weight, bias, stride, padding, dilation, False, [0] * sides, groups, *flags)


class _Zeros(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not _CONVOLUTION:
            return func(*args, **(kwargs or {}))
        inputs, weight, _, *geometry = args[:6]
        return inputs.new_zeros((int(inputs.shape[0]), int(weight.shape[0]), *_sides(inputs, weight, *geometry)))


def _sides(inputs: Tensor, weight: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> list[int]:
    sizes = zip(inputs.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    return [(int(size) + 2 * pad - step * (int(kernel) - 1) - 1) // jump + 1 for size, kernel, jump, pad, step in sizes]
