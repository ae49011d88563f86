"""AIA, attention in attention: gates over channels and over space-time, one inside the other, in any composition.

Sources: the AIA paper (Hao, Wang, Cao, Gao, Xu, Wu, He; section 3); the authors' repository
haoyanbin918/Attention-in-Attention ("released"), about twenty network files of which this is the one rule. On
``x (N, T, C, H, W)``:

- ``C``: pool over channels, gate over (T, H, W); ``ST``: the mean of three gates, from pooling over T, H and W.
- ``AinB``: B's gates are computed from ``x * gate_A(x)`` but applied to ``x`` (``CinST``, ``STinC``, ``CinSTinC``).
- ``A->B``: B after A, on its output. ``A+B``: in parallel on the same input, the mean of the outputs.

Every gate is ``sigmoid(BN(conv3x3x3([max, mean])))`` over the three axes that are left, one output channel, no bias.
The text orders the two pooled values [mean, max], the released code [max, mean] (option ``pool_order``): a permutation
of the weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from vidrepro.compositions import Cascade, Nested, Parallel, Spec, Unit, parse
from vidrepro.models.declared_options import POSITIONS, Option, choice
from vidrepro.models.mechanisms.aia_gates import GateConv3d, channels_last, combine, gate_over, laid_out_as
from vidrepro.models.mechanisms.clip_frames import split_frames
from vidrepro.models.taps import AttentionTap

# The compositions of the paper's Table I. Any other that `parse` understands can be built as well.
TABLE_COMPOSITIONS = (
    *("C", "ST", "C->ST", "ST->C", "C+ST", "CinST", "STinC", "CinST->STinC", "STinC->CinST", "CinST+STinC"),
)

POOL_ORDERS = ("max_mean", "mean_max")
OPTIONS: dict[str, Option] = {
    "pool_order": choice(
        "max_mean", POOL_ORDERS, "order in which a gate's convolution sees the two pooled values (only moves weights)"
    ),
    "position": choice(
        "after_inner_norm",
        POSITIONS,
        "where in a block; after_inner_norm: after a bottleneck's conv2+bn2, before its ReLU (AIA) and, our own "
        "choice, a basic block's conv1+bn1 or the norm of an inverted residual's depthwise convolution",
    ),
}

# Unit -> the axes it pools over, by the released names.
UNIT_AXES = {"C": ("C",), "ST": ("T", "H", "W")}


def variant_options(variant: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What ``official`` (the released code) and ``paper`` (the text) stand for."""
    return {"pool_order": "max_mean" if variant == "official" else "mean_max"}


class AxisGates(nn.Module):
    """The gates of one unit: ``(N, T, C, H, W)`` to one gate per pooled axis, each broadcastable to the input.

    Args:
        axes: ``("C",)`` or ``("T", "H", "W")``.
        xavier: axes whose convolution starts by Xavier's rule instead of Kaiming's (fan-out).
        pool_order: one of `POOL_ORDERS`.
    """

    def __init__(self, axes: tuple[str, ...], xavier: tuple[str, ...] = (), pool_order: str = "max_mean") -> None:
        super().__init__()
        self.axes = axes
        self.pool_order = pool_order
        for axis in axes:  # the released names, so that released weights fit
            conv = GateConv3d(axis)
            if axis in xavier:
                nn.init.xavier_normal_(conv.weight)
            else:
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            self.add_module(f"{axis}_conv", conv)
            self.add_module(f"{axis}_bn", nn.BatchNorm3d(1))

            axes_left = ("N", *("1" if other == axis else other for other in "TCHW"))
            self.add_module(f"{axis}_tap", AttentionTap(axis, axes_left))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = x.permute(0, 1, 3, 4, 2).contiguous()
        return [self._gate(maps, axis) for axis in self.axes]

    def _gate(self, maps: Tensor, axis: str) -> Tensor:
        conv, norm, tap = (self.get_submodule(f"{axis}_{part}") for part in ("conv", "bn", "tap"))
        gate = gate_over(maps, axis, self.pool_order == "mean_max", conv, norm)  # type: ignore[arg-type]
        shown: Tensor = tap(gate.permute(0, 1, 4, 2, 3))
        return shown


class AttentionInAttention(nn.Module):
    """One AIA mechanism: ``(N*T, C, H, W)`` to the same shape.

    Args:
        channels: C; any number, nothing depends on it.
        frames: T of every clip.
        spec: the composition, e.g. ``CinST->STinC`` (`vidrepro.compositions.parse`).
        pool_order: one of `POOL_ORDERS`: ``max_mean`` as released, ``mean_max`` as in the text.

    Raises:
        ModelError: for a spec that is not understood, with the position and what was expected.
    """

    def __init__(self, channels: int, frames: int, spec: str, pool_order: str = "max_mean") -> None:
        super().__init__()
        self.frames = frames
        self.spec = parse(spec)
        self.pool_order = pool_order
        self.body = _build(self.spec, frames, pool_order)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def extra_repr(self) -> str:
        return f"spec={self.spec}, frames={self.frames}, pool_order={self.pool_order}"


class _Gated(nn.Module):
    """A unit, or units one in another: the gates of the innermost start, each next one sees the gated input."""

    def __init__(self, units: tuple[str, ...], frames: int, pool_order: str) -> None:
        super().__init__()
        self.frames = frames
        for number, unit in enumerate(units):
            # released: kaiming everywhere, but xavier in the channel gate of STinC and the other gates of CinST
            xavier = UNIT_AXES[unit] if len(units) > 1 and number > 0 else ()
            self.add_module(f"gates{number}", AxisGates(UNIT_AXES[unit], xavier, pool_order))

    def forward(self, x: Tensor) -> Tensor:
        maps = split_frames(x, self.frames)
        *inner, outermost = self.children()
        seen = to_gate = channels_last(maps)
        for unit in inner:
            seen = to_gate * combine(unit(seen))
        return (maps * combine(laid_out_as(maps, outermost(seen)))).flatten(0, 1)


class _Parallel(nn.Module):
    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        total = outputs[0]
        for output in outputs[1:]:
            total = total + output
        return total / len(outputs)


def _build(spec: Spec, frames: int, pool_order: str) -> nn.Module:
    if isinstance(spec, Unit):
        return _Gated((spec.name,), frames, pool_order)
    if isinstance(spec, Nested):
        return _Gated(tuple(unit.name for unit in spec.units), frames, pool_order)
    if isinstance(spec, Parallel):
        return _Parallel([_build(branch, frames, pool_order) for branch in spec.branches])
    assert isinstance(spec, Cascade)
    return nn.Sequential(*(_build(step, frames, pool_order) for step in spec.steps))
