"""AIA's gates on a CPU with hand-written gradients: the same numbers but for rounding, in a fraction of the time.

The released modules add little arithmetic and much else: pooling along axes that lie badly in memory, 3-D convolutions
of two channels to one, which no CPU library does well (their gradients least of all), and products of the map's size
that are kept for the backward pass although only pooled values are wanted of them. Here

- maps lie with their channels last, so that T, H and W are pooled in whole vectors (`AttentionInAttention` converts
  once for all its units, and back);
- a 3x3x3 convolution of a volume is a 3x3 one whose channels are the volume's first axis, with a banded weight;
- the gates of a unit are added up before the one product, and no product is kept: the backward pass works out again
  what it needs from the input and the convolutions' outputs, which are small;
- a maximum's gradient goes, as `amax` has it, in equal parts to all places that reach it. (The released `max` gives it
  to one of them. They differ only where values are equal, such as in a clip that stands still.)

`available` says where: elsewhere (a GPU, autocast, compiled, traced, counted, or where somebody listens to a gate or a
layer) the plain operations of `vidrepro.models.mechanisms.aia` run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.overrides import _len_torch_function_stack
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from vidrepro.models.mechanisms.aia_gates import PLACE, combine, gate_over

# Maps are (N, T, H, W, C) in here.
_PLACE = {"T": 1, "H": 2, "W": 3, "C": 4}
# Pooled axis -> where the axes left over, in that order, stand in the released convolution's volume.
_KERNEL_AXES = {"C": (0, 1, 2), "T": (1, 2, 0), "H": (0, 2, 1), "W": (0, 1, 2)}
# of a 3x3 convolution: stride, padding, dilation, transposed, output padding, groups
_PLAIN_CONVOLUTION = ((1, 1), (1, 1), (1, 1), False, (0, 0), 1)


@dataclass
class Gate:
    """The layers of one gate, the axis it pools, and whether it pools the mean first."""

    axis: str
    conv: nn.Conv3d
    norm: nn.BatchNorm3d
    mean_first: bool

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """What it learns."""
        return self.conv.weight, self.norm.weight, self.norm.bias


Units = Sequence[Sequence[Gate]]  # the gates of each unit, innermost unit first


def available(x: Tensor) -> bool:
    """Whether the functions here may stand in for the plain operations on this tensor, as far as it is concerned."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.is_autocast_enabled("cpu")
        and not _len_torch_function_stack()  # somebody counts operations
        and not is_in_torch_dispatch_mode()
    )


def fits(gate: Gate, x: Tensor) -> bool:
    """Whether a gate's layers are as they were made, on the device and of the dtype of x, and nobody listens."""
    conv, norm = gate.conv, gate.norm
    if type(conv) is not nn.Conv3d or type(norm) is not nn.BatchNorm3d or norm.momentum is None:
        return False
    if conv._forward_hooks or conv._forward_pre_hooks or norm._forward_hooks or norm._forward_pre_hooks:
        return False
    if norm.training and x.numel() == x.shape[PLACE[gate.axis]]:
        return False  # one number has no deviation; the plain norm says so
    weight, scale = conv.weight, norm.weight
    return weight.dtype == scale.dtype == x.dtype and weight.device == scale.device == x.device


def gated(x: Tensor, units: Units) -> Tensor:
    """Units one in another, innermost first: ``(N, T, C, H, W)`` to ``x`` times the gates of the outermost.

    The channels of `x` had best lie last; those of the result do. Running statistics of the norms in training mode
    are updated.
    """
    tensors = [tensor for unit in units for gate in unit for tensor in gate.tensors]
    out: Tensor = _Gated.apply(x, units, *tensors)
    return out


def lay_out(x: Tensor) -> Tensor:
    """``(N*T, C, H, W)`` with its channels last; its gradient comes back as `x` lies."""
    out: Tensor = _Relaid.apply(x, torch.channels_last)
    return out


def lay_back(x: Tensor) -> Tensor:
    """The way back from `lay_out`."""
    out: Tensor = _Relaid.apply(x, torch.contiguous_format)
    return out


class _Relaid(Function):
    """A copy in another layout. Autograd's own leaves the gradient in the new one, in which a batch norm is slow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: torch.memory_format) -> Tensor:
        last = x.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        return x.clone(memory_format=layout)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.contiguous(memory_format=ctx.layout), None


@dataclass
class _Opened:
    """One gate in the forward pass: what its gradient needs besides tensors."""

    gate: Gate
    scale: float  # 1 / the deviation its norm divides by
    factor: float  # that, times the norm's weight
    training: bool

    def open(self, centred: Tensor) -> Tensor:
        """The gate, with 1 in place of the axis that was pooled, from the convolution's output less its mean."""
        opened = torch.add(self.gate.norm.bias.detach(), centred, alpha=self.factor).sigmoid_()
        return opened.unsqueeze(_PLACE[self.gate.axis])


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, units: Units, *tensors: Tensor) -> Tensor:
        out = _like_channels_last(x)
        maps = seen = _channels_last(x)
        result = out.permute(0, 1, 3, 4, 2)
        kept: list[Tensor] = []
        stages: list[list[_Opened]] = []
        for unit in units:
            stage, gates = [], []
            for gate in unit:
                volume = _pool(seen, gate)
                banded = _banded(gate, volume.shape[2])
                response = F.conv2d(_in_blocks(volume), banded, padding=1).view(len(volume), *volume.shape[2:])
                opened = _centre(response, gate)
                gates.append(opened.open(response))
                stage.append(opened)
                kept += [volume, banded, response]
            stages.append(stage)
            seen = _factor(gates, result).mul_(maps) if len(gates) > 1 else torch.mul(maps, gates[0], out=result)
        ctx.stages = stages
        ctx.save_for_backward(x, *tensors, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        stages: list[list[_Opened]] = ctx.stages
        count = sum(map(len, stages))
        x, *others = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _again(ctx, x, others[: 3 * count], gradient)
        kept = iter(others[3 * count :])
        saved = [[(next(kept), next(kept), next(kept)) for _ in stage] for stage in stages]
        gates = [
            [opened.open(centred) for opened, (_, _, centred) in zip(stage, own, strict=True)]
            for stage, own in zip(stages, saved, strict=True)
        ]
        maps, gradient = _channels_last(x), _channels_last(gradient)
        factor = _factor(gates[-1], torch.empty_like(maps))
        of_x = factor.mul_(gradient) if len(gates[-1]) > 1 else torch.mul(gradient, factor)
        flow = torch.mul(gradient, maps)  # then always: the gradient of the product with a unit's gates, times maps
        of_tensors: list[Tensor] = []
        for number in reversed(range(len(stages))):
            source = maps
            of_source: Tensor | None = of_x
            if number:
                factor = _factor(gates[number - 1], torch.empty_like(maps))
                source, of_source = torch.mul(maps, factor), None
            of_unit: list[Tensor] = []
            for opened, own, gate in zip(stages[number], saved[number], gates[number], strict=True):
                of_open = flow.sum(_PLACE[opened.gate.axis])
                of_volume, of_gate = _gate_backward(of_open, opened, *own, gate, 1 / len(stages[number]))
                of_source = _unpool(of_source, source, own[0], of_volume, opened.gate)
                of_unit += of_gate
            of_tensors = of_unit + of_tensors
            if number:
                assert of_source is not None
                of_x.addcmul_(of_source, factor)
                flow = of_source.mul_(maps)
        return of_x.permute(0, 1, 4, 2, 3), None, *of_tensors


def _channels_last(x: Tensor) -> Tensor:
    """``(N, T, C, H, W)`` as contiguous ``(N, T, H, W, C)``; a view if it lies like that."""
    return x.permute(0, 1, 3, 4, 2).contiguous()


def _like_channels_last(x: Tensor) -> Tensor:
    """An empty ``(N, T, C, H, W)`` that lies as `_channels_last` wants it, and is nobody's view."""
    frames, channels, height, width = x.shape[1:]
    frame = channels * height * width
    return x.new_empty_strided(x.shape, (frames * frame, frame, 1, width * channels, channels))


def _pool(maps: Tensor, gate: Gate) -> Tensor:
    """``(N, 2, the axes left)``: maximum and mean."""
    place = _PLACE[gate.axis]
    left = [size for number, size in enumerate(maps.shape) if number not in (0, place)]
    volume = maps.new_empty(maps.shape[0], 2, *left)
    highest, mean = volume.unbind(1)
    torch.amax(maps, place, out=highest)
    torch.mean(maps, place, out=mean)
    return volume


def _unpool(of_maps: Tensor | None, maps: Tensor, volume: Tensor, of_volume: Tensor, gate: Gate) -> Tensor:
    """Add the gradient of `_pool`'s input to `of_maps`, which may be empty yet; equal maxima share theirs."""
    place = _PLACE[gate.axis]
    at_highest = torch.eq(maps, volume.select(1, 0).unsqueeze(place), out=torch.empty_like(maps))
    of_highest, of_mean = of_volume.unsqueeze(place + 1).unbind(1)
    of_highest = of_highest / at_highest.sum(place, keepdim=True)
    of_mean = of_mean / maps.shape[place]
    if of_maps is None:
        return torch.addcmul(of_mean, at_highest, of_highest, out=at_highest)
    return of_maps.addcmul_(at_highest, of_highest).add_(of_mean)


@lru_cache(maxsize=64)
def _places(axis: str, mean_first: bool, length: int) -> Tensor:
    """Which of a convolution's 54 weights stands where in the banded one, 54 where none does.

    The banded weight ``(outputs, 2, inputs, 3, 3)`` is that of a volume's `length` slices along its first axis: of all
    of them at once, or of a block of them and the slice before and behind it (`_in_blocks`).
    """
    weights = torch.arange(54).view(2, 3, 3, 3).permute(0, *(1 + number for number in _KERNEL_AXES[axis]))
    weights = weights.flip(0) if mean_first else weights
    outputs = length // _blocks(length)
    margin = int(outputs != length)
    places = torch.full((outputs, 2, outputs + 2, 3, 3), 54)
    for output in range(outputs):
        places[output, :, output : output + 3] = weights
    return (places if margin else places[:, :, 1:-1]).flatten()


def _banded(gate: Gate, length: int) -> Tensor:
    """The weight ``(outputs, 2 * inputs, 3, 3)`` of the same convolution with a volume's first axis as channels."""
    places = _places(gate.axis, gate.mean_first, length)
    weights = torch.constant_pad_nd(gate.conv.weight.detach().reshape(54), (0, 1))
    return weights.index_select(0, places).view(length // _blocks(length), -1, 3, 3)


def _of_weight(of_banded: Tensor, gate: Gate, length: int) -> Tensor:
    """The gradient of the convolution's weight."""
    places = _places(gate.axis, gate.mean_first, length)
    return of_banded.new_zeros(55).index_add_(0, places, of_banded.view(-1))[:54].view(1, 2, 3, 3, 3)


@lru_cache(maxsize=64)
def _blocks(length: int) -> int:
    """Into how many blocks to cut so many channels: a band takes a full matrix product, which a long one wastes."""
    fitting = [length // block for block in range(16, 7, -1) if length % block == 0]
    return fitting[0] if length > 16 and fitting else 1


def _in_blocks(volume: Tensor) -> Tensor:
    """``(N, 2, A, B, C)`` as what `_banded` works on, (N * blocks, channels, B, C)."""
    clips, _, length, height, width = volume.shape
    count = _blocks(length)
    if count == 1:
        return volume.view(clips, 2 * length, height, width)
    block = length // count
    padded = torch.constant_pad_nd(volume, (0, 0, 0, 0, 1, 1))
    return padded.unfold(2, block + 2, block).permute(0, 2, 1, 5, 3, 4).reshape(clips * count, -1, height, width)


def _of_blocks(of_blocks: Tensor, shape: torch.Size) -> Tensor:
    """The gradient of a volume of this shape from that of `_in_blocks`."""
    clips, _, length, height, width = shape
    count = _blocks(length)
    if count == 1:
        return of_blocks.view(shape)
    block = length // count
    of_blocks = of_blocks.view(clips, count, 2, block + 2, height, width)
    padded = of_blocks.new_zeros(clips, 2, length + 2, height, width)
    for number in range(count):
        padded[:, :, number * block : (number + 1) * block + 2] += of_blocks[:, number]
    return padded[:, :, 1:-1]


def _centre(response: Tensor, gate: Gate) -> _Opened:
    """Take off the mean of the gate's norm, in place, and bring its running statistics up to date."""
    norm = gate.norm
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    if not norm.training:
        response.sub_(norm.running_mean)
        variance = float(norm.running_var)
    else:
        count, momentum = response.numel(), norm.momentum
        assert momentum is not None
        mean = float(response.mean())
        flat = response.sub_(mean).view(-1)
        variance = float(torch.dot(flat, flat)) / count
        norm.running_mean.mul_(1 - momentum).add_(momentum * mean)
        norm.running_var.mul_(1 - momentum).add_(momentum * variance * count / (count - 1))
        norm.num_batches_tracked += 1
    scale = 1 / math.sqrt(variance + norm.eps)
    return _Opened(gate, scale, scale * float(norm.weight), norm.training)


def _factor(gates: Sequence[Tensor], out: Tensor) -> Tensor:
    """What the maps are multiplied with: the only gate, or the mean of the three of ST, at full size in `out`."""
    if len(gates) == 1:
        return gates[0]
    first, second, third = (gate / 3 for gate in gates)
    return torch.add(second, third, out=out).add_(first)


def _gate_backward(
    of_open: Tensor, opened: _Opened, volume: Tensor, banded: Tensor, centred: Tensor, gate: Tensor, share: float
) -> tuple[Tensor, list[Tensor]]:
    """The gradients of the pooled volume, and of the gate's weight and its norm's weight and bias.

    `of_open` is the gradient of `share` times the gate.
    """
    norm, count = opened.gate.norm, centred.numel()
    of_normal = torch.ops.aten.sigmoid_backward(of_open, gate.view(centred.shape))
    along = float(torch.dot(of_normal.view(-1), centred.view(-1)))
    total = float(of_normal.sum())
    if opened.training:  # the batch's mean and deviation move with every value
        of_normal.sub_(total / count).sub_(centred, alpha=along * opened.scale**2 / count)
    blocks = _in_blocks(volume)
    of_response = of_normal.mul_(share * opened.factor).view(blocks.shape[0], -1, *volume.shape[3:])
    of_blocks, of_banded, _ = torch.ops.aten.convolution_backward(
        of_response, blocks, banded, None, *_PLAIN_CONVOLUTION, (True, True, False)
    )
    of_weight = _of_weight(of_banded, opened.gate, volume.shape[2])
    of_norm = norm.weight.new_full((1,), share * along * opened.scale), norm.weight.new_full((1,), share * total)
    return _of_blocks(of_blocks, volume.shape), [of_weight, *of_norm]


def _again(ctx: Any, x: Tensor, tensors: Sequence[Tensor], gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by the plain operations, for gradients of gradients."""
    rest = iter(tensors)
    seen = x
    for stage in ctx.stages:
        gates = []
        for opened in stage:
            weight, scale, shift = next(rest), next(rest), next(rest)
            norm = opened.gate.norm
            running = (None, None) if opened.training else (norm.running_mean, norm.running_var)
            normalise = partial(
                _batch_norm, running=running, weight=scale, bias=shift, training=opened.training, eps=norm.eps
            )
            convolve = partial(F.conv3d, weight=weight, padding=1)
            gates.append(gate_over(seen, opened.gate.axis, opened.gate.mean_first, convolve, normalise))
        seen = x * combine(gates)
    inputs = (x, None, *tensors)
    wanted = [one for one, needed in zip(inputs, ctx.needs_input_grad, strict=True) if needed and one is not None]
    found = iter(torch.autograd.grad(seen, wanted, gradient, create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)


def _batch_norm(
    x: Tensor, *, running: tuple[Tensor | None, Tensor | None], weight: Tensor, bias: Tensor, training: bool, eps: float
) -> Tensor:
    return F.batch_norm(x, *running, weight, bias, training, 0.0, eps)
