"""M2A's training step with hand-written gradients: the same numbers but for rounding, in fewer passes.

In eager training on a CPU most of what M2A adds to a step is memory traffic: copies into other layouts around the 1x1
convolutions, and one pass over a map as wide as the block's input for every elementwise operation. Here the
convolutions are matrix products on the maps as they lie, the gate keeps one map (its sigmoid) for the backward pass,
and gradients add up in place. The attention takes three products back instead of six; weights so small that their
products would be denormal numbers (ten times slower on a CPU, and common: attention to independent frames is one-hot)
count as zero.

`available` says where: elsewhere (inference, autocast, other layouts, compiled, traced, on a GPU) the plain operations
run, which MAC counters know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function


def available(*tensors: Tensor) -> bool:
    """Whether the functions here may stand in for the plain operations on these tensors."""
    first = tensors[0]
    return (
        torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.is_autocast_enabled("cpu")
        and first.dtype in (torch.float32, torch.float64)
        and all(tensor.device.type == "cpu" and tensor.dtype == first.dtype for tensor in tensors)
        and all(tensor.is_contiguous() for tensor in tensors)
    )


def squeeze(x: Tensor, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution (with bias) of ``(N, C, H, W)``, and ``x`` for `gate`, so that its two gradients meet here."""
    reduced, x = _Squeeze.apply(x, conv.weight, conv.bias)
    return reduced, x


def gate(x: Tensor, features: Tensor, conv: nn.Conv2d) -> Tensor:
    """``x * sigmoid(conv(features)) + x`` for ``(N, C, H, W)`` from `squeeze`, and ``(N, c, H, W)``; conv as there."""
    out: Tensor = _Gate.apply(x, features, conv.weight, conv.bias)
    return out


def attend(tokens: Tensor) -> Tensor:
    """``softmax(v v' / sqrt(width)) v`` for tokens v: ``(B, L, width)`` to the same shape."""
    out: Tensor = _Attend.apply(tokens)
    return out


def _conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One matrix product per frame."""
    count, _, height, width = x.shape
    matrix = weight.flatten(1).expand(count, -1, -1)
    return torch.baddbmm(bias[None, :, None], matrix, x.flatten(2)).view(count, -1, height, width)


def _of_conv_weight(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(gradient.flatten(2), x.flatten(2).transpose(1, 2)).sum(0).view(weight.shape)


def _transposed(weight: Tensor, count: int) -> Tensor:
    return weight.flatten(1).t().expand(count, -1, -1)


class _Squeeze(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, weight, bias)
        return _conv(x, weight, bias), x

    @staticmethod
    def backward(ctx: Any, of_reduced: Tensor, of_x: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _again(
                lambda *inputs: (F.conv2d(*inputs), inputs[0] * 1), (x, weight, bias), (of_reduced, of_x), ctx
            )
        of_reduced = of_reduced.contiguous()
        if ctx.needs_input_grad[0]:
            of_x = of_x.contiguous()  # then in place: the gate made it, and nobody else has it
            of_x.flatten(2).baddbmm_(_transposed(weight, len(x)), of_reduced.flatten(2))
        return of_x, _of_conv_weight(of_reduced, x, weight), of_reduced.sum((0, 2, 3))


class _Gate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        opened = _conv(features, weight, bias).sigmoid_()
        ctx.save_for_backward(x, features, weight, bias, opened)
        return torch.addcmul(x, x, opened)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, features, weight, bias, opened = ctx.saved_tensors
        if torch.is_grad_enabled():
            inputs = (x, features, weight, bias)
            return _again(lambda x, *conv: (x * (F.conv2d(*conv).sigmoid() + 1),), inputs, (gradient,), ctx)
        gradient = gradient.contiguous()
        inner = gradient * x
        torch.ops.aten.sigmoid_backward.grad_input(inner, opened, grad_input=inner)
        of_features = torch.bmm(_transposed(weight, len(x)), inner.flatten(2)).view(features.shape)
        of_weight, of_bias = _of_conv_weight(inner, features, weight), inner.sum((0, 2, 3))
        return torch.addcmul(gradient, gradient, opened, out=inner), of_features, of_weight, of_bias


class _Attend(Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor) -> Tensor:
        scores = torch.bmm(tokens, tokens.transpose(1, 2)).mul_(1 / math.sqrt(tokens.shape[2]))
        weights = _without_specks(scores.softmax(dim=2))
        ctx.save_for_backward(tokens, weights)
        return torch.bmm(weights, tokens)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tokens, weights = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _again(lambda v: (_plain_attention(v),), (tokens,), (gradient,), ctx)
        of_weights = torch.bmm(gradient, tokens.transpose(1, 2))
        of_scores = weights * (of_weights - (of_weights * weights).sum(2, keepdim=True))
        both = _without_specks(of_scores + of_scores.transpose(1, 2))  # as queries and as keys
        as_values = torch.bmm(weights.transpose(1, 2), gradient)
        return (as_values.baddbmm_(both, tokens, alpha=1 / math.sqrt(tokens.shape[2])),)


def _plain_attention(tokens: Tensor) -> Tensor:
    scores = torch.bmm(tokens, tokens.transpose(1, 2)) / math.sqrt(tokens.shape[2])
    return torch.bmm(scores.softmax(dim=2), tokens)


def _without_specks(weights: Tensor) -> Tensor:
    """Zero in place of what is so small that its products could be denormal: 1e-31 in float32."""
    limits = torch.finfo(weights.dtype)
    return weights.masked_fill_(weights.abs() < limits.tiny / limits.eps, 0.0)


def _again(
    plain: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], gradients: Sequence[Tensor], ctx: Any
) -> tuple[Tensor | None, ...]:
    """The gradients by the plain operations, for gradients of gradients."""
    wanted = [tensor for tensor, needed in zip(inputs, ctx.needs_input_grad, strict=True) if needed]
    found = iter(torch.autograd.grad(plain(*inputs), wanted, gradients, create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)
