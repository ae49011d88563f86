"""Errors a user can act on: what is wrong, what was given, what is allowed, what to do next.

Every refusal in vidrepro is a `VidreproError`; the command line prints it as one panel and exits
with code 2. Anything else that escapes is a defect of ours.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, a quota, a limit on file sizes


class VidreproError(Exception):
    """A refusal with its reason.

    Args:
        problem: what is wrong, as one sentence.
        given: the value or file that was received.
        allowed: what would have been accepted: a sentence, or a list of names.
        hint: what to do next, ideally a command.
        where: file, optionally with a line number, the problem was found in.
    """

    def __init__(
        self,
        problem: str,
        *,
        given: object = None,
        allowed: str | Iterable[object] | None = None,
        hint: str | None = None,
        where: Path | str | tuple[Path | str, int] | None = None,
    ) -> None:
        self.problem = problem
        self.given = given
        self.allowed = (
            allowed if allowed is None or isinstance(allowed, str) else ", ".join(str(item) for item in allowed)
        )
        self.hint = hint
        self.where = f"{where[0]}, line {where[1]}" if isinstance(where, tuple) else where and str(where)
        super().__init__(self._text())

    def details(self) -> list[tuple[str, str]]:
        """The labelled lines below the problem, in reading order; empty ones are left out."""
        pairs = (("where", self.where), ("given", self.given), ("allowed", self.allowed), ("next", self.hint))
        return [(label, str(value)) for label, value in pairs if value is not None]

    def _text(self) -> str:
        return "\n".join([self.problem, *(f"  {label}: {value}" for label, value in self.details())])

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call __init__ with the whole text; a DataLoader worker's error must survive pickling.
        return _rebuild, (type(self), self.problem, self.given, self.allowed, self.hint, self.where)


def _rebuild(
    kind: type[VidreproError], problem: str, given: object, allowed: str | None, hint: str | None, where: str | None
) -> VidreproError:
    return kind(problem, given=given, allowed=allowed, hint=hint, where=where)


class ConfigError(VidreproError):
    """A setting that is unknown, of the wrong type, or contradicts another."""


class UnknownNameError(VidreproError):
    """A backbone, mechanism, dataset, preset, paper, table, row or run nobody knows."""


class DataError(VidreproError):
    """A clip or a file of clips that cannot be used."""


class ManifestError(DataError):
    """A manifest that is missing, malformed, or does not describe what lies on disk."""


class DecodeError(DataError):
    """A video or image sequence that does not decode to the frames it promises."""


class CheckpointError(VidreproError):
    """A checkpoint or weight file that is unsafe, damaged, or belongs to another network or run."""


class ModelError(VidreproError):
    """A combination of backbone, mechanism, variant and options that cannot be built."""


class ResultsError(VidreproError):
    """A results folder that cannot be written, or a run in it that cannot be read."""


class BusyError(ManifestError, ResultsError):
    """Work on a dataset or a run that another process is doing right now; ``given`` says which process."""


class NotFiniteError(ResultsError, ValueError):
    """NaN or an infinite number in what is to be saved, or was read."""


class TrainingError(VidreproError):
    """Training that must not go on, such as a loss that is no longer finite."""


def unknown_name(kind: str, given: str, allowed: Iterable[str], *, hint: str | None = None) -> UnknownNameError:
    """The error for a name that is not among `allowed`, with the closest ones first.

    Args:
        kind: what the name should have named, e.g. ``"backbone"``.
        given: the name received.
        allowed: every valid name.
        hint: what to do next; the closest name is suggested when this is None.
    """
    names = sorted(set(allowed))
    close = closest(given, names)
    if hint is None and close:
        hint = f"did you mean {' or '.join(repr(name) for name in close)}?"
    return UnknownNameError(f"unknown {kind} '{given}'", given=given, allowed=names or "(none)", hint=hint)


def closest(given: str, names: Iterable[str], count: int = 2) -> list[str]:
    """The valid names most like `given`, best first; empty when nothing is close."""
    by_lower = {name.lower(): name for name in names}
    return [by_lower[match] for match in difflib.get_close_matches(given.lower(), list(by_lower), n=count, cutoff=0.5)]


def system_error(error: BaseException) -> OSError | None:
    """The system's own refusal that an exception is, or came of; None if there is none.

    A library may raise something else on the way out of a write that failed, as torch.save does.
    """
    if isinstance(error, OSError):
        return error
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (*NO_ROOM, errno.EIO, errno.EROFS):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


# How torch, in a plain RuntimeError, tells what the machine refused -> what to do.
_TORCHS_WORDS = {
    "can't allocate memory": "lower train.batch_size or the network's width with --set, or --jobs",
    "Storage size calculation overflowed": "lower the network's width, or what else is large, with --set",
    "DataLoader worker (pid": "it was killed, as for want of memory: fewer --workers, or more shared memory (/dev/shm)",
    "No space left on device": "make room: shared memory of loader processes is /dev/shm; or use --workers 0",
}


def machine_refusal(error: BaseException) -> VidreproError | None:
    """What the machine refused where nobody nearer could say it better: a file, a disk, memory; None for the rest."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, for a GPU
        first = str(error).partition(". ")[0] or "no more could be had"
        return VidreproError(f"not enough memory: {first}", hint="lower train.batch_size with --set, or --jobs")
    if isinstance(error, RuntimeError):
        for words, hint in _TORCHS_WORDS.items():
            if words in str(error):
                said = next(line for line in str(error).splitlines() if words in line)
                return VidreproError(f"the machine refused: {said.strip()}", hint=hint)
    refused = system_error(error)
    if refused is None:
        return None
    reason = refused.strerror or str(refused).strip().rpartition("\n")[2] or type(refused).__name__
    if not isinstance(refused.filename, str | bytes):
        return VidreproError(f"the system refused: {reason}")
    return VidreproError(
        f"cannot read or write '{os.fsdecode(refused.filename)}': {reason}",
        hint="check the path, its permissions and the room on its disk",
    )
