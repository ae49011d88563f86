"""UCF101: videos in class folders, classInd.txt, and a train and a test list for each of three splits."""

from __future__ import annotations

import os
from pathlib import Path

from vidrepro.data.sources.annotations import (
    UNPACKED,
    Where,
    choose_order,
    official_classes,
    read_lines,
    whole_number,
)
from vidrepro.data.sources.lists import (
    FOLDS,
    FoldedClips,
    archive_sets,
    bases,
    class_list,
    fold_lists,
    fold_notes,
    malformed,
    media_folders,
    numbered_lines,
    official_counts,
    require_lists,
    stem_of,
)
from vidrepro.data.sources.official import VIDEO_SUFFIXES, Annotations, ArchiveSet, Entry, Guide, MediaLayout
from vidrepro.data.sources.search import Entries, find_folders, first_folder, has_entry
from vidrepro.data.sources.versions import another_dataset

NAME = "ucf101"
LAYOUT = MediaLayout(first_suffix=".avi", ignore_case=True, flat=True)
LABEL_ORDERS = ("classInd.txt",)  # by letters without capitals: Hammering is before HammerThrow
COUNTS = {"split1": (9537, 3783), "split2": (9586, 3734), "split3": (9624, 3696)}
ANNOTATION_FOLDERS = ("ucfTrainTestlist", "annotations", "splits")
MEDIA_FOLDERS = ("UCF-101", "UCF101", "videos", "rawframes", "frames", "jpg")


def guide() -> Guide:
    """Where UCF101 comes from."""
    return Guide(
        title="UCF101",
        page="https://www.crcv.ucf.edu/data/UCF101.php",
        licence="none is stated; given out for research",
        registration="none",
        files=(
            "UCF101.rar (about 6.5 GB): UCF-101/<Class>/v_<Class>_gGG_cCC.avi, 13,320 files; needs unrar, 7z or bsdtar",
            "UCF101TrainTestSplits-RecognitionTask.zip: ucfTrainTestlist/{classInd,trainlist01..03,testlist01..03}.txt",
        ),
        content="101 classes; split1 9,537 train / 3,783 test (split2 9,586 / 3,734, split3 9,624 / 3,696)",
        certainty="counts and file formats were verified; the archive's size and the licence were not",
    )


def archives(root: Path) -> list[ArchiveSet]:
    """The videos and the lists, as far as they are still packed."""
    found = []
    if _annotations([root]) is None:
        found += archive_sets(root, _is_lists, "train and test lists of UCF101")
    if not find_folders([root], _count_clips, skip={UNPACKED}):
        found += archive_sets(root, lambda name: not _is_lists(name), "videos of UCF101")
    return found


def read(root: Path, unpacked: Path | None, label_order: str | None) -> Annotations:
    """classInd.txt and the lists.

    Raises:
        UnknownNameError: for another label order.
        DataError: if they are not there, or with file and line for anything malformed.
    """
    order = choose_order(label_order, LABEL_ORDERS)
    tops = bases(root, unpacked)
    folder = require_lists(_annotations(tops), "classInd.txt", ANNOTATION_FOLDERS, root, guide().files[1])
    path = folder / "classInd.txt"
    official = official_classes(NAME)
    listed = class_list(numbered_lines(path, lambda text: text.split(None, 1)), path, first=1, official=official)
    labels = {name: label for label, name in enumerate(listed.names)}
    clips = FoldedClips(ignore_case=True)
    for fold in FOLDS:
        number = f"0{fold[-1]}"
        for path, split in fold_lists(folder, fold, f"trainlist{number}.txt", f"testlist{number}.txt"):
            for line, text in read_lines(path):
                clips.add(fold, _entry(text, split, labels, (path, line)))
    default = next(iter(clips.folds), "")
    lists = "trainlist01.txt and testlist01.txt"
    require_lists(folder if default else None, lists, ANNOTATION_FOLDERS, root, guide().files[1])
    counts = official_counts(COUNTS, clips.folds)
    return Annotations(
        classes=listed.names,
        label_order=order,
        version="UCF101",
        entries=clips.in_fold(default),
        folds=clips.folds,
        expected=counts[default],
        expected_folds=counts,
        expected_classes=len(official),
        notes=fold_notes(clips.folds),
        label_orders=LABEL_ORDERS,
        class_problems=listed.problems,
        foreign=another_dataset(listed.names, NAME),
    )


def media_roots(root: Path, unpacked: Path | None) -> list[Path]:
    """Folders of class folders of ``v_...`` clips.

    Raises:
        DataError: if there is none.
    """
    what = "class folder with clips named v_<Class>_gGG_cCC.avi"
    return media_folders(root, unpacked, _count_clips, MEDIA_FOLDERS, what, guide().files[0])


def _annotations(tops: list[Path]) -> Path | None:
    return first_folder(tops, ANNOTATION_FOLDERS, lambda folder: (folder / "classInd.txt").is_file())


def _count_clips(entries: Entries) -> int:
    """Class folders, and (flat) clips that lie in no class folder of theirs."""
    folder = Path(entries[0].path).parent.name if entries else ""

    def is_class_folder(entry: os.DirEntry[str]) -> bool:
        own = f"v_{entry.name}_".lower()
        return entry.is_dir() and has_entry(entry.path, lambda clip: clip.name.lower().startswith(own))

    def is_clip(entry: os.DirEntry[str]) -> bool:
        name = entry.name.lower()
        return name.startswith("v_") and not name.startswith(f"v_{folder}_".lower())

    return sum(is_clip(entry) or is_class_folder(entry) for entry in entries)


def _is_lists(name: str) -> bool:
    return "split" in name or "list" in name


def _entry(text: str, split: str, labels: dict[str, int], where: Where) -> Entry:
    """A line ``<Class>/<file>.avi [<label>]``; copies of the test lists have the label or not."""
    fields = text.rsplit(None, 1)
    given = fields[1] if len(fields) == 2 and not fields[1].lower().endswith(VIDEO_SUFFIXES) else None
    parts = (text if given is None else fields[0]).strip().split("/")
    if len(parts) != 2:
        raise malformed("the clip's path is not understood", where, given=repr(text), allowed="<Class>/<file>.avi")
    class_name = _class_named(parts[0], labels, where)
    label = labels[class_name]
    if given is None and split == "train":
        raise malformed("the clip has no label", where, given=repr(text), allowed=f"{label + 1} after the path")
    if given is not None and whole_number(given, "the label", where) != label + 1:
        allowed = f"{label + 1}, by classInd.txt"
        raise malformed(
            "the label is not that of the clip's folder", where, given=f"{given}, {class_name}", allowed=allowed
        )
    clip = f"{class_name}/{stem_of(parts[1], where)}"
    return Entry(id=clip, split=split, label=label, media=clip, where=where)


def _class_named(folder: str, labels: dict[str, int], where: Where) -> str:
    """The class of a folder; some copies of the lists write HandStandPushups for classInd's HandstandPushups."""
    same = [folder] if folder in labels else [name for name in labels if name.lower() == folder.lower()]
    if len(same) != 1:
        raise malformed(f"unknown class {folder!r}", where, given=repr(folder), allowed="a class of classInd.txt")
    return same[0]
