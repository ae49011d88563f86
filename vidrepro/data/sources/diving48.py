"""Diving48 V2: flat .mp4 files, JSON lists with the labels cleaned in October 2020, and no validation split.

Source: specs section 3. The labels of V1 lie beside those of V2 on the same page, and differ.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from vidrepro.data.sources.annotations import (
    DAMAGED,
    UNPACKED,
    Ids,
    Item,
    Labels,
    Where,
    check_name,
    choose_order,
    field_of,
    find_file,
    read_json_list,
    require_file,
)
from vidrepro.data.sources.lists import archive_sets
from vidrepro.data.sources.official import VIDEO_SUFFIXES, Annotations, ArchiveSet, Entry, Guide, MediaLayout
from vidrepro.data.sources.search import Entries, find_folders, searched
from vidrepro.errors import DataError

NAME = "diving48"
LAYOUT = MediaLayout()

TITLE = "Diving48 V2"
ORDERS = ("vocab",)
"""The position in Diving48_vocab.json, which is the number in the lists."""

CLASSES = 48
EXPECTED = {"train": 15_027, "test": 1_970}
FIRST_VERSION = {"train": 15_943, "test": 2_096}

_USED = ("vid_name", "label")  # beside them stand start_frame and end_frame: nominal, the frames are counted
_VOCABULARY = "Diving48_vocab.json"
_CLIP = re.compile(r".+_[0-9]{5}", re.DOTALL)
_HINT = "it lies beside the videos on the dataset's page; vidrepro prepare diving48 --help says where"


def guide() -> Guide:
    """Where the download comes from and what belongs to it."""
    return Guide(
        title=TITLE,
        page="http://www.svcl.ucsd.edu/projects/resound/dataset.html",
        licence="none stated that we know of; look at the page",
        registration="none",
        files=(
            "Diving48_rgb.tar.gz (about 9.6 GB): rgb/<name>.mp4, 18,404 files, of which V2 uses 16,997",
            f"Diving48_V2_train.json, Diving48_V2_test.json, {_VOCABULARY}; the lists without _V2_ are V1's",
        ),
        content="48 classes; train 15,027, test 1,970 clips (no validation split)",
        certainty="the counts are documented by two sources, not counted by us; the archive of frames on the page is "
        "reported to be incomplete: take the videos",
    )


def archives(root: Path) -> list[ArchiveSet]:
    """What in `root` is still packed.

    Raises:
        DataError: for an archive that is none, by name.
    """
    if find_folders([root], _count_clips, skip={UNPACKED}):
        return []
    return archive_sets(root, lambda name: "flow" not in name, f"videos of {TITLE}")


def read(root: Path, unpacked: Path | None, label_order: str | None) -> Annotations:
    """The clips of train and test.

    Raises:
        DataError: with file and line; also for the lists of V1, whatever they are called.
        UnknownNameError: if there is no such label order.
    """
    order = choose_order(label_order, ORDERS)
    bases, ids = [root, unpacked], Ids()
    notes: list[str] = []
    lists = {split: _find_list(split, bases, notes) for split in EXPECTED}
    vocabulary = require_file("vocabulary of Diving48", [_VOCABULARY], bases, hint=_HINT, notes=notes)
    items = {split: read_json_list(path, _USED) for split, path in lists.items()}
    listed = {split: len(items[split]) for split in EXPECTED}
    if any(listed[split] > number for split, number in EXPECTED.items()):
        counts = f"{_sum(listed)} clips are listed; V2 lists {_sum(EXPECTED)}, V1 {_sum(FIRST_VERSION)}"
        raise _first_version(lists["train"], counts)
    labels = _labels(vocabulary)
    entries = [
        _entry(item, (lists[split], item.line), split, labels, ids) for split in EXPECTED for item in items[split]
    ]
    starts = [item.value.get("start_frame") for split in EXPECTED for item in items[split]]
    later = sum(isinstance(start, int) and start > 0 for start in starts)
    if later:
        notes.append(f"{later} clips have a start_frame above 0, which the official lists have nowhere; it is not used")
    wrong = (
        ()
        if len(labels.classes) == CLASSES
        else (f"{vocabulary.name} has {len(labels.classes)} classes instead of 48",)
    )
    return Annotations(
        classes=labels.classes,
        label_order=order,
        version="V2",
        entries=tuple(entries),
        expected=EXPECTED,
        expected_classes=CLASSES,
        notes=tuple(notes),
        label_orders=ORDERS,
        class_problems=wrong,
    )


def media_roots(root: Path, unpacked: Path | None) -> list[Path]:
    """Folders that hold the clips: those called ``rgb`` first, then the one with the most.

    Raises:
        DataError: if there is none.
    """
    folders = find_folders([root, unpacked], _count_clips)
    if not folders:
        raise DataError(
            f"no clips of {TITLE} found",
            given=f"searched: {searched([root, unpacked])}",
            allowed="rgb/<name>.mp4, such as rgb/-mmq0PT-u8k_00155.mp4, or folders of pictures with such names",
            hint="give the folder that holds Diving48_rgb.tar.gz, or what is in it, with --root",
        )
    return sorted(folders, key=lambda folder: folder.name != "rgb")


def _find_list(split: str, bases: list[Path | None], notes: list[str]) -> Path:
    first_version = find_file([f"Diving48_{split}.json"], bases)
    second_version = find_file([f"Diving48_V2_{split}.json"], bases, notes)
    if second_version is None and first_version is not None:
        raise _first_version(first_version, f"there is no Diving48_V2_{split}.json, only the list of V1")
    if second_version is None:
        return require_file(f"list of {split} clips", [f"Diving48_V2_{split}.json"], bases, hint=_HINT)
    # One of V1's two lists alone may be the same in a cut-down set; all that lie here are only where they were renamed.
    if first_version is not None and not any(_differs_from_first_version(one, bases) for one in EXPECTED):
        raise _first_version(second_version, f"it is a copy of {first_version.name}, the list of V1")
    return second_version


def _differs_from_first_version(split: str, bases: list[Path | None]) -> bool:
    """Whether a list of V1 lies beside V2's and is another one."""
    first, second = (find_file([f"Diving48_{version}{split}.json"], bases) for version in ("", "V2_"))
    return first is not None and second is not None and first.read_bytes() != second.read_bytes()


def _sum(counts: dict[str, int]) -> str:
    return f"{' + '.join(f'{number:,}' for number in counts.values())} = {sum(counts.values()):,}"


def _first_version(path: Path, reason: str) -> DataError:
    return DataError(
        "the labels of Diving48 V1 are not accepted",
        given=reason,
        allowed="Diving48_V2_train.json and Diving48_V2_test.json, the labels cleaned in October 2020",
        hint="V1 has wrong labels and other splits, so that its scores cannot be compared with V2's: " + _HINT,
        where=path,
    )


def _labels(path: Path) -> Labels:
    """The classes, each called by its four parts: ``Back+15som+05Twis+FREE``."""
    names, lines = [], []
    for line, parts in read_json_list(path):
        if not (isinstance(parts, list) and parts and all(isinstance(part, str) and part for part in parts)):
            allowed = '["Back", "15som", "05Twis", "FREE"]'
            raise DataError(
                "a class that is no list of texts",
                given=ascii(parts)[:100],
                allowed=allowed,
                hint=DAMAGED,
                where=(path, line),
            )
        names.append("+".join(parts))
        lines.append(line)
    return Labels(names, path, lines)


def _entry(item: Item, where: Where, split: str, labels: Labels, ids: Ids) -> Entry:
    clip = check_name(field_of(item.value, "vid_name", where), "vid_name", where)
    ids.add(clip, where)
    label = field_of(item.value, "label", where, int)
    if not 0 <= label < len(labels.classes):
        allowed = f"0 to {len(labels.classes) - 1}, the positions in {_VOCABULARY}"
        raise DataError(f"clip '{clip}' has an unknown label", given=label, allowed=allowed, hint=DAMAGED, where=where)
    return Entry(clip, split, label, clip, where)


def _count_clips(entries: Entries) -> int:
    """Videos, and folders called like one: an id of YouTube, ``_`` and five digits."""
    return sum(_is_video(entry) or (entry.is_dir() and _CLIP.fullmatch(entry.name) is not None) for entry in entries)


def _is_video(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(VIDEO_SUFFIXES) and entry.is_file()
