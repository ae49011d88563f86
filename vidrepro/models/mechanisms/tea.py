"""TEA's motion excitation (Li et al. 2020, section 3.1), as M2A's release uses it and as its own paper defines it.

Sources: ``TEA`` in gebob19/M2A, ``ops/sota.py``; ``MEModule`` in Phoenix1327/tea-action-recognition,
``ops/tea50_8f.py``.
"""

from __future__ import annotations

from torch import Tensor, nn

from vidrepro.models.mechanisms.motion import TransformedDifference
from vidrepro.models.taps import AttentionTap


class TEABlock(TransformedDifference):
    """TEA's motion features between M2A's two convolutions: ``(N*T, C, H, W)`` to the same shape.

    ``expand_norm(expand(c_{t+1} - f_t))``, the difference zero for the last frame. Beside TEA's own module it lacks
    the pooling over space, the sigmoid with its -0.5, and the residual; the shell has a gate and a residual already.
    """

    def __init__(self, channels: int, frames: int, reduction: int = 1) -> None:
        super().__init__(channels, frames, reduction)
        self.expand = nn.Conv2d(channels // reduction, channels, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.expand_norm(self.expand(self.forward_difference(*self.features(x))))


class TEAOriginal(TEABlock):
    """TEA's motion excitation module: ``x + x * (sigmoid(expand_norm(expand(pool(difference)))) - 0.5)``.

    The pooling is over all of space: one gate per frame and channel.
    """

    def __init__(self, channels: int, frames: int, *, reduction: int = 16) -> None:
        super().__init__(channels, frames, reduction)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = AttentionTap("motion", ("N*T", "C", "1", "1"), frames=frames)

    def forward(self, x: Tensor) -> Tensor:
        difference = self.pool(self.forward_difference(*self.features(x)))
        return x + x * (self.gate(self.expand_norm(self.expand(difference)).sigmoid()) - 0.5)
