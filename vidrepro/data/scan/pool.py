"""Work in processes that may hang, crash or be killed: that costs the clip in hand, never the pool.

`concurrent.futures` gives up the whole pool when one process dies. Here every worker has a pipe of its own, so the
parent knows which clip a dead one had in hand, puts a new process in its place, and tries that clip once more.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from vidrepro.data.workers import end_with_parent
from vidrepro.errors import DataError

Task = TypeVar("Task")

_AHEAD = 2  # tasks a worker has: one in hand, one waiting in its pipe, so that it never waits for us
_TRIES = 2  # how often a task may kill its worker: the machine may have run out of memory for another reason
_START_SECONDS = 120.0  # for a worker to start and import, on a machine that is busy with other things
_START_DEATHS = 3  # in a row, before the pool gives up
_MEMORY = 3 * 2**30  # bytes a worker may allocate beyond what it starts with


@dataclass(frozen=True)
class Died:
    """A task that killed its worker each time it was tried.

    Attributes:
        reason: how the worker ended, as a clause for a report.
    """

    reason: str


def run_tasks(
    work: Callable[[Task], Any],
    tasks: Iterable[Task],
    workers: int,
    seconds: Callable[[Task], float],
) -> Generator[tuple[Task, Any]]:
    """Do every task in one of several processes, and give each with its result as it is done, in any order.

    Close the generator to end the workers at once; what they had in hand is lost.

    Args:
        work: what a worker does with a task; picklable, as tasks and results are. It must not raise: an exception
            there ends the run.
        tasks: taken from as workers become free.
        workers: processes.
        seconds: how long a task may take before its worker is killed.

    Yields:
        A task and its result, or `Died`.

    Raises:
        DataError: if no worker can be started.
        BaseException: what `work` raised.
    """
    waiting = _Waiting(tasks)
    crew = [_Worker(work) for _ in range(workers)]
    start_deaths = 0
    try:
        while True:
            for worker in crew:
                worker.fill(waiting, seconds)
            busy = [worker for worker in crew if worker.tasks]
            if not busy:
                return
            until = min(worker.deadline for worker in busy) - time.monotonic()
            readable = wait([worker.connection for worker in busy], max(until, 0.0))
            for worker in busy:
                if worker.connection in readable:
                    try:
                        reply = worker.connection.recv()
                    except (EOFError, OSError):
                        reason = worker.end()
                    else:
                        start_deaths = 0
                        if isinstance(reply, BaseException):
                            raise reply
                        yield from worker.take(reply, seconds)
                        continue
                elif worker.deadline <= time.monotonic():
                    reason = worker.kill()
                else:
                    continue
                if not worker.ready:
                    start_deaths += 1
                    if start_deaths == _START_DEATHS:
                        raise DataError(
                            "the processes that check clips do not start",
                            given=reason,
                            hint="a lack of memory is the usual reason; --workers 1 needs the least",
                        )
                lost = waiting.give_back(worker.tasks, guilty=worker.ready)
                crew[crew.index(worker)] = _Worker(work)
                if lost is not None:
                    yield lost, Died(reason)
    finally:
        for worker in crew:
            worker.kill()


class _Waiting(Generic[Task]):
    """The tasks still to be handed out, and how often each has killed its worker."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._new = iter(tasks)
        self._again: deque[tuple[Task, int]] = deque()

    def next(self) -> tuple[Task, int] | None:
        if self._again:
            return self._again.popleft()
        for task in self._new:
            return task, 0
        return None

    def give_back(self, tasks: deque[tuple[Task, int]], *, guilty: bool) -> Task | None:
        """Take back what a dead worker had; the task in its hand, if that has now had all its tries."""
        lost: Task | None = None
        if tasks and guilty:
            task, deaths = tasks.popleft()
            if deaths + 1 >= _TRIES:
                lost = task
            else:
                self._again.append((task, deaths + 1))
        self._again.extend(tasks)
        return lost


@dataclass(eq=False)
class _Worker(Generic[Task]):
    """One process, started at once, and the tasks it has."""

    work: Callable[[Task], Any]
    tasks: deque[tuple[Task, int]] = field(default_factory=deque)
    ready: bool = False

    def __post_init__(self) -> None:
        # spawned, not forked: a caller that has used torch has threads, and a fork of them may hang
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self.work), daemon=True)
        self._process.start()
        theirs.close()  # or its end would stay open when the worker dies
        self.deadline = time.monotonic() + _START_SECONDS

    def fill(self, waiting: _Waiting[Task], seconds: Callable[[Task], float]) -> None:
        """Hand it tasks."""
        while len(self.tasks) < _AHEAD and (entry := waiting.next()) is not None:
            if self.ready and not self.tasks:
                self.deadline = time.monotonic() + seconds(entry[0])
            self.tasks.append(entry)
            with contextlib.suppress(OSError):  # it died: the next reading tells
                self.connection.send(entry[0])

    def take(self, reply: Any, seconds: Callable[[Task], float]) -> Iterator[tuple[Task, Any]]:
        """A reply: the first says that it has started, every other is the result of the task in hand."""
        done: Task | None = None
        if self.ready:
            done = self.tasks.popleft()[0]
        else:
            self.ready = True
        if self.tasks:
            self.deadline = time.monotonic() + seconds(self.tasks[0][0])
        if done is not None:
            yield done, reply

    def end(self) -> str:
        """How a worker ended that has closed its pipe."""
        self._process.join(5)
        code = self._process.exitcode
        if code is None:
            self.kill()
            return "its process stopped answering"
        if code == -signal.SIGKILL:
            return "its process was killed, as happens when memory runs out"
        if code < 0:
            return f"the decoder crashed its process ({signal.Signals(-code).name})"
        return f"its process ended with status {code}"

    def kill(self) -> str:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.join(5)
        self.connection.close()
        return "decoding it did not end in time"


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """The life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches every process; the parent ends us
    end_with_parent()
    _limit_memory()
    connection.send("ready")
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            reply = work(task)
        except Exception as error:
            reply = error
        connection.send(reply)


def _limit_memory() -> None:
    """Let a file that decodes to gigabytes fail here; if memory runs out all the same, let this process go first."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (now + _MEMORY, hard))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
