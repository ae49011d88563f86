"""The only place that decodes: a video or a folder of pictures becomes the wanted frames, uint8 RGB.

Frames are named by their position in display order, 0-based; a container's header is never trusted for a count.
Each call opens the file, decodes with one thread up to the last wanted frame, converts the wanted frames only, and
closes the file: decoder threads hang in forked workers (PyAV #1962), and open containers are what grows over
thousands of clips.

A file that does not decode is tried once more with a second decoder setting before it is refused: another decoder of
its codec where FFmpeg has one, the index rebuilt, complaints that cost no frame ignored. It counts only if every frame
that the container promises comes out undamaged.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidrepro.data.containers import CONTAINERS, check_complete, check_extension
from vidrepro.data.decode_errors import cannot_open, check_file, corrupt, size_changes, told, too_short
from vidrepro.data.encode import write_video
from vidrepro.data.pictures import read_sequence, sequence_file
from vidrepro.data.positions import distinct_positions
from vidrepro.errors import DecodeError

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

# What a clip may hold at most. Far beyond any dataset of actions: a file that says more is damaged, or made to harm.
MAX_PIXELS = 2**25  # of a frame, 8192x4096
MAX_FRAMES = 1_000_000

SETTINGS = ("first", "second")

_OPEN_OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
_SECOND_OPEN_OPTIONS = _OPEN_OPTIONS | {"fflags": "+genpts+ignidx", "err_detect": "ignore_err"}
# Codec -> another decoder of it, which FFmpeg wraps.
_OTHER_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9", "av1": "libdav1d"}


@dataclass(frozen=True)
class VideoInfo:
    """What a full decode found.

    Attributes:
        frames: number of frames decoded.
        fps: mean frames per second.
        width, height: size of every frame in pixels.
    """

    frames: int
    fps: float
    width: int
    height: int


class ClipRow(Protocol):
    """What `read_clip` needs of a manifest's row."""

    @property
    def id(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def frames(self) -> int: ...
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
    with decoded_video(path, setting) as (rate, frames):
        count, first, last = 0, None, None
        width = height = 0
        for frame in frames:
            if not count:
                width, height = frame.width, frame.height
            count += 1
            if rate is None and frame.time is not None:
                first, last = frame.time if first is None else first, frame.time
    if rate is None and first is not None and last is not None and last > first:
        rate = (count - 1) / (last - first)
    if rate is None:
        raise DecodeError(f"'{path.name}' does not say how many frames it shows a second", where=path)
    return VideoInfo(frames=count, fps=round(rate, 6), width=width, height=height)


@contextmanager
def decoded_video(path: Path, setting: str = "first") -> Iterator[tuple[float | None, Iterator[VideoFrame]]]:
    """A whole video, frame by frame in display order, with its mean frame rate (None if it does not say).

    The frames end with an error, not early, if the file holds fewer than it promises, changes its size, or is beyond
    `MAX_PIXELS` and `MAX_FRAMES`.

    Raises:
        DecodeError: from here or from the frames.
    """
    path = Path(path)
    second = setting == "second"
    with _open_video(path, second=second) as (container, stream, decoder):
        if not second:
            check_complete(path)
        rate = stream.average_rate or stream.guessed_rate
        frames = _decoded(container, stream, path) if not second else _decoded_again(container, stream, decoder, path)
        yield float(rate) if rate else None, _checked(frames, path)


def _checked(frames: Iterator[VideoFrame], path: Path) -> Iterator[VideoFrame]:
    """The frames, of one size, at least one, not too many."""
    size: tuple[int, int] | None = None
    count = 0
    for frame in frames:
        size = size or (frame.width, frame.height)
        if (frame.width, frame.height) != size:
            raise size_changes(path, count, frame, size)
        count += 1
        if count > MAX_FRAMES:
            raise DecodeError(
                f"'{path.name}' holds too many frames", allowed=f"{MAX_FRAMES} frames in a clip", where=path
            )
        yield frame
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
            return _taken(_decoded(container, stream, path), wanted, frames, path)[order]
    except DecodeError as error:
        if frames is None or not path.is_file():
            raise
        try:  # as preparation did before it recorded the count, and only if the count is the same
            if inspect_video(path, "second").frames != frames:
                raise error
            with decoded_video(path, "second") as (_, decoded):
                return _taken(decoded, wanted, frames, path)[order]
        except DecodeError:
            raise error from None


def _taken(decoded: Iterator[VideoFrame], wanted: NDArray[np.int64], frames: int | None, path: Path) -> Frames:
    """The frames at the positions `wanted` (distinct, rising), uint8 RGB (len(wanted), H, W, 3)."""
    converter = VideoReformatter()
    taken: Frames | None = None
    found = position = 0
    for position, frame in enumerate(decoded):
        if position != wanted[found]:
            continue
        image = converter.reformat(frame, format="rgb24", **ONE_THREAD).to_ndarray()
        if taken is None:
            taken = np.empty((len(wanted), *image.shape), np.uint8)
        if image.shape != taken.shape[1:]:
            raise size_changes(path, position, frame, (taken.shape[2], taken.shape[1]))
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
        DecodeError: as `read_video` and `read_sequence`.
    """
    path = manifest.root / row.path
    if row.pattern:
        return read_sequence(
            path, row.pattern, int(row.start_index), int(row.first_frame), indices, frames=int(row.frames)
        )
    return read_video(path, indices, frames=int(row.frames))


@contextmanager
def _open_video(path: Path, *, second: bool = False) -> Iterator[tuple[InputContainer, VideoStream, VideoCodecContext]]:
    """The container, its first video stream and a decoder for it with one thread; closed when the block ends."""
    check_file(path)
    try:
        container = av.open(str(path.absolute()), "r", options=_SECOND_OPEN_OPTIONS if second else _OPEN_OPTIONS)
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise cannot_open(path, error) from error
    with container:
        # A picture attached to a sound file counts as a video stream for FFmpeg, not for us.
        streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
        if not streams:
            kinds = sorted({stream.type for stream in container.streams} - {"video"})
            raise DecodeError(
                f"'{path.name}' holds no video, only {' and '.join(kinds) or 'nothing'}",
                allowed="a file with a video stream",
                where=path,
            )
        stream = streams[0]
        if stream.codec_context is None:
            raise DecodeError(
                f"no decoder here for the video in '{path.name}'", hint="see the codecs in vidrepro doctor", where=path
            )
        decoder = _other_decoder(stream.codec_context) if second else stream.codec_context
        if decoder.width * decoder.height > MAX_PIXELS:
            raise DecodeError(
                f"the frames of '{path.name}' are too large",
                given=f"{decoder.width}x{decoder.height}",
                allowed=f"{MAX_PIXELS} pixels in a frame",
                where=path,
            )
        decoder.options = {"max_pixels": str(MAX_PIXELS)} | ({"err_detect": "ignore_err"} if second else {})
        decoder.thread_count = 1
        decoder.thread_type = "NONE"
        yield container, stream, decoder


def _other_decoder(context: VideoCodecContext) -> VideoCodecContext:
    """Another decoder of the same codec where FFmpeg has one, else the usual one."""
    try:
        other = av.CodecContext.create(_OTHER_DECODERS[context.codec.canonical_name], "r")
    except (KeyError, ValueError):
        return context
    assert isinstance(other, VideoCodecContext)
    other.extradata = context.extradata
    return other


def _decoded(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[VideoFrame]:
    """Every frame in display order, the decoder flushed at the end; ends with the file, whatever is wanted of it."""
    position = 0
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise corrupt(path, position, "the file ends inside a frame")
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise corrupt(path, position, "the decoder had to invent parts of a frame")
                yield frame
                position += 1
    except (av.error.FFmpegError, OSError, MemoryError) as error:
        raise corrupt(path, position, told(error)) from error


def _decoded_again(
    container: InputContainer, stream: VideoStream, decoder: VideoCodecContext, path: Path
) -> Generator[VideoFrame]:
    """Every frame by the second setting: what it ignores on the way must not have cost a frame."""
    rate = stream.average_rate or stream.guessed_rate
    promised = stream.frames
    if not promised and rate:
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
        if seconds is None and container.duration:
            seconds = container.duration / av.time_base
        promised = round(seconds * rate) if seconds else 0
    position, complaint = 0, ""
    try:
        for packet in container.demux(stream):
            try:
                frames = decoder.decode(packet if packet.size else None)
            except av.error.InvalidDataError as error:
                complaint = told(error)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    raise corrupt(path, position, "the decoder had to invent parts of a frame")
                yield frame
                position += 1
    except (av.error.FFmpegError, OSError, MemoryError) as error:
        raise corrupt(path, position, told(error)) from error
    if not promised or position < promised:
        raise corrupt(path, position, complaint or f"its container promises {promised or 'no number of'} frames")


def _conversion_options() -> dict[str, Any]:
    """One thread for colour conversion too, where this PyAV lets us say so (older ones use one anyway)."""
    try:
        VideoReformatter().reformat(VideoFrame(16, 16, "yuv420p"), format="rgb24", threads=1)
    except TypeError:
        return {}
    return {"threads": 1}


ONE_THREAD = _conversion_options()
