"""One process at a time: a lock file that goes with the process that holds it, and beside it who that is."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vidrepro.errors import BusyError
from vidrepro.files import not_writable

POLL_SECONDS = 0.2
HOLDER_SUFFIX = ".holder"


class ProcessLock:
    """A lock file that one process holds at a time; a killed process holds it no longer.

    Args:
        path: of the lock file, in a folder that exists.
    """

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)
        self._holder = path.with_name(path.name + HOLDER_SUFFIX)

    def acquire(self, problem: str, *, seconds: float = 0, tell: Callable[[str], None] | None = None) -> None:
        """Take the lock.

        Args:
            problem: of the refusal, e.g. ``another process is preparing 'ucf101'``.
            seconds: how long to wait for another process; may be infinite.
            tell: called once with who holds the lock, if that is somebody.

        Raises:
            BusyError: if another process still holds it then, saying which.
            ResultsError: if the folder cannot be written.
        """
        deadline = time.monotonic() + seconds
        while not self._try():
            if tell is not None:
                tell(self._who())
                tell = None
            if time.monotonic() >= deadline:
                raise BusyError(
                    problem,
                    given=self._who(),
                    hint="wait for it to end, or stop it, then give the same command again",
                    where=self._holder.parent,
                )
            time.sleep(POLL_SECONDS)
        try:
            self._holder.write_text(f"process {os.getpid()} on host {socket.gethostname()}\n", encoding="utf-8")
        except OSError as error:
            self.release()
            raise not_writable(self._holder, error) from error

    def release(self) -> None:
        """Let go of it."""
        with suppress(OSError):
            self._holder.unlink(missing_ok=True)
        self._lock.release()

    @contextmanager
    def held(self, problem: str, *, seconds: float = 0, tell: Callable[[str], None] | None = None) -> Iterator[None]:
        """Hold the lock inside the block; see `acquire`."""
        self.acquire(problem, seconds=seconds, tell=tell)
        try:
            yield
        finally:
            self.release()

    def _try(self) -> bool:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            raise not_writable(self._holder.parent, error) from error
        except NotImplementedError as error:
            raise not_writable(self._holder.parent, OSError(errno.ENOLCK, "no file locks there")) from error
        return True

    def _who(self) -> str:
        try:
            return self._holder.read_text(encoding="utf-8").strip() or "another process"
        except (OSError, ValueError):  # it has only just begun
            return "another process"


def holder(path: Path) -> str | None:
    """Who holds a lock file right now, e.g. ``process 4711 on host node3``; None if nobody does."""
    if not path.is_file():
        return None
    lock = ProcessLock(path)
    if lock._try():
        lock._lock.release()
        return None
    return lock._who()
