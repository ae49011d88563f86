"""A small network with a tap of every kind, whose logits show what passed through them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidrepro.models.taps import AttentionTap

FRAMES, CHANNELS, SIDE, CLASSES = 4, 3, 6, 5


class Tapped(nn.Module):
    """Clips (N, T, C, H, W) to logits (N, K): gates of frames, places and channels, and attention over frames."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.spatial_conv = nn.Conv2d(CHANNELS, 1, 3, padding=1)
        self.when = nn.Linear(FRAMES, FRAMES)
        self.squeeze = nn.Linear(CHANNELS, CHANNELS)
        self.fc = nn.Linear(CHANNELS, CLASSES)
        self.spatial = AttentionTap("spatial", ("N*T", "1", "H", "W"), frames=FRAMES)
        self.temporal = AttentionTap("temporal", ("N", "T"))
        self.channel = AttentionTap("channel", ("N", "C"))
        self.matrix = AttentionTap("attention", ("N", "query", "key"), distribution="key")

    def forward(self, clips: Tensor) -> Tensor:
        frames = clips.flatten(0, 1)
        frames = frames * self.spatial(torch.sigmoid(self.spatial_conv(frames)))
        clips = frames.unflatten(0, (-1, FRAMES))
        clips = clips * self.temporal(torch.sigmoid(self.when(clips.mean((2, 3, 4)))))[:, :, None, None, None]
        means = clips.mean((1, 3, 4))
        clips = clips * self.channel(torch.sigmoid(self.squeeze(means)))[:, None, :, None, None]
        tokens = clips.flatten(2)
        attention = self.matrix((tokens @ tokens.transpose(1, 2)).softmax(2))
        order = torch.arange(1, FRAMES + 1, dtype=clips.dtype)[:, None]  # so that logits hang on time
        return self.fc((attention @ clips.mean((3, 4)) * order).mean(1))


def random_clips(count: int, seed: int = 0) -> Tensor:
    """(N, T, C, H, W)."""
    return torch.randn(count, FRAMES, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


class TappedGates(nn.Module):
    """A mechanism for `build_model` (``tests.tapped:TappedGates``): x gated by place, then by frame."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.where = nn.Conv2d(channels, 1, 3, padding=1)
        self.when = nn.Linear(frames, frames)
        self.spatial = AttentionTap("spatial", ("N*T", "1", "H", "W"), frames=frames)
        self.temporal = AttentionTap("temporal", ("N", "T"))

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((1, 2, 3)).unflatten(0, (-1, self.frames))
        gate = self.temporal(torch.sigmoid(4 * self.when(means))).flatten()[:, None, None, None]
        return x * self.spatial(torch.sigmoid(4 * self.where(x))) * gate * 4
