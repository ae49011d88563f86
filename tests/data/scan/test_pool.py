"""Workers that crash, hang or are killed: each costs the task in its hand, nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from vidrepro.data.scan.pool import Died, run_tasks
from vidrepro.errors import DataError


def behave(task: str) -> str:
    """What a worker does with a task, told by its name."""
    kind, _, rest = task.partition(" ")
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "leave":
        os._exit(3)
    if kind == "hang":
        time.sleep(600)
    if kind == "once":  # the first try dies, as when another program had taken the memory
        with Path(rest).open("a+") as file:
            file.write("x")
            if file.tell() == 1:
                os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hungry":
        return "refused" if _cannot_allocate() else "allocated"
    if kind == "raise":
        raise DataError("the disk is full")
    return task.upper()


def _cannot_allocate() -> bool:
    try:
        bytearray(8 * 2**30)
    except MemoryError:
        return True
    return False


def limit(task: str) -> float:
    return 0.5 if task == "hang" else 60.0


def test_a_worker_that_dies_costs_its_task_alone(tmp_path) -> None:
    tasks = [f"good {number}" for number in range(30)]
    for place, task in (
        (3, "crash"),
        (7, "hang"),
        (11, "killed"),
        (12, "leave"),
        (20, f"once {tmp_path}/tries"),
        (25, "hungry"),
    ):
        tasks.insert(place, task)
    found = dict(run_tasks(behave, iter(tasks), 2, limit))
    assert len(found) == len(tasks)
    assert {task: found.pop(task) for task in ("crash", "hang", "killed", "leave", "hungry")} == {
        "crash": Died("the decoder crashed its process (SIGSEGV)"),
        "hang": Died("decoding it did not end in time"),
        "killed": Died("its process was killed, as happens when memory runs out"),
        "leave": Died("its process ended with status 3"),
        "hungry": "refused",
    }
    assert all(result == task.upper() for task, result in found.items())


def test_closing_ends_the_workers() -> None:
    results = run_tasks(behave, ["good 1", "hang", "hang"], 2, lambda task: 600.0)
    assert next(results)[0] == "good 1"
    results.close()
    assert multiprocessing.active_children() == []


def test_an_error_of_ours_ends_the_run() -> None:
    with pytest.raises(DataError, match="the disk is full"):
        list(run_tasks(behave, ["good 1", "raise", "good 2"], 1, limit))
    assert multiprocessing.active_children() == []


def test_no_task_needs_no_worker() -> None:
    assert list(run_tasks(behave, [], 0, limit)) == []
