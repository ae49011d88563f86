"""The only place that decodes: a video or a folder of pictures becomes the wanted frames, uint8 RGB.

Frames are named by their position in display order, 0-based; a container's header is never trusted for a count. They
come out as a player shows them: turned where a phone wrote that they are to be.
Each call opens the file, decodes with one thread up to the last wanted frame, converts the wanted frames only, and
closes the file: decoder threads hang in forked workers (PyAV #1962), and open containers are what grows over
thousands of clips.

A file that does not decode is tried once more with a second decoder setting before it is refused: another decoder of
its codec where FFmpeg has one, the index rebuilt, complaints that cost no frame ignored. It counts only if every frame
that the container promises comes out undamaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidrepro.data.containers import check_complete, check_extension, open_container, video_stream
from vidrepro.data.decode_errors import cannot_open, check_file, check_size, of_clip, size_changes, too_short
from vidrepro.data.decoding import Decoded, decoded, decoded_again, other_decoder, strict_option
from vidrepro.data.encode import write_video
from vidrepro.data.image_sequences import read_sequence, sequence_file
from vidrepro.data.orientation import Orientation, of_frame
from vidrepro.data.positions import distinct_positions
from vidrepro.data.rates import mean_rate
from vidrepro.errors import DecodeError, ManifestError

__all__ = [
    "MAX_FRAMES",
    "MAX_PIXELS",
    "SETTINGS",
    "VideoInfo",
    "decoded_video",
    "inspect_video",
    "probe_video",
    "read_clip",
    "read_sequence",
    "read_video",
    "sequence_file",
    "write_video",
]

Frames = NDArray[np.uint8]
Shown = tuple[VideoFrame, Orientation]  # a frame as it is stored, and how it is turned to be shown

# What a clip may hold at most. Far beyond any dataset of actions: a file that says more is damaged, or made to harm.
MAX_PIXELS = 2**25  # of a frame, 8192x4096
MAX_FRAMES = 1_000_000

SETTINGS = ("first", "second")

# Of a frame, in pixels: what --reencode makes at the least, and of which the smallest training crop (.66) is still a
# picture. One of a few pixels is a thumbnail or a broken header, and blown up to 224 it shows nothing.
MIN_SIDE = 16


@dataclass(frozen=True)
class VideoInfo:
    """What a full decode found.

    Attributes:
        frames: number of frames decoded.
        fps: mean frames per second.
        width, height: size of every frame in pixels, as a player shows it.
        turned: what is done to the stored frames to show them, in words; empty if nothing is.
    """

    frames: int
    fps: float
    width: int
    height: int
    turned: str = ""


class ClipRow(Protocol):
    """What `read_clip` needs of a manifest's row."""

    @property
    def id(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def frames(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def first_frame(self) -> Any: ...
    @property
    def start_index(self) -> Any: ...
    @property
    def pattern(self) -> str: ...


class HasRoot(Protocol):
    """What `read_clip` needs of a manifest."""

    @property
    def root(self) -> Path: ...


def probe_video(path: Path) -> VideoInfo:
    """Count, rate and size of a video by decoding all of it, as preparation records them.

    Raises:
        DecodeError: if the file is missing, empty, truncated, damaged, no video, sound only, or named for another
            container than it is.
    """
    path = Path(path)
    with _open_video(path) as (container, _, _):
        check_extension(path, container.format.name)
    return inspect_video(path, "first")


def inspect_video(path: Path, setting: str) -> VideoInfo:
    """Count, rate and size of a video by decoding all of it with one of the `SETTINGS`, whatever its name promises.

    Raises:
        DecodeError: if the file is missing, empty, truncated, damaged, no video, sound only, or beyond the limits.
    """
    with decoded_video(path, setting) as (stated, frames):
        times: list[float | None] = []
        turned = ""
        for frame, orientation in frames:
            if not times:
                width, height = orientation.size(frame.width, frame.height)
            turned = turned or orientation.name
            times.append(frame.time)
    rate = mean_rate(stated, times)
    if rate is None:
        raise DecodeError(f"'{path.name}' does not say how many frames it shows a second", where=path)
    return VideoInfo(frames=len(times), fps=round(rate, 6), width=width, height=height, turned=turned)


def first_orientation(path: Path, setting: str = "first") -> Orientation:
    """How a player turns a video: what its first frame says.

    Raises:
        DecodeError: as `inspect_video`.
    """
    with decoded_video(path, setting) as (_, frames):
        return next(frames)[1]


@contextmanager
def decoded_video(path: Path, setting: str = "first") -> Iterator[tuple[float | None, Iterator[Shown]]]:
    """A whole video, frame by frame in display order, with the frame rate its container states (None if it does not).

    Each frame comes as it is stored, with how it is to be turned. The frames end with an error, not early, if the file
    holds fewer than it promises, is damaged, changes its size, or is beyond `MIN_SIDE`, `MAX_PIXELS` and `MAX_FRAMES`.

    Raises:
        DecodeError: from here or from the frames.
    """
    path = Path(path)
    second = setting == "second"
    with _open_video(path, second=second, strict=True) as (container, stream, decoder):
        if not second:
            check_complete(path)
        rate = stream.average_rate or stream.guessed_rate
        frames = decoded(container, stream, path) if not second else decoded_again(container, stream, decoder, path)
        yield float(rate) if rate else None, _checked(frames, path)


def _checked(frames: Iterator[Decoded], path: Path) -> Iterator[Shown]:
    """The frames, of one size as shown, at least one, not too many; each with how it is turned."""
    size: tuple[int, int] | None = None
    count = 0
    for frame, known in frames:
        orientation = known or of_frame(frame)
        shown = orientation.size(frame.width, frame.height)
        if size is None:
            size = shown
            check_size(size, MIN_SIDE, path)
        if shown != size:
            raise size_changes(path, count, shown, size)
        count += 1
        if count > MAX_FRAMES:
            raise DecodeError(
                f"'{path.name}' holds too many frames", allowed=f"{MAX_FRAMES} frames in a clip", where=path
            )
        yield frame, orientation
    if not count:
        raise DecodeError(f"'{path.name}' decodes to no frame at all", hint="copy or download it again", where=path)


def read_video(path: Path, indices: Sequence[int] | NDArray[np.integer], *, frames: int | None = None) -> Frames:
    """The wanted frames of a video.

    Args:
        path: the video file.
        indices: positions in display order, 0-based, in any order, repeated or not.
        frames: the count recorded for this file; a position beyond it, or a file that ends before it, is refused.

    Returns:
        uint8 RGB of shape (len(indices), H, W, 3), in the order of `indices`; memory of its own.

    Raises:
        DecodeError: if the file is missing, damaged or no video, or holds fewer frames than wanted.
    """
    path = Path(path)
    wanted, order = distinct_positions(indices, frames, path)
    try:
        with _open_video(path) as (container, stream, _):
            return _taken(decoded(container, stream, path), wanted, frames, path)[order]
    except DecodeError as error:
        if frames is None or not path.is_file():
            raise
        try:  # as preparation did before it recorded the count, and only if the count is the same
            if inspect_video(path, "second").frames != frames:
                raise error
            with decoded_video(path, "second") as (_, again):
                return _taken(again, wanted, frames, path)[order]
        except DecodeError:
            raise error from None


def _taken(
    decoding: Iterator[Decoded] | Iterator[Shown], wanted: NDArray[np.int64], frames: int | None, path: Path
) -> Frames:
    """The frames at the positions `wanted` (distinct, rising), uint8 RGB (len(wanted), H, W, 3), as they are shown."""
    converter = VideoReformatter()
    taken: Frames | None = None
    found = position = 0
    for position, (frame, known) in enumerate(decoding):
        if position != wanted[found]:
            continue
        image = converter.reformat(frame, format="rgb24", **ONE_THREAD).to_ndarray()
        image = (known or of_frame(frame)).turn(image)
        if taken is None:
            taken = np.empty((len(wanted), *image.shape), np.uint8)
        if image.shape != taken.shape[1:]:
            raise size_changes(path, position, image.shape[1::-1], taken.shape[2:0:-1])
        taken[found] = image
        found += 1
        if found == len(wanted):
            break
    else:
        count = position + 1 if found or position else 0
        raise too_short(path, count, frames, int(wanted[-1]))
    assert taken is not None
    return taken


def read_clip(manifest: HasRoot, row: ClipRow, indices: Sequence[int] | NDArray[np.integer]) -> Frames:
    """The wanted frames of a manifest's clip, video or image sequence.

    Args:
        manifest: gives the folder that paths are relative to.
        row: the clip's row (from `Manifest.clip`, or of the table).
        indices: positions inside the clip, 0-based.

    Returns:
        uint8 RGB of shape (len(indices), H, W, 3).

    Raises:
        DecodeError: as `read_video` and `read_sequence`, naming the clip.
        ManifestError: if the frames have another size than recorded.
    """
    path = manifest.root / row.path
    count = int(row.frames)
    try:
        if row.pattern:
            start = int(row.start_index), int(row.first_frame)
            frames = read_sequence(path, row.pattern, *start, indices, frames=count)
        else:
            frames = read_video(path, indices, frames=count)
    except DecodeError as error:
        raise of_clip(error, str(row.id), path) from error
    if frames.shape[1:3] != (row.height, row.width):
        raise ManifestError(
            f"clip '{row.id}' decodes to another size than recorded",
            given=f"{frames.shape[2]}x{frames.shape[1]}",
            allowed=f"{row.width}x{row.height}",
            hint="prepare the dataset again: before, clips that players turn were recorded as they are stored",
            where=path,
        )
    return frames


@contextmanager
def _open_video(
    path: Path, *, second: bool = False, strict: bool = False
) -> Iterator[tuple[InputContainer, VideoStream, VideoCodecContext]]:
    """The container, its first video stream and a decoder for it with one thread; closed when the block ends.

    `strict` asks the decoder to stop at damage that it does not flag.
    """
    check_file(path)
    try:
        container = open_container(path, second=second)
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise cannot_open(path, error) from error
    with container:
        stream = video_stream(container)
        if stream is None:
            kinds = sorted({stream.type for stream in container.streams} - {"video"})
            raise DecodeError(
                f"'{path.name}' holds no video, only {' and '.join(kinds) or 'an empty container'}",
                allowed="a file with a video stream",
                where=path,
            )
        if stream.codec_context is None:
            raise DecodeError(
                f"no decoder here for the video in '{path.name}'", hint="see the codecs in vidrepro doctor", where=path
            )
        decoder = other_decoder(stream.codec_context) if second else stream.codec_context
        if decoder.width * decoder.height > MAX_PIXELS:
            raise DecodeError(
                f"the frames of '{path.name}' are too large",
                given=f"{decoder.width}x{decoder.height}",
                allowed=f"{MAX_PIXELS} pixels in a frame",
                where=path,
            )
        decoder.options = {"max_pixels": str(MAX_PIXELS)} | ({"err_detect": "ignore_err"} if second else {})
        if strict:
            decoder.options |= strict_option(decoder)
        decoder.thread_count = 1
        decoder.thread_type = "NONE"
        yield container, stream, decoder


def _conversion_options() -> dict[str, Any]:
    """One thread for colour conversion too, where this PyAV lets us say so (older ones use one anyway)."""
    try:
        VideoReformatter().reformat(VideoFrame(16, 16, "yuv420p"), format="rgb24", threads=1)
    except TypeError:
        return {}
    return {"threads": 1}


ONE_THREAD = _conversion_options()
