"""TDN's long-term temporal difference module (Wang et al. 2021, section 3.3), released in M2A and by its own authors.

Sources: ``TDN`` in gebob19/M2A, ``ops/sota.py``; ``mSEModule`` in MCG-NJU/TDN, ``ops/base_module.py``.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vidrepro.models.mechanisms.motion import TransformedDifference
from vidrepro.models.taps import AttentionTap

BACKWARDS = ("released", "fixed")


class TDNBlock(TransformedDifference):
    """TDN's motion gate between M2A's two convolutions: ``(N*T, C, H, W)`` to the same shape, values in (-0.5, 0.5).

    Both directions, forward ``c_{t+1} - f_t`` and backward ``c_{t-1} - f_t``, are averaged over three scales (the
    difference itself, a convolution at half size, one at full size), expanded, and put through ``sigmoid - 0.5``; the
    result is their mean.

    Args:
        backward: ``released``: the backward direction's full-size branch convolves the **output** of the forward
            direction's (a slip in M2A's release, needed for its numbers); ``fixed``: the backward difference, as TDN's
            own code does.
    """

    def __init__(self, channels: int, frames: int, reduction: int = 1, *, backward: str = "fixed") -> None:
        super().__init__(channels, frames, reduction)
        reduced = channels // reduction
        self.backward_input = backward
        self.pool = nn.AvgPool2d(2)
        self.half_conv = nn.Conv2d(reduced, reduced, 3, padding=1, bias=False)
        self.half_norm = nn.BatchNorm2d(reduced)
        self.full_conv = nn.Conv2d(reduced, reduced, 3, padding=1, bias=False)
        self.full_norm = nn.BatchNorm2d(reduced)
        self.expand = nn.Conv2d(reduced, channels, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(channels)
        self.forward_gate = AttentionTap("motion", ("N*T", "C", "H", "W"), frames=frames)
        self.backward_gate = AttentionTap("motion", ("N*T", "C", "H", "W"), frames=frames)

    def forward(self, x: Tensor) -> Tensor:
        this, transformed = self.features(x)
        forward = self.forward_difference(this, transformed)
        backward = self.backward_difference(this, transformed)
        # One after the other, not stacked: the batch norms see each direction as its own batch, as released.
        forward_half, backward_half = self._half_size(forward), self._half_size(backward)
        forward_full = self._full_size(forward)
        backward_full = self._full_size(forward_full if self.backward_input == "released" else backward)
        forward_gate = self.forward_gate(self._gate(forward, forward_half, forward_full))
        backward_gate = self.backward_gate(self._gate(backward, backward_half, backward_full))
        return 0.5 * (forward_gate - 0.5) + 0.5 * (backward_gate - 0.5)

    def _half_size(self, difference: Tensor) -> Tensor:
        height, width = difference.shape[2:]
        if min(height, width) >= 2:
            pooled = self.pool(difference)
        else:  # the released code stops here; a side of one pixel has nothing to pool
            pooled = F.avg_pool2d(difference, (min(height, 2), min(width, 2)))
        return F.interpolate(self.half_norm(self.half_conv(pooled)), size=(height, width))

    def _full_size(self, difference: Tensor) -> Tensor:
        return self.full_norm(self.full_conv(difference))

    def _gate(self, *scales: Tensor) -> Tensor:
        mean = sum(scales[1:], start=scales[0]) / len(scales)
        return self.expand_norm(self.expand(mean)).sigmoid()

    def extra_repr(self) -> str:
        return f"backward={self.backward_input}"


class TDNOriginal(TDNBlock):
    """TDN's module by itself: ``x + x * gate``, one gate per position (no pooling over all of space)."""

    def __init__(self, channels: int, frames: int, *, reduction: int = 16) -> None:
        super().__init__(channels, frames, reduction, backward="fixed")

    def forward(self, x: Tensor) -> Tensor:
        return x + x * super().forward(x)
