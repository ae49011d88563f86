"""Frame positions as callers give them: checked, and sorted for a reader that goes through a clip once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidrepro.errors import DecodeError


def checked_positions(
    indices: Sequence[int] | NDArray[np.integer], frames: int | None, where: Path | str
) -> NDArray[np.int64]:
    """Positions inside a clip as an int64 array.

    Args:
        indices: positions in display order, 0-based, in any order, repeated or not.
        frames: number of frames of the clip; None if it is not known.
        where: the clip, for messages.

    Raises:
        DecodeError: if there are none, one is no whole number, or one lies outside the clip.
    """
    positions = np.asarray(indices)
    if positions.ndim != 1 or positions.size == 0 or not np.issubdtype(positions.dtype, np.integer):
        raise DecodeError("frame positions must be a non-empty list of whole numbers", given=indices, where=where)
    if positions.min() < 0 or (frames is not None and positions.max() >= frames):
        raise DecodeError(
            "frame position outside the clip",
            given=positions.tolist(),
            allowed=f"0 to {frames - 1}" if frames is not None else "0 or more",
            where=where,
        )
    return positions.astype(np.int64)


def distinct_positions(
    indices: Sequence[int] | NDArray[np.integer], frames: int | None, where: Path | str
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The distinct positions in rising order, and for each of `indices` its place among them.

    Raises:
        DecodeError: as `checked_positions`.
    """
    distinct, order = np.unique(checked_positions(indices, frames, where), return_inverse=True)
    return distinct, order.reshape(-1)
