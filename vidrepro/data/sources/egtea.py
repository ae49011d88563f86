"""EGTEA Gaze+: trimmed clips in recording folders, and a train and a test list for each of three splits."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidrepro.data.sources.annotations import UNPACKED, Where, choose_order, read_lines, whole_number
from vidrepro.data.sources.lists import (
    FOLDS,
    ClassList,
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
    without_suffix,
)
from vidrepro.data.sources.official import Annotations, ArchiveSet, Entry, Guide, MediaLayout, Task
from vidrepro.data.sources.search import Entries, find_folders, first_folder, has_entry

NAME = "egtea"
LAYOUT = MediaLayout(flat=True)
LABEL_ORDERS = ("action_idx.txt",)
COUNTS = {
    "split1": (8299, 2022)
}  # those of splits 2 and 3 are only claimed to be the same, so nothing is refused by them
CLASSES, VERBS, NOUNS = 106, 19, 53
ANNOTATION_FOLDERS = ("action_annotation", "action_annotations", "annotations")
MEDIA_FOLDERS = ("cropped_clips", "video_clips", "videos", "rawframes", "frames", "jpg")
_LIST = re.compile(r"(train|test)_split[123]\.txt")
_CLIP = re.compile(r"(?P<recording>.+)-\d+-\d+-F\d+-F\d+")


def guide() -> Guide:
    """Where EGTEA Gaze+ comes from."""
    return Guide(
        title="EGTEA Gaze+",
        page="https://cbs.ic.gatech.edu/fpv/",
        licence="research use",
        registration="none",
        files=(
            "video_clips.tar (about 20 GB): cropped_clips/<recording>/<clip>.mp4",
            "action_annotation.zip: {train,test}_split{1,2,3}.txt, action_idx.txt, verb_idx.txt, noun_idx.txt",
        ),
        content="106 actions (19 verbs, 53 nouns); split1 8,299 train / 2,022 test, split2 and split3 too",
        certainty="split1 counted; the sizes of split2 and split3 are the authors' and are not compared",
    )


def archives(root: Path) -> list[ArchiveSet]:
    """The clips and the annotations, as far as they are still packed."""
    found = []
    if _annotations([root]) is None:
        found += archive_sets(root, _is_lists, "action annotations of EGTEA Gaze+")
    if not find_folders([root], _count_clips, skip={UNPACKED}):
        found += archive_sets(root, lambda name: not _is_lists(name), "clips of EGTEA Gaze+")
    return found


def read(root: Path, unpacked: Path | None, label_order: str | None) -> Annotations:
    """action_idx.txt and the lists; verbs and nouns are further tasks where their class lists are there.

    Raises:
        UnknownNameError: for another label order.
        DataError: if they are not there, or with file and line for anything malformed.
    """
    order = choose_order(label_order, LABEL_ORDERS)
    tops = bases(root, unpacked)
    lists = "train_split1.txt and test_split1.txt"
    folder = require_lists(_annotations(tops), lists, ANNOTATION_FOLDERS, root, guide().files[1])
    listed = _optional_list(folder / "action_idx.txt", CLASSES)
    actions = listed or ClassList(tuple(f"action {number}" for number in range(1, CLASSES + 1)))
    further = {
        "verb": _Further("verb", _optional_list(folder / "verb_idx.txt", VERBS)),
        "noun": _Further("noun", _optional_list(folder / "noun_idx.txt", NOUNS)),
    }
    clips = FoldedClips()
    for fold in FOLDS:
        for path, split in fold_lists(folder, fold, f"train_{fold}.txt", f"test_{fold}.txt"):
            for line, text in read_lines(path):
                clips.add(fold, _entry(text, split, len(actions.names), further, (path, line)))
    default = next(iter(clips.folds))
    counts = official_counts(COUNTS, clips.folds)
    notes = () if listed else ("action_idx.txt is not among the annotations: the classes are called by their numbers",)
    offered = [one for one in further.values() if one.offered]
    return Annotations(
        classes=actions.names,
        label_order=order,
        version="EGTEA Gaze+",
        entries=clips.in_fold(default),
        folds=clips.folds,
        tasks={one.name: one.task for one in offered},
        expected=counts.get(default, {}),
        expected_folds=counts,
        expected_classes=CLASSES,
        notes=(*notes, *fold_notes(clips.folds), *(one.why_not for one in further.values() if not one.offered)),
        label_orders=LABEL_ORDERS,
        class_problems=(*actions.problems, *(text for one in offered if one.classes for text in one.classes.problems)),
    )


def media_roots(root: Path, unpacked: Path | None) -> list[Path]:
    """Folders of recording folders of clips, or of the clips themselves.

    Raises:
        DataError: if there is none.
    """
    what = "recording folder such as OP01-R01-PastaSalad with clips"
    return media_folders(root, unpacked, _count_clips, MEDIA_FOLDERS, what, guide().files[0])


@dataclass
class _Further:
    """A further label set while the lists are read: verbs or nouns."""

    name: str
    classes: ClassList | None
    labels: dict[str, int] = field(default_factory=dict)
    ambiguous: Where | None = None  # the first clip that has several

    @property
    def offered(self) -> bool:
        return self.classes is not None and self.ambiguous is None

    @property
    def why_not(self) -> str:
        if self.ambiguous is not None:
            path, line = self.ambiguous
            return f"no task '{self.name}': a clip has several of them ({path.name}, line {line})"
        return f"no task '{self.name}': {self.name}_idx.txt is not among the annotations"

    @property
    def task(self) -> Task:
        assert self.classes is not None
        return Task(self.classes.names, self.labels)

    def add(self, clip: str, values: Sequence[str], where: Where) -> None:
        if self.classes is None:
            return
        labels = [_label(value, f"the {self.name}", where) for value in values]
        _check_range(max(labels), len(self.classes.names), self.name, where)
        if len(labels) > 1:
            self.ambiguous = self.ambiguous or where
        if self.labels.setdefault(clip, labels[0]) != labels[0]:
            raise malformed(
                f"clip '{clip}' has another {self.name} in another list",
                where,
                given=values[0],
                allowed=str(self.labels[clip] + 1),
            )


def _entry(text: str, split: str, actions: int, further: dict[str, _Further], where: Where) -> Entry:
    """A line ``<clip> <action> <verb> <noun> [<noun> ...]``, the numbers from 1."""
    fields = text.split()
    if len(fields) < 4:
        raise malformed(
            "a line has the wrong number of fields", where, given=repr(text), allowed="<clip> <action> <verb> <noun>"
        )
    clip = stem_of(fields[0], where)
    match = _CLIP.fullmatch(clip)
    if match is None:
        raise malformed(
            "the clip's name is not understood",
            where,
            given=repr(fields[0]),
            allowed="<recording>-<start ms>-<end ms>-F<first frame>-F<last frame>",
        )
    label = _label(fields[1], "the action", where)
    _check_range(label, actions, "action", where)
    further["verb"].add(clip, fields[2:3], where)
    further["noun"].add(clip, fields[3:], where)
    return Entry(id=clip, split=split, label=label, media=f"{match['recording']}/{clip}", where=where)


def _label(text: str, what: str, where: Where) -> int:
    """A number counted from 1 as a label counted from 0."""
    number = whole_number(text, what, where)
    if number < 1:
        raise malformed(f"{what} is counted from 1", where, given=number, allowed="1 or more")
    return number - 1


def _check_range(label: int, count: int, what: str, where: Where) -> None:
    if label >= count:
        raise malformed(f"unknown {what}", where, given=label + 1, allowed=f"1 to {count}, by {what}_idx.txt")


def _class_list(path: Path, official: int) -> ClassList:
    """A file of ``<words> <number>`` lines; the words hold blanks and slashes, the number is the last field."""
    rows = numbered_lines(path, lambda text: text.rsplit(None, 1)[::-1])
    return class_list(rows, path, first=1, official=official)


def _optional_list(path: Path, official: int) -> ClassList | None:
    return _class_list(path, official) if path.is_file() else None


def _annotations(tops: list[Path]) -> Path | None:
    return first_folder(tops, ANNOTATION_FOLDERS, lambda folder: has_entry(folder, _is_list))


def _is_list(entry: os.DirEntry[str]) -> bool:
    return _LIST.fullmatch(entry.name) is not None


def _count_clips(entries: Entries) -> int:
    """Recording folders, and (flat) clips that lie in no recording folder of theirs."""
    folder = Path(entries[0].path).parent.name if entries else ""

    def is_recording(entry: os.DirEntry[str]) -> bool:
        return entry.is_dir() and has_entry(entry.path, lambda clip: _recording(clip.name) == entry.name)

    return sum(_recording(entry.name) not in (None, folder) or is_recording(entry) for entry in entries)


def _recording(name: str) -> str | None:
    """The recording of a clip's file or folder; None for anything else."""
    match = _CLIP.fullmatch(without_suffix(name))
    return match and match["recording"]


def _is_lists(name: str) -> bool:
    return "annotation" in name
