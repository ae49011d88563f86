"""Something-Something V1: folders of JPEG pictures, ``;``-separated lists, and three orders of labels in use.

Source: specs section 1 (TwentyBN's page and mmaction2's documentation of it; TSM, mmaction2 and TAM for the orders).
"""

from __future__ import annotations

from pathlib import Path

from vidrepro.data.sources.annotations import (
    DAMAGED,
    Ids,
    Labels,
    choose_order,
    compare_classes,
    find_file,
    read_lines,
    require_file,
)
from vidrepro.data.sources.official import Annotations, ArchiveSet, Entry, Guide
from vidrepro.data.sources.something_something import (
    CLASSES,
    FPS,
    NUMBERED_CLIPS,
    OFFICIAL,
    clip_folders,
    clip_number,
    find_archives,
)
from vidrepro.data.sources.versions import another_dataset, another_version
from vidrepro.errors import DataError

NAME = "ssv1"
LAYOUT = NUMBERED_CLIPS

TITLE = "Something-Something V1"
PARTS = "20bn-something-something-v1"
FILES = "something-something-v1"

ORDERS = ("sorted", "mmaction2", "tam")
"""``sorted``: TSM, TRN, TDN, TEA, GSM, M2A, AIA. ``mmaction2``: the line in labels.csv, from 0. ``tam``: the same line,
which TAM's own lists count from 1; a manifest counts every label from 0, so that these labels equal mmaction2's."""

EXPECTED = {"train": 86_017, "val": 11_522}
OTHER = ("Something-Something V2", {"train": 168_913, "val": 24_777})
_ANNOTATIONS = {"train": f"{FILES}-train.csv", "val": f"{FILES}-validation.csv"}

# Where the classes with a mirrored partner stand in the official labels.csv, from mmaction2's flip map.
_FILE_ORDER = {
    2: "Turning the camera left while filming something",
    4: "Turning the camera right while filming something",
    30: "Pushing something from left to right",
    41: "Pushing something from right to left",
    52: "Pulling something from right to left",
    66: "Pulling something from left to right",
}

_HINT = (
    "the lists are files of their own beside the video parts; vidrepro prepare ssv1 --help says where they come from"
)


def guide() -> Guide:
    """Where the download comes from and what belongs to it."""
    return Guide(
        title=TITLE,
        page="https://20bn.com/datasets/something-something/v1 (gone; Qualcomm, the owner now, gives out V2 only)",
        licence="academic research only, by TwentyBN's licence",
        registration="a login was needed at 20bn.com; today V1 is passed on by third parties only",
        files=(
            f"{PARTS}-00, -01, ... without an extension: one .tgz cut into parts of at most 1 GB, about 25.2 GB in all",
            f"{FILES}-train.csv, {FILES}-validation.csv, {FILES}-test.csv, {FILES}-labels.csv",
            "or the tree in the parts: 20bn-something-something-v1/<number>/00001.jpg ..., 108,499 folders",
        ),
        content="174 classes; train 86,017, val 11,522 clips (test 10,960 without labels)",
        certainty="the number of parts is not settled (25 in a reproduction's README, 26 by the sizes) and the total "
        "size is recalled, so neither is checked; checksums are no longer published",
    )


def archives(root: Path) -> list[ArchiveSet]:
    """What in `root` is still packed.

    Raises:
        DataError: for a part that is missing, cut short or a web page, by name.
    """
    return find_archives(root, PARTS, _is_annotations, TITLE)


def read(root: Path, unpacked: Path | None, label_order: str | None) -> Annotations:
    """The clips of train and validation; those of test have no labels and are counted only.

    Raises:
        DataError: with file and line.
        UnknownNameError: if there is no such label order.
    """
    order = choose_order(label_order, ORDERS)
    bases, ids = [root, unpacked], Ids()
    notes: list[str] = []
    labels, problems = _labels(bases, order, notes)
    entries: list[Entry] = []
    for split, name in _ANNOTATIONS.items():
        path = require_file(f"list of {split} clips", [name], bases, hint=_HINT, notes=notes)
        entries += _clips(path, split, labels, ids)
    test = find_file([f"{FILES}-test.csv"], bases, notes)
    left_out = {} if test is None else {"test clips without labels": _count_test(test, ids)}
    if order == "tam":
        notes.append("TAM's own lists number these classes from 1; the labels here are TAM's numbers minus 1")
    return Annotations(
        classes=labels.classes,
        label_order=order,
        version="V1",
        entries=tuple(entries),
        expected=EXPECTED,
        expected_classes=len(CLASSES),
        left_out=left_out,
        notes=tuple(notes),
        fps=FPS,
        label_orders=ORDERS,
        class_problems=problems,
        foreign=(
            *another_version(entries, *OTHER),
            *another_dataset(labels.classes, OFFICIAL),
        ),
    )


def media_roots(root: Path, unpacked: Path | None) -> list[Path]:
    """Folders that hold numbered clips, the one with the most first.

    Raises:
        DataError: if there is none.
    """
    return clip_folders(root, unpacked, TITLE, "folders of pictures with numbers for names, such as 1/00001.jpg")


def _is_annotations(name: str) -> bool:
    name = name.lower()
    return name.startswith(FILES) and name.endswith((".zip", ".tgz", ".tar.gz", ".tar"))


def _labels(bases: list[Path | None], order: str, notes: list[str]) -> tuple[Labels, tuple[str, ...]]:
    """The classes in the order asked for, and how they differ from the official ones."""
    path = find_file([f"{FILES}-labels.csv"], bases, notes)
    if path is None:
        if order != "sorted":
            raise DataError(
                f"the label order '{order}' is that of the lines of {FILES}-labels.csv, which is not there",
                allowed="with that file: " + ", ".join(ORDERS) + "; without it: sorted",
                hint=_HINT,
            )
        notes.append(f"{FILES}-labels.csv is not there; the official 174 class names of vidrepro were taken")
        return Labels(CLASSES, "the official class list"), ()
    lines = read_lines(path, blank_inside=False)
    listed = Labels([line.text for line in lines], path, [line.number for line in lines])
    problems = compare_classes(listed.classes, CLASSES, path.name, order=False)
    if order == "sorted":
        return Labels(sorted(listed.classes), path), problems
    if not problems:
        moved = [line + 1 for line, name in _FILE_ORDER.items() if listed.classes[line] != name]
        if moved:
            problems = (
                f"the lines of {path.name} are not in the official order, on which '{order}' depends: line {moved[0]} "
                f"is '{listed.classes[moved[0] - 1]}' instead of '{_FILE_ORDER[moved[0] - 1]}'",
            )
    return listed, problems


def _clips(path: Path, split: str, labels: Labels, ids: Ids) -> list[Entry]:
    entries = []
    for number, text in read_lines(path):
        where = (path, number)
        clip, separator, label = text.partition(";")  # once: labels hold commas, and may hold what they like
        if not separator:
            raise DataError("no ';' in a line", given=repr(text), allowed="id;label", hint=DAMAGED, where=where)
        clip = clip_number(clip, where)
        ids.add(clip, where)
        entries.append(Entry(clip, split, labels.of(label, where), clip, where))
    return entries


def _count_test(path: Path, ids: Ids) -> int:
    lines = read_lines(path)
    for number, text in lines:
        ids.add(clip_number(text, (path, number)), (path, number))
    return len(lines)
