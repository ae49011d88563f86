"""What Something-Something V1 and V2 share: the 174 class names, numbered clips, downloads split into parts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from vidrepro.data.archives import ARCHIVES, check_archive, find_parts, kind_of
from vidrepro.data.sources.annotations import DAMAGED, UNPACKED, Where, official_classes
from vidrepro.data.sources.official import VIDEO_SUFFIXES, ArchiveSet, MediaLayout
from vidrepro.data.sources.search import Entries, entries_of, find_folders, searched
from vidrepro.errors import DataError

OFFICIAL = "something_something"
"""The name of the official class list."""

CLASSES = official_classes(OFFICIAL)
"""Both versions' 174 class names in the order of Python's ``sorted``, which is the order of V2's labels.json."""

NUMBERED_CLIPS = MediaLayout(numbered=True)

FPS = 12.0
"""Of V1's pictures, of V2's videos, and of the pictures that TSM's script makes of these."""


def clip_number(text: str, where: Where) -> str:
    """A clip's id, which is a number, but stays a text; leading zeros, which some tools write, are no part of it.

    Raises:
        DataError: if it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise DataError("the id is no number", given=repr(text), hint=DAMAGED, where=where)
    return text.lstrip("0") or "0"


def clip_folders(root: Path, unpacked: Path | None, title: str, expected: str) -> list[Path]:
    """Folders that hold numbered clips (``1/``, ``1.webm``), the one with the most first.

    Raises:
        DataError: if there is none.
    """
    folders = find_folders([root, unpacked], _count_clips)
    if not folders:
        raise DataError(
            f"no clips of {title} found",
            given=f"searched: {searched([root, unpacked])}",
            allowed=expected,
            hint="give the folder of the download with --root: the parts as they were downloaded, or what is in them",
        )
    return folders


def find_archives(root: Path, prefix: str, is_annotations: Callable[[str], bool], title: str) -> list[ArchiveSet]:
    """What of a download is packed: the clips, in parts or in one archive, unless they lie in `root` too; annotations.

    Args:
        root: the folder of the download.
        prefix: of the video parts' names, before ``-00``.
        is_annotations: whether a file name is that of an archive of annotations.
        title: the dataset, for messages.

    Raises:
        DataError: for parts that are no whole, and archives that are none, by name.
    """
    sets = []
    folders = [root, *(Path(entry.path) for entry in _subfolders(root))]
    if not find_folders([root], _count_clips, skip={UNPACKED}):
        for folder in folders:
            parts = find_parts(folder, f"{prefix}-??") or _whole(folder, prefix)
            if parts:
                sets.append(ArchiveSet(tuple(parts), "", f"video parts of {title}"))
                break
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.is_file() and is_annotations(path.name):
                check_archive(path)
                sets.append(ArchiveSet((path,), "", f"annotations of {title}"))
    return sets


def _whole(folder: Path, prefix: str) -> list[Path]:
    """The one archive that somebody put the parts together to."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name.startswith(prefix))
    return [path for path in files if kind_of(path) in ARCHIVES][:1]


def _subfolders(root: Path) -> list[os.DirEntry[str]]:
    found = [entry for entry in entries_of(root) if not entry.name[0].isdigit() and entry.is_dir()]
    return sorted(found, key=lambda entry: entry.name)


def _count_clips(entries: Entries) -> int:
    return sum(_is_clip(entry) for entry in entries)


def _is_clip(entry: os.DirEntry[str]) -> bool:
    stem, dot, suffix = entry.name.partition(".")
    return stem.isdigit() and (entry.is_dir() if not dot else f".{suffix.lower()}" in VIDEO_SUFFIXES)
