"""HMDB51: videos in class folders, and for each class and each of three splits a list of its clips with 1, 2 or 0."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from vidrepro.data.sources.annotations import (
    UNPACKED,
    Where,
    choose_order,
    compare_classes,
    official_classes,
    read_lines,
)
from vidrepro.data.sources.lists import (
    FOLDS,
    FoldedClips,
    archive_sets,
    bases,
    fold_notes,
    malformed,
    media_folders,
    official_counts,
    require_lists,
    stem_of,
)
from vidrepro.data.sources.official import Annotations, ArchiveSet, Entry, Guide, MediaLayout
from vidrepro.data.sources.search import Entries, entries_of, find_folders, first_folder, has_entry
from vidrepro.data.sources.versions import another_dataset
from vidrepro.errors import DataError

NAME = "hmdb51"
LAYOUT = MediaLayout(first_suffix=".avi")  # names hold [ ] # & ;: joined as they stand
LABEL_ORDERS = ("sorted class names",)
COUNTS = dict.fromkeys(FOLDS, (3570, 1530))
ANNOTATION_FOLDERS = ("testTrainMulti_7030_splits", "test_train_splits", "annotations", "splits")
MEDIA_FOLDERS = ("hmdb51_org", "HMDB51", "hmdb51", "videos", "rawframes", "frames", "jpg")
_LIST = re.compile(r"(?P<name>.+)_test_split(?P<split>[123])\.txt")
_SPLITS = {"0": "", "1": "train", "2": "test"}


def guide() -> Guide:
    """Where HMDB51 comes from."""
    return Guide(
        title="HMDB51",
        page="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
        licence="CC BY 4.0",
        registration="none; the official host is often down, mirrors exist",
        files=(
            "hmdb51_org.rar (about 2 GB): 51 archives <class>.rar with <class>/<name>.avi; needs unrar, 7z or bsdtar",
            "test_train_splits.rar (md5 15e67781e70dcfbdce2d7dbb9b3344b5): testTrainMulti_7030_splits/"
            "<class>_test_split{1,2,3}.txt, 153 files",
        ),
        content="51 classes; 3,570 train / 1,530 test in each of split1, split2, split3",
        certainty="counts and file formats were verified; the archive's size and the licence were not",
    )


def archives(root: Path) -> list[ArchiveSet]:
    """The videos (rar in rar) and the lists, as far as they are still packed."""
    lists = _annotations([root])
    found = []
    if lists is None:
        found += archive_sets(root, _is_lists, "train and test lists of HMDB51")
    if not find_folders([root], _class_folders(lists), skip={UNPACKED}):
        found += archive_sets(root, lambda name: not _is_lists(name), "videos of HMDB51")
    return found


def read(root: Path, unpacked: Path | None, label_order: str | None) -> Annotations:
    """The 153 lists. A clip that no split uses is left out and counted.

    Raises:
        UnknownNameError: for another label order.
        DataError: if there are none, if one is missing, or with file and line for anything malformed.
    """
    order = choose_order(label_order, LABEL_ORDERS)
    tops = bases(root, unpacked)
    folder = require_lists(_annotations(tops), "<class>_test_split1.txt", ANNOTATION_FOLDERS, root, guide().files[1])
    lists = _lists(folder)
    classes = _class_names(folder)
    available = [fold for fold in FOLDS if any(one == fold for _, one in lists)]
    clips = FoldedClips()
    listed: set[str] = set()
    for fold in available:
        for label, name in enumerate(classes):
            if (name, fold) not in lists:
                wanted = f"{name}_test_{fold}.txt"
                raise DataError(f"the list of class '{name}' for {fold} is missing", given=wanted, where=folder)
            for entry in _entries(lists[name, fold], name, label):
                listed.add(entry.id)
                if entry.split:
                    clips.add(fold, entry)
    counts = official_counts(COUNTS, available)
    unused = len(listed) - len(clips.entries)
    return Annotations(
        classes=classes,
        label_order=order,
        version="HMDB51",
        entries=clips.in_fold(available[0]),
        folds={fold: clips.folds.get(fold, {}) for fold in available},
        expected=counts[available[0]],
        expected_folds=counts,
        expected_classes=len(official_classes(NAME)),
        left_out={"clips that no split uses": unused} if unused else {},
        notes=fold_notes(available),
        label_orders=LABEL_ORDERS,
        class_problems=compare_classes(classes, official_classes(NAME), folder.name, order=True),
        foreign=another_dataset(classes, NAME),
    )


def media_roots(root: Path, unpacked: Path | None) -> list[Path]:
    """Folders of class folders of clips.

    Raises:
        DataError: if there is none.
    """
    count = _class_folders(_annotations(bases(root, unpacked)))
    return media_folders(root, unpacked, count, MEDIA_FOLDERS, "class folder such as brush_hair", guide().files[0])


def _annotations(tops: list[Path]) -> Path | None:
    def has_lists(folder: Path) -> bool:
        return has_entry(folder, lambda entry: _LIST.fullmatch(entry.name) is not None)

    return first_folder(tops, ANNOTATION_FOLDERS, has_lists)


def _lists(folder: Path) -> Mapping[tuple[str, str], Path]:
    """(class, fold) -> its list."""
    matches = ((entry, _LIST.fullmatch(entry.name)) for entry in entries_of(folder))
    return {(match["name"], f"split{match['split']}"): Path(entry.path) for entry, match in matches if match}


def _class_names(folder: Path | None) -> tuple[str, ...]:
    """The classes by label: sorted names, not sorted files (there kick_ball_test_... comes before kick_test_...)."""
    return official_classes(NAME) if folder is None else tuple(sorted({name for name, _ in _lists(folder)}))


def _class_folders(folder: Path | None) -> Callable[[Entries], int]:
    """What counts the class folders among a folder's entries."""
    names = {*_class_names(folder), *official_classes(NAME)}

    def is_class_folder(entry: os.DirEntry[str]) -> bool:
        # not one that a class's own archive was unpacked into: brush_hair/brush_hair/
        return entry.name in names and entry.is_dir() and has_entry(entry.path, lambda clip: clip.name != entry.name)

    return lambda entries: sum(map(is_class_folder, entries))


def _is_lists(name: str) -> bool:
    return "split" in name


def _entries(path: Path, name: str, label: int) -> list[Entry]:
    """The clips of one list, those it does not use too (split empty)."""
    entries: dict[str, Entry] = {}
    for line, text in read_lines(path):
        where: Where = (path, line)
        fields = text.rsplit(None, 1)
        if len(fields) != 2:
            allowed = "<name>.avi and 0, 1 or 2"
            raise malformed("a line has the wrong number of fields", where, given=repr(text), allowed=allowed)
        file, use = fields
        if use not in _SPLITS:
            raise malformed("the clip's use is unknown", where, given=repr(use), allowed="0 unused, 1 train, 2 test")
        clip = f"{name}/{stem_of(file, where)}"
        if clip in entries:
            allowed = f"once; it is in line {entries[clip].where[1]} already"
            raise malformed("duplicate clip", where, given=file, allowed=allowed)
        entries[clip] = Entry(id=clip, split=_SPLITS[use], label=label, media=clip, where=where)
    return list(entries.values())
