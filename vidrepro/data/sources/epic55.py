"""EPIC-KITCHENS-55: one folder of 60-fps frames per long video, and a CSV of labelled spans in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from vidrepro.data.archives import check_archive
from vidrepro.data.sources.annotations import UNPACKED, Ids, Row, Where, choose_order, read_csv, whole_number
from vidrepro.data.sources.lists import (
    ClassList,
    archive_sets,
    bases,
    class_list,
    malformed,
    media_folders,
    require_lists,
)
from vidrepro.data.sources.official import VIDEO_SUFFIXES, Annotations, ArchiveSet, Entry, Guide, MediaLayout, Task
from vidrepro.data.sources.search import MEDIA_DEPTH, Entries, entries_of, find_folders, first_folder, has_entry, visit
from vidrepro.errors import DataError

NAME = "epic55"
LAYOUT = MediaLayout(videos=False, flat=True)  # spans count frames at 60 fps, which the videos do not all have
LABEL_ORDERS = ("EPIC class numbers",)
FPS = 60.0
COUNTS = {"train": 23191, "val": 5281}
VERBS, NOUNS = 125, 352
LAST_TRAIN, LAST = 25, 31  # participants: P01-P25 train, P26-P31 val (Baradel et al. 2018, confirmed by a maintainer)
LABELS, VERB_CLASSES, NOUN_CLASSES = "EPIC_train_action_labels.csv", "EPIC_verb_classes.csv", "EPIC_noun_classes.csv"
COLUMNS = ("uid", "participant_id", "video_id", "start_frame", "stop_frame", "verb_class", "noun_class")
ANNOTATION_FOLDERS = ("epic-kitchens-55-annotations", "epic-kitchens-55-annotations-master", "annotations")
MEDIA_FOLDERS = ("EPIC-KITCHENS", "EPIC_KITCHENS_2018", "frames_rgb_flow", "rgb", "train", "frames")
_PARTICIPANT = re.compile(r"P\d\d")
_VIDEO = re.compile(r"(?P<participant>P(?P<number>\d\d))_\d{2,3}")
_HOW_TO_EXTRACT = "ffmpeg -i P01_01.MP4 -vf scale=-2:256 -q:v 4 -r 60 P01/P01_01/frame_%010d.jpg"


def guide() -> Guide:
    """Where EPIC-KITCHENS-55 comes from."""
    return Guide(
        title="EPIC-KITCHENS-55",
        page="https://github.com/epic-kitchens/epic-kitchens-55-annotations (labels), "
        "https://data.bris.ac.uk/data/dataset/3h91syskeag572hl6tvuovwv4d (media)",
        licence="CC BY-NC 4.0",
        registration="none",
        files=(
            "frames_rgb_flow/rgb/train/P01/P01_01.tar and so on, 272 videos (all RGB frames are about 220 GB)",
            f"{LABELS}, {VERB_CLASSES}, {NOUN_CLASSES}",
        ),
        content="125 verbs (default) and 352 nouns; 23,191 train (P01-P25) / 5,281 val (P26-P31) spans in 272 videos",
        certainty="labels counted; P01-P25 / P26-P31 is the reasonable reading of AIA's split, which is not released",
    )


def archives(root: Path) -> list[ArchiveSet]:
    """The annotations, and one set per video whose frames are still packed; each tar gets a folder of its own.

    Raises:
        DataError: for a file that should be a video's tar and is no archive.
    """
    found = []
    if _annotations([root]) is None:
        found += archive_sets(root, lambda name: not _VIDEO.match(name.upper()), "annotations of EPIC-KITCHENS-55")
    for path in _packed_videos(root):
        video = path.name.split(".")[0]
        found.append(ArchiveSet((path,), f"rgb/train/{video[:3]}/{video}", f"frames of video {video}"))
    return found


def read(root: Path, unpacked: Path | None, label_order: str | None) -> Annotations:
    """The labelled spans; verbs are the default label set, nouns (and verbs again) further tasks.

    Raises:
        UnknownNameError: for another label order.
        DataError: if the files are not there, or with file and line for anything malformed.
    """
    order = choose_order(label_order, LABEL_ORDERS)
    tops = bases(root, unpacked)
    folder = require_lists(_annotations(tops), LABELS, ANNOTATION_FOLDERS, root, guide().files[1])
    verbs = _classes(folder / VERB_CLASSES, "verb_id", VERBS)
    nouns = _classes(folder / NOUN_CLASSES, "noun_id", NOUNS) if (folder / NOUN_CLASSES).is_file() else None
    path = folder / LABELS
    ids = Ids()
    entries: list[Entry] = []
    noun_labels: dict[str, int] = {}
    for line, row in _rows(path, COLUMNS):
        entry = _entry(row, len(verbs.names), (path, line))
        ids.add(entry.id, entry.where)
        entries.append(entry)
        noun_labels[entry.id] = _label(row, "noun_class", len(nouns.names) if nouns else None, entry.where)
    tasks = {"verb": Task(verbs.names, {entry.id: entry.label for entry in entries})}
    notes = ["train is P01-P25 and val P26-P31; AIA's own split was not released"]
    if nouns:
        tasks["noun"] = Task(nouns.names, noun_labels)
    else:
        notes.append(f"no task 'noun': {NOUN_CLASSES} is not among the annotations")
    return Annotations(
        classes=verbs.names,
        label_order=order,
        version="EPIC-KITCHENS-55",
        entries=tuple(entries),
        tasks=tasks,
        expected=COUNTS,
        expected_classes=VERBS,
        notes=tuple(notes),
        fps=FPS,
        label_orders=LABEL_ORDERS,
        class_problems=(*verbs.problems, *(nouns.problems if nouns else ())),
    )


def media_roots(root: Path, unpacked: Path | None) -> list[Path]:
    """Folders of participants' folders of videos' folders of frames, or of the videos' folders.

    Raises:
        DataError: if there is none; where only the videos are, with how to extract them.
    """
    tops = bases(root, unpacked)
    if not find_folders(tops, _count_frames):
        _refuse_videos(tops)
    what = "folder of frames such as P01/P01_01/frame_0000000001.jpg"
    return media_folders(root, unpacked, _count_frames, MEDIA_FOLDERS, what, guide().files[0])


def _rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a list or a class list.

    Raises:
        DataError: as `read_csv`; with the reason, if it is EPIC-KITCHENS-100's.
    """
    try:
        return read_csv(path, columns)
    except DataError as error:
        header = str(error.given or "")
        if not error.problem.startswith("missing column") or not ("narration_id" in header or "instances" in header):
            raise
        raise DataError(
            f"{error.problem}: the labels of EPIC-KITCHENS-100 are not accepted",
            given=header,
            allowed=columns,
            hint=f"{LABELS}, {VERB_CLASSES} and {NOUN_CLASSES} of EPIC-KITCHENS-55",
            where=(path, 1),
        ) from error


def _entry(row: dict[str, str], verbs: int, where: Where) -> Entry:
    uid = str(whole_number(row["uid"], "uid", where))
    video = row["video_id"]
    match = _VIDEO.fullmatch(video)
    if match is None or not 1 <= int(match["number"]) <= LAST:
        raise malformed(
            "unknown video",
            where,
            given=repr(video),
            allowed=f"P01_01 and so on, participants 1 to {LAST}; others are those of EPIC-KITCHENS-100",
        )
    if match["participant"] != row["participant_id"]:
        raise malformed(
            "the video is another participant's", where, given=row["participant_id"], allowed=match["participant"]
        )
    start, stop = (whole_number(row[column], column, where) for column in ("start_frame", "stop_frame"))
    if not 1 <= start <= stop:
        allowed = "1 or more, and the end not before the start"
        raise malformed("the span is none", where, given=f"frames {start} to {stop}", allowed=allowed)
    return Entry(
        id=uid,
        split="train" if int(match["number"]) <= LAST_TRAIN else "val",
        label=_label(row, "verb_class", verbs, where),
        media=f"{match['participant']}/{video}",
        where=where,
        span=(start, stop),
    )


def _label(row: dict[str, str], column: str, count: int | None, where: Where) -> int:
    """A class number; a row of EPIC_train_invalid_labels.csv, which has none, does not belong here."""
    if not row[column]:
        allowed = "a class number; rows of EPIC_train_invalid_labels.csv are not to be merged in"
        raise malformed(f"no {column}", where, given="nothing", allowed=allowed)
    label = whole_number(row[column], column, where)
    if count is not None and label >= count:
        raise malformed(f"unknown {column}", where, given=label, allowed=f"0 to {count - 1}")
    return label


def _classes(path: Path, number: str, official: int) -> ClassList:
    """EPIC_verb_classes.csv or EPIC_noun_classes.csv: the class key by number."""
    if not path.is_file():
        raise DataError(f"'{path.name}' is missing", allowed=f"it lies beside {LABELS}", where=path.parent)
    rows = (((path, line), row[number], row["class_key"]) for line, row in _rows(path, (number, "class_key")))
    return class_list(rows, path, first=0, official=official)


def _annotations(tops: list[Path]) -> Path | None:
    return first_folder(tops, ANNOTATION_FOLDERS, lambda folder: (folder / LABELS).is_file())


def _count_frames(entries: Entries) -> int:
    """Videos' folders, and participants' folders of such."""
    return sum(map(_holds_frames, entries))


def _holds_frames(entry: os.DirEntry[str]) -> bool:
    if not entry.is_dir():
        return False
    if _PARTICIPANT.fullmatch(entry.name):
        return has_entry(entry.path, lambda video: video.is_dir() and _VIDEO.fullmatch(video.name) is not None)
    return _VIDEO.fullmatch(entry.name) is not None


def _packed_videos(root: Path) -> list[Path]:
    """The archives named after a video, wherever frames may lie; none if all are unpacked beside themselves.

    Clips are read from one place: where some are not unpacked, all are, or half of the frames would be looked for in
    the wrong one.
    """
    found: dict[str, Path] = {}
    packed = False
    for path in _files_of_videos(root):
        name, _, suffix = path.name.partition(".")
        if f".{suffix.lower()}" not in VIDEO_SUFFIXES:
            check_archive(path)
            found.setdefault(name, path)
            packed |= not path.with_name(name).is_dir()
    return [found[name] for name in sorted(found)] if packed else []


def _files_of_videos(top: Path) -> Iterator[Path]:
    """The files named after a video, but those of optical flow: its tar of frames, or itself."""

    def count_folders(entries: Entries) -> int:  # of frames, which are not looked into
        return sum(_VIDEO.fullmatch(entry.name) is not None and entry.is_dir() for entry in entries)

    for folder, _ in visit([top], count_folders, depth=MEDIA_DEPTH + 1, skip={UNPACKED}, first=MEDIA_FOLDERS):
        for entry in sorted(entries_of(folder), key=lambda one: one.name):
            if _VIDEO.fullmatch(entry.name.partition(".")[0]) and entry.is_file():
                yield Path(entry.path)


def _refuse_videos(tops: list[Path]) -> None:
    """Say what to do with a tree that has the videos, not the frames."""
    files = (path for top in tops for path in _files_of_videos(top))
    video = next((path for path in files if path.suffix.lower() in VIDEO_SUFFIXES), None)
    if video is not None:
        raise DataError(
            "the videos of EPIC-KITCHENS-55 are there, but its spans count frames at 60 per second",
            given=video,
            allowed="frames: P01/P01_01/frame_0000000001.jpg and so on",
            hint=f"download the RGB frames (epic_downloader.py --rgb-frames --epic55-only), or extract them from each "
            f"video: {_HOW_TO_EXTRACT}",
            where=video.parent,
        )
