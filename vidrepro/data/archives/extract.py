"""One archive, and the archives inside it, to files."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from vidrepro.data.archives.byte_stream import CHUNK, Joined, Prefixed, Segment
from vidrepro.data.archives.kind import ARCHIVES, HEAD, kind_of_head
from vidrepro.data.archives.names import clean
from vidrepro.data.archives.rars import CONTENT, unpack_rar
from vidrepro.data.archives.refusals import AGAIN, naming, refuse
from vidrepro.data.archives.tars import members_of_tar
from vidrepro.data.archives.writer import Writer
from vidrepro.data.archives.zips import SIDE_FILES, members_of_zip
from vidrepro.files import not_writable

_DEEPEST = 1  # archives inside an archive are unpacked, those inside these are kept as files
# Zips and gzips by their bytes that are documents to whoever made them.
_DOCUMENTS = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".npz", ".jar", ".whl", ".egg", ".apk", ".pth", ".pt", ".ckpt")


class Extraction:
    """Everything that one archive of a download holds, to files.

    Args:
        writer: where the files go.
        say: told what is worth a line.
    """

    def __init__(self, writer: Writer, say: Callable[[str], None]) -> None:
        self._writer = writer
        self._say = say
        self.side_files = 0
        self.kept = 0

    def split(self, segments: Sequence[Segment], archive: str, tick: Callable[[int], None]) -> None:
        """Unpack the archive whose bytes the segments are.

        Raises:
            DataError: naming the archive and the member, if anything in it is damaged or must not be written.
            ResultsError: if the target cannot be written.
        """
        with Joined(segments, tick) as joined:
            stream = io.BufferedReader(joined, CHUNK)
            with naming(archive):
                kind = kind_of_head(stream.peek(HEAD)[:HEAD])
            below = self._writer.into
            if kind == "rar" and len(segments) == 1:
                self._rar(segments[0].path, below, archive, 0)
            elif kind == "zip" and joined.seekable():
                self._zip(stream, below, archive, 0)
            else:
                self._stream(kind, stream, below, archive, 0)

    def _stream(self, kind: str, stream: IO[bytes] | io.BufferedReader, below: str, archive: str, depth: int) -> None:
        """Unpack an archive that can be read only once, from its first byte on."""
        if kind == "gzip":
            self._tar(stream, below, archive, depth, packed=True)
        elif kind == "tar":
            self._tar(stream, below, archive, depth, packed=False)
        elif kind in ("zip", "rar"):
            path = self._spool(stream, archive)
            try:
                if kind == "rar":
                    self._rar(path, below, archive, depth)
                else:
                    with path.open("rb") as file:
                        self._zip(file, below, archive, depth)
            finally:
                path.unlink(missing_ok=True)
        else:
            raise refuse(archive, "it is no zip, tar, gzip or rar file", hint=AGAIN)

    def _tar(
        self, stream: IO[bytes] | io.BufferedReader, below: str, archive: str, depth: int, *, packed: bool
    ) -> None:
        for member in members_of_tar(stream, archive, packed=packed):
            relative = self._writer.path_of(member.name, below, archive)
            if member.kind == "folder":
                self._writer.folder(relative)
            else:
                self._member(relative, member.size, member.content, archive, member.name, depth)

    def _zip(self, file: IO[bytes], below: str, archive: str, depth: int) -> None:
        opened, members = members_of_zip(file, archive)
        self._writer.space.expect(sum(info.file_size for info in members) - self._writer.resumed_bytes)
        for info in sorted(members, key=lambda info: info.header_offset):  # as they lie on the disk
            if info.filename.startswith(SIDE_FILES):
                self.side_files += not info.is_dir()
                continue
            relative = self._writer.path_of(info.filename, below, archive)
            if info.is_dir():
                self._writer.folder(relative)
                continue
            if self._writer.has(relative, info.file_size):
                continue
            with naming(archive, info.filename):
                content = opened.open(info)
            with content:
                self._member(relative, info.file_size, content, archive, info.filename, depth)

    def _rar(self, path: Path, below: str, archive: str, depth: int) -> None:
        folder = Path(tempfile.mkdtemp(prefix="rar-", dir=self._writer.scratch))
        try:
            for name in unpack_rar(path, folder, archive, self._writer.space):
                file = folder / CONTENT / name
                relative = self._writer.path_of(name, below, archive)
                with file.open("rb") as stream:
                    first = stream.read(CHUNK)
                kind = self._opens(first, name, depth)
                if kind is None:
                    self._writer.move(file, relative, file.stat().st_size)
                    continue
                self._say(f"unpacking {archive} > {name}")
                inner, beside = f"{archive} > {name}", relative.rpartition("/")[0]
                with file.open("rb") as stream:
                    if kind == "rar":
                        self._rar(file, beside, inner, depth + 1)
                    elif kind == "zip":
                        self._zip(stream, beside, inner, depth + 1)
                    else:
                        self._stream(kind, stream, beside, inner, depth + 1)
                file.unlink()  # at once: an archive of archives would else lie on the disk twice
        except OSError as error:
            raise not_writable(folder, error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _member(self, relative: str, size: int, content: IO[bytes], archive: str, name: str, depth: int) -> None:
        """Write a member, or unpack it when it is an archive itself."""
        if not clean(name) or name.endswith("/"):
            raise refuse(archive, "a file has the name of a folder", member=name)
        if self._writer.has(relative, size):
            return
        with naming(archive, name):
            first = content.read(CHUNK)
        kind = self._opens(first, name, depth)
        if kind is None:
            self._writer.write(relative, size, first, content, archive=archive, member=name)
            return
        inner = f"{archive} > {name}"
        self._say(f"unpacking {inner}")
        rest = io.BufferedReader(Prefixed(first, content), CHUNK)
        self._stream(kind, rest, relative.rpartition("/")[0], inner, depth + 1)
        with naming(archive, name):
            while content.read(CHUNK):  # to its end, where its own checksum is looked at
                pass

    def _opens(self, first: bytes, name: str, depth: int) -> str | None:
        """The kind of a member that is unpacked itself; None for one that is a file."""
        kind = kind_of_head(first[:HEAD])
        if kind not in ARCHIVES or name.lower().endswith(_DOCUMENTS) or (kind == "gzip" and not _holds_tar(first)):
            return None
        if depth >= _DEEPEST:
            self.kept += 1
            return None
        return kind

    def _spool(self, stream: IO[bytes] | io.BufferedReader, archive: str) -> Path:
        """Copy an archive that must be read out of order to the scratch folder."""
        handle, name = tempfile.mkstemp(prefix="inner-", dir=self._writer.scratch)
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                while True:
                    with naming(archive):
                        data = stream.read(CHUNK)
                    if not data:
                        break
                    self._writer.space.claim(len(data), archive)
                    file.write(data)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise not_writable(path, error) from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path


def _holds_tar(head: bytes) -> bool:
    """Whether a gzip that begins with `head` is a packed tar and not one packed file."""
    try:
        return kind_of_head(zlib.decompressobj(wbits=31).decompress(head, HEAD)) == "tar"
    except zlib.error:
        return False
