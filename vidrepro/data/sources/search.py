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
LIST_DEPTH = 2
_WIDEST = 100  # subfolders of a folder that may hold lists
_SHOWN = 20
_NOBODYS = frozenset({"__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information"})
_SPLIT_NAME = re.compile(
    r"(?:^|[^a-z])(?:tra?i?n(?:ing)?|val(?:id(?:ate|ation)?)?|eval(?:uation)?|dev|te?st(?:ing)?)"
    r"(?:set|data|split|videos?|frames?|clips?)?(?:$|[^a-z])"
)
_FLOW_NAME = re.compile(r"(?:^|[^a-z])(?:(?:opt|optical|warped)?flows?|tvl1)(?:$|[^a-z])")  # no class of overflowing


def is_split_name(name: str) -> bool:
    """Whether a folder is called like a split, in any spelling: train, Training, val_256, validation, testset."""
    return _SPLIT_NAME.search(name.lower()) is not None


def entries_of(folder: Path) -> Entries:
    """What lies in a folder, in any order; hidden files and folders are left out; nothing for what is no folder.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except NotADirectoryError:
        return []
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", given=folder, where=folder) from error


def has_entry(folder: Path | str, test: Callable[[os.DirEntry[str]], bool]) -> bool:
    """Whether any entry of a folder passes a test."""
    return any(test(entry) for entry in entries_of(Path(folder)))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder; a link in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


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
    flow, hidden ones and those with numbers for names, which hold a clip's pictures, are left out.

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
    """The folders that annotations may lie in: some, and those at most two levels below them, the nearest first.

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
    """The folders that `visit` looks into, for a refusal."""
    return named([folder for folder, _ in visit(bases, count)])


def named(folders: Sequence[Path]) -> str:
    """Some folders, of many the first few."""
    more = f" and {len(folders) - _SHOWN:,} more" if len(folders) > _SHOWN else ""
    return ", ".join(map(str, folders[:_SHOWN])) + more


def _places(folder: Path, entries: Entries, skip: Container[str], first: Sequence[str]) -> list[Path]:
    """The subfolders to be looked into, those with the names given first, in their order."""
    ranks = {name: place for place, name in enumerate(first)}
    names = [one.name for one in entries if is_folder(one) and may_hold_clips(one.name) and one.name not in skip]
    return [folder / name for name in sorted(names, key=lambda name: (ranks.get(name, len(ranks)), name))]


def may_hold_clips(name: str) -> bool:
    """Whether a folder is looked into, by its name: none of optical flow, of one clip's pictures, or of a system's."""
    flow = _FLOW_NAME.search(name.lower()) is not None and "rgb" not in name.lower()
    return not (name.isdigit() or name in _NOBODYS or flow)
