"""AIA's gate by plain operations: one pooled axis, a convolution over the three that are left, a norm, a sigmoid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Pooled axis -> its place in (N, T, C, H, W), and the order in which the released convolution runs over the rest.
PLACE = {"T": 1, "C": 2, "H": 3, "W": 4}
VOLUME = {"C": ("T", "H", "W"), "T": ("C", "H", "W"), "H": ("T", "C", "W"), "W": ("T", "H", "C")}


def gate_over(
    x: Tensor,
    axis: str,
    mean_first: bool,
    convolve: Callable[[Tensor], Tensor],
    normalise: Callable[[Tensor], Tensor],
) -> Tensor:
    """The gate from pooling one axis: ``(N, T, C, H, W)`` to the same with 1 in place of that axis.

    Args:
        x: the maps.
        axis: ``T``, ``C``, ``H`` or ``W``.
        mean_first: whether the convolution sees [mean, max] instead of [max, mean].
        convolve: ``(N, 2, ...)`` to ``(N, 1, ...)``, over the axes of `VOLUME`.
        normalise: of its output.
    """
    place = PLACE[axis]
    left = [other for other in PLACE if other != axis]
    order = [left.index(other) for other in VOLUME[axis]]
    pools = [x.amax(place), x.mean(place)]
    pooled = torch.stack(pools[::-1] if mean_first else pools, 1)
    volume = pooled.permute(0, 1, *(2 + number for number in order))
    gate = normalise(convolve(volume)).sigmoid()
    back = [order.index(number) for number in range(3)]
    return gate.squeeze(1).permute(0, *(1 + number for number in back)).unsqueeze(place)


def combine(gates: Sequence[Tensor]) -> Tensor:
    """The gates of a unit as one factor: the only one, or the mean of the three of ST (full size)."""
    return gates[0] if len(gates) == 1 else (gates[0] + gates[1] + gates[2]) / 3
