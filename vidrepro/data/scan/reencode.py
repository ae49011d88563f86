"""Smaller copies of clips: decode, scale to a short side, encode, and count the frames of what came out.

Worth it for sources much larger than what a network sees: a 720p clip decodes ten times slower than its 256-pixel copy.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from PIL import Image

from vidrepro.data.decode_errors import check_size
from vidrepro.data.encode import write_frames
from vidrepro.data.frames import MIN_SIDE, ONE_THREAD, SETTINGS, Shown, decoded_video, first_orientation, sequence_file
from vidrepro.data.image_sequences import decode_picture
from vidrepro.data.orientation import UPRIGHT
from vidrepro.data.rates import mean_rate, packet_times
from vidrepro.data.scan.check_clip import ClipFiles, Scan, one_line, scan_clip
from vidrepro.errors import ConfigError, DataError, DecodeError
from vidrepro.files import not_writable

KEY_FRAME_EVERY = 8
CRF = 18.0
JPEG_QUALITY = 95
PICTURES = "%05d.jpg"
TEMPORARY = ".tmp"  # folder beside the copies for unfinished ones


@dataclass(frozen=True)
class Encoding:
    """How copies are made.

    Attributes:
        short_side: of the copies in pixels; smaller sources keep their size.
        pictures: JPEG pictures instead of a video.
        quality: x264's constant rate factor (0 best, 51 worst), or JPEG's quality (1 worst, 100 best).
    """

    short_side: int
    pictures: bool
    quality: float

    def describe(self) -> dict[str, Any]:
        """What dataset.json says about the copies."""
        if self.pictures:
            return {"codec": "jpeg", "short_side": self.short_side, "quality": self.quality, "pattern": PICTURES}
        return {
            "codec": "libx264",
            "short_side": self.short_side,
            "crf": self.quality,
            "key_frame_every": KEY_FRAME_EVERY,
            "b_frames": 0,
            "pixel_format": "yuv420p",
        }


def choose_encoding(video_side: int | None, picture_side: int | None, quality: int | None) -> Encoding | None:
    """What ``--reencode``, ``--frames`` and ``--quality`` ask for; None without one of the first two.

    Raises:
        ConfigError: if both are given, or a number is out of range.
    """
    if video_side is not None and picture_side is not None:
        raise ConfigError(
            "--reencode makes videos, --frames makes pictures: only one can be had", allowed="one of them"
        )
    side = video_side if video_side is not None else picture_side
    if side is None:
        if quality is not None:
            raise ConfigError("--quality has no meaning without --reencode or --frames", given=f"--quality {quality}")
        return None
    if not 16 <= side <= 4096 or (video_side is not None and side % 2):
        raise ConfigError(
            "bad short side of the copies", given=side, allowed="16 to 4096 pixels; for videos an even number"
        )
    low, high, usual = (1, 100, JPEG_QUALITY) if picture_side is not None else (0, 51, CRF)
    if quality is not None and not low <= quality <= high:
        raise ConfigError("bad --quality", given=quality, allowed=f"{low} to {high}, usually {usual:g}")
    return Encoding(side, picture_side is not None, float(usual if quality is None else quality))


@dataclass(frozen=True, slots=True)
class CopyJob:
    """A clip to be copied.

    Attributes:
        source: where it lies.
        folder: of all copies.
        name: of its copy in there, without extension.
    """

    source: ClipFiles
    folder: Path
    name: str


def copy_path(name: str, encoding: Encoding) -> str:
    """A copy's path below the folder of copies."""
    return name if encoding.pictures else f"{name}.mp4"


def copy_clip(job: CopyJob, encoding: Encoding) -> Scan:
    """Make the copy of one clip (in a worker) and check it; what the check found, of the copy.

    Raises:
        ResultsError: if the copy cannot be written.
    """
    final = job.folder / copy_path(job.name, encoding)
    workshop = job.folder / TEMPORARY / str(os.getpid())
    try:
        shutil.rmtree(workshop, ignore_errors=True)
        workshop.mkdir(parents=True)
        made = workshop / ("pictures" if encoding.pictures else "copy.mp4")
        scan = _make(job.source, encoding, made)
        if not scan.problem:
            final.parent.mkdir(parents=True, exist_ok=True)
            if final.is_dir():
                shutil.rmtree(final)
            made.replace(final)
        return scan
    except (av.error.FFmpegError, OSError) as error:
        raise not_writable(final, OSError(error.errno, error.strerror)) from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def copied_bytes(source: ClipFiles, encoding: Encoding) -> int | None:
    """How large a clip's copy would be; None if it cannot be made. Nothing is written."""
    for setting in SETTINGS:
        try:
            with scaled_frames(source, setting, encoding) as (size, fps, frames):
                if encoding.pictures:
                    return sum(len(_jpeg(frame, encoding)) for frame in frames)
                target = io.BytesIO()
                write_frames(target, frames, size, fps, crf=encoding.quality, key_frame_every=KEY_FRAME_EVERY)
                return target.getbuffer().nbytes
        except (DataError, MemoryError):
            continue
    return None


def remove_temporary(folder: Path) -> None:
    """Delete what workers that were killed left unfinished."""
    shutil.rmtree(folder / TEMPORARY, ignore_errors=True)


def _make(source: ClipFiles, encoding: Encoding, made: Path) -> Scan:
    """Write a copy to a temporary place and check it; of a clip that cannot be copied, why."""
    refusal = ""
    for setting in SETTINGS:
        try:
            count, fps = _encode(source, setting, encoding, made)
        except DecodeError as error:
            refusal = refusal or one_line(error)
            continue
        except DataError as error:
            return Scan(problem=one_line(error))
        except MemoryError:
            return Scan(problem="decoding it needs more memory than a clip may take")
        files = ClipFiles(source.id, made)
        if encoding.pictures:
            files = ClipFiles(source.id, made, PICTURES, 1, count, fps)
        scan = scan_clip(files)
        if scan.problem:
            return Scan(problem=f"its copy does not decode: {scan.problem}")
        if scan.frames != count:
            return Scan(problem=f"its copy has {scan.frames} frames instead of {count}")
        return scan._replace(setting=setting, turned=_turned(source, setting))
    return Scan(problem=refusal)


def _encode(source: ClipFiles, setting: str, encoding: Encoding, made: Path) -> tuple[int, float]:
    """Frames written, and their rate."""
    with scaled_frames(source, setting, encoding) as (size, fps, frames):
        if not encoding.pictures:
            count = write_frames(made, frames, size, fps, crf=encoding.quality, key_frame_every=KEY_FRAME_EVERY)
            return count, fps
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        count = 0
        for frame in frames:
            count += 1
            (made / (PICTURES % count)).write_bytes(_jpeg(frame, encoding))
        return count, fps


@contextmanager
def scaled_frames(
    source: ClipFiles, setting: str, encoding: Encoding
) -> Iterator[tuple[tuple[int, int], float, Iterator[VideoFrame]]]:
    """A clip's frames as shown, in the copy's size and pixel format, with that size (width, height) and their rate.

    Raises:
        DecodeError: from here or from the frames.
    """
    converter = VideoReformatter()
    pixels = "rgb24" if encoding.pictures else "yuv420p"

    def scaled(decoded: Shown) -> VideoFrame:
        frame, orientation = decoded
        if orientation.turns:  # the copy is upright, and says nothing of being turned
            stored = converter.reformat(frame, format="rgb24", **ONE_THREAD).to_ndarray()
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(orientation.turn(stored)), format="rgb24")
        width, height = _size(frame.width, frame.height, encoding)
        target = None if encoding.pictures else ColorRange.MPEG  # what yuv420p means to every reader
        return converter.reformat(
            frame, width, height, pixels, interpolation=Interpolation.BICUBIC, dst_color_range=target, **ONE_THREAD
        )

    if source.pattern:
        frames = map(scaled, _pictures(source))
        first = next(frames)
        yield (first.width, first.height), source.fps, chain([first], frames)
        return
    with decoded_video(source.path, setting) as (stated, decoded):
        rate = mean_rate(stated, packet_times(source.path))
        if rate is None:
            raise DecodeError(f"'{source.path.name}' does not say how many frames it shows a second")
        frames = map(scaled, decoded)
        first = next(frames)
        yield (first.width, first.height), round(rate, 6), chain([first], frames)


def _turned(source: ClipFiles, setting: str) -> str:
    """What is done to a clip's stored frames to show them, in words."""
    if source.pattern:
        return next(_pictures(source))[1].name
    return first_orientation(source.path, setting).name


def _pictures(source: ClipFiles) -> Iterator[Shown]:
    shape: tuple[int, ...] | None = None
    for position in range(source.count):
        file = sequence_file(source.path, source.pattern, source.first_number, 0, position)
        try:
            image, _, turned = decode_picture(file.read_bytes(), file)
        except OSError as error:
            raise DecodeError(f"picture {file.name} cannot be read: {error.strerror or error}") from error
        if shape is None:
            shape = image.shape
            check_size((image.shape[1], image.shape[0]), MIN_SIDE, file)
        if image.shape != shape:
            raise DecodeError(f"its pictures differ in size at {file.name}")
        yield VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"), UPRIGHT._replace(name=turned.name)


def _size(width: int, height: int, encoding: Encoding) -> tuple[int, int]:
    """Width and height of a copy: the shape kept, never larger, and even for videos."""
    short = min(width, height)
    side = min(short, encoding.short_side)
    step = 1 if encoding.pictures else 2
    return (
        max(step, min(width // step, round(width * side / short / step)) * step),
        max(step, min(height // step, round(height * side / short / step)) * step),
    )


def _jpeg(frame: VideoFrame, encoding: Encoding) -> bytes:
    target = io.BytesIO()
    Image.fromarray(frame.to_ndarray()).save(target, "JPEG", quality=int(encoding.quality))
    return target.getvalue()
