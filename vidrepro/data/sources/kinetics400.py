"""Kinetics-400: comma-separated lists, clips named by YouTube id and times, in class folders spelt in several ways.

Source: specs section 8 (CVDF's copy; TSM and torchvision for the names of folders). Videos vanish from YouTube, so that
no two holders have the same clips: counts are told, and there are no official ones to compare with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from vidrepro.data.archives import check_archive
from vidrepro.data.sources.annotations import (
    DAMAGED,
    UNPACKED,
    Ids,
    Labels,
    Row,
    Where,
    check_name,
    choose_order,
    compare_classes,
    find_file,
    official_classes,
    read_csv,
    require_file,
    whole_number,
)
from vidrepro.data.sources.official import VIDEO_SUFFIXES, Annotations, ArchiveSet, Entry, Guide, MediaLayout
from vidrepro.data.sources.search import entries_of, may_hold_clips, searched
from vidrepro.data.sources.trees import File, choose_tree, notes_on_choice
from vidrepro.data.sources.versions import another_dataset
from vidrepro.errors import DataError

NAME = "kinetics400"
LAYOUT = MediaLayout()

TITLE = "Kinetics-400"
ORDERS = ("sorted",)
CLASSES = 400

SPLITS = {"train": ("train",), "val": ("val", "validate", "validation"), "test": ("test",)}
"""What the lists and their column ``split`` call each split."""

_COLUMNS = ("youtube_id", "time_start", "time_end", "split")
_STEM = re.compile(r".+_[0-9]{6}_[0-9]{6}", re.DOTALL)
_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
_REPLACEMENTS = "replacement"
_DEPTH = 4  # k400/train/<class>/<clip>
_HINT = "CVDF keeps the lists in annotations/; vidrepro prepare kinetics400 --help says where"


def guide() -> Guide:
    """Where the download comes from and what belongs to it."""
    return Guide(
        title=TITLE,
        page="https://github.com/cvdfoundation/kinetics-dataset (CVDF's copy; the authors give links to YouTube only)",
        licence="the lists: CC BY 4.0 by Google; the videos belong to those who uploaded them",
        registration="none",
        files=(
            "train/part_0.tar.gz ..., val/part_0.tar.gz ..., test/part_0.tar.gz ...: hundreds of 1.6 GB",
            "replacement_for_corrupted_k400.tgz: about 1,400 clips that replace damaged ones",
            "annotations/train.csv, val.csv, test.csv: label,youtube_id,time_start,time_end,split",
            "in the archives <id>_<start>_<end>.mp4 with six digits each; class folders are accepted in any spelling",
        ),
        content="400 classes; about 240,000 train, 20,000 val, 40,000 test clips, fewer every year",
        certainty="counts differ from holder to holder (240,403 and 19,769 in one), so none is demanded: clips that "
        "are listed and not there are for --allow-missing; licences and sizes are as third parties describe them",
    )


def archives(root: Path) -> list[ArchiveSet]:
    """The archives of clips in `root` and in its folders, unless clips lie there already.

    Raises:
        DataError: for an archive that is none, by name.
    """
    if _holds_clips(root, skip=UNPACKED):
        return []
    sets = []
    for folder in _folders(root, depth=2):
        into = "" if folder == root else folder.relative_to(root).as_posix()
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name.lower().endswith(_ARCHIVES):
                check_archive(path)
                target = _REPLACEMENTS if path.name.lower().startswith(_REPLACEMENTS) else into
                sets.append(ArchiveSet((path,), target, f"clips of {TITLE}"))
    return sets


def read(root: Path, unpacked: Path | None, label_order: str | None) -> Annotations:
    """The clips of the lists that are there; test only if its list has labels.

    Raises:
        DataError: with file and line.
        UnknownNameError: if there is no such label order.
    """
    order = choose_order(label_order, ORDERS)
    bases, ids = [root, unpacked], Ids()
    notes: list[str] = []
    lists = _lists(bases, notes)
    rows = {split: read_csv(path, _COLUMNS, optional=("label",)) for split, path in lists.items()}
    labelled = any(row.fields.get("label") for row in rows.get("test", []))
    unlabelled = [] if labelled else rows.pop("test", [])
    for split, listed in rows.items():
        _check_labels(listed, lists[split])
    names = sorted({row.fields["label"] for listed in rows.values() for row in listed})
    labels = Labels(names, next(iter(lists.values())))
    clips = [
        (_clip_name(row, (lists[split], row.line)), split, row) for split, listed in rows.items() for row in listed
    ]
    media = _index(media_roots(root, unpacked)[0], {clip for clip, *_ in clips}, notes)
    _note_packed_replacements(root, unpacked, notes)
    entries = []
    for clip, split, row in clips:
        where = (lists[split], row.line)
        _check_split(row, split, where)
        ids.add(clip, where)
        entries.append(Entry(clip, split, labels.of(row.fields["label"], where), media.get(clip, clip), where))
    for row in unlabelled:
        where = (lists["test"], row.line)
        ids.add(_clip_name(row, where), where)
    wrong = f"the lists name {len(labels.classes)} classes instead of {CLASSES}"
    return Annotations(
        classes=labels.classes,
        label_order=order,
        version="400",
        entries=tuple(entries),
        expected_classes=CLASSES,
        left_out={"test clips without labels": len(unlabelled)} if unlabelled else {},
        notes=tuple(notes),
        label_orders=ORDERS,
        class_problems=(*([wrong] if len(labels.classes) != CLASSES else []), *_unknown(labels.classes)),
        foreign=_foreign(labels.classes),
    )


def _unknown(classes: Sequence[str]) -> tuple[str, ...]:
    """Which classes are no official ones, a sentence; those that are not in the lists are counted elsewhere."""
    official = official_classes(NAME)
    return compare_classes([*official, *sorted({*classes} - {*official})], official, "the lists", order=False)


def _foreign(classes: Sequence[str]) -> tuple[str, ...]:
    if len(classes) > CLASSES:
        return (f"the lists name {len(classes)} classes instead of {CLASSES}, as those of Kinetics-600 or -700 do",)
    return another_dataset(classes, NAME)


def media_roots(root: Path, unpacked: Path | None) -> list[Path]:
    """The folders below which clips lie: what was unpacked first.

    Raises:
        DataError: if there is none.
    """
    folders = [base for base in (unpacked, root) if base is not None and _holds_clips(base)]
    if not folders:
        raise DataError(
            f"no clips of {TITLE} found",
            given=f"searched: {searched([root, unpacked])}",
            allowed="<youtube id>_<start>_<end>.mp4 with six digits each, such as 0347ZoDXyP0_000095_000105.mp4, or "
            f"folders of pictures with such names, at most {_DEPTH} levels down",
            hint="give the folder of the download with --root",
        )
    return folders


def _lists(bases: list[Path | None], notes: list[str]) -> dict[str, Path]:
    """The lists that are there by split: that of train or that of val, or both, and maybe that of test."""
    found = {split: find_file(_names(words), bases, notes) for split, words in SPLITS.items()}
    lists = {split: path for split, path in found.items() if path is not None}
    absent = [split for split in ("train", "val") if split not in lists]
    if len(absent) == 2:
        names = (*_names(SPLITS["train"])[:2], *_names(SPLITS["val"])[:2])
        require_file("list of train or val clips", names, bases, hint=_HINT)
    notes += [f"there is no list of {split} clips: the dataset has none" for split in absent]
    return lists


def _names(words: tuple[str, ...]) -> list[str]:
    """What holders call a split's list."""
    patterns = ("{}.csv", "kinetics_400_{}.csv", "kinetics-400_{}.csv", "kinetics400_{}.csv", "kinetics_{}.csv")
    return [pattern.format(word) for pattern in patterns for word in words]


def _check_labels(rows: list[Row], path: Path) -> None:
    for row in rows:
        if not row.fields.get("label"):
            raise DataError("a clip without a label", given=row.fields, hint=DAMAGED, where=(path, row.line))


def _check_split(row: Row, split: str, where: Where) -> None:
    if row.fields["split"] not in SPLITS[split]:
        raise DataError(
            f"a clip of another split in the list of {split} clips",
            given=row.fields["split"],
            allowed=SPLITS[split],
            hint=DAMAGED,
            where=where,
        )


def _clip_name(row: Row, where: Where) -> str:
    start = whole_number(row.fields["time_start"], "time_start", where)
    end = whole_number(row.fields["time_end"], "time_end", where)
    if not start < end < 1_000_000:
        raise DataError("a clip ends before it starts", given=f"{start} to {end} s", hint=DAMAGED, where=where)
    return f"{check_name(row.fields['youtube_id'], 'youtube_id', where)}_{start:06d}_{end:06d}"


def _index(media_root: Path, listed: set[str], notes: list[str]) -> dict[str, str]:
    """Listed clip -> key of its file. A replacement goes before what it replaces."""
    found: dict[Path, dict[str, File]] = {}
    replaced: dict[str, str] = {}
    for folder in _folders(media_root, _DEPTH):
        prefix = "" if folder == media_root else f"{folder.relative_to(media_root).as_posix()}/"
        for name, kind in _clips_in(folder).items():
            if name not in listed:
                continue
            if _is_replacement(prefix):
                replaced.setdefault(name, prefix + name)
            else:
                found.setdefault(folder, {})[name] = File(folder, name, kind)
    tree = choose_tree(media_root, found)
    paths = {clip: path for clip, (path, _) in tree.paths(media_root).items()}
    used = [clip for clip in replaced if clip in paths]
    if used:
        notes.append(f"{len(used)} clips were taken from the replacements for damaged ones")
    notes += notes_on_choice(tree, len(listed))
    return paths | replaced


def _note_packed_replacements(root: Path, unpacked: Path | None, notes: list[str]) -> None:
    if media_roots(root, unpacked)[0] != root:
        return  # everything was unpacked, the replacements too
    packed = [path for folder in _folders(root, 2) for path in folder.glob(f"{_REPLACEMENTS}*") if path.is_file()]
    if packed and not any(_is_replacement(f"{folder.name}/") for folder in _folders(root, _DEPTH)):
        notes.append(f"{packed[0].name} was not used: unpack it into a folder {_REPLACEMENTS}/ beside the clips")


def _is_replacement(path: str) -> bool:
    return any(part.startswith(_REPLACEMENTS) for part in path.split("/")[:-1])


def _holds_clips(base: Path, skip: str | None = None) -> bool:
    return any(_clips_in(folder) for folder in _folders(base, _DEPTH, skip))


def _clips_in(folder: Path) -> dict[str, str]:
    """The names of the clips in a folder, in order, and whether they are videos or frames."""
    names: dict[str, str] = {}
    for entry in entries_of(folder):
        stem, dot, suffix = entry.name.rpartition(".")
        if dot and f".{suffix.lower()}" in VIDEO_SUFFIXES and _STEM.fullmatch(stem):
            names[stem] = "video"
        elif _STEM.fullmatch(entry.name) and entry.is_dir():
            names.setdefault(entry.name, "frames")
    return dict(sorted(names.items()))


def _folders(base: Path, depth: int, skip: str | None = None) -> Iterator[Path]:
    """A folder and those below it, but hidden ones, those of a clip's pictures and those called `skip`."""
    yield base
    if depth == 0:
        return
    below = (
        entry.path
        for entry in entries_of(base)
        if entry.name != skip and may_hold_clips(entry.name) and not _STEM.fullmatch(entry.name) and entry.is_dir()
    )
    for path in sorted(below):
        yield from _folders(Path(path), depth - 1, skip)
