"""Unpack what a download consists of, so that a killed call goes on and a finished one is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vidrepro.data.archives.byte_stream import Segment
from vidrepro.data.archives.extract import Extraction
from vidrepro.data.archives.multipart import check_archive, segments_of
from vidrepro.data.archives.names import RESERVED, problem_of
from vidrepro.data.archives.refusals import refuse
from vidrepro.data.archives.space import Space
from vidrepro.data.archives.stamps import Stamp
from vidrepro.data.archives.writer import Writer
from vidrepro.files import make_folder
from vidrepro.locks import ProcessLock

if TYPE_CHECKING:
    from vidrepro.data.sources.official import ArchiveSet

Say = Callable[[str], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class UnpackReport:
    """What `unpack` did.

    Attributes:
        sets: sets of archives that were given.
        already: how many of them an earlier call had finished.
        files: files that were unpacked, those that an earlier, killed call wrote included.
        bytes: their size.
        seconds: time it took.
        notes: what is worth telling: files left out (macOS's side files), archives kept as files.
    """

    sets: int
    already: int
    files: int
    bytes: int
    seconds: float
    notes: tuple[str, ...] = ()


def unpack(
    sets: Sequence[ArchiveSet], target: Path, *, say: Say | None = None, progress: Progress | None = None
) -> UnpackReport:
    """Unpack sets of archives below a folder.

    Kinds are told by magic bytes. A set is one archive, a byte split of one (bare, or each part in a zip), or several
    archives. Archives inside an archive are unpacked where they lie, one level deep. The bytes stream from the parts to
    the members: no second copy of the download is made, except of rars and of zips inside others.

    A member is written to a temporary name and renamed. A killed call's work is kept: the same call again ends in the
    same files. A finished set leaves a stamp in ``<target>/.unpacked`` and is not looked at again unless its files
    change.

    Args:
        sets: what to unpack, in order.
        target: the folder; created.
        say: told what happens, a line at a time.
        progress: called with (bytes read, bytes in all) of the archives.

    Raises:
        DataError: naming archive and member. The whole archive is refused if anything in it is damaged, is a link or a
            device, would leave the folder, or has no room on the disk; members before that one stay, as unfinished
            work. Also if another process unpacks to this folder.
        ResultsError: if the target cannot be written.
    """
    began = time.monotonic()
    say = say or (lambda line: None)
    target = Path(target)
    make_folder(target / RESERVED)
    with ProcessLock(target / RESERVED / "lock").held(f"another process is unpacking to '{target}' right now"):
        run = _Run(target.resolve(), say, progress)
        jobs = [_Job(archive_set, run.target) for archive_set in sets]
        run.total = sum(job.packed for job in jobs if not job.already)
        for job in jobs:
            run.set(job)
    already = sum(job.already for job in jobs)
    return UnpackReport(len(sets), already, run.files, run.bytes, time.monotonic() - began, tuple(run.notes))


class _Job:
    """A set, looked at."""

    def __init__(self, archive_set: ArchiveSet, target: Path) -> None:
        self.set = archive_set
        parts = list(archive_set.parts)
        if not parts:
            raise ValueError(f"no files to unpack: {archive_set.what}")
        for part in parts:
            check_archive(part, part_of_split=len(parts) > 1)
        self.name = parts[0].name if len(parts) == 1 else f"{parts[0].name} to {parts[-1].name}"
        self.packed = sum(part.stat().st_size for part in parts)
        self.stamp = Stamp(target, archive_set.into, parts)
        self.already = self.stamp.finished

    def archives(self) -> list[tuple[str, list[Segment]]]:
        """Name and bytes of each archive that the set consists of."""
        parts = list(self.set.parts)
        split = segments_of(parts)
        if split is not None:
            return [(self.name, split)]
        return [(part.name, [Segment(part, part.stat().st_size, None, part.name)]) for part in parts]


class _Run:
    """One call of `unpack`."""

    def __init__(self, target: Path, say: Say, progress: Progress | None) -> None:
        self.target = target
        self.total = 0
        self.files = 0
        self.bytes = 0
        self.notes: list[str] = []
        self._say = say
        self._progress = progress
        self._finished = 0
        self._read = 0
        self._packed = 0

    def set(self, job: _Job) -> None:
        """Unpack one set unless that is done."""
        if job.already:
            self._say(f"{job.set.what}: already unpacked")
            return
        problem = problem_of(job.set.into)
        if problem is not None:
            raise refuse(job.name, problem, member=job.set.into)
        stamp = job.stamp
        space = Space(self.target, job.packed, job.name)
        space.expect(job.packed - stamp.bytes)
        going_on = f", going on after {stamp.members:,} files" if stamp.members else ""
        self._say(f"unpacking {job.set.what} ({job.name}, {job.packed / 1e9:.2f} GB){going_on}")
        writer = Writer(
            self.target,
            job.set.into,
            job.name,
            space,
            resume=stamp.members,
            resumed_bytes=stamp.bytes,
            done=stamp.note,
        )
        writer.clear_scratch()
        writer.folder(writer.into)
        extraction = Extraction(writer, self._say)
        self._read, self._packed = 0, job.packed
        try:
            for name, segments in job.archives():
                extraction.split(segments, name, self._tick)
        finally:
            writer.clear_scratch()
        stamp.finish(job.set.what, writer.files, writer.bytes, writer.digest, sorted(writer.top))
        self._finished += job.packed
        self._tick(0, done=True)
        self.files += writer.files
        self.bytes += writer.bytes
        if extraction.side_files:
            self.notes.append(f"{job.name}: {extraction.side_files} side files of macOS (__MACOSX) left out")
        if extraction.kept:
            self.notes.append(f"{job.name}: {extraction.kept} archives inside archives kept as files")

    def _tick(self, count: int, *, done: bool = False) -> None:
        # a zip's list of members is read besides its content: never more than the set weighs
        self._read = 0 if done else min(self._read + count, self._packed)
        if self._progress is not None:
            self._progress(min(self._finished + self._read, self.total), self.total)
