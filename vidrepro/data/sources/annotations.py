"""What the readers of official annotations share: unique ids, labels by name, class lists, and where the files lie."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from vidrepro.data.sources.foreign import given_lists
from vidrepro.data.sources.readers import (
    DAMAGED,
    Item,
    Line,
    Row,
    read_csv,
    read_json_list,
    read_json_object,
    read_lines,
    read_text,
)
from vidrepro.data.sources.search import find_folders, list_folders
from vidrepro.errors import DataError, closest, unknown_name

__all__ = [
    "DAMAGED",
    "UNPACKED",
    "Ids",
    "Item",
    "Labels",
    "Line",
    "Row",
    "Where",
    "check_name",
    "choose_order",
    "compare_classes",
    "field_of",
    "find_file",
    "find_folders",
    "official_classes",
    "read_csv",
    "read_json_list",
    "read_json_object",
    "read_lines",
    "read_text",
    "require_file",
    "whole_number",
]

Where = tuple[Path, int]
"""A file and a 1-based line of it."""

UNPACKED = "unpacked"
"""Where the engine unpacks to, below the dataset's folder; half an unpacking there is none of the user's."""

ANNOTATION_FOLDERS = ("", "labels", "annotations", "annotation")
SHOWN = 3  # names listed in a sentence

# What no manifest can hold: control characters, and the halves of surrogate pairs that JSON's escapes can spell.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")
_LONGEST_NAME = 240  # bytes; a file system takes 255, and a suffix is to follow


class Ids:
    """The clip ids seen so far, over all files of a dataset."""

    def __init__(self) -> None:
        self._seen: dict[str, Where] = {}

    def add(self, clip: str, where: Where) -> None:
        """Note an id.

        Raises:
            DataError: if it was there before; the first place is named too.
        """
        first = self._seen.setdefault(clip, where)
        if first is not where:
            raise DataError(
                "duplicate id",
                given=clip,
                allowed=f"each id once; it stands in {first[0].name}, line {first[1]} already",
                hint=DAMAGED,
                where=where,
            )

    def __contains__(self, clip: str) -> bool:
        return clip in self._seen

    def __len__(self) -> int:
        return len(self._seen)


class Labels:
    """Class names and their indices.

    Args:
        classes: names, index = label.
        origin: the file they come from, for messages.
        lines: each name's line in that file, for messages.

    Raises:
        DataError: if a name is there twice, is empty or cannot be written.
    """

    def __init__(self, classes: Sequence[str], origin: Path | str, lines: Sequence[int] | None = None) -> None:
        self.classes, self.origin = tuple(classes), origin
        self._index: dict[str, int] = {}
        for label, name in enumerate(self.classes):
            where = origin if lines is None else (origin, lines[label])
            if not name or _UNWRITABLE.search(name):
                raise DataError("a class name that cannot be written", given=ascii(name), hint=DAMAGED, where=where)
            if self._index.setdefault(name, label) != label:
                raise DataError("a class stands there twice", given=name, hint=DAMAGED, where=where)

    def of(self, name: str, where: Where) -> int:
        """The label of a class name, which must match exactly.

        Raises:
            DataError: if there is no such class, with the nearest ones.
        """
        label = self._index.get(name)
        if label is None:
            self._refuse(name, where)
        return label

    def _refuse(self, name: str, where: Where) -> NoReturn:
        near = closest(name, self.classes)
        raise DataError(
            f"unknown label {name!r}",
            given=repr(name),
            allowed=f"one of the {len(self.classes)} classes of {self.origin}",
            hint=f"the nearest: {' or '.join(map(repr, near))}" if near else DAMAGED,
            where=where,
        )


def compare_classes(
    found: Iterable[str], official: Sequence[str], where: Path | str, *, order: bool
) -> tuple[str, ...]:
    """How a class list differs from the official one, a sentence each; empty if it does not.

    Args:
        found: the classes of the user's files.
        official: the official ones.
        where: the user's file, for the sentences.
        order: whether the order matters too.
    """
    listed = list(found)
    missing, added = _without(official, listed), _without(listed, official)
    problems = []
    if missing:
        problems.append(f"{len(missing)} of the {len(official)} official classes are not in {where}: {some(missing)}")
    if added:
        problems.append(f"{len(added)} classes of {where} are no official ones: {some(added)}")
    if not problems and order and listed != list(official):
        first = next(label for label, (here, there) in enumerate(zip(listed, official, strict=True)) if here != there)
        problems.append(
            f"the classes of {where} are in another order than the official ones: label {first} is "
            f"'{listed[first]}' instead of '{official[first]}'"
        )
    return tuple(problems)


def official_classes(name: str) -> tuple[str, ...]:
    """The official class list that comes with vidrepro as ``labels/<name>.txt``, index = line number - 1."""
    file = resources.files("vidrepro.data.sources") / "labels" / f"{name}.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines())


def choose_order(given: str | None, orders: Sequence[str]) -> str:
    """The label order asked for, or the default one, which is the first.

    Raises:
        UnknownNameError: if the dataset has no such order.
    """
    if given is not None and given not in orders:
        raise unknown_name("label order", given, orders)
    return given or orders[0]


def check_name(text: Any, what: str, where: Where) -> str:
    """A clip's name from an annotation, which is to become a file's name below the media root.

    Raises:
        DataError: if it is no text, empty, has blanks at its ends, or could lead out of the folder.
    """
    if not isinstance(text, str):
        raise DataError(f"{what} is no text", given=repr(text), allowed="a text in quotes", hint=DAMAGED, where=where)
    bad = (
        not text
        or text != text.strip()
        or text in (".", "..")
        or "/" in text
        or "\\" in text
        or _UNWRITABLE.search(text) is not None
        or len(text.encode()) > _LONGEST_NAME
    )
    if bad:
        shown = ascii(text) if len(text) <= 100 else f"{text[:100]!a}... ({len(text)} characters)"
        allowed = "the name of a file without its folder, blanks at the ends and control characters"
        raise DataError(f"{what} cannot be the name of a clip", given=shown, allowed=allowed, hint=DAMAGED, where=where)
    return text


def whole_number(text: str, what: str, where: Where) -> int:
    """A number of an annotation written in digits only.

    Raises:
        DataError: if it is something else.
    """
    if not _WHOLE_NUMBER.fullmatch(text):
        raise DataError(f"{what} is no whole number", given=repr(text), hint=DAMAGED, where=where)
    return int(text)


def field_of(item: Any, key: str, where: Where, kind: type | None = None) -> Any:
    """A field of a JSON object.

    Args:
        item: what was read, an object or not.
        key: the field.
        where: file and line, for messages.
        kind: the type its value must have.

    Raises:
        DataError: if `item` is no object, has no such field, or one of another kind.
    """
    if not isinstance(item, dict):
        raise DataError("an entry is no JSON object", given=_short(item), hint=DAMAGED, where=where)
    if key not in item:
        raise DataError(f"an entry without '{key}'", given=_short(item), hint=DAMAGED, where=where)
    value = item[key]
    if kind is not None and type(value) is not kind:  # True is an int, and no label
        names = {str: "a text in quotes", int: "a whole number", list: "a list"}
        raise DataError(
            f"'{key}' is of the wrong kind", given=_short(value), allowed=names[kind], hint=DAMAGED, where=where
        )
    return value


def find_file(names: Iterable[str], bases: Iterable[Path | None], notes: list[str] | None = None) -> Path | None:
    """An annotation file: the first name that exists in a base, at most three levels below it, or in ``labels/`` or
    ``annotations/`` there.

    Args:
        names: its names, best first.
        bases: folders to look in, best first; None is no folder.
        notes: gets a sentence when another file of the same meaning and different content lies there too.
    """
    folders = [folder for base in bases if base is not None for folder in _annotation_folders(base)]
    found = [folder / name for name in names for folder in folders if (folder / name).is_file()]
    if not found:
        return None
    for other in found[1:]:
        if notes is not None and not _same(found[0], other):
            read, left = (f"{path.parent.name}/{path.name}" for path in (found[0], other))
            notes.append(f"{read} was read; {left} is another file of the same kind with different content")
    return found[0]


def require_file(
    what: str, names: Sequence[str], bases: Sequence[Path | None], *, hint: str, notes: list[str] | None = None
) -> Path:
    """`find_file`, or a refusal that says what was looked for.

    Args:
        what: the file's meaning, for the message.
        names, bases, notes: as in `find_file`.
        hint: where the file comes from.

    Raises:
        DataError: if there is none.
    """
    path = find_file(names, bases, notes)
    if path is None:
        raise DataError(
            f"no {what} found",
            given=given_lists(bases),
            allowed=f"{' or '.join(names)}, in the folder itself or in labels/ or annotations/ below it",
            hint=hint,
        )
    return path


def _annotation_folders(base: Path) -> list[Path]:
    """The folders that lists may lie in, each before its labels/ and annotations/, the nearest first."""
    places = (folder / name for folder in list_folders([base]) for name in ANNOTATION_FOLDERS)
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def _same(first: Path, second: Path) -> bool:
    return first.samefile(second) or (
        first.stat().st_size == second.stat().st_size and first.read_bytes() == second.read_bytes()
    )


def _without(names: Iterable[str], others: Iterable[str]) -> list[str]:
    known = set(others)
    return [name for name in names if name not in known]


def some(names: Sequence[str]) -> str:
    """Names in quotes, of many the first few."""
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
