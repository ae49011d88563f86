"""The files of a download as one stream of bytes, without a second copy on the disk."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vidrepro.data.archives.refusals import SourceError

CHUNK = 1 << 20


@dataclass(frozen=True)
class Segment:
    """A run of bytes of a split archive: a file, or the content of one member of a zip.

    Attributes:
        path: the file.
        size: bytes it gives.
        member: the member's position in the zip's list, None for the file itself.
        name: the part's own name.
    """

    path: Path
    size: int
    member: int | None = None
    name: str = ""

    def open(self) -> IO[bytes]:
        """The bytes from the first on.

        Raises:
            OSError, zipfile.BadZipFile: if that is not possible.
        """
        if self.member is None:
            return self.path.open("rb", buffering=0)
        archive = zipfile.ZipFile(self.path)
        return archive.open(archive.infolist()[self.member])


class Joined(io.RawIOBase):
    """Segments one after the other as one file to read; seekable when none of them lies in a zip.

    Args:
        segments: in order.
        tick: called with the number of bytes just read.
    """

    def __init__(self, segments: Sequence[Segment], tick: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self._segments = list(segments)
        self._starts = [0]
        for segment in segments:
            self._starts.append(self._starts[-1] + segment.size)
        self._tick = tick
        self._position = 0
        self._open: IO[bytes] | None = None
        self._index = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return all(segment.member is None for segment in self._segments)

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if not self.seekable():
            raise io.UnsupportedOperation("parts inside zips are read from the first byte to the last")
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError("seek before the first byte")
        self._position = base + offset
        if not self._starts[self._index] <= self._position < self._starts[self._index + 1]:
            self._leave()
        elif self._open is not None:
            self._open.seek(self._position - self._starts[self._index])
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)
        while self._position < self._starts[-1]:
            stream = self._here()
            want = min(len(view), self._starts[self._index + 1] - self._position)
            try:
                count = stream.readinto(view[:want])  # type: ignore[attr-defined]
            except OSError as error:
                raise SourceError(f"{self._segments[self._index].path}: {error.strerror or error}") from error
            if not count:
                raise SourceError(f"{self._segments[self._index].path} became shorter while it was read")
            self._position += count
            if self._position == self._starts[self._index + 1]:
                self._finish()
            if self._tick is not None:
                self._tick(count)
            return count
        return 0

    def close(self) -> None:
        self._leave()
        super().close()

    def _here(self) -> IO[bytes]:
        """The open segment that the position lies in."""
        if self._open is None:
            while self._position >= self._starts[self._index + 1]:
                self._index += 1
            while self._position < self._starts[self._index]:
                self._index -= 1
            segment = self._segments[self._index]
            try:
                self._open = segment.open()
                if self._position > self._starts[self._index]:
                    self._open.seek(self._position - self._starts[self._index])
            except OSError as error:
                raise SourceError(f"{segment.path}: {error.strerror or error}") from error
        return self._open

    def _finish(self) -> None:
        """The segment gave all its bytes: a zip's member is asked once more, which checks its CRC."""
        if self._open is not None and self._segments[self._index].member is not None:
            self._open.read(1)
        self._leave()

    def _leave(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


class Prefixed(io.RawIOBase):
    """A stream whose first bytes were read already, put in front again."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        super().__init__()
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)
