"""M2A's shell with a hand-written gradient, for training on a CPU: the same numbers but for rounding, in fewer passes.

Most of what M2A adds to an eager step there is memory traffic and products of thin matrices, which no library does
well: copies into other layouts around the 1x1 convolutions, and one pass over a map as wide as the block's input for
every elementwise operation. Here compiled loops (`vidrepro.models.mechanisms.m2a_kernels`) take one pass for all that
needs it, and no map of that size but the input is kept: the backward pass works the gate out again.

`available` and `GatedMotionAttention` say where: elsewhere (inference, autocast, other layouts, compiled, traced,
counted, on a GPU, with another paper's blocks, or where somebody listens to a part of the shell) plain operations run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from vidrepro.models.kernels import in_parts, may_run

MOST_PARTS = 8  # that threads can share


class Blocks(NamedTuple):
    """What a shell does between its convolutions, in the kernels' numbers."""

    frames: int
    normalises: bool
    motion: int
    attends: bool
    skip: int

    @classmethod
    def of(cls, frames: int, normalises: bool, boundary: str, attends: bool, skip: str) -> Blocks:
        """From the shell's words; the boundary is ``none`` without motion."""
        motion = ("none", "zeros", "first").index(boundary)
        return cls(frames, normalises, motion, attends, ("none", "reduced", "attention-input").index(skip))


def available(x: Tensor, weight: Tensor, frames: int) -> bool:
    """Whether `gated` may stand in for the plain operations on clips of so many frames, as far as these tell."""
    return (
        torch.is_grad_enabled()
        and x.dim() == 4
        and x.is_contiguous()
        and weight.is_cpu
        and x.dtype == weight.dtype
        and len(x) % frames == 0
        and len(x) >= frames * torch.get_num_threads()  # a thread takes whole clips
        and may_run(x)
    )


def gated(x: Tensor, down: nn.Conv2d, up: nn.Conv2d, blocks: Blocks, plain: Callable[[Tensor], Tensor]) -> Tensor:
    """``x * sigmoid(up(blocks(down(x)))) + x`` for ``(N*T, C, H, W)``.

    Args:
        plain: the blocks by plain operations, for gradients of gradients.
    """
    out: Tensor = _Gated.apply(x, down.weight, down.bias, up.weight, up.bias, blocks, plain)
    return out


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        from vidrepro.models.mechanisms import m2a_kernels as kernels

        x, down, *_, blocks, plain = inputs
        frames, few = blocks.frames, len(down)
        clips, size = len(x) // frames, frames * few * x.shape[2] * x.shape[3]
        kept = x.new_empty(clips, 3 * size + frames * (2 + frames))
        out = torch.empty_like(x)
        arrays = [each.detach().numpy() for each in inputs[:5]]
        filled = kept.numpy(), out.numpy()
        in_parts(len(kept), lambda first, end: kernels.forward(*arrays, blocks, first, end, *filled))
        ctx.blocks, ctx.plain = blocks, plain
        ctx.save_for_backward(*inputs[:5], kept)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _again(ctx, gradient)
        from vidrepro.models.mechanisms import m2a_kernels as kernels

        x, down, _, up, up_bias, kept = ctx.saved_tensors
        few, many = down.shape[:2]
        of_x = torch.empty_like(x)
        sizes = few * many, few, few * many, many
        summed = x.new_empty(min(len(kept), MOST_PARTS), sum(sizes))
        arrays = [each.detach().numpy() for each in (x, gradient.contiguous(), down, up, up_bias)]
        filled = of_x.numpy(), summed.numpy()
        kept = kept.numpy()
        in_parts(len(summed), lambda first, end: kernels.backward(*arrays, ctx.blocks, kept, first, end, *filled))
        if len(summed) > 1:
            kernels.add_up(filled[1])
        of_down, of_down_bias, of_up, of_up_bias = summed[0].split_with_sizes(sizes)
        return of_x, of_down.view(down.shape), of_down_bias, of_up.view(up.shape), of_up_bias, None, None


def _again(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by the plain operations, for gradients of gradients."""
    x, down, down_bias, up, up_bias = inputs = ctx.saved_tensors[:5]
    features = ctx.plain(F.conv2d(x, down, down_bias))
    out = x * (F.conv2d(features, up, up_bias).sigmoid() + 1)
    wanted = [tensor for tensor, needed in zip(inputs, ctx.needs_input_grad, strict=False) if needed]
    found = iter(torch.autograd.grad(out, wanted, gradient, create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)
