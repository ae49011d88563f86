"""A disk without room: every writer says which file cannot be written, and what was there before stays."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import plain, run_here
from short_runs import toy_ablation

from vidrepro.__main__ import main
from vidrepro.config import RunConfig
from vidrepro.data.cache import open_cache
from vidrepro.data.contact_sheet import write_contact_sheet
from vidrepro.data.encode import write_video
from vidrepro.data.manifest import Manifest
from vidrepro.errors import ResultsError
from vidrepro.evaluation.scores import Scores, save_scores
from vidrepro.explain.animation import write_animation
from vidrepro.explain.strip import StripRow, draw_strip
from vidrepro.files import atomic_file, atomic_write_json, atomic_write_text
from vidrepro.models.load_report import LoadReport
from vidrepro.models.released.importing import Imported
from vidrepro.runs.checkpoint import load_checkpoint, save_checkpoint
from vidrepro.training.execute import execute_run

PICTURES = np.random.default_rng(0).integers(0, 255, (4, 48, 48, 3), dtype=np.uint8)
SCORES = Scores(np.array(["a"] * 900), np.zeros(900, np.int64), np.random.default_rng(0).random((900, 9)), "f", "8x1x1")

WRITERS: dict[str, Callable[[Path], Any]] = {
    "checkpoint.pt": lambda path: save_checkpoint(path, {"model": torch.zeros(3000)}),
    "imported.pt": lambda path: Imported(LoadReport(), {}, {"w": torch.zeros(3000)}).write(path),
    "scores.npz": lambda path: save_scores(path, SCORES),
    "record.json": lambda path: atomic_write_json(path, list(range(2000))),
    "clip.mp4": lambda path: write_video(path, PICTURES, 8, crf=1),
    "moving.gif": lambda path: write_animation(path.with_suffix(""), PICTURES, 8),
    "strip.png": lambda path: draw_strip(path, "title", [StripRow(PICTURES, "frames")]),
}


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process may become larger, as on a disk that is full (EFBIG in place of ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("room", ["none", "almost"])
def test_the_old_file_is_kept_and_the_new_one_refused_by_name(tmp_path: Path, name: str, room: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with (
        file_size_limit(64 if room == "none" else len(before[name]) - 1),
        pytest.raises(ResultsError, match=f"cannot write to '.*{name}'.*no space left"),
    ):
        WRITERS[name](path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_picture_is_never_cut_short_in_silence(toy: Manifest, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sheet{suffix}"
    write_contact_sheet(toy, path)
    size = path.stat().st_size
    with file_size_limit(size - 20), pytest.raises(ResultsError, match="cannot write"):
        write_contact_sheet(toy, path)
    assert [each.stat().st_size for each in tmp_path.iterdir()] == [size]


def test_a_frame_cache_without_room_is_refused_or_left_out(toy: Manifest, tmp_path: Path) -> None:
    from tests.conftest import make_toy_dataset

    manifest = make_toy_dataset(tmp_path)
    told: list[str] = []
    with file_size_limit(1000):
        with pytest.raises(ResultsError, match="cannot write"):
            open_cache(manifest, "always")
        assert open_cache(manifest, "auto", say=told.append) is None
    assert "no frame cache" in told[0]
    assert [each.name for each in (manifest.folder / "cache").iterdir() if each.name != ".lock"] == []


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EDQUOT, "quota exceeded"),
        (errno.EROFS, "Read-only file system"),
        (errno.EIO, "Input/output error"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_every_reason_is_told_in_the_systems_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("vidrepro.files.Path.replace", refuse)
    with pytest.raises(ResultsError, match=f"cannot write to '.*x.json': .*{says}") as refusal:
        atomic_write_text(tmp_path / "x.json", "text")
    assert ("make room" in str(refusal.value.hint)) == (number in (errno.ENOSPC, errno.EDQUOT))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_what_torch_makes_of_a_failed_write_is_told_as_the_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """torch.save answers a failed write with a RuntimeError about positions in the file."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("vidrepro.files._PlainFile.write", refuse)
    with pytest.raises(ResultsError, match="cannot write") as refusal:
        save_checkpoint(tmp_path / "last.pt", {"model": torch.zeros(10)})
    assert os.strerror(number) in str(refusal.value)


def test_a_fault_that_is_not_the_disks_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shape"), atomic_file(tmp_path / "x"):
        try:
            (tmp_path / "none").read_text()
        except FileNotFoundError:
            raise RuntimeError("wrong shape") from None
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_files_place_and_a_name_that_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    with pytest.raises(ResultsError, match=r"cannot write to '.*x\.json': Is a directory"):
        atomic_write_text(tmp_path / "x.json", "text")
    with pytest.raises(ResultsError, match="File name too long"):
        atomic_write_text(tmp_path / ("n" * 300), "text")
    atomic_write_text(tmp_path / ("n" * 250), "text")  # fits, and so must its temporary name


def test_training_on_a_full_disk_ends_with_the_last_checkpoint_whole(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidrepro.training import loop

    real = loop.Trainer._save_last

    def full_from_the_second_epoch(trainer: loop.Trainer) -> None:
        with file_size_limit(2000 if trainer.state.epoch == 2 else 1 << 30):
            real(trainer)

    monkeypatch.setattr(loop.Trainer, "_save_last", full_from_the_second_epoch)
    with pytest.raises(ResultsError, match=r"cannot write to '.*last\.pt'"):
        execute_run(toy_config, toy, 0, tmp_path, device="cpu", cache="never")
    (folder,) = (tmp_path / "runs").iterdir()
    assert load_checkpoint(folder / "last.pt")["state"]["epoch"] == 1
    assert not (folder / "run.json").exists()
    monkeypatch.undo()
    execute_run(toy_config, toy, 0, tmp_path, device="cpu", cache="never")  # there is room again: it goes on
    assert (folder / "run.json").is_file()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/data/val.csv"), "cannot read or write '/data/val.csv'"),
        (OSError(errno.EIO, "Input/output error"), "the system refused: Input/output error"),
        (MemoryError(), "not enough memory"),
        (
            RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried"),
            "can't allocate memory",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."),
            "refused: DataLoader worker (pid 7)",
        ),
        (
            RuntimeError("Caught RuntimeError in worker 0.\nunable to write: No space left on device (28)"),
            "No space left",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "not enough memory: CUDA out of"),
    ],
)
def test_what_the_machine_refuses_is_never_a_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: Exception, says: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("vidrepro.report.finished_runs.load_runs", refuse)
    with pytest.raises(SystemExit) as end:
        main(["runs"])
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert end.value.code == 2 and says in told and "defect" not in told


@pytest.mark.usefixtures("trained_here")
def test_an_ablation_on_a_full_disk_says_which_file(toy_data: Path, tmp_path: Path) -> None:
    """The checkpoint is the first file that is too large."""
    with file_size_limit(20_000):
        done = run_here(*toy_ablation(toy_data, tmp_path, "--jobs", "1", "--rows", "none"))
    told = plain(done.stderr)
    assert done.returncode == 2 and "cannot write to" in told and "best.pt" in told and "no space left" in told
    assert "defect" not in told and not list(tmp_path.rglob(".*.pt"))
