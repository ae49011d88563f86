"""How a training run tells where it is: a line on the terminal, or a small file another process reads."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol as Interface

from vidrepro.files import atomic_write_json


@dataclass(frozen=True)
class Progress:
    """A moment of a run."""

    epoch: int  # counted from 1
    epochs: int
    batch: int
    batches: int
    loss: float
    accuracy: float | None  # best validation top-1 so far, percent
    clips_per_second: float
    data_seconds: float  # a batch, waiting for the loader
    compute_seconds: float  # a batch, everything else
    remaining_seconds: float  # of training and of the evaluations between
    phase: str = "train"  # or the split being evaluated: then batch and batches count clips

    def line(self) -> str:
        """One line for people."""
        best = f"  best val {self.accuracy:.1f} %" if self.accuracy is not None else ""
        minutes, seconds = divmod(int(self.remaining_seconds), 60)
        return (
            f"epoch {self.epoch}/{self.epochs} {self.phase} {self.batch}/{self.batches}  loss {self.loss:.3f}{best}  "
            f"{self.clips_per_second:.0f} clips/s (data {1000 * self.data_seconds:.0f} ms + compute "
            f"{1000 * self.compute_seconds:.0f} ms a batch)  ETA {minutes}:{seconds:02d}"
        )

    @property
    def share(self) -> float:
        """Part of the training batches that is done, 0 to 1."""
        inside = self.batch / max(self.batches, 1) if self.phase == "train" else 1.0
        return min(1.0, (self.epoch - 1 + inside) / self.epochs)


class Reporter(Interface):
    """Receives a run's progress."""

    def update(self, progress: Progress) -> None:
        """Called at every step; must be cheap."""


class FileReporter:
    """Writes progress to a file that a waiting parent reads, at most twice a second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = 0.0

    def update(self, progress: Progress) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.5
            atomic_write_json(self.path, asdict(progress))


class ConsoleReporter:
    """A rich progress line on a terminal; a plain line every half minute elsewhere."""

    def __init__(self, title: str) -> None:
        from rich.progress import Progress as RichProgress

        from vidrepro.terminal import PlainConsole, bar_columns

        self._console = PlainConsole(stderr=True)
        self._bar = RichProgress(*bar_columns("line", width=24), console=self._console)
        self._task = self._bar.add_task(title, total=1.0, line="starting")
        self._next = 0.0

    def update(self, progress: Progress) -> None:
        if time.monotonic() < self._next:
            return
        if self._console.is_terminal:
            self._bar.start()
            self._bar.update(self._task, completed=progress.share, line=progress.line())
            self._next = time.monotonic() + 0.2
        else:
            self._console.print(progress.line())
            self._next = time.monotonic() + 30

    def close(self) -> None:
        """Leave the last line standing."""
        self._bar.stop()


class StopSignal:
    """Whether training should stop at the next safe moment: Ctrl-C, SIGTERM, or the death of the parent process."""

    def __init__(self) -> None:
        self.requested = False
        self._parent = os.getppid()

    def __bool__(self) -> bool:
        return self.requested or os.getppid() != self._parent

    @contextmanager
    def installed(self) -> Iterator[StopSignal]:
        """Catch the signals inside the block (main thread only); a second Ctrl-C stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def request(number: int, frame: FrameType | None) -> None:
            if self.requested:
                raise KeyboardInterrupt
            self.requested = True

        try:
            for number in previous:
                signal.signal(number, request)
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
