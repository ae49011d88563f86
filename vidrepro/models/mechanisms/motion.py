"""Differences between the frames of a clip: M2A's motion block, and what TEA's and TDN's blocks have in common."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrepro.errors import ModelError
from vidrepro.models.mechanisms.clip_frames import split_frames

BOUNDARIES = ("zeros", "first")


def next_minus_this(sequence: Tensor, boundary: str) -> Tensor:
    """``x_{i+1} - x_i`` along axis 1; what follows the last item is ``zeros`` or the ``first`` item."""
    first = sequence[:, :1]
    after_last = first if boundary == "first" else torch.zeros_like(first)
    return torch.cat([sequence[:, 1:], after_last], dim=1) - sequence


class FrameDifference(nn.Module):
    """Motion as the next frame minus this one: ``m_t = x_{t+1} - x_t`` (M2A, section 3, "Motion Block").

    Args:
        boundary: what follows the last frame: ``zeros`` (released: ``m_{T-1} = -x_{T-1}``) or ``first`` (text: the
            clip's first frame). With T = 1 the result is ``-x`` or 0.
    """

    def __init__(self, frames: int, boundary: str) -> None:
        super().__init__()
        self.frames = frames
        self.boundary = boundary

    def forward(self, x: Tensor) -> Tensor:
        return next_minus_this(split_frames(x, self.frames), self.boundary).flatten(0, 1)

    def extra_repr(self) -> str:
        return f"frames={self.frames}, boundary={self.boundary}"


class TransformedDifference(nn.Module):
    """Differences of neighbouring frames, one of the two transformed: the front of TEA's and of TDN's block.

    ``f = norm(reduce(x))`` (1x1), ``c = transform(f)`` (depthwise 3x3, because things move between frames); both go
    from ``(N*T, C, H, W)`` to ``(N*T, C // reduction, H, W)``. (TEA, section 3.1, equations 1 and 2; TDN, section 3.3.)

    Args:
        channels: C.
        frames: T. With T = 1 both differences are zero.
        reduction: of the channels, rounded down.

    Raises:
        ModelError: if fewer channels than `reduction` come in.
    """

    def __init__(self, channels: int, frames: int, reduction: int) -> None:
        super().__init__()
        require_reducible(channels, reduction)
        reduced = channels // reduction
        self.frames = frames
        self.reduce = nn.Conv2d(channels, reduced, 1, bias=False)
        self.norm = nn.BatchNorm2d(reduced)
        self.transform = nn.Conv2d(reduced, reduced, 3, padding=1, groups=reduced, bias=False)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The reduced frames ``f`` and the transformed ones ``c``, each as ``(N, T, c, H, W)``."""
        reduced = self.norm(self.reduce(x))
        return split_frames(reduced, self.frames), split_frames(self.transform(reduced), self.frames)

    @staticmethod
    def forward_difference(this: Tensor, transformed: Tensor) -> Tensor:
        """``c_{t+1} - f_t``, zero for the last frame: ``(N*T, c, H, W)``."""
        return F.pad(transformed[:, 1:] - this[:, :-1], (0, 0, 0, 0, 0, 0, 0, 1)).flatten(0, 1)

    @staticmethod
    def backward_difference(this: Tensor, transformed: Tensor) -> Tensor:
        """``c_{t-1} - f_t``, zero for the first frame: ``(N*T, c, H, W)``."""
        return F.pad(transformed[:, :-1] - this[:, 1:], (0, 0, 0, 0, 0, 0, 1, 0)).flatten(0, 1)


def require_reducible(channels: int, reduction: int) -> None:
    """Refuse a reduction that would leave no channel.

    Raises:
        ModelError: naming both numbers.
    """
    if channels < reduction:
        raise ModelError(
            f"{channels} channels cannot be reduced by {reduction}",
            given=channels,
            allowed=f"at least {reduction} channels",
            hint="make the backbone wider (its option 'width') or the option 'reduction' smaller",
        )
