"""AIA's gates on a CPU with hand-written gradients: the same numbers but for rounding, in a fraction of the time.

The released modules add little arithmetic and much else: pooling along axes that lie badly in memory, 3-D convolutions
of two channels to one, which no CPU library does well (their gradients least of all), and products of the map's size
that are kept for the backward pass although only pooled values are wanted of them. Here

- compiled loops (`aia_kernels`) do all units of a mechanism in one go, on maps whose channels lie last;
- only the input and what is as small as a pooled map is kept: the backward pass works out the rest again;
- a maximum's gradient goes, as `amax` has it, in equal parts to all places that reach it. (The released `max` gives it
  to one of them. They differ only where values are equal, such as in a clip that stands still.)

`kernels.may_run` and `gate_of` say where: elsewhere (without numba, on a GPU, with autocast, compiled, traced, counted,
or where somebody listens to a gate or a layer) the plain operations of `vidrepro.models.mechanisms.aia` run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from vidrepro.models.kernels import in_parts
from vidrepro.models.layout import layout_of
from vidrepro.models.mechanisms.aia_gates import combine, gate_over
from vidrepro.models.mechanisms.frames import split_frames

_PLACE = {"T": 1, "H": 2, "W": 3, "C": 4}  # in maps (N, T, H, W, C)


@dataclass(slots=True)
class Gate:
    """One gate: the axis it pools, whether it pools the mean first, its norm and how that is set, and its tensors."""

    axis: str
    mean_first: bool
    norm: nn.BatchNorm3d
    training: bool
    learnt: tuple[Any, Any, Any]  # tensors: the norm's weight and bias, the convolution's weight
    running: tuple[Any, Any]  # the norm's mean and variance

    def normalise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """What the norm did in the forward pass, without another update of its running statistics."""
        mean, variance = (None, None) if self.training else self.running
        return F.batch_norm(x, mean, variance, weight, bias, self.training, 0.0, self.norm.eps)


Steps = Sequence[Sequence[Sequence[Gate]]]  # steps after one another, of units one in another, the innermost first


def gate_of(axis: str, mean_first: bool, conv: Any, norm: Any, x: Tensor, pooled: int) -> Gate | None:
    """A gate, if its layers are as they were made, on the device and of the dtype of x, and nobody listens.

    Args:
        x: the maps.
        pooled: how long the axis is.
    """
    if type(conv) is not nn.Conv3d or type(norm) is not nn.BatchNorm3d or norm.momentum is None:
        return None
    if conv._forward_hooks or conv._forward_pre_hooks or norm._forward_hooks or norm._forward_pre_hooks:
        return None
    training = norm.training
    if training and x.numel() == pooled:
        return None  # one number has no deviation; the plain norm says so
    learnt: Any = norm._parameters  # attributes take as long to find as small maps to pool
    buffers: Any = norm._buffers
    weight: Any = conv._parameters["weight"]
    scale, mean = learnt["weight"], buffers["running_mean"]
    if scale is None or mean is None or not weight.dtype == scale.dtype == mean.dtype == x.dtype:
        return None
    if not (weight.is_cpu and scale.is_cpu and mean.is_cpu):
        return None
    return Gate(axis, mean_first, norm, training, (scale, learnt["bias"], weight), (mean, buffers["running_var"]))


def gated(x: Tensor, frames: int, steps: Steps) -> Tensor:
    """``(N*T, C, H, W)`` times the gates of the outermost unit of each step; it lies as `x` does.

    Running statistics of the norms in training mode are updated.
    """
    if not torch.is_grad_enabled():
        return _forward(x, _Work(x, frames, steps), keep=False)[0]
    out: Tensor = _Gated.apply(x, frames, steps, *_learnt(steps))
    return out


def _learnt(steps: Steps) -> list[Tensor]:
    return [tensor for step in steps for unit in step for gate in unit for tensor in gate.learnt]


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, frames: int, steps: Steps, *learnt: Tensor) -> Tensor:
        ctx.frames, ctx.steps, ctx.work = frames, steps, _Work(x, frames, steps)
        out, kept = _forward(x, ctx.work, keep=True)
        ctx.save_for_backward(x, kept, *learnt)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, kept, *learnt = ctx.saved_tensors  # which makes sure that what the work knows of them still holds
        if torch.is_grad_enabled():
            return _again(ctx, x, learnt, gradient)
        of_x, of_learnt = _backward(x, kept, gradient, ctx.work)
        return of_x, None, None, *of_learnt


class _Work:
    """What the forward and the backward pass have in common, as `aia_kernels` has it.

    Python and torch take longer with one small tensor after another than the loops take with maps: few calls do it all.
    """

    def __init__(self, x: Tensor, frames: int, steps: Steps) -> None:
        self.layout = layout_of(x)
        count, channels, height, width = x.shape
        if count % frames:
            split_frames(x, frames)  # refuses
        self.shape = (count // frames, frames, height, width, channels)
        self.steps = len(steps)
        self.gates = gates = [gate for step in steps for unit in step for gate in unit]
        self.plan, self.places = _plan(tuple([tuple(map(len, step)) for step in steps]), self.shape)
        self.weights = torch.cat([gate.learnt[2] for gate in gates]).detach().contiguous().numpy().reshape(-1, 54)
        self.norms = np.array(
            [
                [*[tensor.item() for tensor in (*gate.learnt[:2], *gate.running)], gate.norm.eps, gate.training]
                for gate in gates
            ]
        )
        self.sums = np.empty((1 + self.shape[0], len(gates), 2))

    @property
    def training(self) -> bool:
        return any(gate.training for gate in self.gates)

    def array(self, x: Tensor) -> Any:
        """Five axes, the channels last if those of the input are."""
        clips, frames, height, width, channels = self.shape
        if self.layout is torch.channels_last:
            return x.contiguous(memory_format=self.layout).detach().permute(0, 2, 3, 1).numpy().reshape(self.shape)
        return x.contiguous().detach().numpy().reshape(clips, frames, channels, height, width)

    def run(self, kernel: Any, x: Tensor, kept: Any, *arrays: Any) -> None:
        """In one go where the clips do not need each other; where they do, phase by phase."""
        last, mean_first = self.layout is torch.channels_last, self.gates[0].mean_first
        work = partial(
            kernel, self.array(x), last, kept, self.weights, mean_first, self.norms, self.sums, self.plan, *arrays
        )
        phases = len(self.plan) + 1
        alone = torch.get_num_threads() == 1 or not self.training
        for first, end in [(0, phases)] if alone else pairwise(range(phases + 1)):
            in_parts(self.shape[0], partial(work, first, end))


def _forward(x: Tensor, work: _Work, keep: bool) -> tuple[Tensor, Tensor]:
    """The output, and what the backward pass needs if it is to `keep` it; updates running statistics."""
    out = torch.empty_like(x, memory_format=work.layout)
    clips = work.shape[0]
    together = work.training or torch.get_num_threads() > 1
    maps = x.new_empty((clips if together else 1, *work.shape[1:]))
    kept = x.new_empty((clips if together or keep else 1, 4, work.places))
    work.run(_kernel("forward"), x, kept.numpy(), maps.numpy(), work.array(out))
    for gate, (mean, variance) in zip(work.gates, work.sums[0].tolist(), strict=True):
        if gate.training:
            _remember(gate, mean, variance, x.numel() // work.shape[_PLACE[gate.axis]])
    return out, kept


def _remember(gate: Gate, mean: float, variance: float, count: int) -> None:
    """Bring running statistics up to date with those of so many numbers."""
    momentum: Any = gate.norm.momentum  # not None: see `gate_of`
    buffers: Any = gate.norm._buffers
    for running, number in zip(gate.running, (mean, variance * count / (count - 1)), strict=True):
        running.fill_((1 - momentum) * running.item() + momentum * number)
    buffers["num_batches_tracked"].add_(1)


def _backward(x: Tensor, kept: Tensor, gradient: Tensor, work: _Work) -> tuple[Tensor, list[Tensor]]:
    """The gradients of the input, and of what the gates learn."""
    of_x = torch.empty_like(x, memory_format=work.layout)
    clips, *shape = work.shape
    maps, of_maps = x.new_empty((clips, work.steps, *shape)), x.new_empty((clips, 2, *shape))
    of_weights = np.empty((work.shape[0], len(work.gates), 54))
    scratch = maps.numpy(), of_maps.numpy(), torch.empty_like(kept).numpy()
    work.run(_kernel("backward"), x, kept.numpy(), work.array(gradient), *scratch, of_weights, work.array(of_x))
    total, along = work.sums[1:].sum(0).T
    of_scale = along / np.sqrt(work.sums[0, :, 1] + work.norms[:, 4])
    of_learnt: list[Tensor] = []
    for own in torch.from_numpy(np.column_stack([of_scale, total, of_weights.sum(0)])).to(x.dtype):
        of_learnt += [own[:1].clone(), own[1:2].clone(), own[2:].reshape(1, 2, 3, 3, 3).clone()]
    return of_x, of_learnt


@cache
def _kernel(name: str) -> Any:
    """Looked for only where `usable` says so: it needs numba."""
    from vidrepro.models.mechanisms import aia_kernels, aia_kernels_back

    return {"forward": aia_kernels.forward, "backward": aia_kernels_back.backward}[name]


@lru_cache(maxsize=256)
def _plan(steps: tuple[tuple[int, ...], ...], shape: tuple[int, ...]) -> tuple[Any, int]:
    """The plan that `aia_kernels` follows, and the number of places.

    Args:
        steps: how many gates each unit of each step has.
        shape: of the maps, ``(N, T, H, W, C)``.
    """
    _, frames, height, width, channels = shape
    of_one = frames * height * width
    of_three = (height + frames) * width * channels + frames * height * channels
    rows, gate, place = [], 0, 0
    for step, units in enumerate(steps):
        for gates in units:
            places = of_one if gates == 1 else of_three
            rows.append((1 if gates == 1 else 2, step, gate, place, places))
            gate, place = gate + gates, place + places
    return np.array(rows), place


def _again(ctx: Any, x: Tensor, tensors: Sequence[Tensor], gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by the plain operations, for gradients of gradients."""
    rest = iter(tensors)
    maps = split_frames(x, ctx.frames)
    for step in ctx.steps:
        seen = maps
        for unit in step:
            gates = []
            for gate in unit:
                normalise = partial(gate.normalise, weight=next(rest), bias=next(rest))
                convolve = partial(F.conv3d, weight=next(rest), padding=1)
                gates.append(gate_over(seen, gate.axis, gate.mean_first, convolve, normalise))
            seen = maps * combine(gates)
        maps = seen
    inputs = (x, None, None, *tensors)
    wanted = [one for one, needed in zip(inputs, ctx.needs_input_grad, strict=True) if needed and one is not None]
    found = iter(torch.autograd.grad(maps.flatten(0, 1), wanted, gradient, create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)
