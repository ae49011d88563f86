"""Temporal shift (TSM, Lin et al. 2019, section 3; released `ops/temporal_shift.py`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidrepro.errors import ModelError
from vidrepro.models.mechanisms.clip_frames import split_frames

FOLD_DIVISION = 8


class TemporalShift(nn.Module):
    """Moves a part of the channels by one frame: ``(N*T, C, H, W)`` to the same shape.

    With ``fold = C // 8``: channels ``[0, fold)`` take frame t+1, channels ``[fold, 2*fold)`` take frame t-1, zeros
    beyond the clip's ends, the rest stays. Placed on the input of a residual block's first convolution it is TSM's
    residual shift: the block's skip path keeps the frame itself.

    Args:
        channels: C.
        frames: T; 1 is legal (both shifted parts are then zeros).

    Raises:
        ModelError: with fewer than 8 channels, where nothing would be shifted.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        if channels < FOLD_DIVISION:
            raise ModelError(
                f"the temporal shift moves 1/{FOLD_DIVISION} of the channels and finds {channels}",
                given=channels,
                allowed=f"at least {FOLD_DIVISION} channels",
                hint="make the backbone wider: its option 'width'",
            )
        self.frames = frames
        self.fold = channels // FOLD_DIVISION
        self.parts = [self.fold, self.fold, channels - 2 * self.fold]

    def forward(self, x: Tensor) -> Tensor:
        # Split and concatenated, not assigned into a copy: the backward pass of this is a few copies too.
        from_next, from_previous, still = x.split(self.parts, dim=1)
        following, previous = split_frames(from_next, self.frames), split_frames(from_previous, self.frames)
        beyond = torch.zeros_like(following[:, :1])
        moved = [torch.cat([following[:, 1:], beyond], 1), torch.cat([beyond, previous[:, :-1]], 1)]
        # cat keeps a channels-last layout only if all its parts have it
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return torch.cat([*(part.flatten(0, 1).contiguous(memory_format=layout) for part in moved), still], 1)

    def extra_repr(self) -> str:
        return f"frames={self.frames}, fold={self.fold}"
