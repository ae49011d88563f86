"""Writing clips: H.264 in MP4.

`write_video` makes clips of ours, so that a frame's quality says nothing about its place in time; `write_frames` makes
small copies of other people's, with a key frame every few frames and no B-frames, so that any frame is near.

With every frame a key frame there are no better and worse frames between key frames. x264's constant rate factor
still gives the first frame its own quality, and each later one a quality that hangs on the frames before it, which a
network could read the direction of time from; a linear quantiser curve (``qcomp=1``) without macroblock tree takes
that away too, so that the reversed clip decodes to exactly the reversed frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidrepro.errors import DataError
from vidrepro.files import atomic_path

# Rate control that looks at no other frame; no B-frames and no key frames but the asked ones.
_X264_PARAMETERS = "qcomp=1:mbtree=0:scenecut=0:bframes=0:rc-lookahead=0:sync-lookahead=0:threads=1"
# Of copies: x264's own rate control and exact distances between key frames. No macroblock tree: with it the same frames
# gave other bytes in one of 600 encodings (it reads memory it has not written), and a killed run could not be repeated.
_X264_COPY_PARAMETERS = "scenecut=0:open-gop=0:bframes=0:mbtree=0:rc-lookahead=0:sync-lookahead=0:threads=1"


def write_video(
    path: Path,
    frames: NDArray[np.uint8],
    fps: float | Fraction,
    *,
    crf: float,
    codec: str = "libx264",
    preset: str = "veryfast",
    key_frame_every: int = 1,
) -> None:
    """Encode a clip; the same frames give the same bytes, and the file is there as a whole or not at all.

    Args:
        path: the file to write, ending in ``.mp4``.
        frames: uint8 RGB of shape (T, H, W, 3); H and W even, as yuv420p needs.
        fps: frames a second.
        crf: x264's constant rate factor, 0 (lossless but for the colour subsampling) to 51 (worst).
        codec: name of the H.264 encoder.
        preset: x264's speed preset.
        key_frame_every: distance between key frames; 1 makes every frame one.

    Raises:
        DataError: if the frames, the size or a setting cannot be encoded, or this PyAV has no such encoder.
        ResultsError: if the file cannot be written.
    """
    path = Path(path)
    _check_arguments(path, frames, fps, crf, key_frame_every)
    options = _options(preset, crf, key_frame_every, _X264_PARAMETERS)
    size = (frames.shape[2], frames.shape[1])
    with atomic_path(path) as temporary:
        try:
            _encode(str(temporary), _as_frames(frames), size, fps, codec, options)
        except OSError:
            raise  # a full or read-only disk: atomic_path tells it
        except (av.error.FFmpegError, ValueError) as error:
            raise DataError(
                f"cannot encode '{path.name}' with {codec}: {error}",
                given=f"codec {codec}, preset {preset}, {frames.shape[2]}x{frames.shape[1]}",
                allowed="an H.264 encoder this PyAV was built with",
                hint="vidrepro doctor lists the codecs found",
                where=path,
            ) from error


def write_frames(
    target: Path | BinaryIO,
    frames: Iterable[VideoFrame],
    size: tuple[int, int],
    fps: float,
    *,
    crf: float,
    key_frame_every: int,
    preset: str = "veryfast",
) -> int:
    """Encode frames as they come, one in memory at a time, each lasting as long as the others.

    Args:
        target: the file to write, or an open one; what is there after an error is no video.
        frames: of any pixel format, all of the width and height `size`, both even.
        size: width, height.
        fps: frames a second.
        crf, key_frame_every, preset: as for `write_video`; there are no B-frames.

    Returns:
        How many frames there were.

    Raises:
        DataError: if they cannot be encoded.
        OSError: if the file cannot be written; what the frames raise.
    """
    options = _options(preset, crf, key_frame_every, _X264_COPY_PARAMETERS)
    try:
        return _encode(str(target) if isinstance(target, Path) else target, frames, size, fps, "libx264", options)
    except OSError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"cannot encode it with libx264: {error}", given=f"{size[0]}x{size[1]}, {fps:g} fps") from error


def _options(preset: str, crf: float, key_frame_every: int, parameters: str) -> dict[str, str]:
    return {
        "preset": preset,
        "crf": f"{crf:g}",
        "g": str(key_frame_every),
        "keyint_min": str(key_frame_every),
        "forced-idr": "1",
        "x264-params": parameters,
    }


def _as_frames(frames: NDArray[np.uint8]) -> Iterator[VideoFrame]:
    for image in frames:
        yield VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")


def _encode(
    target: str | BinaryIO,
    frames: Iterable[VideoFrame],
    size: tuple[int, int],
    fps: float | Fraction,
    codec: str,
    options: dict[str, str],
) -> int:
    rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
    count = 0
    # bitexact keeps FFmpeg's version out of the file
    with av.open(target, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        if not isinstance(stream, VideoStream):
            raise ValueError(f"{codec} is no video encoder")
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            if not count:  # or a reader would take another meaning of the same numbers for granted
                stream.codec_context.colorspace = frame.colorspace
            frame.pts, frame.time_base = count, 1 / rate
            frame.pict_type = PictureType.NONE  # or the source's key frames would be forced on the copy
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
    return count


def _check_arguments(path: Path, frames: NDArray[np.uint8], fps: float | Fraction, crf: float, every: int) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        given, allowed = f"{frames.dtype} of shape {frames.shape}", "uint8 of shape (T, H, W, 3), T >= 1"
    elif frames.shape[1] % 2 or frames.shape[2] % 2 or 0 in frames.shape:
        given, allowed = f"{frames.shape[2]}x{frames.shape[1]}", "even width and height (yuv420p)"
    elif not fps > 0:
        given, allowed = f"{fps} frames a second", "more than 0"
    elif not 0 <= crf <= 51:
        given, allowed = f"crf {crf}", "0 to 51"
    elif every < 1:
        given, allowed = f"a key frame every {every}", "1 or more"
    elif path.suffix != ".mp4":
        given, allowed = f"extension '{path.suffix}'", ".mp4"
    else:
        return
    raise DataError("these frames cannot be encoded", given=given, allowed=allowed, where=path)
