"""Videos and small prepared datasets for the tests of everything that reads them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from sample_clips import FORMATS, INFO, encode_video, moving_frames, sequence_row, video_row

from vidrepro.data.manifest import Manifest, write_manifest


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One clip of 24 `moving_frames` in each of `FORMATS`; not to be changed."""
    folder = tmp_path_factory.mktemp("videos")
    return {
        name: encode_video(folder / name, moving_frames(), codec, options=options)
        for name, (codec, options) in FORMATS.items()
    }


def write_sound(path: Path, *, cover: bool) -> Path:
    """A second of silence, alone or with a cover picture, which FFmpeg counts as a video stream."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        if cover:
            picture: Any = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8)).reformat(format="yuvj420p")
            container.mux(picture.encode(image))
            container.mux(picture.encode(None))
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def sound_files(tmp_path: Path) -> list[Path]:
    """MP4 files without a moving picture."""
    return [write_sound(tmp_path / "sound.mp4", cover=False), write_sound(tmp_path / "cover.mp4", cover=True)]


MakeDataset = Callable[..., Manifest]


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Makes ``<tmp>/data/<name>``: `clips` videos in train; in val one video and one image sequence; one bad clip."""

    def make(clips: int = 3, name: str = "toy", data: Path = tmp_path / "data", **info: Any) -> Manifest:
        folder = data / name
        rows = [
            video_row(folder, f"clips/c{i}.mp4", moving_frames(12 + 4 * (i % 2), 32, 32 + 16 * (i % 3), i), label=i % 2)
            for i in range(clips)
        ]
        rows.append(video_row(folder, "clips/v0.mp4", moving_frames(8, 24, 40, 99), split="val"))
        rows.append(sequence_row(folder, "pictures", moving_frames(10, 20, 30, 7), 2, 6))
        broken = {"frames": 0, "fps": 0.0, "width": 0, "height": 0, "bytes": 0, "digest": "", "status": "bad"}
        rows.append(rows[0] | {"id": "broken", "path": "clips/broken.mp4"} | broken)
        return write_manifest(folder, rows, INFO | {"name": name} | info)

    return make


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python code as a script of its own, which spawned processes can import; a hang fails the test."""

    def run(code: str, *arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(code, encoding="utf-8")
        command = [sys.executable, str(script), *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=False)

    return run


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Makes a context in which no file of this process can grow beyond so many bytes, as on a full disk."""

    @contextmanager
    def limited(limit: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
