"""Frames of a clip lie one after another in the batch dimension; this is where they are told apart."""

from __future__ import annotations

from torch import Tensor

from vidrepro.errors import ModelError


def split_frames(x: Tensor, frames: int) -> Tensor:
    """View ``(N*T, ...)`` as ``(N, T, ...)`` for ``T = frames``, without a copy.

    Raises:
        ModelError: if the batch is not a whole number of clips.
    """
    if x.shape[0] % frames:
        raise ModelError(
            f"{x.shape[0]} frames are not a whole number of clips of {frames}",
            given=tuple(x.shape),
            allowed=f"(N*{frames}, C, H, W)",
        )
    return x.view(x.shape[0] // frames, frames, *x.shape[1:])
