"""The list of members in a rar, formats 4 and 5, read without unpacking: names, sizes, links.

Facts of the format: RARLAB's technical notes (https://www.rarlab.com/technote.htm) for 5.0; for 4.x the block layout
that unrar's and libarchive's documentation describe. Only what a refusal needs is read.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from pathlib import Path
from typing import IO, NamedTuple

_MOST = 1_000_000  # members; the official archives have thousands


class RarMember(NamedTuple):
    """A member as the archive lists it."""

    name: str
    size: int
    link: bool


class _StrangeError(Exception):
    pass


def members_of_rar(path: Path) -> list[RarMember] | None:
    """The members of a rar, or None when its list cannot be read (encrypted, damaged, or another format)."""
    try:
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            magic = file.read(8)
            if magic == b"Rar!\x1a\x07\x01\x00":
                return _members5(file, end)
            if magic[:7] == b"Rar!\x1a\x07\x00":
                file.seek(7)
                return _members4(file, end)
    except (OSError, struct.error, _StrangeError, IndexError, ValueError, OverflowError):
        pass
    return None


def _members5(file: IO[bytes], end: int) -> list[RarMember]:
    """Blocks of rar 5: CRC, then a header of variable-length integers, then data."""
    members: list[RarMember] = []
    while file.tell() < end and len(members) < _MOST:
        start = file.tell() + 4
        (crc,) = struct.unpack("<I", file.read(4))
        prefix = file.read(3)
        size, used = _vint(prefix, 0)
        file.seek(start + used)
        header = file.read(size)
        if len(header) != size or size == 0 or zlib.crc32(prefix[:used] + header) != crc:
            raise _StrangeError
        kind, at = _vint(header, 0)
        flags, at = _vint(header, at)
        extra, at = _vint(header, at) if flags & 1 else (0, at)
        data, at = _vint(header, at) if flags & 2 else (0, at)
        if kind == 4:  # all that follows is encrypted
            raise _StrangeError
        if kind == 5:
            break
        if kind == 2:
            members.append(_file5(header, at, extra))
        file.seek(start + used + size + data)
    return members


def _file5(header: bytes, at: int, extra: int) -> RarMember:
    flags, at = _vint(header, at)
    size, at = _vint(header, at)
    mode, at = _vint(header, at)
    at += (4 if flags & 2 else 0) + (4 if flags & 4 else 0)  # time, CRC
    _, at = _vint(header, at)  # compression
    system, at = _vint(header, at)
    length, at = _vint(header, at)
    name = header[at : at + length].decode("utf-8", "surrogateescape")
    link = system == 1 and stat.S_ISLNK(mode)
    at = len(header) - extra
    while at < len(header):  # records of the extra area; 5 redirects to another file: links of all kinds, copies
        length, at = _vint(header, at)
        kind, _ = _vint(header, at)
        link = link or kind == 5
        at += length
    return RarMember(name, 0 if flags & 8 else size, link)


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer, 7 bits a byte, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise _StrangeError


def _members4(file: IO[bytes], end: int) -> list[RarMember]:
    """Blocks of rar 1.5 to 4: a header of 7 bytes (CRC, kind, flags, size), its rest, then data."""
    members: list[RarMember] = []
    while file.tell() + 7 <= end and len(members) < _MOST:
        start = file.tell()
        head = file.read(7)
        crc, kind, flags, size = struct.unpack("<HBHH", head)
        rest = file.read(size - 7) if size >= 7 else b""
        if zlib.crc32(head[2:] + rest) & 0xFFFF != crc:
            raise _StrangeError
        if size < 7 or len(rest) != size - 7 or not 0x72 <= kind <= 0x7B or (kind == 0x73 and flags & 0x80):
            raise _StrangeError
        if kind == 0x7B:
            break
        data = struct.unpack_from("<I", rest)[0] if flags & 0x8000 else 0
        if kind == 0x74:
            data |= struct.unpack_from("<I", rest, 25)[0] << 32 if flags & 0x100 else 0
            members.append(_file4(rest, flags))
        file.seek(start + size + data)
    return members


def _file4(rest: bytes, flags: int) -> RarMember:
    size, system = struct.unpack_from("<IB", rest, 4)
    length, mode = struct.unpack_from("<HI", rest, 19)
    at = 25
    if flags & 0x100:
        size |= struct.unpack_from("<I", rest, 29)[0] << 32
        at = 33
    raw = rest[at : at + length].split(b"\0")[0]  # after a zero byte comes the same name, packed, in UTF-16
    name = raw.decode("utf-8", "replace").replace("\\", "/")  # this format's own separator is the backslash
    return RarMember(name, size, system == 3 and stat.S_ISLNK(mode))
