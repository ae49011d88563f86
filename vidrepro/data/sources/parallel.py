"""Work in several processes that survives Ctrl-C, a killed parent and a killed worker without losing what is done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from vidrepro.data.workers import end_with_parent
from vidrepro.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_chunks(
    work: Callable[[list[Item]], list[Result]],
    chunks: Sequence[list[Item]],
    workers: int,
    finish: Callable[[list[Result]], None],
) -> None:
    """Hand chunks of work to processes, a few ahead, and their results to `finish` as they come, in any order.

    Args:
        work: what a worker does with a chunk; picklable.
        chunks: each is done as a whole, so small ones let Ctrl-C be answered at once.
        workers: processes.
        finish: called in this process; on Ctrl-C also with what the workers still had in their hands, and again with
            the results it was interrupted in.

    Raises:
        DataError: if a worker is killed.
        KeyboardInterrupt: on Ctrl-C, after the workers have ended.
    """
    waiting = iter(chunks)
    running: set[Future[list[Result]]] = set()
    # spawned, not forked: a caller that has used torch has threads, and a fork of them may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(chunks)), context, initializer=end_with_parent) as pool:
        try:
            with _interrupts_ignored_by_children():
                running |= {pool.submit(work, chunk) for chunk in islice(waiting, 2 * workers)}
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    finish(future.result())
                    running.discard(future)  # only now: an interrupted finish is called again below
                running |= {pool.submit(work, chunk) for chunk in islice(waiting, len(done))}
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            for future in running:
                if not future.cancelled() and future.exception() is None:
                    finish(future.result())
            raise
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process was killed",
                allowed="workers that end by themselves; a lack of memory is the usual reason",
                hint="the same command goes on from there; --workers 1 needs the least memory",
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _interrupts_ignored_by_children() -> Iterator[None]:
    """Ctrl-C in a terminal reaches every process; the workers started in this block leave it to us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
