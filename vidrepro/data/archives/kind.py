"""What a downloaded file is, told by its first bytes and never by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["zip", "gzip", "tar", "rar", "html", "empty", "unknown"]

ARCHIVES: frozenset[str] = frozenset({"zip", "gzip", "tar", "rar"})
HEAD = 4096  # bytes that kind_of_head wants to see: a tar header, or the blanks and comments before <html>

_BLOCK = 512
_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # a zip without members
    (b"PK\x07\x08", "zip"),  # the first volume of a spanned one
    (b"\x1f\x8b\x08", "gzip"),
    (b"Rar!\x1a\x07\x00", "rar"),  # rar 1.5 to 4
    (b"Rar!\x1a\x07\x01\x00", "rar"),  # rar 5
)
_PAGE = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<meta", b"<title")


def kind_of(path: Path) -> Kind:
    """The kind of a file.

    Returns:
        ``zip``, ``gzip``, ``tar`` or ``rar``; ``html`` for a web page saved in a file's place; ``empty``; ``unknown``,
        which every part of a byte-split archive but the first is.

    Raises:
        OSError: if it cannot be read.
    """
    with Path(path).open("rb") as file:
        return kind_of_head(file.read(HEAD))


def kind_of_head(head: bytes) -> Kind:
    """The kind of a file that begins with `head` (its first `HEAD` bytes, or all of them)."""
    if not head:
        return "empty"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if _is_tar_header(head[:_BLOCK]):
        return "tar"
    return "html" if _is_page(head) else "unknown"


def _is_tar_header(block: bytes) -> bool:
    """Whether this is a tar header: POSIX and GNU say ``ustar`` at 257, the old V7 format has only its checksum."""
    if len(block) < _BLOCK:
        return False
    if block[257:262] == b"ustar":
        return True
    digits = block[148:156].strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    return block[0] != 0 and sum(rest) == int(digits, 8)


def _is_page(head: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith(_PAGE) or (text.startswith((b"<?xml", b"<!--", b"<!doctype")) and b"<html" in text)
