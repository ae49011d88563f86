"""Makes videos, image sequences and their manifest rows for the tests beside this file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from vidrepro.data.frames import write_video
from vidrepro.data.verify_files import describe_sequence
from vidrepro.files import file_digest

INFO = {"name": "toy", "root": ".", "classes": ["left", "right"], "label_order": "as listed", "version": "1"}


BITS = 5


def moving_frames(count: int = 24, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth texture that moves, under a band of black and white bars: the frame's position as a binary number."""
    rng = np.random.default_rng(seed)
    phase, speed = rng.uniform(0, 6, 3), rng.uniform(0.1, 0.4)
    y, x = np.mgrid[:height, :width]
    images = [
        np.stack([127 + 90 * np.sin(x / 9 + speed * t + phase[c]) * np.cos(y / 7 + phase[c]) for c in range(3)], -1)
        for t in range(count)
    ]
    frames = np.stack(images).astype(np.uint8)
    for bit, columns in enumerate(np.array_split(np.arange(width), BITS)):
        on = (np.arange(count) >> bit) & 1
        frames[:, : height // 2, columns] = (on * 255).astype(np.uint8)[:, None, None, None]
    return frames


def positions_of(frames: np.ndarray) -> list[int]:
    """The positions that `moving_frames` wrote into its frames."""
    band = frames[:, 2 : frames.shape[1] // 2 - 4].mean(axis=(1, 3))
    bars = np.stack([part.mean(1) > 127 for part in np.array_split(band, BITS, axis=1)], axis=1)
    return [int(position) for position in bars @ (1 << np.arange(BITS))]


def encode_video(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    fps: int | Fraction = 12,
    options: dict[str, str] | None = None,
) -> Path:
    """A video as other tools make it: any codec, any container, B-frames where the options ask for them."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


FORMATS: dict[str, tuple[str, dict[str, str]]] = {
    "b-frames.mp4": ("libx264", {"bf": "3", "b_strategy": "0", "g": "12", "preset": "veryfast", "crf": "15"}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"}),
    "mpeg4.avi": ("mpeg4", {"qscale": "3", "g": "12", "bf": "0"}),
    "mpeg4-b.avi": ("mpeg4", {"qscale": "3", "g": "12", "bf": "2"}),
    "h264.mkv": ("libx264", {"bf": "2", "g": "8", "preset": "veryfast"}),
}


def write_pictures(folder: Path, frames: np.ndarray, pattern: str, start_index: int) -> None:
    """An image sequence."""
    folder.mkdir(parents=True)
    for number, image in enumerate(frames, start=start_index):
        Image.fromarray(image).save(folder / (pattern % number))


def video_row(root: Path, path: str, frames: np.ndarray, **changes: Any) -> dict[str, Any]:
    """A clip's video file and its manifest row."""
    file = root / path
    write_video(file, frames, 12, crf=18)
    row = {"id": file.stem, "path": path, "frames": len(frames), "fps": 12.0, "label": 0, "split": "train"}
    row |= {"width": frames.shape[2], "height": frames.shape[1], "bytes": file.stat().st_size}
    return row | {"digest": file_digest(file), "status": "ok"} | changes


def sequence_row(
    root: Path, path: str, frames: np.ndarray, first_frame: int, count: int, **changes: Any
) -> dict[str, Any]:
    """A clip cut out of a sequence of pictures (made if it is not there), and its manifest row."""
    if not (root / path).exists():
        write_pictures(root / path, frames, "img_%05d.png", 3)
    size, digest = describe_sequence(root / path, "img_%05d.png", 3, first_frame, count)
    row = {"id": f"{path}@{first_frame}", "path": path, "frames": count, "fps": 12.0, "label": 1, "split": "val"}
    row |= {"width": frames.shape[2], "height": frames.shape[1], "bytes": size, "digest": digest, "status": "ok"}
    return row | {"first_frame": first_frame, "start_index": 3, "pattern": "img_%05d.png"} | changes
