"""Which names of members are written to the disk at all."""

from __future__ import annotations

import re
import unicodedata

RESERVED = ".unpacked"  # the folder in the target that holds our own notes

_DRIVE = re.compile(r"^[A-Za-z]:")
_LONGEST_NAME = 255
_LONGEST_PATH = 3000  # of the 4096 that Linux takes with the target's own path


def problem_of(name: str) -> str | None:
    """Why a member's name cannot be written below the target, or None when it can.

    Only plain relative POSIX paths pass: what another system would read as a root, a drive or a separator is refused
    on every system, so that an archive is accepted everywhere or nowhere.
    """
    if name.startswith(("/", "\\")):
        return "its path is absolute"
    if _DRIVE.match(name):
        return "its path begins with a drive letter"
    if "\\" in name:
        return "its path holds a backslash"
    parts = name.split("/")
    if ".." in parts:
        return "its path leaves the folder (..)"
    plain = name.isascii() and name.isprintable()  # nearly all, and five million of them in a dataset of frames
    if not plain and any(unicodedata.category(sign) in ("Cc", "Cs") for sign in name):
        return "its name holds control characters or bytes that are no UTF-8"
    if len(name.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in parts):
        return "its name is too long to be stored"
    if next((part for part in parts if part not in ("", ".")), "").casefold() == RESERVED:
        return f"its path begins with {RESERVED}, which vidrepro keeps for itself"
    return None


def clean(name: str) -> str:
    """A passed name without ``.``, doubled slashes and a slash at its end; empty for the folder itself."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))
