"""The released modules as a reader of the released code would write them down: step by step, nothing rearranged.

They are what ours is timed against (`benchmarks.step`) and compared with in the tests. Formulas, not lines, are
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


class _LiteralGates(nn.Module):
    """What AIA's released modules share: a convolution and a norm for each pooled axis, maximum and mean in one map."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames
        for axis in "CTHW":
            self.add_module(f"{axis}_conv", nn.Conv3d(2, 1, 3, padding=1, bias=False))
            self.add_module(f"{axis}_bn", nn.BatchNorm3d(1))

    def _gate(self, axis: str, pooled: Tensor) -> Tensor:
        conv, norm = self.get_submodule(f"{axis}_conv"), self.get_submodule(f"{axis}_bn")
        return torch.sigmoid(norm(conv(pooled)))

    @staticmethod
    def _pool(x: Tensor, place: int) -> Tensor:
        return torch.cat((torch.max(x, place)[0].unsqueeze(place), torch.mean(x, place).unsqueeze(place)), place)

    def _of_time(self, x: Tensor) -> Tensor:
        return self._gate("T", self._pool(x, 1))  # (N, 1, C, H, W)

    def _of_height(self, x: Tensor) -> Tensor:
        pooled = self._pool(x, 3).permute(0, 3, 1, 2, 4).contiguous()  # (N, 2, T, C, W)
        return self._gate("H", pooled).permute(0, 2, 3, 1, 4).contiguous()

    def _of_width(self, x: Tensor) -> Tensor:
        pooled = self._pool(x, 4).permute(0, 4, 1, 3, 2).contiguous()  # (N, 2, T, H, C)
        return self._gate("W", pooled).permute(0, 2, 4, 3, 1).contiguous()


class LiteralCinST(_LiteralGates):
    """CinST of haoyanbin918/Attention-in-Attention, ``nets/block_zoo.py``: ``(N*T, C, H, W)`` to the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        clips = x.view(-1, self.frames, *x.shape[1:])
        pooled = self._pool(clips, 2).permute(0, 2, 1, 3, 4).contiguous()  # (N, 2, T, H, W)
        of_channels = self._gate("C", pooled).permute(0, 2, 1, 3, 4).contiguous().expand_as(clips)
        of_time = self._of_time(clips * of_channels)
        of_height = self._of_height(clips * of_channels)
        of_width = self._of_width(clips * of_channels)
        gated = 1 / 3 * clips * (of_time.expand_as(clips) + of_height.expand_as(clips) + of_width.expand_as(clips))
        return gated.view(x.shape)


class LiteralSTinC(_LiteralGates):
    """STinC of the same file: ``(N*T, C, H, W)`` to the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        clips = x.view(-1, self.frames, *x.shape[1:])
        gates = [of_axis(clips).expand_as(clips) for of_axis in (self._of_time, self._of_height, self._of_width)]
        seen = (clips * 1 / 3 * (gates[0] + gates[1] + gates[2])).permute(0, 2, 1, 3, 4).contiguous()
        of_channels = self._gate("C", self._pool(seen, 1)).permute(0, 2, 1, 3, 4).contiguous()
        return (clips * of_channels.expand_as(clips)).view(x.shape)


class LiteralAIA(nn.Module):
    """``CinST->STinC``, as ``nets/C2D_CinST2STinC_BN.py`` of the same project has it: ``eft1``, then ``eft2``.

    Args:
        channels: C; any number, nothing depends on it.
        frames: T.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.eft1, self.eft2 = LiteralCinST(frames), LiteralSTinC(frames)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.eft2(self.eft1(x))
        return out
