"""Tiny media for the tests of the official datasets: videos of a few frames, folders of pictures.

What they show does not matter here, only that they decode to the frames they promise. Encoded once a process, then
copied.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

SIZE = (32, 24)
"""Width and height."""

ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": ("libx264", {"preset": "veryfast", "g": "12"}),
    ".mkv": ("libx264", {"preset": "veryfast", "g": "12"}),
    ".webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    ".avi": ("mpeg4", {"qscale": "5", "g": "12"}),
}
"""Suffix -> encoder and its options."""

FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}


def pictures(count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A ramp that moves by a pixel a frame, uint8 of shape (count, height, width, 3)."""
    width, height = size
    time, row, column = np.ogrid[:count, :height, :width]
    ramp = (time * 9 + row * 3 + column * 5) % 256
    return np.stack([ramp, 255 - ramp, (ramp + 80) % 256], axis=-1).astype(np.uint8)


@cache
def video_bytes(suffix: str = ".mp4", frames: int = 12, size: tuple[int, int] = SIZE, fps: int = 12) -> bytes:
    """A whole video file of the kind the suffix tells."""
    codec, options = ENCODERS[suffix]
    buffer = BytesIO()
    with av.open(buffer, "w", format=FORMATS[suffix]) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for image in pictures(frames, size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@cache
def picture_bytes(number: int = 0, size: tuple[int, int] = SIZE, kind: str = "JPEG") -> bytes:
    """A whole picture file."""
    buffer = BytesIO()
    Image.fromarray(pictures(number + 1, size)[number]).save(buffer, kind)
    return buffer.getvalue()


def make_video(path: Path, frames: int = 12, size: tuple[int, int] = SIZE, fps: int = 12) -> Path:
    """Write a video; its suffix (.mp4, .mkv, .webm, .avi; any case) says which kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(video_bytes(path.suffix.lower(), frames, size, fps))
    return path


def make_frames(
    folder: Path, count: int = 12, pattern: str = "%05d.jpg", start: int = 1, size: tuple[int, int] = SIZE
) -> Path:
    """Write a folder of `count` pictures named by `pattern`, numbered from `start`."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = "PNG" if pattern.lower().endswith(".png") else "JPEG"
    for number in range(count):
        (folder / (pattern % (start + number))).write_bytes(picture_bytes(number, size, kind))
    return folder
