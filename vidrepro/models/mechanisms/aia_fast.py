"""AIA's gates on a CPU with hand-written gradients: the same numbers but for rounding, in a fraction of the time.

The released modules add little arithmetic and much else: pooling along axes that lie badly in memory, 3-D convolutions
of two channels to one, which no CPU library does well (their gradients least of all), and products of the map's size
that are kept for the backward pass although only pooled values are wanted of them. Here

- maps lie with their channels last, so that T, H and W are pooled in whole vectors (`AttentionInAttention` converts
  once for all its units, and back);
- a 3x3x3 convolution of a volume is a 3x3 one whose channels are the volume's first axis (`aia_banded`);
- the gates of a unit are added up before the one product, and no product is kept: the backward pass works out again
  what it needs from the input and the gates, which are small;
- a maximum's gradient goes, as `amax` has it, in equal parts to all places that reach it. (The released `max` gives it
  to one of them. They differ only where values are equal, such as in a clip that stands still.)

`available` says where: elsewhere (a GPU, autocast, compiled, traced, counted, or where somebody listens to a gate or a
layer) the plain operations of `vidrepro.models.mechanisms.aia` run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.overrides import _len_torch_function_stack
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from vidrepro.models.mechanisms.aia_banded import Band, band
from vidrepro.models.mechanisms.aia_gates import PLACE, combine, gate_over

_KEPT = 6  # tensors of a gate that its gradient needs: see `_Opened`


@dataclass(slots=True)
class Gate:
    """The layers of one gate, the axis it pools, and whether it pools the mean first."""

    axis: str
    conv: nn.Conv3d
    norm: nn.BatchNorm3d
    mean_first: bool
    training: bool = field(init=False)  # the norm's, when the forward pass ran

    def __post_init__(self) -> None:
        self.training = self.norm.training

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """What it learns."""
        norm: dict[str, Any] = self.norm._parameters  # by attribute takes as long as computing with small maps
        weight: Any = self.conv._parameters["weight"]
        return weight, norm["weight"], norm["bias"]


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
    if gate.training and x.numel() == x.shape[PLACE[gate.axis]]:
        return False  # one number has no deviation; the plain norm says so
    weight, scale, _ = gate.tensors
    return weight.dtype == scale.dtype == x.dtype and weight.device == scale.device == x.device


def gated(x: Tensor, units: Units) -> Tensor:
    """Units one in another, innermost first: ``(N, T, C, H, W)`` to ``x`` times the gates of the outermost.

    The channels of `x` had best lie last; those of the result do. Running statistics of the norms in training mode
    are updated.
    """
    if not torch.is_grad_enabled():
        return _run(x, units, None)
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


@dataclass(slots=True)
class _Opened:
    """What the gradient of one gate needs.

    Attributes:
        gate: its layers.
        scale: the norm's weight.
        band: how its convolution works.
        volume: the pooled maps, ``(N, 2, the axes left)``.
        weight: the convolution's, banded.
        response: what the convolution made of `volume`, ``(N, 1, the axes left)``.
        value: the gate, of the same shape.
        mean: of the batch, as the norm has it; the running mean outside training.
        spread: 1 / its deviation; the running variance outside training.
    """

    gate: Gate
    scale: Tensor
    band: Band
    volume: Tensor
    weight: Tensor
    response: Tensor
    value: Tensor
    mean: Tensor
    spread: Tensor

    def backward(self, flow: Tensor, share: float) -> tuple[Tensor, list[Tensor]]:
        """The gradients of the pooled volume, and of the convolution's weight and the norm's weight and bias.

        Args:
            flow: the gradient of the maps times `share` times the gate, times the maps.
            share: 1, or of one gate in three.
        """
        of_value = flow.sum(self.band.place).view(self.band.response)
        if share != 1:
            of_value.mul_(share)
        of_normal = torch.ops.aten.sigmoid_backward(of_value, self.value)
        of_response, of_scale, of_shift = torch.ops.aten.native_batch_norm_backward(
            of_normal,
            self.response,
            self.scale,
            *(self.mean, self.spread) * 2,
            self.gate.training,
            self.gate.norm.eps,
            (True, True, True),
        )
        of_volume, of_weight = self.band.convolution_backward(of_response, self.volume, self.weight)
        return of_volume, [of_weight, of_scale, of_shift]

    def unpool(self, of_maps: Tensor | None, maps: Tensor, of_volume: Tensor, scratch: Tensor) -> Tensor:
        """Add the gradient of the maps that were pooled to `of_maps`, if there is one; equal maxima share theirs.

        Args:
            scratch: of the shape of `maps`, to write on.
        """
        place = self.band.place
        at_highest = torch.eq(maps, self.volume.select(1, 0).unsqueeze(place), out=scratch)
        of_highest, of_total = of_volume.unsqueeze(place + 1).unbind(1)
        of_highest = of_highest / at_highest.sum(place, keepdim=True)
        if of_maps is None:
            return torch.mul(at_highest, of_highest).add_(of_total)
        return of_maps.addcmul_(at_highest, of_highest).add_(of_total)


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, units: Units, *tensors: Tensor) -> Tensor:
        ctx.units = units
        kept: list[Tensor] = []
        out = _run(x, units, kept)
        ctx.save_for_backward(x, *tensors, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        units: Units = ctx.units
        x, *others = ctx.saved_tensors
        count = sum(map(len, units))
        if torch.is_grad_enabled():
            return _again(ctx, x, others[: 3 * count], gradient)
        maps, gradient = _channels_last(x), _channels_last(gradient)
        stages = _opened(units, maps, others)
        scratch = torch.empty_like(maps)
        factor, part = _factor(stages[-1])
        of_x = _times(gradient, factor, part, out=None if len(stages[-1]) == 1 else factor)
        flow = torch.mul(gradient, maps)  # then always: the gradient of the product with a unit's gates, times maps
        of_tensors: list[Tensor] = []
        for number in reversed(range(len(stages))):
            source: Tensor = maps
            of_source: Tensor | None = of_x
            if number:
                factor, part = _factor(stages[number - 1])
                source, of_source = _times(maps, factor, part), None
            of_unit: list[Tensor] = []
            for opened in stages[number]:
                of_volume, of_gate = opened.backward(flow, 1 / len(stages[number]))
                of_source = opened.unpool(of_source, source, of_volume, scratch)
                of_unit += of_gate
            of_tensors = of_unit + of_tensors
            if number:
                assert of_source is not None
                of_x.addcmul_(of_source, factor, value=part)
                flow = of_source.mul_(maps)
        return of_x.permute(0, 1, 4, 2, 3), None, *of_tensors


def _run(x: Tensor, units: Units, kept: list[Tensor] | None) -> Tensor:
    """The forward pass; adds to `kept` what `_opened` wants."""
    out = _like_channels_last(x)
    maps = seen = _channels_last(x)
    result = out.permute(0, 1, 3, 4, 2)
    for unit in units:
        gates = []
        for gate in unit:
            way = band(gate.axis, gate.mean_first, maps.shape, maps.dtype)
            value = _open(seen, gate, way, kept)
            gates.append(value.view(way.gate))
        seen = _times(maps, *_sum(gates, result), out=result)
    return out


def _open(maps: Tensor, gate: Gate, way: Band, kept: list[Tensor] | None) -> Tensor:
    """A gate, ``(N, 1, the axes left)``; its norm's running statistics are brought up to date."""
    volume = maps.new_empty(way.volume)
    highest, total = volume.unbind(1)
    torch.amax(maps, way.place, out=highest)
    torch.sum(maps, way.place, out=total)
    weight, scale, shift = gate.tensors
    banded = way.weight(weight)
    response = way.convolution(volume, banded)
    buffers: dict[str, Any] = gate.norm._buffers
    momentum: Any = gate.norm.momentum  # not None: see `fits`
    running = buffers["running_mean"], buffers["running_var"]
    value, *batch = torch.native_batch_norm(response, scale, shift, *running, gate.training, momentum, gate.norm.eps)
    if gate.training:
        buffers["num_batches_tracked"].add_(1)
    value.sigmoid_()
    if kept is not None:
        kept += (volume, banded, response, value, *(batch if gate.training else running))
    return value


def _opened(units: Units, maps: Tensor, saved: Sequence[Tensor]) -> list[list[_Opened]]:
    """What `_run` kept, by unit and gate; before it come the tensors that the gates learn."""
    after = 3 * sum(map(len, units))
    stages, number = [], 0
    for unit in units:
        stage = []
        for gate in unit:
            own = saved[after + _KEPT * number : after + _KEPT * (number + 1)]
            way = band(gate.axis, gate.mean_first, maps.shape, maps.dtype)
            stage.append(_Opened(gate, saved[3 * number + 1], way, *own))
            number += 1
        stages.append(stage)
    return stages


def _factor(stage: Sequence[_Opened]) -> tuple[Tensor, float]:
    return _sum([opened.value.view(opened.band.gate) for opened in stage])


def _sum(gates: Sequence[Tensor], out: Tensor | None = None) -> tuple[Tensor, float]:
    """The only gate of a unit, or the sum of the three of ST at full size; and what part of it is their mean."""
    if len(gates) == 1:
        return gates[0], 1
    first, second, third = gates
    return torch.add(second, third, out=out).add_(first), 1 / 3


def _times(maps: Tensor, factor: Tensor, part: float, out: Tensor | None = None) -> Tensor:
    """``maps * factor * part`` in one go."""
    if part == 1:
        return torch.mul(maps, factor, out=out)
    return torch.addcmul(maps.new_zeros(()), maps, factor, value=part, out=out)


def _channels_last(x: Tensor) -> Tensor:
    """``(N, T, C, H, W)`` as contiguous ``(N, T, H, W, C)``; a view if it lies like that."""
    return x.permute(0, 1, 3, 4, 2).contiguous()


def _like_channels_last(x: Tensor) -> Tensor:
    """An empty ``(N, T, C, H, W)`` that lies as `_channels_last` wants it, and is nobody's view."""
    frames, channels, height, width = x.shape[1:]
    frame = channels * height * width
    return x.new_empty_strided(x.shape, (frames * frame, frame, 1, width * channels, channels))


def _again(ctx: Any, x: Tensor, tensors: Sequence[Tensor], gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by the plain operations, for gradients of gradients."""
    rest = iter(tensors)
    seen = x
    for unit in ctx.units:
        gates = []
        for gate in unit:
            weight, scale, shift = next(rest), next(rest), next(rest)
            norm = gate.norm
            running = (None, None) if gate.training else (norm.running_mean, norm.running_var)
            normalise = partial(
                _batch_norm, running=running, weight=scale, bias=shift, training=gate.training, eps=norm.eps
            )
            convolve = partial(F.conv3d, weight=weight, padding=1)
            gates.append(gate_over(seen, gate.axis, gate.mean_first, convolve, normalise))
        seen = x * combine(gates)
    inputs = (x, None, *tensors)
    wanted = [one for one, needed in zip(inputs, ctx.needs_input_grad, strict=True) if needed and one is not None]
    found = iter(torch.autograd.grad(seen, wanted, gradient, create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)


def _batch_norm(
    x: Tensor, *, running: tuple[Tensor | None, Tensor | None], weight: Tensor, bias: Tensor, training: bool, eps: float
) -> Tensor:
    return F.batch_norm(x, *running, weight, bias, training, 0.0, eps)
