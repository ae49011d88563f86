"""Several processes at the same work: who waits for whom, what is told, and what a killed one leaves to the others."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.command_line import invoke
from tests.fake_runs import write_run
from tests.training.test_ablation_starts import DATASET, ROOT, config
from vidrepro.ablation import schedule
from vidrepro.ablation.schedule import BUSY, Job, execute, plan
from vidrepro.cli import ablate
from vidrepro.cli.app import app
from vidrepro.data.cache import open_cache
from vidrepro.data.manifest import Manifest
from vidrepro.errors import BusyError, ManifestError, ResultsError
from vidrepro.locks import ProcessLock, holder
from vidrepro.runs.folder import (
    LAST_CHECKPOINT,
    LOCK_FILE,
    RUN_FILE,
    find_run,
    lock_holder,
    make_run_folder,
    runs_folder,
)

HOLD = """
import sys, time
from pathlib import Path
from vidrepro.locks import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
lock.acquire("busy")
print("held", flush=True)
time.sleep(60)
"""
ROWS = [("p/table1/a", config("none")), ("p/table1/b", config("m2a")), ("p/table1/c", config("tea", ROOT))]


class Training:
    """Stands for `vidrepro train`: takes the run's lock or ends with `BUSY`, and is done after a moment."""

    def __init__(self, results: Path, job: Job, seconds: float) -> None:
        self.folder = make_run_folder(results, job.name)
        self.lock = ProcessLock(self.folder / LOCK_FILE)
        self.returncode: int | None = None
        self.end = time.monotonic() + seconds
        try:
            self.lock.acquire("busy")
        except BusyError:
            self.returncode = BUSY

    def poll(self) -> int | None:
        if self.returncode is None and time.monotonic() >= self.end:
            (self.folder / RUN_FILE).write_text('{"state": "finished"}')
            self.lock.release()
            self.returncode = 0
        return self.returncode


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(ablation, run) for each training process that got its lock."""
    order: list[tuple[str, str]] = []

    def start(job: Job, results: Path) -> Job:
        job.process = Training(results, job, 0.2)  # type: ignore[assignment]
        if job.process.returncode is None:
            order.append((threading.current_thread().name, job.name))
        return job

    monkeypatch.setattr(schedule, "_start", start)
    monkeypatch.setattr(schedule, "POLL_SECONDS", 0.02)
    return order


@pytest.fixture
def other(tmp_path: Path):
    """Another process that holds the lock of a run: (the process, the run's job)."""
    job = plan(ROWS[:1], (0,), lambda _: DATASET, tmp_path)[0]
    folder = make_run_folder(tmp_path, job.name)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder / LOCK_FILE)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process, job
    process.kill()
    process.communicate()


def test_two_identical_ablations_share_the_runs_and_both_end(tmp_path: Path, begun: list[tuple[str, str]]) -> None:
    ended: list[str] = []

    def work(parallel: int) -> None:
        jobs = plan(ROWS, (0, 1), lambda _: DATASET, tmp_path)
        execute(jobs, tmp_path, parallel=parallel)
        assert all(job.finished for job in jobs)
        ended.append(threading.current_thread().name)

    threads = [threading.Thread(target=work, args=(parallel,), name=str(parallel)) for parallel in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(ended) == ["1", "2"]
    names = [name for _, name in begun]
    assert len(names) == len(set(names)) == 6  # each run once
    assert {ablation for ablation, _ in begun} == {"1", "2"}  # the second takes other rows meanwhile
    starts = {job.name: job.starts_from for job in plan(ROWS, (0, 1), lambda _: DATASET, tmp_path)}
    assert all(names.index(start) < names.index(name) for name, start in starts.items() if start)


def test_an_ablation_waits_for_another_process_and_goes_on_when_that_is_killed(
    tmp_path: Path, begun: list[tuple[str, str]], other: tuple[subprocess.Popen[str], Job]
) -> None:
    process, held = other
    told: list[str | None] = []

    def look(jobs: list[Job]) -> None:
        told.append(next(job.held_by for job in jobs if job.name == held.name))
        if [name for _, name in begun].count(held.name) == 0 and len(begun) == 1 and process.poll() is None:
            process.kill()
            process.wait()

    jobs = plan(ROWS[:2], (0,), lambda _: DATASET, tmp_path)
    execute(jobs, tmp_path, parallel=1, on_change=look)  # type: ignore[arg-type]
    assert told[0] is not None and told[0].startswith(f"process {process.pid} on host ")
    assert [name for _, name in begun] == [jobs[1].name, held.name]
    assert not list(tmp_path.rglob("*.holder"))


def test_ablate_tells_whom_it_waits_for_and_the_results_of_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (job,) = plan(ROWS[:1], (3,), lambda _: DATASET, tmp_path)

    def by_another(jobs: list[Job], results: Path, *, parallel: int, on_change) -> None:
        job.held_by = "process 4711 on host [node/3]"
        on_change(jobs)
        on_change(jobs)
        made = write_run(tmp_path, "m2a/table1/none", 400, pair_correct=None)
        made.rename(make_run_folder(tmp_path, job.name) / RUN_FILE)
        job.held_by, job.finished = None, True
        on_change(jobs)

    ablate._run(Console(highlight=False, markup=False, width=160), [job], tmp_path, 1, by_another)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "waits for p/table1/a seed 3, trained by process 4711 on host [node/3]"
    assert said[1].startswith("p/table1/a seed 3: top-1 50.0 %") and len(said) == 2


def test_a_run_in_the_making_is_told_from_one_that_nobody_knows(
    tmp_path: Path, other: tuple[subprocess.Popen[str], Job]
) -> None:
    process, job = other
    with pytest.raises(ResultsError, match=f"is being trained\n(.*\n)*.*wait for process {process.pid} on host"):
        find_run(tmp_path, job.name[:-1])
    (runs_folder(tmp_path) / job.name / LAST_CHECKPOINT).touch()
    assert f"trained by process {process.pid} on host" in invoke("runs", "--results", tmp_path)
    process.kill()
    process.wait()
    assert lock_holder(runs_folder(tmp_path) / job.name) is None
    with pytest.raises(ResultsError, match=r"is not finished\n(.*\n)*.*goes on with it"):
        find_run(tmp_path, job.name)


def test_a_lock_is_refused_with_its_holder_and_goes_with_the_process(
    tmp_path: Path, other: tuple[subprocess.Popen[str], Job]
) -> None:
    process, job = other
    path = runs_folder(tmp_path) / job.name / LOCK_FILE
    with pytest.raises(BusyError, match="in use") as refused:
        ProcessLock(path).acquire("in use", seconds=0.1)
    assert str(refused.value.given) == holder(path) and f"process {process.pid} on host" in str(refused.value)
    told: list[str] = []
    threading.Timer(0.3, process.kill).start()
    with ProcessLock(path).held("in use", seconds=20, tell=told.append):
        assert told == [refused.value.given]
    assert holder(path) is None and holder(tmp_path / "never") is None


def test_the_frame_cache_is_made_once_and_the_waiting_is_told(toy: Manifest, tmp_path: Path) -> None:
    cache = toy.folder / "cache"
    cache.mkdir(exist_ok=True)
    for path in cache.glob("frames-*"):
        path.unlink()
    said: list[str] = []
    with ProcessLock(cache / ".lock").held("busy"):
        threads = [threading.Thread(target=open_cache, args=(toy,), kwargs={"say": said.append}) for _ in range(2)]
        for thread in threads:
            thread.start()
        while len(said) < 2:
            time.sleep(0.02)
    for thread in threads:
        thread.join(20)
    assert all(text.startswith("waits for the frame cache of 'toy', made by process ") for text in said)
    assert open_cache(toy) is not None


def test_an_ablation_waits_for_the_embedded_dataset_that_another_prepares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def prepare(name: str, *, data: Path) -> None:
        calls.append(name)
        if len(calls) < 3:
            raise BusyError(f"another process is preparing '{name}' right now", given="process 4711 on host node3")
        (data / name).mkdir()
        (data / name / "manifest.csv").touch()

    monkeypatch.setattr("vidrepro.cli.prepare.prepare_dataset", prepare)
    setting = SimpleNamespace(dataset="synthetic", data=tmp_path)
    ablate._prepare_embedded(Console(width=160), setting, json=False)  # type: ignore[arg-type]
    assert capsys.readouterr().out.count("waits for 'synthetic', prepared by process 4711 on host node3\n") == 1
    assert len(calls) == 3
    assert issubclass(BusyError, ManifestError) and issubclass(BusyError, ResultsError)


def test_train_of_a_run_in_the_making_is_refused_and_an_ablation_s_child_says_so_by_its_exit(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cli.test_commands import overrides
    from vidrepro.training import execute as training

    monkeypatch.setattr(training, "LOCK_SECONDS", 0)
    words = ["train", "m2a/table1/none", "--dataset", "toy", "--preset", "tiny", "--cache", "never", "--device", "cpu"]
    words += [*overrides("train.epochs=1", "train.warmup_epochs=0"), "--data", str(toy_data), "--results"]
    invoke(*words, tmp_path / "alone")
    (finished,) = runs_folder(tmp_path / "alone").iterdir()
    folder = make_run_folder(tmp_path, finished.name)
    with ProcessLock(folder / LOCK_FILE).held("busy"):
        with pytest.raises(BusyError, match=r"another process is working on this run\n(.*\n)*.*given: process \d+"):
            invoke(*words, tmp_path)
        child = CliRunner().invoke(app, [*words, str(tmp_path), "--progress-file", str(tmp_path / "progress.json")])
    assert child.exit_code == BUSY and "another process is working on this run" in child.output
