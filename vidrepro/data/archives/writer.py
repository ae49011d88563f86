"""Members to files: checked names, a temporary name first, and nothing twice after a kill."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

from vidrepro.data.archives.byte_stream import CHUNK
from vidrepro.data.archives.names import RESERVED, clean, problem_of
from vidrepro.data.archives.refusals import naming, refuse
from vidrepro.data.archives.space import Space
from vidrepro.errors import VidreproError
from vidrepro.files import not_writable

_TOPS = 64


class Writer:
    """Writes one archive's members below a folder and counts them.

    The first `resume` members were written by an earlier call that was killed; those that are there with their size
    are not written again. All others are, even over a file of the same name: the result is that of one whole call.

    Args:
        target: the folder of all unpacked archives; its `RESERVED` folder takes the unfinished file.
        into: folder below it for this archive; empty for the target itself.
        archive: the archive's name, for messages.
        space: the room there is.
        resume: members that need not be written again.
        resumed_bytes: their bytes.
        done: called with (members, bytes) after each member.
    """

    def __init__(
        self,
        target: Path,
        into: str,
        archive: str,
        space: Space,
        *,
        resume: int = 0,
        resumed_bytes: int = 0,
        done: Callable[[int, int], None] | None = None,
    ) -> None:
        self.archive = archive
        self.space = space
        self.files = 0
        self.bytes = 0
        self.top: set[str] = set()
        self._target = target
        self.into = clean(into)
        self.resumed_bytes = resumed_bytes
        self._resume = resume
        self._done = done
        self._digest = hashlib.sha256()
        self._rewritten: set[str] = set()
        self._folders: set[str] = set()
        self.scratch = target / RESERVED / "scratch"
        self._temporary = self.scratch / "member"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the names and sizes of all files, in the archive's order."""
        return self._digest.hexdigest()

    def path_of(self, name: str, below: str, archive: str) -> str:
        """Where a member goes, relative to the target.

        Args:
            name: the member's name.
            below: folder relative to the target: `into`, or where the archive lies that is inside another.
            archive: the archive that the member lies in.

        Raises:
            DataError: if the name would leave the target or cannot be stored.
        """
        problem = problem_of(name)
        if problem is not None:
            raise refuse(archive, problem, member=name)
        return "/".join(part for part in (below, clean(name)) if part)

    def folder(self, relative: str) -> None:
        """Create a folder (a path of `path_of`) and those above it."""
        if relative in self._folders:
            return
        parent = relative.rpartition("/")[0]
        if parent:
            self.folder(parent)
        path = self._target / relative
        try:
            if not relative:
                path.mkdir(parents=True, exist_ok=True)
            elif path.is_symlink():
                raise refuse(
                    self.archive,
                    f"'{path}' is a link, and what goes through it would land elsewhere",
                    hint="remove the link",
                )
            else:
                path.mkdir(exist_ok=True)
        except OSError as error:
            raise self._disk_error(path, error) from error
        if len(self._folders) > 100_000:
            self._folders.clear()  # a memory of what exists, not a list: it may be forgotten
        self._folders.add(relative)

    def has(self, relative: str, size: int) -> bool:
        """Count the member as written if an earlier call wrote it; else tell that it must be written."""
        if self.files >= self._resume:
            return False
        try:
            found = (self._target / relative).lstat()
        except OSError:
            found = None
        if (
            found is None
            or not stat.S_ISREG(found.st_mode)
            or found.st_size != size
            or relative in self._rewritten
            or (self._target / relative).parent.is_symlink()
        ):
            self._rewritten.add(relative)
            return False
        self.space.claim(size, relative, written=False)
        self._count(relative, size)
        return True

    def write(self, relative: str, size: int, first: bytes, rest: IO[bytes], *, archive: str, member: str) -> None:
        """Write one member: to a temporary name, renamed when it is whole.

        Args:
            relative: a path of `path_of`.
            size: its declared size in bytes; another size is refused.
            first: its first bytes, read already.
            rest: the bytes after them.
            archive: the archive it lies in.
            member: its own name, for messages.

        Raises:
            DataError: if its bytes are damaged or too few or too many, or the disk has no room.
            ResultsError: if it cannot be written.
        """
        self.space.claim(size, member)
        self.folder(relative.rpartition("/")[0])
        path = self._target / relative
        try:
            self._copy(size, first, rest, archive, member)
            self._temporary.replace(path)
        except OSError as error:
            self._temporary.unlink(missing_ok=True)
            raise self._disk_error(path, error) from error
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise
        self._count(relative, size)

    def move(self, file: Path, relative: str, size: int) -> None:
        """Take over a file that a system unpacker wrote in the scratch folder."""
        self.folder(relative.rpartition("/")[0])
        path = self._target / relative
        try:
            file.chmod(0o644)
            file.replace(path)
        except OSError as error:
            raise self._disk_error(path, error) from error
        self._count(relative, size)

    def clear_scratch(self) -> None:
        """Remove what an earlier call left unfinished."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_writable(self.scratch, error) from error

    def _disk_error(self, path: Path, error: OSError) -> VidreproError:
        if isinstance(error, FileExistsError | IsADirectoryError | NotADirectoryError):
            return refuse(
                self.archive, f"'{path}' would be a file and a folder at once", hint="empty the target folder"
            )
        if error.errno == errno.ENAMETOOLONG:
            return refuse(self.archive, f"a path is too long for this disk: '{path}'", hint="use a shorter --data")
        return not_writable(path, error)

    def _copy(self, size: int, first: bytes, rest: IO[bytes], archive: str, member: str) -> None:
        written = 0
        data = first
        with open(self._temporary, "wb", buffering=0) as file:  # noqa: PTH123
            while data:
                written += len(data)
                if written > size:
                    raise refuse(archive, f"a member is longer than the {size:,} bytes declared", member=member)
                _write_all(file.fileno(), data)
                with naming(archive, member):
                    data = rest.read(CHUNK)
        if written != size:
            raise refuse(archive, f"a member has {written:,} of {size:,} bytes", member=member)

    def _count(self, relative: str, size: int) -> None:
        self.files += 1
        self.bytes += size
        self._digest.update(f"{size} {relative}\n".encode())
        if len(self.top) < _TOPS:
            self.top.add(relative.split("/", 1)[0])
        if self._done is not None:
            self._done(self.files, self.bytes)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
