"""Members of a tar, read from its first byte to its last."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from typing import IO, Any, Literal, NamedTuple, cast

from vidrepro.data.archives.byte_stream import CHUNK
from vidrepro.data.archives.refusals import DamagedError, naming, refuse

_HEADER_LIMIT = 1 << 20  # bytes of a long name or a pax header; tarfile reads it whole into memory
_BUFFER = 32 << 10  # tarfile copies what is left of its buffer at every read: a larger one is slower
_PADDING_LIMIT = 64 << 20  # bytes of zeros after the end mark
_LONG_HEADERS = frozenset(
    {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
)
_REFUSED = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class Member(NamedTuple):
    """A file or folder in a tar; its content must be read before the next member is asked for."""

    name: str
    kind: Literal["file", "folder"]
    size: int
    content: IO[bytes]


class _Header(tarfile.TarInfo):
    """A header that says when it is damaged: tarfile takes one after the first member for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _LONG_HEADERS and header.size > _HEADER_LIMIT):
            raise DamagedError(f"a header declares {header.size:,} bytes")
        return header

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile, *args: Any) -> _Header:  # tarfile's name for it shadows the module
        try:
            return super().fromtarfile(tarfile_, *args)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise DamagedError(str(error)) from error
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            tarfile_.saw_end = True  # type: ignore[attr-defined]
            raise


def members_of_tar(stream: io.RawIOBase | IO[bytes], archive: str, *, packed: bool) -> Iterator[Member]:
    """The members of a tar stream, in order; the stream is read to its end.

    Args:
        stream: the bytes, read once from first to last.
        archive: its name, for messages.
        packed: whether they are gzip's, whose own end and checksum then tell whether the tar is whole. A bare tar must
            carry its end mark.

    Raises:
        DataError: if the tar is damaged or cut short, or a member is neither a file nor a folder.
    """
    source = cast(IO[bytes], gzip.GzipFile(fileobj=stream, mode="rb") if packed else stream)
    with naming(archive):
        tar = tarfile.open(  # noqa: SIM115 - closed with the stream it reads
            fileobj=source, mode="r|", bufsize=_BUFFER, tarinfo=_Header, encoding="utf-8"
        )
    previous: str | None = None
    while True:
        with naming(archive, None if previous is None else f"after {previous}"):
            info = tar.next()
            if info is None:
                break
        tar.members = []  # type: ignore[attr-defined] # a stream is not read again: without this, memory grows with every member
        previous = info.name
        if info.isdir():
            yield Member(info.name, "folder", 0, io.BytesIO())
            continue
        if info.type not in tarfile.REGULAR_TYPES or info.issparse() or info.size < 0:
            kind = "a sparse file" if info.issparse() else _REFUSED.get(info.type, f"of the unknown type {info.type!r}")
            raise refuse(
                archive,
                f"a member is {kind}; only files and folders are unpacked",
                member=info.name,
                hint="the official archives hold none: this copy comes from somewhere else, get the official one",
            )
        content = tar.extractfile(info)
        assert content is not None
        yield Member(info.name, "file", info.size, content)
    _check_end(tar, archive, packed)


def _check_end(tar: tarfile.TarFile, archive: str, packed: bool) -> None:
    """Read what follows the last member: only zeros may, and a gzip's checksum comes after them."""
    if not packed and not getattr(tar, "saw_end", False):
        raise refuse(archive, "it ends too early: a tar has an end mark, this one has none")
    padding = 0
    with naming(archive):
        while data := tar.fileobj.read(CHUNK):  # type: ignore[union-attr]
            padding += len(data)
            if data.strip(b"\0") or padding > _PADDING_LIMIT:
                raise refuse(archive, "there are more bytes after its end mark, which no unpacker would read")
