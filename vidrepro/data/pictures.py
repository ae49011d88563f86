"""Image sequences: clips that lie on disk as one numbered picture a frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidrepro.data.positions import distinct_positions
from vidrepro.errors import DecodeError

Frames = NDArray[np.uint8]


def read_sequence(
    folder: Path,
    pattern: str,
    start_index: int,
    first_frame: int,
    indices: Sequence[int] | NDArray[np.integer],
    *,
    frames: int | None = None,
) -> Frames:
    """The wanted pictures of an image sequence.

    Args:
        folder: where the pictures lie.
        pattern: file name with one number, e.g. ``"%05d.jpg"``.
        start_index: number of the sequence's first file.
        first_frame: offset of the clip inside the sequence (EPIC cuts clips out of long sequences), else 0.
        indices: positions inside the clip, 0-based, in any order, repeated or not.
        frames: the count recorded for this clip; a position beyond it is refused.

    Returns:
        uint8 RGB of shape (len(indices), H, W, 3), in the order of `indices`.

    Raises:
        DecodeError: if a picture is missing or damaged (its file is named), or its size differs from the first.
    """
    folder = Path(folder)
    wanted, order = distinct_positions(indices, frames, folder)
    taken: Frames | None = None
    for slot, position in enumerate(wanted):
        image = _read_picture(sequence_file(folder, pattern, start_index, first_frame, int(position)))
        if taken is None:
            taken = np.empty((len(wanted), *image.shape), np.uint8)
        if image.shape != taken.shape[1:]:
            raise DecodeError(
                f"pictures of one clip differ in size at position {position}",
                given=f"{image.shape[1]}x{image.shape[0]}",
                allowed=f"{taken.shape[2]}x{taken.shape[1]}",
                where=sequence_file(folder, pattern, start_index, first_frame, int(position)),
            )
        taken[slot] = image
    assert taken is not None
    return taken[order]


def sequence_file(folder: Path, pattern: str, start_index: int, first_frame: int, position: int) -> Path:
    """File of a clip's `position`-th picture (0-based) in an image sequence."""
    try:
        return Path(folder) / (pattern % (start_index + first_frame + position))
    except (TypeError, ValueError) as error:
        raise DecodeError(
            "the file name pattern of an image sequence is malformed",
            given=pattern,
            allowed="a name with one number, such as '%05d.jpg'",
            where=folder,
        ) from error


def _read_picture(path: Path) -> Frames:
    """One picture as uint8 RGB (H, W, 3)."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except FileNotFoundError as error:
        raise DecodeError(
            "a frame of an image sequence is missing", given=path.name, hint="extract it again", where=path
        ) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DecodeError(
            f"a frame of an image sequence does not decode: {error}", given=path.name, where=path
        ) from error
