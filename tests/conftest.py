"""Shared pieces: one thread a process (two test processes share two cores), and a small real dataset of video files."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest
import torch

from tests.command_line import run_here
from vidrepro.ablation import schedule
from vidrepro.config import RunConfig, resolve
from vidrepro.data.encode import write_video
from vidrepro.data.manifest import Manifest, load_manifest, write_manifest

torch.set_num_threads(1)
# A shell starts background jobs with Ctrl-C ignored, and processes inherit that: the tests of Ctrl-C need the default.
signal.signal(signal.SIGINT, signal.default_int_handler)
# No deadline: a busy machine is no defect. Derandomised: the gate gives the same answer twice.
hypothesis.settings.register_profile("vidrepro", deadline=None, derandomize=True)
hypothesis.settings.load_profile("vidrepro")

TOY_CLASSES = ["Moving something from left to right", "Moving something from right to left"]


def make_toy_dataset(data: Path, name: str = "toy", *, clips: int = 24, frames: int = 8, side: int = 32) -> Manifest:
    """A bright square that crosses the picture one way or the other, as real video files with a manifest."""
    folder = data / name
    (folder / "clips").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(clips):
        label = number % 2
        video = rng.integers(0, 60, (frames, side, side, 3), dtype=np.uint8)
        top = int(rng.integers(4, side - 12))
        for frame in range(frames):
            step = frame if label == 0 else frames - 1 - frame
            left = 2 + step * (side - 12) // (frames - 1)
            video[frame, top : top + 8, left : left + 8] = 230
        path = folder / "clips" / f"{number:03d}.mp4"
        write_video(path, video, 12, crf=18)
        rows.append(
            {
                "id": f"{number:03d}",
                "path": f"clips/{number:03d}.mp4",
                "frames": frames,
                "fps": 12.0,
                "width": side,
                "height": side,
                "label": label,
                "split": "val" if number >= clips * 2 // 3 else "train",
                "bytes": path.stat().st_size,
                "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
                "status": "ok",
                "first_frame": "",
                "start_index": "",
                "pattern": "",
            }
        )
    info = {
        "name": name,
        "root": ".",
        "classes": TOY_CLASSES,
        "label_order": "sorted",
        "version": "1",
        "reversal_pairs": [[0, 1]],
        "order_blind_ceiling": 0.5,
    }
    write_manifest(folder, rows, info)
    return load_manifest(name, data)


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the prepared dataset ``toy``: 16 training and 8 validation clips of 8 frames of 32x32."""
    data = tmp_path_factory.mktemp("data")
    make_toy_dataset(data)
    return data


@pytest.fixture
def toy(toy_data: Path) -> Manifest:
    """The manifest of `toy_data`."""
    return load_manifest("toy", toy_data)


@pytest.fixture
def toy_config() -> RunConfig:
    """Settings under which an epoch of `toy` takes a fraction of a second."""
    return resolve(
        [
            (
                "test",
                {
                    "dataset": "toy",
                    "model": {
                        "backbone": "micro",
                        "mechanism": "m2a",
                        "backbone_options": {"width": 8, "stem": "small2"},
                    },
                    "data": {"frames": 4, "train_size": 24, "eval_short_side": 28, "eval_size": 24},
                    "train": {"epochs": 2, "batch_size": 4, "learning_rate": 0.05, "schedule": "one-cycle"},
                },
            )
        ]
    )


class TrainedHere:
    """Stands for the process of an ablation's run: carries its command out in this process, where torch is there."""

    def __init__(self, command: list[str], *, stdout: IO[bytes], **_: Any) -> None:
        assert command[1:3] == ["-m", "vidrepro"]
        done = run_here(*command[3:])
        stdout.write((done.stdout + done.stderr).encode())
        self.returncode = done.returncode

    def poll(self) -> int:
        return self.returncode


@pytest.fixture
def trained_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ablations train in this process, one run after the other: for tests in which no process is what is tested."""
    processes = SimpleNamespace(Popen=TrainedHere, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(schedule, "subprocess", processes)
    monkeypatch.setattr(schedule, "POLL_SECONDS", 0)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every Matplotlib figure that is written, kept for inspection."""
    from matplotlib.figure import Figure

    kept: list[Any] = []
    save = Figure.savefig

    def keep_and_save(figure: Figure, *args: Any, **options: Any) -> None:
        kept.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep_and_save)
    return kept
