"""What datasets with official folds share: numbered class lists, clips that several lists name, where things lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidrepro.data.archives import ARCHIVES, check_archive, kind_of
from vidrepro.data.sources.annotations import (
    DAMAGED,
    UNPACKED,
    Where,
    check_name,
    compare_classes,
    read_lines,
    whole_number,
)
from vidrepro.data.sources.foreign import given_lists
from vidrepro.data.sources.official import VIDEO_SUFFIXES, ArchiveSet, Entry
from vidrepro.data.sources.search import Entries, entries_of, find_folders, list_folders, searched
from vidrepro.errors import DataError

FOLDS = ("split1", "split2", "split3")
OFFICIAL_FOLDS: dict[str, tuple[str, ...]] = dict.fromkeys(("ucf101", "hmdb51", "egtea"), FOLDS)
"""Dataset -> the folds that a published mean is over."""
_PACKED = (".rar", ".zip", ".tar", ".tgz", ".gz")  # a file named so must be an archive, whichever kind
_LARGEST_GAP = 10_000
_SHOWN = 8


def malformed(problem: str, where: Where, *, given: object = None, allowed: str | None = None) -> DataError:
    """The error for a line that is not as the official files have it."""
    return DataError(problem, given=given, allowed=allowed, hint=DAMAGED, where=where)


@dataclass(frozen=True)
class ClassList:
    """Classes by their 0-based label, and how they differ from the official ones."""

    names: tuple[str, ...]
    problems: tuple[str, ...] = ()


def class_list(
    rows: Iterable[tuple[Where, str, str]], path: Path, *, first: int, official: Sequence[str] | int
) -> ClassList:
    """A class list that numbers its classes; a label without a name gets one that says so, and is named as a problem.

    Args:
        rows: place, number and name of each class, in any order.
        path: the file.
        first: the number of label 0.
        official: the official class names in order, or only how many there are.

    Raises:
        DataError: for a number that is none, or a number or name that is empty or stands there twice.
    """
    names: dict[int, str] = {}
    seen: dict[object, int] = {}
    for where, number, name in rows:
        label = whole_number(number, "the class number", where) - first
        if label < 0 or not name:
            raise malformed("a class without a number or a name", where, given=f"{number!r}, {name!r}")
        for key, what in ((label, f"class number {number}"), (name, f"class '{name}'")):
            if seen.setdefault(key, where[1]) != where[1]:
                raise malformed(f"{what} stands there twice", where, allowed=f"once; it is in line {seen[key]} already")
        names[label] = name
    last = max(names, default=-1)
    if not names or last + 1 > len(names) + _LARGEST_GAP:
        raise DataError("no class list", given=f"{len(names)} classes, numbers up to {last + first}", where=path)
    gaps = [str(label + first) for label in range(last + 1) if label not in names]
    listed = tuple(names.get(label, f"(class {label + first})") for label in range(last + 1))
    if gaps:
        shown = ", ".join(gaps[:_SHOWN]) + (f" and {len(gaps) - _SHOWN} more" if gaps[_SHOWN:] else "")
        return ClassList(listed, (f"{path.name} has no class number {shown}",))
    if not isinstance(official, int):
        return ClassList(listed, compare_classes(listed, official, path.name, order=True))
    wrong = (f"{path.name} has {len(listed)} classes, officially {official}",) if len(listed) != official else ()
    return ClassList(listed, wrong)


def numbered_lines(path: Path, parse: Callable[[str], Sequence[str]]) -> Iterable[tuple[Where, str, str]]:
    """The rows of a class list in lines, for `class_list`.

    Args:
        path: the file.
        parse: a line -> number and name.

    Raises:
        DataError: for a line that is not both.
    """
    for line, text in read_lines(path):
        fields = parse(text)
        if len(fields) != 2:
            raise malformed("a line of the class list is not understood", (path, line), given=repr(text))
        yield (path, line), fields[0], fields[1]


@dataclass
class FoldedClips:
    """Clips that the lists of several folds name: one entry each, as the first list writes it.

    Attributes:
        ignore_case: names that differ in capitals only are the same clip.
        entries: the clips in the order of the lists.
        folds: fold -> clip id -> split.
    """

    ignore_case: bool = False
    entries: dict[str, Entry] = field(default_factory=dict)
    folds: dict[str, dict[str, str]] = field(default_factory=dict)
    _lines: dict[tuple[str, str], Where] = field(default_factory=dict)

    def add(self, fold: str, entry: Entry) -> None:
        """Note that a fold uses a clip, in the entry's split.

        Raises:
            DataError: if the fold has it already, or another list gives it another label.
        """
        key = entry.id.lower() if self.ignore_case else entry.id
        path, line = self._lines.setdefault((fold, key), entry.where)
        if (path, line) != entry.where:
            allowed = f"once in {fold}; it is in {path.name}, line {line} already"
            raise malformed("duplicate clip", entry.where, given=entry.id, allowed=allowed)
        known = self.entries.setdefault(key, entry)
        if known.label != entry.label:
            path, line = known.where
            raise malformed(
                f"clip '{entry.id}' has another label in another list",
                entry.where,
                given=f"label {entry.label}",
                allowed=f"label {known.label}, as in {path.name}, line {line}",
            )
        self.folds.setdefault(fold, {})[known.id] = entry.split

    def in_fold(self, fold: str) -> tuple[Entry, ...]:
        """Every clip that any fold uses, with its split in this one (empty: in none)."""
        splits = self.folds.get(fold, {})
        return tuple(replace(one, split=splits.get(one.id, "")) for one in self.entries.values())


def fold_lists(folder: Path, fold: str, train: str, test: str) -> list[tuple[Path, str]]:
    """The train and the test list of a fold and their splits; nothing if neither is there.

    Raises:
        DataError: if one of them is missing.
    """
    lists = [(folder / train, "train"), (folder / test, "test")]
    if not any(path.is_file() for path, _ in lists):
        return []
    for path, split in lists:
        if not path.is_file():
            raise DataError(f"the {split} list of {fold} is missing", given=path.name, hint=DAMAGED, where=folder)
    return lists


def fold_notes(available: Iterable[str]) -> tuple[str, ...]:
    """A sentence about the folds whose lists are not there, if there are such."""
    there = list(available)
    absent = [fold for fold in FOLDS if fold not in there]
    if not absent:
        return ()
    return (f"the lists of {', '.join(absent)} are not among the annotations: only {', '.join(there)} can be used",)


def official_counts(counts: Mapping[str, tuple[int, int]], folds: Iterable[str]) -> dict[str, dict[str, int]]:
    """(train, test) counts of some folds, by split."""
    return {fold: dict(zip(("train", "test"), counts[fold], strict=True)) for fold in folds if fold in counts}


def bases(root: Path, unpacked: Path | None) -> list[Path]:
    """The folders a download may lie in: what the user gave, and what was unpacked from it.

    Raises:
        DataError: if neither is a folder.
    """
    found = [base for base in (root, unpacked) if base is not None and base.is_dir()]
    if not found:
        raise DataError("there is no such folder", given=root, hint="give the folder of the download with --root")
    return found


def require_lists(folder: Path | None, what: str, places: Sequence[str], root: Path, hint: str) -> Path:
    """The folder of the annotations, if it was found.

    Args:
        folder: it, or None.
        what: it was looked for by, with an example.
        places: subfolders it is usually called.
        root: the user's folder.
        hint: where it comes from.

    Raises:
        DataError: if there is none, with what was looked for, and the lists of other kinds that are there.
    """
    if folder is None:
        raise DataError(
            f"there is no {what}",
            given=given_lists([root]),
            allowed=f"{what}, in {root} or in a folder below it such as {', '.join(places[:3])}",
            hint=f"download and unpack {hint}",
            where=root,
        )
    return folder


def media_folders(
    root: Path,
    unpacked: Path | None,
    count: Callable[[Entries], int],
    names: Sequence[str],
    what: str,
    hint: str,
) -> list[Path]:
    """The folders that hold clips, see `find_folders`.

    Args:
        root: the user's folder.
        unpacked: what was unpacked from it.
        count: how many clips, or folders of clips, a folder's entries are.
        names: what such folders are usually called, best first.
        what: to be looked for, with an example.
        hint: where it comes from.

    Raises:
        DataError: if there is none, with what was looked for and the folders searched.
    """
    tops = bases(root, unpacked)
    folders = find_folders(tops, count, first=names)
    if not folders:
        allowed = f"{what}, in {root} or in a folder below it such as {', '.join(names[:3])}"
        raise DataError(
            f"there is no {what}",
            given=f"{root}; searched: {searched(tops)}",
            allowed=allowed,
            hint=f"download and unpack {hint}",
            where=root,
        )
    return folders


def archive_sets(folder: Path, wanted: Callable[[str], bool], what: str) -> list[ArchiveSet]:
    """The archives in a folder, or in the nearest below it that has some, one set each, to be unpacked beside one
    another; told by their first bytes.

    Args:
        folder: the user's download.
        wanted: whether a file of that name (in small letters) may be one of them.
        what: they hold.

    Raises:
        DataError: for a file that is named like an archive and is none, such as a web page saved in its place.
    """
    folders = (one for one in list_folders([folder]) if UNPACKED not in one.parts)
    return next((found for found in (_sets_in(one, wanted, what) for one in folders) if found), [])


def _sets_in(folder: Path, wanted: Callable[[str], bool], what: str) -> list[ArchiveSet]:
    found = []
    for entry in sorted(entries_of(folder), key=lambda one: one.name):
        path = Path(entry.path)
        if not wanted(entry.name.lower()) or not entry.is_file():
            continue
        if path.suffix.lower() in _PACKED:
            check_archive(path)
        elif path.suffix or kind_of(path) not in ARCHIVES:
            continue
        found.append(ArchiveSet((path,), "", what))
    return found


def stem_of(file: str, where: Where) -> str:
    """The name of a clip's file without its suffix.

    Raises:
        DataError: if it could lead out of the folder, or could not be written down.
    """
    return check_name(without_suffix(check_name(file, "the file", where)), "the file", where)


def without_suffix(name: str) -> str:
    """A clip's name without a video's suffix; any other dot belongs to the name."""
    suffix = next((suffix for suffix in VIDEO_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]
