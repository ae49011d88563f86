"""Several runs: which are still to do, and doing them side by side, each in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidrepro.config import START_RUN, RunConfig
from vidrepro.errors import TrainingError
from vidrepro.files import writing
from vidrepro.runs.folder import PROGRESS_FILE, lock_holder, make_run_folder, run_id, runs_folder
from vidrepro.runs.record import is_finished
from vidrepro.training.progress import Progress

POLL_SECONDS = 0.5
STOP_SECONDS = 120.0  # a child finishes its step and writes its checkpoint in this time
LOG_FILE = "train.log"
BUSY = 75  # how `vidrepro train` ends for an ablation when another process works on the run (EX_TEMPFAIL)


@dataclass
class Job:
    """One run of an ablation, shared by every row that resolves to the same config; it may start from another's end."""

    config: RunConfig
    seed: int
    experiments: list[str]
    name: str
    finished: bool = False
    starts_from: str | None = None  # name of the run whose checkpoint it starts from, where that is one of the jobs
    arguments: list[str] = field(default_factory=list)  # of `vidrepro train`
    process: subprocess.Popen[bytes] | None = None
    progress: Progress | None = None
    started: float | None = None
    held_by: str | None = None  # another ablation's process that trains it right now
    failed: bool = False  # ended without a result, or would have to start from one that did


def plan(
    rows: Sequence[tuple[str, RunConfig]],
    seeds: Sequence[int],
    dataset_fingerprint: Callable[[RunConfig], str],
    results: Path,
) -> list[Job]:
    """The runs behind a choice of rows and seeds, in the rows' order, each once.

    Args:
        rows: (experiment id, resolved config).
        seeds: one run per row and seed.
        dataset_fingerprint: of the prepared dataset under a config's fold and task.
        results: where finished runs are looked up.
    """
    jobs: dict[str, Job] = {}
    for seed in seeds:
        for experiment, config in rows:
            name = run_id(config, dataset_fingerprint(config), seed)
            if name in jobs:
                jobs[name].experiments.append(experiment)
            else:
                jobs[name] = Job(config, seed, [experiment], name, is_finished(runs_folder(results) / name))
    for job in jobs.values():
        start = (job.config.model.weights or "").removeprefix(START_RUN)
        of_seed = (other for other in jobs.values() if other.seed == job.seed and other.config.fingerprint == start)
        job.starts_from = next((other.name for other in of_seed), None)
    return list(jobs.values())


def execute(
    jobs: Sequence[Job], results: Path, *, parallel: int, on_change: Callable[[Sequence[Job]], None] | None = None
) -> None:
    """Carry out the jobs that are not finished, at most `parallel` at once.

    What another process trains, such as a second ablation in the same folder, is left to it and waited for; if that
    process is killed, the run goes on here. A run that fails, because it diverges for instance, stops no other but
    those that start from it.

    Args:
        jobs: with `arguments` filled in.
        results: the results folder given to each of them.
        parallel: processes at once.
        on_change: called with all jobs about twice a second.

    Raises:
        TrainingError: in the end, if runs have failed.
        KeyboardInterrupt: passed on after every child has written its checkpoint.
    """
    waiting = [job for job in jobs if not job.finished]
    unfinished = {job.name for job in waiting}
    running: list[Job] = []
    try:
        while running or waiting:
            for job in waiting:
                _look_at_others(job, results)
            unfinished -= {job.name for job in waiting if job.finished}
            waiting = [job for job in waiting if not job.finished]
            ready = [job for job in waiting if job.starts_from not in unfinished and job.held_by is None]
            while ready and len(running) < parallel:
                running.append(_start(ready[0], results))
                waiting.remove(ready.pop(0))
            time.sleep(POLL_SECONDS)
            for job in list(running):
                assert job.process is not None
                job.progress = _read_progress(results, job) or job.progress
                if job.process.poll() is not None:
                    running.remove(job)
                    job.finished = job.process.returncode == 0
                    unfinished -= {job.name} if job.finished else set()
                    if job.process.returncode == BUSY:
                        waiting.insert(0, job)
                    elif not job.finished:
                        _give_up(job, waiting)
            waiting = [job for job in waiting if not job.failed]
            if on_change:
                on_change(jobs)
    except BaseException:
        _stop(running)
        raise
    if failed := [job for job in jobs if job.failed]:
        raise _failure(failed, len(jobs), results)


def _give_up(job: Job, waiting: Sequence[Job]) -> None:
    """Mark a run as failed, and what waits for its end."""
    job.failed = True
    for other in waiting:
        if other.starts_from == job.name:
            _give_up(other, waiting)


def _failure(failed: Sequence[Job], count: int, results: Path) -> TrainingError:
    """The error about runs that failed: the first one's last words, and where those of the others are."""
    logs = [runs_folder(results) / job.name / LOG_FILE for job in failed if job.process is not None]
    words = logs[0].read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]
    others = [f"see also {log}" for log in logs[1:]]
    never_begun = len(failed) - len(logs)
    if never_begun:
        others.append(f"{never_begun} that would have started from their end were not begun")
    return TrainingError(
        f"the run {failed[0].name} failed" if len(failed) == 1 else f"{len(failed)} of {count} runs failed",
        given="\n".join(["", *words, *others]),
        hint="mend the cause and give the same command again: finished runs are kept",
        where=logs[0],
    )


def _look_at_others(job: Job, results: Path) -> None:
    """Whether a job that waits has been done, or is being done, by another process."""
    folder = runs_folder(results) / job.name
    held_by = lock_holder(folder)  # asked first: a run is finished before its lock is given back
    job.finished = is_finished(folder)
    job.held_by = None if job.finished else held_by


def _start(job: Job, results: Path) -> Job:
    folder = make_run_folder(results, job.name)
    progress = folder / PROGRESS_FILE
    progress.unlink(missing_ok=True)
    command = [sys.executable, "-m", "vidrepro", "train", *job.arguments, "--progress-file", str(progress)]
    with writing(folder / LOG_FILE), (folder / LOG_FILE).open("ab") as log:
        # A session of its own: Ctrl-C reaches the parent alone, which passes it on once.
        job.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    job.started = time.monotonic()
    return job


def _read_progress(results: Path, job: Job) -> Progress | None:
    try:
        text = (runs_folder(results) / job.name / PROGRESS_FILE).read_text(encoding="utf-8")
        return Progress(**json.loads(text))
    except (OSError, ValueError, TypeError):
        return None  # not begun yet


def _stop(running: Sequence[Job]) -> None:
    processes = [job.process for job in running if job.process is not None]
    for process in processes:
        process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
