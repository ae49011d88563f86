"""Image sequences: clips that lie on disk as one numbered picture a frame.

Pictures are turned as their EXIF tag says, which is what OpenCV and every viewer show. Frames that ffmpeg extracted
have no such tag; they are upright already.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidrepro.data import orientation
from vidrepro.data.orientation import Orientation
from vidrepro.data.positions import distinct_positions
from vidrepro.errors import DecodeError

Frames = NDArray[np.uint8]

MAX_PICTURE_PIXELS = 2**25  # 8192x4096: a picture that says more is damaged, or made to harm


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
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DecodeError(
            "a frame of an image sequence is missing", given=path.name, hint="extract it again", where=path
        ) from error
    except OSError as error:
        raise DecodeError(f"a frame of an image sequence cannot be read: {error}", where=path) from error
    return decode_picture(content, path)[0]


def decode_picture(content: bytes, path: Path) -> tuple[Frames, str, Orientation]:
    """A picture's pixels as shown, uint8 RGB (H, W, 3), the setting that decoded it, and how it was turned.

    The first setting is Pillow. Where it refuses a JPEG, the second is FFmpeg, told to fail at the slightest damage.

    Raises:
        DecodeError: if neither decodes it, or it has more than `MAX_PICTURE_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is the stricter one
            image = Image.open(io.BytesIO(content))
        if image.width * image.height > MAX_PICTURE_PIXELS:
            raise ValueError(f"{image.width}x{image.height} is too large")
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)
        turned = orientation.of_picture(image)
        return turned.turn(pixels), "first", turned
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        second = _decode_jpeg_again(content)
        if second is not None:
            pixels, turned = second
            return turned.turn(pixels), "second", turned
        raise DecodeError(
            f"a frame of an image sequence does not decode: {_reason(error)}",
            given=path.name,
            where=path,
        ) from error


def _decode_jpeg_again(content: bytes) -> tuple[Frames, Orientation] | None:
    if not content.startswith(b"\xff\xd8\xff") or b"\xff\xd9" not in content[-64:]:  # no JPEG, or one cut short
        return None
    try:
        decoder = av.CodecContext.create("mjpeg", "r")
        decoder.options = {"err_detect": "explode", "max_pixels": str(MAX_PICTURE_PIXELS)}
        frames = [*decoder.decode(av.Packet(content)), *decoder.decode(None)]  # type: ignore[attr-defined]
    except (av.error.FFmpegError, ValueError, MemoryError):
        return None
    if len(frames) != 1 or frames[0].is_corrupt:
        return None
    return np.asarray(frames[0].to_ndarray(format="rgb24"), dtype=np.uint8), orientation.of_frame(frames[0])


def _reason(error: Exception) -> str:
    """Pillow's words, without the address of the object it read from."""
    text = str(error)
    return "no picture" if "cannot identify image file" in text else text or type(error).__name__
