"""TAM, the temporal adaptive module (Liu et al. 2021, section 3), released in M2A and by its own authors.

Sources: ``TAM`` in gebob19/M2A, ``ops/sota.py``; ``TAM`` in liu-zhy/temporal-adaptive-module,
``ops/temporal_module.py``.
They differ in the channel reduction of the local branch alone: 1 in M2A's, 4 in its own.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vidrepro.models.mechanisms.clip_frames import split_frames
from vidrepro.models.mechanisms.motion import require_reducible
from vidrepro.models.memory_format import layout_of
from vidrepro.models.taps import AttentionTap

KERNEL = 3  # frames under the temporal kernel


class TAMBlock(nn.Module):
    """A temporal convolution whose kernel and gate come from the clip: ``(N*T, C, H, W)`` to the same shape.

    From the spatial means ``(N, C, T)``: the global branch makes one kernel of three frames per clip and channel (they
    sum to one), the local branch one gate per channel and frame. Gated frames are convolved over time, zeros beyond
    the ends. No residual.

    In training the batch norms need more than one value per channel: N*C > 1 in the global branch, N*T > 1 in the
    local one.

    Args:
        channels: C.
        frames: T, which the global branch's layers are made for.
        reduction: of the local branch's hidden channels, rounded down.

    Raises:
        ModelError: if fewer channels than `reduction` come in.
    """

    def __init__(self, channels: int, frames: int, reduction: int = 1) -> None:
        super().__init__()
        require_reducible(channels, reduction)
        hidden = channels // reduction
        self.frames = frames
        self.global_branch = nn.Sequential(
            nn.Linear(frames, 2 * frames, bias=False),
            nn.BatchNorm1d(2 * frames),
            nn.ReLU(inplace=True),
            nn.Linear(2 * frames, KERNEL, bias=False),
            nn.Softmax(dim=-1),
        )
        self.local_branch = nn.Sequential(
            nn.Conv1d(channels, hidden, KERNEL, padding=KERNEL // 2, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv1d(hidden, channels, 1, bias=False),
            nn.Sigmoid(),
        )
        self.gate = AttentionTap("gate", ("N", "C", "T"))
        self.kernels = AttentionTap("attention", ("N", "C", "key"), distribution="key")

    def forward(self, x: Tensor) -> Tensor:
        clips = split_frames(x, self.frames).transpose(1, 2)  # (N, C, T, H, W)
        clip_count, channels, frames, height, width = clips.shape
        means = self._means(x)
        gated = clips * self.gate(self.local_branch(means))[..., None, None]
        # A convolution with one group per clip and channel, so that MAC counters see it
        series = gated.reshape(1, clip_count * channels, frames, height * width)
        kernels = self.kernels(self._kernels(means).view(clip_count, channels, KERNEL))
        mixed = F.conv2d(series, kernels.view(-1, 1, KERNEL, 1), padding=(KERNEL // 2, 0), groups=clip_count * channels)
        out = mixed.reshape(clips.shape).transpose(1, 2).reshape(x.shape)
        return out.contiguous(memory_format=layout_of(x))

    def temporal_kernels(self, x: Tensor) -> Tensor:
        """The kernel of every clip and channel: ``(N*C, 3)``, each summing to one."""
        return self._kernels(self._means(x))

    def _means(self, x: Tensor) -> Tensor:
        means = F.adaptive_avg_pool2d(x, 1).flatten(1)  # (N*T, C)
        return split_frames(means, self.frames).transpose(1, 2)  # (N, C, T)

    def _kernels(self, means: Tensor) -> Tensor:
        kernels: Tensor = self.global_branch(means.reshape(-1, self.frames))
        return kernels


class TAMOriginal(TAMBlock):
    """TAM by itself: the block, its local branch on a quarter of the channels."""

    def __init__(self, channels: int, frames: int, *, reduction: int = 4) -> None:
        super().__init__(channels, frames, reduction)
