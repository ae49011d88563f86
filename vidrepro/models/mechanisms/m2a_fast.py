"""M2A's shell with a hand-written gradient, for training on a CPU: the same numbers but for rounding, in fewer passes.

Most of what M2A adds to an eager step there is memory traffic and products of thin matrices, which no library does
well: copies into other layouts around the 1x1 convolutions, and one pass over a map as wide as the block's input for
every elementwise operation. Here compiled loops (`vidrepro.models.mechanisms.m2a_kernels`) take one pass for all that
needs it, and no map of that size but the input is kept: the backward pass works the gate out again.

`available` and `GatedMotionAttention` say where: elsewhere (inference, autocast, other layouts, compiled, traced,
counted, on a GPU, with another paper's blocks, or where somebody listens to a part of the shell) plain operations run.
Batched gradients and forward-mode differentiation cannot be foreseen: torch refuses them, and kernels have to be off.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from vidrepro.models.kernels import in_parts, may_run

MOST_PARTS = 8  # that threads can share
_LIKE = {torch.float32: 0, torch.float64: 0.0}  # numbers of these types are quickest to tell apart

Learnt = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]  # weight and bias of both convolutions


class Blocks(NamedTuple):
    """What a shell does between its convolutions, in the kernels' numbers."""

    frames: int
    normalises: int
    motion: int
    attends: int
    skip: int

    @classmethod
    def of(cls, frames: int, normalises: bool, boundary: str, attends: bool, skip: str) -> Blocks:
        """From the shell's words; the boundary is ``none`` without motion."""
        motion = ("none", "zeros", "first").index(boundary)
        return cls(frames, normalises, motion, attends, ("none", "reduced", "attention-input").index(skip))


def available(x: Tensor, learnt: Learnt, frames: int) -> bool:
    """Whether `gated` may stand in for the plain operations on clips of so many frames, as far as these tell."""
    return (
        torch.is_grad_enabled()
        and may_run(x)
        and x.dim() == 4
        and len(x) % frames == 0
        and len(x) >= frames * torch.get_num_threads()  # a thread takes whole clips
        and _readable(x)
        and _fit(x, learnt)
    )


def _readable(x: Tensor) -> bool:
    """Whether a kernel may read a tensor's numbers from memory, one after another."""
    return x.is_cpu and x.is_contiguous() and not x.is_neg() and x.data_ptr() != 0


def _fit(x: Tensor, learnt: Learnt) -> bool:
    """Whether the convolutions' tensors are what kernels may read, as numbers of x's type, of so many channels."""
    if learnt[0] is None:
        return False
    many, few = x.shape[1], len(learnt[0])
    for tensor, shape in zip(learnt, ((few, many, 1, 1), (few,), (many, few, 1, 1), (many,)), strict=True):
        if tensor is None or tensor.dtype is not x.dtype or tensor.shape != shape or not _readable(tensor):
            return False
    return True


def gated(x: Tensor, learnt: Learnt, blocks: Blocks, plain: Callable[[Tensor], Tensor]) -> Tensor:
    """``x * sigmoid(up(blocks(down(x)))) + x`` for ``(N*T, C, H, W)``.

    Args:
        plain: the blocks by plain operations, for gradients of gradients.
    """
    out: Tensor = _Gated.apply(x, *learnt, blocks, plain)
    return out


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *others: Any) -> Tensor:
        kernels = _kernels()
        *learnt, blocks, plain = others
        work = _work(blocks, len(learnt[0]), x.shape)
        kept = x.new_empty(work.kept)
        out = torch.empty_like(x)
        addresses = [tensor.data_ptr() for tensor in (x, *learnt, kept, out)]
        like = _LIKE[x.dtype]
        in_parts(work.clips, lambda first, end: kernels.forward(like, work.address, *addresses, first, end))
        ctx.work, ctx.plain = work, plain
        ctx.save_for_backward(x, *learnt, kept)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        work: _Work = ctx.work
        x, down, down_bias, up, up_bias, kept = ctx.saved_tensors
        gradient = _lying(gradient)
        if torch.is_grad_enabled() or not _as_left(x, (down, down_bias, up, up_bias), kept, gradient, work):
            return _again(ctx, gradient)
        kernels = _kernels()
        found = [torch.empty_like(tensor) for tensor in (x, down, down_bias, up, up_bias)]
        rest = x.new_empty(work.rest)
        read = [tensor.data_ptr() for tensor in (x, gradient, down, up, up_bias, kept)]
        written = [tensor.data_ptr() for tensor in (*found, rest)]
        like, parts = _LIKE[x.dtype], work.parts
        done = in_parts(
            parts,
            lambda first, end: kernels.backward(like, work.address, *read, *written, parts, first, end),
        )
        if done > 1:
            kernels.add_up(like, *written[1:], parts, x.shape[1], len(down))
        return *found, None, None


def _as_left(x: Tensor, learnt: Learnt, kept: Tensor, gradient: Tensor, work: _Work) -> bool:
    """Whether all is as the forward pass left it: parameters can be cast since, and hooks change what is saved."""
    return (
        x.shape == gradient.shape == work.shape
        and kept.shape == work.kept
        and x.dtype is kept.dtype is gradient.dtype
        and _readable(x)
        and _readable(kept)
        and _fit(x, learnt)
    )


def _lying(gradient: Tensor) -> Tensor:
    """As numbers in memory, one after another."""
    lying = gradient.resolve_neg().contiguous()
    return lying if lying.data_ptr() else lying.clone()  # torch knows zeros without memory


class _Work(NamedTuple):
    """A shell's work on maps of one shape.

    Attributes:
        numbers, address: what the kernels read of it, and where it is.
        clips, parts: how many there are, and how many parts they make, each of which sums up its own gradients.
        shape, kept, rest: shapes of the maps, and of the kernels' tensors of these names.
    """

    numbers: Any
    address: int
    clips: int
    parts: int
    shape: torch.Size
    kept: tuple[int, int]
    rest: tuple[int, int]


@lru_cache(maxsize=256)
def _work(blocks: Blocks, few: int, shape: torch.Size) -> _Work:
    count, many, height, width = shape
    frames, pixels = blocks.frames, height * width
    clips = count // frames
    parts = min(clips, MOST_PARTS)
    size = frames * few * pixels + frames * (2 + frames)
    numbers = np.array([*blocks, clips, many, pixels, few, size], np.int64)
    return _Work(
        numbers, numbers.ctypes.data, clips, parts, shape, (clips, size), (parts - 1, 2 * few * many + few + many)
    )


@lru_cache(maxsize=1)
def _kernels() -> Any:
    from vidrepro.models.mechanisms import m2a_kernels

    return m2a_kernels


def _again(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by the plain operations, for gradients of gradients and where kernels cannot go on."""
    x, down, down_bias, up, up_bias = inputs = ctx.saved_tensors[:5]
    further = torch.is_grad_enabled()
    with torch.enable_grad():
        features = ctx.plain(F.conv2d(x, down, down_bias))
        out = x * (F.conv2d(features, up, up_bias).sigmoid() + 1)
    wanted = [tensor for tensor, needed in zip(inputs, ctx.needs_input_grad, strict=False) if needed]
    found = iter(torch.autograd.grad(out, wanted, gradient, create_graph=further))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)
