"""Runs that start from other runs' ends: who waits for whom, and what happens when a start fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from vidrepro.ablation import schedule
from vidrepro.ablation.schedule import LOG_FILE, Job, execute, plan
from vidrepro.config import RunConfig, resolve
from vidrepro.errors import TrainingError
from vidrepro.runs.folder import RUN_FILE, make_run_folder

DATASET = "ab" * 8


def config(mechanism: str, start: RunConfig | None = None) -> RunConfig:
    model = {"backbone": "micro", "mechanism": mechanism}
    if start is not None:
        model["weights"] = f"run:{start.fingerprint}"
    return resolve([("test", {"dataset": "toy", "model": model})])


ROOT = config("none")
ROWS = [("p/table1/d", config("m2a", ROOT)), ("p/table1/c", config("tea", ROOT)), ("p/table1/o", ROOT)]


class FakeProcess:
    """Ends when it is asked for the second time."""

    def __init__(self, code: int) -> None:
        self.code, self.asked, self.returncode = code, 0, None

    def poll(self) -> int | None:
        self.asked += 1
        self.returncode = self.code if self.asked > 1 else None
        return self.returncode


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs in the order in which they are begun; the start of seed 1 fails."""
    order: list[str] = []

    def start(job: Job, results: Path) -> Job:
        folder = make_run_folder(results, job.name)
        (folder / LOG_FILE).write_text("broken")
        order.append(f"{job.experiments[0].rpartition('/')[2]}{job.seed}")
        job.process = FakeProcess(1 if order[-1] == "o1" else 0)  # type: ignore[assignment]
        return job

    monkeypatch.setattr(schedule, "_start", start)
    monkeypatch.setattr(schedule, "POLL_SECONDS", 0)
    return order


def jobs(results: Path, seeds: Sequence[int]) -> list[Job]:
    return plan(ROWS, seeds, lambda _: DATASET, results)


def test_a_run_waits_for_the_one_of_its_own_seed(tmp_path: Path, begun: list[str]) -> None:
    planned = jobs(tmp_path, (0, 2))
    by_name = {job.name: job for job in planned}
    for job in planned:
        start = by_name[job.starts_from] if job.starts_from else None
        assert (start is None) == (job.config == ROOT)
        assert start is None or (start.seed == job.seed and start.config == ROOT)
    execute(planned, tmp_path, parallel=1)
    assert begun == ["o0", "d0", "c0", "o2", "d2", "c2"]  # printed order, but for the start
    assert all(job.finished for job in planned)


def test_two_at_once_leave_no_core_idle_while_a_start_trains(tmp_path: Path, begun: list[str]) -> None:
    execute(jobs(tmp_path, (0, 2)), tmp_path, parallel=2)
    assert sorted(begun[:2]) == ["o0", "o2"] and sorted(begun[2:]) == ["c0", "c2", "d0", "d2"]


def test_a_finished_start_is_not_waited_for(tmp_path: Path, begun: list[str]) -> None:
    name = next(job.name for job in jobs(tmp_path, (0,)) if job.config == ROOT)
    make_run_folder(tmp_path, name).joinpath(RUN_FILE).write_text('{"state": "finished"}')
    execute(jobs(tmp_path, (0,)), tmp_path, parallel=1)
    assert begun == ["d0", "c0"]


def test_a_failed_start_is_the_error_and_nothing_starts_from_it(tmp_path: Path, begun: list[str]) -> None:
    with pytest.raises(TrainingError, match="failed"):
        execute(jobs(tmp_path, (1,)), tmp_path, parallel=2)
    assert begun == ["o1"]


def test_a_run_that_fails_stops_no_other_but_those_that_start_from_it(tmp_path: Path, begun: list[str]) -> None:
    planned = jobs(tmp_path, (1, 0))
    with pytest.raises(TrainingError, match="3 of 6 runs failed") as failure:
        execute(planned, tmp_path, parallel=1)
    assert begun == ["o1", "o0", "d0", "c0"]
    assert [job.seed for job in planned if job.finished] == [0, 0, 0]
    assert all(job.failed == (job.seed == 1) for job in planned)
    told = str(failure.value)
    assert "broken" in told and "2 that would have started from their end were not begun" in told
    assert str(failure.value.where).endswith(f"_s1/{LOG_FILE}")
