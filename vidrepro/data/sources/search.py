"""Looking below a download for clips and lists: folder by folder, each listed once, nothing hidden.

Whatever is not found is told with the folders that were looked into.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path

from vidrepro.errors import DataError

Entries = list["os.DirEntry[str]"]

MEDIA_DEPTH = 5  # a parent of EPIC_KITCHENS_2018/frames_rgb_flow/rgb/train
LIST_DEPTH = 3  # a parent of archive/UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist
_WIDEST = 100  # subfolders of a folder that may hold lists
_SHOWN = 20
_SHOWN_PACKED = 5
ARCHIVE_NAMES = (".zip", ".rar", ".7z", ".tar", ".tgz", ".tar.gz")
_NOBODYS = frozenset(
    {"__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information", "@eaDir", "@Recycle", "#recycle"}
)
_SPLIT_NAME = re.compile(
    r"(?:^|[^a-z])(?:tra?i?n(?:ing)?|val(?:id(?:ate|ation)?)?|eval(?:uation)?|dev|te?st(?:ing)?)"
    r"(?:set|data|split|videos?|frames?|clips?)?(?:$|[^a-z])"
)
_FLOW_NAME = re.compile(r"(?:^|[^a-z])(?:(?:opt|optical|warped)?flows?|tvl1)(?:$|[^a-z])")  # no class of overflowing


def is_split_name(name: str) -> bool:
    """Whether a folder is called like a split, in any spelling: train, Training, val_256, validation, testset."""
    return _SPLIT_NAME.search(name.lower()) is not None


def entries_of(folder: Path) -> Entries:
    """What lies in a folder, in any order; nothing for what is no folder.

    Left out are hidden files and folders, and links that lead nowhere, in a circle, or back to a folder above.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
        if not any(entry.is_symlink() for entry in shown):
            return shown
        real = folder.resolve()
        above = [(one.st_dev, one.st_ino) for one in map(Path.stat, (real, *real.parents))]
        return [entry for entry in shown if not entry.is_symlink() or _leads_on(entry, above)]
    except NotADirectoryError:
        return []
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", given=folder, where=folder) from error


def _leads_on(link: os.DirEntry[str], above: Container[tuple[int, int]]) -> bool:
    try:
        status = link.stat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) not in above


def has_entry(folder: Path | str, test: Callable[[os.DirEntry[str]], bool]) -> bool:
    """Whether any entry of a folder passes a test."""
    return any(test(entry) for entry in entries_of(Path(folder)))


def visit(
    tops: Iterable[Path | None],
    count: Callable[[Entries], int],
    *,
    depth: int = MEDIA_DEPTH,
    skip: Container[str] = (),
    first: Sequence[str] = (),
) -> Iterator[tuple[Path, int]]:
    """The folders below some, level by level, with what `count` says of each one's entries.

    A folder that holds something is not looked into, but for subfolders that are called like splits. Folders of optical
    flow, hidden ones and hundreds with numbers for names, which hold a clip's pictures each, are left out.

    Args:
        tops: where to look; None is no folder.
        count: how much of what is looked for a folder's entries are.
        depth: how many levels below a top.
        skip: names of folders that are not looked into.
        first: names of folders that come before their neighbours.
    """
    for top in tops:
        level = [] if top is None else [top]
        for _ in range(depth + 1):
            below: list[Path] = []
            for folder in level:
                entries = entries_of(folder)
                number = count(entries)
                yield folder, number
                inside = _places(folder, entries, skip, first)
                below += [path for path in inside if not number or is_split_name(path.name)]
            level = below


def list_folders(tops: Iterable[Path | None], first: Sequence[str] = ()) -> Iterator[Path]:
    """The folders that annotations may lie in: some, and those at most three levels below them, the nearest first.

    One with hundreds of subfolders holds classes or clips, and is not looked into, unless it is a top.
    """
    for top in tops:
        level = [] if top is None else [top]
        for depth in range(LIST_DEPTH + 1):
            yield from level
            inside = [_places(folder, entries_of(folder), (), first) for folder in level if depth < LIST_DEPTH]
            level = [path for places in inside if not depth or len(places) <= _WIDEST for path in places]


def find_folders(
    bases: Iterable[Path | None],
    count: Callable[[Entries], int],
    *,
    depth: int = MEDIA_DEPTH,
    skip: Container[str] = (),
    first: Sequence[str] = (),
) -> list[Path]:
    """The folders that hold clips, the one with the most first; arguments as in `visit`."""
    found: dict[Path, int] = {}
    for folder, number in visit(bases, count, depth=depth, skip=skip, first=first):
        if number:
            found.setdefault(folder, number)
    return sorted(found, key=lambda folder: -found[folder])


def first_folder(tops: Iterable[Path], names: Sequence[str], test: Callable[[Path], bool]) -> Path | None:
    """The first folder that passes a test: a top, its subfolders, theirs; those with the names given first."""
    return next((folder for folder in list_folders(tops, names) if test(folder)), None)


def searched(bases: Iterable[Path | None], count: Callable[[Entries], int] = lambda entries: 0) -> str:
    """The folders that `visit` looks into, for a refusal, and what is still packed there."""
    return told([folder for folder, _ in visit(bases, count)])


def told(folders: Sequence[Path]) -> str:
    """Some folders, and the archives in them: whoever finds nothing may find it there."""
    packed = [one.path for folder in folders for one in entries_of(folder) if one.name.lower().endswith(ARCHIVE_NAMES)]
    more = f" and {len(packed) - _SHOWN_PACKED:,} more" if len(packed) > _SHOWN_PACKED else ""
    archives = f"; not unpacked: {', '.join(sorted(packed)[:_SHOWN_PACKED])}{more}" if packed else ""
    return named(folders) + archives


def named(folders: Sequence[Path]) -> str:
    """Some folders, of many the first few."""
    more = f" and {len(folders) - _SHOWN:,} more" if len(folders) > _SHOWN else ""
    return ", ".join(map(str, folders[:_SHOWN])) + more


def _places(folder: Path, entries: Entries, skip: Container[str], first: Sequence[str]) -> list[Path]:
    """The subfolders to be looked into, those with the names given first, in their order."""
    ranks = {name: place for place, name in enumerate(first)}
    names = [one.name for one in entries if one.is_dir() and may_hold_clips(one.name) and one.name not in skip]
    if len(names) > _WIDEST:  # those with numbers for names are clips
        names = [name for name in names if not name.isdigit()]
    return [folder / name for name in sorted(names, key=lambda name: (ranks.get(name, len(ranks)), name))]


def may_hold_clips(name: str) -> bool:
    """Whether a folder is looked into, by its name: none of optical flow, or of a system's."""
    flow = _FLOW_NAME.search(name.lower()) is not None and "rgb" not in name.lower()
    return not (name in _NOBODYS or flow)
