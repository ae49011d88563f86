"""Writing clips: H.264 in MP4, made so that a frame's quality says nothing about its place in time.

With every frame a key frame there are no better and worse frames between key frames. x264's constant rate factor
still gives the first frame its own quality, and each later one a quality that hangs on the frames before it, which a
network could read the direction of time from; a linear quantiser curve (``qcomp=1``) without macroblock tree takes
that away too, so that the reversed clip decodes to exactly the reversed frames.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidrepro.errors import DataError
from vidrepro.files import atomic_path

# Rate control that looks at no other frame; no B-frames and no key frames but the asked ones.
_X264_PARAMETERS = "qcomp=1:mbtree=0:scenecut=0:bframes=0:rc-lookahead=0:sync-lookahead=0:threads=1"


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
    options = {
        "preset": preset,
        "crf": f"{crf:g}",
        "g": str(key_frame_every),
        "keyint_min": str(key_frame_every),
        "forced-idr": "1",
        "x264-params": _X264_PARAMETERS,
    }
    with atomic_path(path) as temporary:
        try:
            _encode(temporary, frames, Fraction(fps).limit_denominator(1001), codec, options)
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


def _encode(path: Path, frames: NDArray[np.uint8], fps: Fraction, codec: str, options: dict[str, str]) -> None:
    # bitexact keeps FFmpeg's version out of the file
    with av.open(str(path), "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        if not isinstance(stream, VideoStream):
            raise ValueError(f"{codec} is no video encoder")
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for image in frames:
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


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
