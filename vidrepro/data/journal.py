"""The append-only journal of a preparation: what is done survives a kill, and the next call goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vidrepro.errors import ManifestError
from vidrepro.files import not_writable
from vidrepro.locks import ProcessLock

JOURNAL_NAME = ".journal.jsonl"
LOCK_NAME = ".prepare.lock"
_SCHEMA = 1


class Journal:
    """Rows of a manifest in the making, one JSON object a line in ``<folder>/.journal.jsonl``.

    The first line binds the journal to `key`, the fingerprint of the settings it was made with. A journal of other
    settings is discarded, and `discarded` says so. A last line torn by a kill is cut off. Only one process at a time
    prepares a folder. Use it as a context manager, or call `close`.

    Args:
        folder: the dataset's folder; created.
        key: fingerprint of everything that decides what a row will be.

    Attributes:
        done: the rows found and appended, by clip id, in the order they were written.
        discarded: a sentence for the user when an older journal did not fit, else None.

    Raises:
        BusyError: if another process prepares this folder.
        ManifestError: if the journal is damaged before its last line.
        ResultsError: if the folder cannot be written.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path = Path(folder) / JOURNAL_NAME
        self.key = key
        self.done: dict[str, dict[str, Any]] = {}
        self.discarded: str | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_writable(self.path.parent, error) from error
        self._lock = ProcessLock(self.path.with_name(LOCK_NAME))
        self._lock.acquire(f"another process is preparing '{self.path.parent.name}' right now")
        try:
            kept = self._recover()
            # unbuffered: what a full disk refused must not be tried again when the file is closed
            self._file = self.path.open("r+b" if kept else "wb", buffering=0)
            self._file.truncate(kept)
            self._file.seek(kept)
            if not kept:
                self._write({"journal": _SCHEMA, "key": key})
        except OSError as error:
            self._lock.release()
            raise not_writable(self.path, error) from error
        except BaseException:
            self._lock.release()
            raise

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one clip's row; it is in the file when this returns.

        Raises:
            ManifestError: if the row has no id, or one that is done already.
            ResultsError: if the disk is full.
        """
        clip = row.get("id")
        if not isinstance(clip, str) or clip in self.done:
            raise ManifestError("a journal's row needs an id of its own", given=clip, where=self.path)
        try:
            self._write(row)
        except OSError as error:
            raise not_writable(self.path, error) from error
        self.done[clip] = dict(row)

    def close(self) -> None:
        """Let go of the file and of the folder; the journal stays for the next call."""
        self._file.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, value: Mapping[str, Any]) -> None:
        # Written line by line, so that a kill tears the last one at most; not synced, it need not outlive a power cut.
        line = json.dumps(value, allow_nan=False, default=_plain).encode() + b"\n"
        while line:
            line = line[self._file.write(line) :]

    def _recover(self) -> int:
        """Read what an earlier process left; the number of bytes to keep, 0 to begin anew."""
        if not self.path.exists():
            return 0
        content = self.path.read_bytes()
        kept = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:kept].splitlines(), start=1):
            try:
                value = json.loads(line)
                if number > 1:
                    self.done[value["id"]] = value
            except (ValueError, KeyError, TypeError) as error:
                raise ManifestError(
                    "the journal of an interrupted preparation is damaged",
                    given=line[:80].decode(errors="replace"),
                    hint=f"delete {self.path.name} there to begin anew",
                    where=(self.path, number),
                ) from error
            if number == 1 and value != {"journal": _SCHEMA, "key": self.key}:
                self.discarded = "an interrupted preparation with other settings was found and discarded"
                return 0
        return kept


def _plain(value: Any) -> Any:
    """A NumPy number as a Python one."""
    return value.item()


def remove_journal(folder: Path) -> None:
    """Delete a folder's journal, when the manifest it led to is there."""
    (Path(folder) / JOURNAL_NAME).unlink(missing_ok=True)


def has_journal(folder: Path) -> bool:
    """Whether a preparation of this folder was begun and not finished."""
    return os.path.lexists(Path(folder) / JOURNAL_NAME)
