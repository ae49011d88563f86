"""Something-Something V2: numbered .webm files, JSON lists, the class in `template` with its square brackets deleted.

Source: specs section 2 (Qualcomm's packages; TSM, SlowFast and pytorchvideo for how the class is found).
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from vidrepro.data.sources.annotations import (
    DAMAGED,
    Ids,
    Item,
    Labels,
    Where,
    choose_order,
    compare_classes,
    field_of,
    find_file,
    read_json_list,
    read_json_object,
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

NAME = "ssv2"
LAYOUT = NUMBERED_CLIPS

TITLE = "Something-Something V2"
PARTS = "20bn-something-something-v2"
LABELS_PACKAGE = "20bn-something-something-download-package-labels.zip"

ORDERS = ("labels.json",)
"""labels.json's order is the sorted one, so that V1 in its default order has the same labels."""

EXPECTED = {"train": 168_913, "val": 24_777}
OTHER = ("Something-Something V1", {"train": 86_017, "val": 11_522})
EXPECTED_TEST = 27_157

_USED = ("id", "template")  # beside them stand `label`, which is free text, and `placeholders`
_BRACKETS = str.maketrans("", "", "[]")
_HINT = f"the lists come in {LABELS_PACKAGE}; vidrepro prepare ssv2 --help says where from"


def guide() -> Guide:
    """Where the download comes from and what belongs to it."""
    return Guide(
        title=TITLE,
        page="https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
        licence="Qualcomm's research licence: no redistribution, no commercial use",
        registration="a Qualcomm account, and the licence accepted",
        files=(
            f"{PARTS}-00 .. -19: one .tgz cut into 20 parts, 19.4 GB in all; or the same parts each in a .zip; "
            "or (since 2024) two files -00 and -01 of about 9.4 and 8.8 GB",
            f"{LABELS_PACKAGE}: labels/train.json, validation.json, test.json, labels.json, test-answers.csv",
            "or the tree in the parts: 20bn-something-something-v2/<number>.webm, 220,847 files",
        ),
        content="174 classes; train 168,913, val 24,777, test 27,157 clips (labels of test in Qualcomm's package only)",
        certainty="the two files of 2024 are known from users' reports only; what they are is told by their content, "
        "not by their names",
    )


def archives(root: Path) -> list[ArchiveSet]:
    """What in `root` is still packed.

    Raises:
        DataError: for a part that is missing, cut short or a web page, by name.
    """
    return find_archives(root, PARTS, _is_annotations, TITLE)


def read(root: Path, unpacked: Path | None, label_order: str | None) -> Annotations:
    """The clips of train and validation, and those of test that test-answers.csv gives a label.

    Raises:
        DataError: with file and line.
        UnknownNameError: if there is no such label order.
    """
    order = choose_order(label_order, ORDERS)
    bases, ids = [root, unpacked], Ids()
    notes: list[str] = []
    labels, problems = _labels(bases, notes)
    entries: list[Entry] = []
    for split, name in (("train", "train"), ("val", "validation")):
        path = require_file(f"list of {split} clips", _names(f"{name}.json"), bases, hint=_HINT, notes=notes)
        items = _filled(path, read_json_list(path, _USED))
        entries += [_entry(item, (path, item.line), split, labels, ids) for item in items]
    test, unlabelled = _test(bases, labels, ids, notes)
    return Annotations(
        classes=labels.classes,
        label_order=order,
        version="V2",
        entries=(*entries, *test),
        expected={**EXPECTED, "test": EXPECTED_TEST} if test else EXPECTED,
        expected_classes=len(CLASSES),
        left_out={"test clips without labels": unlabelled} if unlabelled else {},
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
    return clip_folders(
        root, unpacked, TITLE, "files with numbers for names, such as 1.webm, or such folders of pictures"
    )


def _names(name: str) -> list[str]:
    """The name of a list today, and the one it had at 20BN."""
    return [name, f"something-something-v2-{name}"]


def _is_annotations(name: str) -> bool:
    name = name.lower()
    packed = name.endswith((".zip", ".tgz", ".tar.gz", ".tar"))
    return packed and name.startswith(("20bn-something-something-download-package-labels", "something-something-v2"))


def _filled(path: Path, items: list[Item]) -> list[Item]:
    if not items:
        raise DataError("a list without clips", hint=DAMAGED, where=path)
    return items


def _labels(bases: list[Path | None], notes: list[str]) -> tuple[Labels, tuple[str, ...]]:
    """The classes by their number in labels.json, and how they differ from the official ones."""
    path = find_file(_names("labels.json"), bases, notes)
    if path is None:
        notes.append("labels.json is not there; the official 174 class names of vidrepro were taken")
        return Labels(CLASSES, "the official class list"), ()
    listed = read_json_object(path)
    if not listed:
        raise DataError("a class list without classes", hint=DAMAGED, where=path)
    by_number: dict[int, tuple[str, int]] = {}
    for name, item in listed.items():
        number = _class_number(item.value, max(len(listed), len(CLASSES)), (path, item.line))
        if number in by_number:
            raise DataError(
                f"two classes have the number {number}",
                given=f"'{name}'; '{by_number[number][0]}' in line {by_number[number][1]}",
                hint=DAMAGED,
                where=(path, item.line),
            )
        by_number[number] = (name, item.line)
    unnamed = [number for number in range(max(by_number)) if number not in by_number]
    for number in unnamed:
        by_number[number] = (_filler(number, listed), 1)
    names = [by_number[number] for number in range(len(by_number))]
    labels = Labels([name for name, _ in names], path, [line for _, line in names])
    if not unnamed:
        return labels, compare_classes(labels.classes, CLASSES, path.name, order=True)
    gaps = f"{path.name} names no class for {len(unnamed)} numbers, the first of which is {unnamed[0]}"
    return labels, (*compare_classes(listed, CLASSES, path.name, order=False), gaps)


def _filler(number: int, listed: Container[str]) -> str:
    """A name for a number without one, as in a labels.json that was cut down to some classes."""
    official = CLASSES[number] if number < len(CLASSES) else ""
    return official if official and official not in listed else f"class {number}, which has no name"


def _class_number(value: object, count: int, where: Where) -> int:
    text = str(value) if type(value) is int else value
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 9 and int(text) < count):
        allowed = f"the numbers 0 to {count - 1}, each once"
        raise DataError("a class without its number", given=repr(value), allowed=allowed, hint=DAMAGED, where=where)
    return int(text)


def _entry(item: Item, where: Where, split: str, labels: Labels, ids: Ids) -> Entry:
    clip = clip_number(field_of(item.value, "id", where, str), where)
    ids.add(clip, where)
    template = field_of(item.value, "template", where, str)
    # only the brackets go, since what they hold is part of the class's name
    return Entry(clip, split, labels.of(template.translate(_BRACKETS), where), clip, where)


def _test(bases: list[Path | None], labels: Labels, ids: Ids, notes: list[str]) -> tuple[list[Entry], int]:
    """The test clips that have a label, and the number of those that have none."""
    listed = _test_ids(find_file(_names("test.json"), bases, notes), ids)
    answers = find_file(["test-answers.csv", "something-something-v2-test-answers.csv"], bases, notes)
    if answers is None:
        return [], len(listed)
    entries = []
    answered = Ids()
    for number, text in read_lines(answers):
        where = (answers, number)
        clip, separator, template = text.partition(";")
        if not separator:
            raise DataError("no ';' in a line", given=repr(text), allowed="id;class", hint=DAMAGED, where=where)
        clip = clip_number(clip, where)
        answered.add(clip, where)
        if not listed:
            ids.add(clip, where)
        elif clip not in listed:
            raise DataError("an answer to a clip that test.json does not list", given=clip, hint=DAMAGED, where=where)
        entries.append(Entry(clip, "test", labels.of(template.translate(_BRACKETS), where), clip, where))
    return entries, len(listed) - len(entries) if listed else 0


def _test_ids(path: Path | None, ids: Ids) -> set[str]:
    if path is None:
        return set()
    listed = set()
    for line, value in read_json_list(path, _USED):
        where = (path, line)
        clip = clip_number(field_of(value, "id", where, str), where)
        ids.add(clip, where)
        listed.add(clip)
    return listed
