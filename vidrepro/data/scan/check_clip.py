"""What one clip's check is: decode all of it, once, and record what the manifest needs. Runs in a worker.

Nothing here raises for a clip that cannot be used: what is wrong with it is the result.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vidrepro.data.decode_errors import check_size
from vidrepro.data.frames import MIN_SIDE, SETTINGS, inspect_video, sequence_file
from vidrepro.data.image_sequences import decode_picture
from vidrepro.errors import DataError, DecodeError
from vidrepro.files import file_digest

SCAN_VERSION = 2  # part of a journal's key: raised when the check records something else
_LONGEST_REASON = 400


@dataclass(frozen=True, slots=True)
class ClipFiles:
    """Where a clip lies.

    Attributes:
        id: the clip.
        path: its video, or the folder of its pictures.
        pattern: the pictures' file name; empty for a video.
        first_number: number of the clip's first picture.
        count: how many pictures.
        fps: of the pictures; a video says its own.
    """

    id: str
    path: Path
    pattern: str = ""
    first_number: int = 0
    count: int = 0
    fps: float = 0.0


class Scan(NamedTuple):
    """What the check of a clip found.

    Attributes:
        frames, fps, width, height, bytes, digest: as in the manifest; 0 and empty for a clip that cannot be used.
        problem: why it cannot be used; empty if it can.
        setting: which decoder setting decoded it, ``first`` or ``second``.
        turned: what is done to the stored frames to show them, in words; empty if nothing is.
    """

    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    bytes: int = 0
    digest: str = ""
    problem: str = ""
    setting: str = "first"
    turned: str = ""


def scan_clip(files: ClipFiles) -> Scan:
    """Decode a clip as a whole, with the second setting if the first one fails."""
    try:
        return _scan_pictures(files) if files.pattern else _scan_video(files)
    except DecodeError as error:
        return Scan(problem=one_line(error))
    except OSError as error:
        return Scan(problem=f"cannot be read: {error.strerror or error}")
    except MemoryError:
        return Scan(problem="decoding it needs more memory than a clip may take")


def one_line(error: DataError) -> str:
    """An error's problem and what was found, as a line of a report, without the absolute path."""
    text = error.problem + (f" ({error.given})" if error.given is not None else "")
    return " ".join(text.split())[:_LONGEST_REASON]


def _scan_video(files: ClipFiles) -> Scan:
    refusal: DecodeError | None = None
    for setting in SETTINGS:
        try:
            found = inspect_video(files.path, setting)
        except DecodeError as error:
            refusal = refusal or error  # what the first setting says is what every reader will say
            continue
        size = files.path.stat().st_size
        digest = file_digest(files.path)
        return Scan(found.frames, found.fps, found.width, found.height, size, digest, "", setting, found.turned)
    assert refusal is not None
    raise refusal


def _scan_pictures(files: ClipFiles) -> Scan:
    digest, total, used, turned = hashlib.sha256(), 0, "first", ""
    shape: tuple[Any, ...] | None = None
    for position in range(files.count):
        file = sequence_file(files.path, files.pattern, files.first_number, 0, position)
        content = file.read_bytes()
        image, setting, orientation = decode_picture(content, file)
        if shape is None:
            shape = image.shape
            check_size((shape[1], shape[0]), MIN_SIDE, file)
        if image.shape != shape:
            raise DecodeError(
                f"its pictures differ in size: {file.name} is {image.shape[1]}x{image.shape[0]}, "
                f"the first {shape[1]}x{shape[0]}",
                where=file,
            )
        used = setting if setting != "first" else used
        turned = turned or orientation.name
        total += len(content)
        digest.update(content)
    assert shape is not None
    return Scan(files.count, files.fps, shape[1], shape[0], total, digest.hexdigest(), "", used, turned)
