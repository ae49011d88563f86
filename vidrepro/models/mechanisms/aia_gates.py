"""One gate of AIA: an axis pooled, a convolution over the three that are left, a norm, a sigmoid.

Written for few passes over the maps. They lie with their channels last, ``(N, T, H, W, C)``, where T, H and W are
pooled in whole vectors; the pooled volumes, ``(N, 2, the axes left)``, are small.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AXES = "THWC"  # of channels-last maps, behind the clips
# Pooled axis -> the order in which the released convolution runs over those that are left.
RELEASED_ORDER = {"C": "THW", "T": "CHW", "H": "TCW", "W": "THC"}


def channels_last(maps: Tensor) -> Tensor:
    """``(N, T, C, H, W)`` laid out as ``(N, T, H, W, C)``: the same values at the same indices, copied if need be."""
    return maps.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def laid_out_as(maps: Tensor, gates: Sequence[Tensor]) -> list[Tensor]:
    """Gates in the layout of the maps they are multiplied with: a product of two layouts is slow on a CPU."""
    return [gate.contiguous() for gate in gates] if maps.is_contiguous() else list(gates)


def combine(gates: Sequence[Tensor]) -> Tensor:
    """The gates of a unit as one factor: C's only one, or the mean of ST's three."""
    first, *others = (gate / len(gates) for gate in gates)
    return sum(others, first)


def maximum_over(maps: Tensor, axis: int) -> Tensor:
    """The maximum over one axis of channels-last maps; its gradient goes to the first place that reaches it.

    Max pooling over the whole axis is `torch.max`, the released form, worked off in vectors where the axis is not last.
    """
    if axis == maps.dim() - 1:
        return maps.max(axis).values
    before, (length, *between, channels) = maps.shape[:axis], maps.shape[axis:]
    pictures = maps.reshape(prod(before), length, prod(between), channels).permute(0, 3, 1, 2)
    pooled = F.max_pool2d(pictures, (length, 1))
    return pooled.permute(0, 2, 3, 1).reshape(*before, *between, channels)


class GateConv3d(nn.Conv3d):
    """The 3x3x3 convolution of a gate: ``(N, 2, A, B, D)`` to ``(N, 1, A, B, D)``, padded, without bias.

    Libraries are slow at 3-D convolutions of two channels to one, at their gradients most of all. In training it runs
    as a 3x3 convolution over two axes with the slices along the third as channels and a banded weight: the same sums,
    and zeros. In inference it runs as released, which is what MAC counters see.

    Args:
        axis: the pooled one; A, B, D are the others in `RELEASED_ORDER`, as `F.conv3d` takes them.
    """

    def __init__(self, axis: str) -> None:
        super().__init__(2, 1, 3, padding=1, bias=False)
        left, released = AXES.replace(axis, ""), RELEASED_ORDER[axis]
        self.to_released = (0, 1, *(2 + left.index(other) for other in released))
        self.to_maps = (0, 1, *(2 + released.index(other) for other in left))

    def forward(self, volume: Tensor) -> Tensor:
        if not self.training:
            return super().forward(volume)
        volume, weight = volume.permute(self.to_maps), self.weight.permute(self.to_maps)
        response = F.conv2d(volume.flatten(1, 2), _banded(weight[0], volume.shape[2]), padding=1)
        return response.unsqueeze(1).permute(self.to_released)


def _banded(weight: Tensor, slices: int) -> Tensor:
    """``(2, 3, 3, 3)`` as ``(slices, 2 * slices, 3, 3)``: slice a gets its neighbours a - 1, a and a + 1."""
    taps = F.pad(weight.movedim(1, -1), (slices - 1, slices - 1))
    band = taps.unfold(-1, slices, 1)[..., 1:-1, :].flip(-2)  # (2, 3, 3, to slice, from slice)
    return band.permute(3, 0, 4, 1, 2).flatten(1, 2)


def gate_over(maps: Tensor, axis: str, mean_first: bool, conv: GateConv3d, norm: nn.Module) -> Tensor:
    """The gate from pooling one axis: channels-last maps to the same with 1 in place of that axis.

    Args:
        axis: of `AXES`.
        mean_first: whether the convolution sees [mean, max] instead of [max, mean].
    """
    place = 1 + AXES.index(axis)
    # a sum and not a mean: the gradient of a mean would be written out at full size
    pools = [maximum_over(maps, place), maps.sum(place) / maps.shape[place]]
    volume = torch.stack(pools[::-1] if mean_first else pools, 1).permute(conv.to_released)
    gate: Tensor = norm(conv(volume).permute(conv.to_maps)).sigmoid()
    return gate.squeeze(1).unsqueeze(place)
