"""The released modules as a reader of the released code would write them down: step by step, nothing rearranged.

They are what ours is timed against (`vidrepro measure step`) and compared with in the tests. Formulas, not lines, are
taken from the released code; its layer names are kept so that weights fit both.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LiteralM2A(nn.Module):
    """Full M2A of gebob19/M2A, ``ops/temporal_shift.py``: ``(N*T, C, H, W)`` to the same shape.

    Args:
        channels: C.
        frames: T.
    """

    def __init__(self, channels: int, frames: int, *, reduction: int = 8) -> None:
        super().__init__()
        self.frames = frames
        self.conv_down = nn.Conv2d(channels, channels // reduction, 1)
        self.conv_up = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.conv_down(x)
        normalised = F.layer_norm(reduced, reduced.shape[1:])
        attended = self._attention(self._motion(normalised)) + reduced
        return torch.sigmoid(self.conv_up(attended)) * x + x

    def _motion(self, x: Tensor) -> Tensor:
        clips = x.view(-1, self.frames, *x.shape[1:])
        shifted = torch.zeros_like(clips)
        shifted[:, :-1] = clips[:, 1:]
        return (shifted - clips).view(x.shape)

    def _attention(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, self.frames, x[0].numel())
        scores = torch.matmul(tokens, tokens.transpose(1, 2)) / math.sqrt(tokens.shape[2])
        return torch.matmul(torch.softmax(scores, dim=2), tokens).reshape(x.shape)


class LiteralShift(nn.Module):
    """TSM's shift (mit-han-lab/temporal-shift-module, ``ops/temporal_shift.py``): ``(N*T, C, H, W)`` to the same shape.

    One eighth of the channels takes the next frame's values, one eighth the previous one's, zeros at the ends.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.frames, self.fold = frames, channels // 8

    def forward(self, x: Tensor) -> Tensor:
        clips = x.view(-1, self.frames, *x.shape[1:])
        shifted = torch.zeros_like(clips)
        shifted[:, :-1, : self.fold] = clips[:, 1:, : self.fold]
        shifted[:, 1:, self.fold : 2 * self.fold] = clips[:, :-1, self.fold : 2 * self.fold]
        shifted[:, :, 2 * self.fold :] = clips[:, :, 2 * self.fold :]
        return shifted.view(x.shape)
