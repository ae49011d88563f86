"""Kinetics-400: comma-separated lists, clips named by YouTube id and times, in class folders spelt in several ways.

Source: specs section 8 (CVDF's copy; TSM and torchvision for the names of folders). Videos vanish from YouTube, so that
no two holders have the same clips: counts are told, and there are no official ones to compare with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from vidrepro.data.archives import check_archive
from vidrepro.data.sources.catalogue import (
    DAMAGED,
    UNPACKED,
    Ids,
    Labels,
    Row,
    Where,
    check_name,
    choose_order,
    find_file,
    read_csv,
    require_file,
    whole_number,
)
from vidrepro.data.sources.official import ArchiveSet, Catalogue, Entry, Guide, MediaLayout
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
_VIDEOS = frozenset(LAYOUT.video_suffixes)
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
    if next(_clips_below(root, skip=UNPACKED), None) is not None:
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


def read(root: Path, unpacked: Path | None, label_order: str | None) -> Catalogue:
    """The clips of the lists that are there; test only if its list has labels.

    Raises:
        DataError: with file and line.
        UnknownNameError: if there is no such label order.
    """
    order = choose_order(label_order, ORDERS)
    bases, ids = [root, unpacked], Ids()
    notes: list[str] = []
    lists = {
        split: require_file(f"list of {split} clips", _names(words), bases, hint=_HINT, notes=notes)
        for split, words in SPLITS.items()
        if split != "test"
    }
    test = find_file(_names(SPLITS["test"]), bases, notes)
    if test is not None:
        lists["test"] = test
    rows = {split: read_csv(path, _COLUMNS, optional=("label",)) for split, path in lists.items()}
    unlabelled = rows.pop("test") if not any(row.fields.get("label") for row in rows.get("test", [])) and test else []
    for split, listed in rows.items():
        _check_labels(listed, lists[split])
    labels = Labels(sorted({row.fields["label"] for listed in rows.values() for row in listed}), lists["train"])
    media = _index(media_roots(root, unpacked)[0], notes)
    _note_packed_replacements(root, unpacked, notes)
    entries = []
    for split, listed in rows.items():
        for row in listed:
            where = (lists[split], row.line)
            _check_split(row, split, where)
            clip = _clip_name(row, where)
            ids.add(clip, where)
            entries.append(Entry(clip, split, labels.of(row.fields["label"], where), media.get(clip, clip), where))
    for row in unlabelled:
        where = (lists["test"], row.line)
        ids.add(_clip_name(row, where), where)
    wrong = f"the lists name {len(labels.classes)} classes instead of {CLASSES}"
    return Catalogue(
        classes=labels.classes,
        label_order=order,
        version="400",
        entries=tuple(entries),
        expected_classes=CLASSES,
        left_out={"test clips without labels": len(unlabelled)} if unlabelled else {},
        notes=tuple(notes),
        label_orders=ORDERS,
        class_problems=() if len(labels.classes) == CLASSES else (wrong,),
    )


def media_roots(root: Path, unpacked: Path | None) -> list[Path]:
    """The folders below which clips lie: what was unpacked first.

    Raises:
        DataError: if there is none.
    """
    folders = [base for base in (unpacked, root) if base is not None and next(_clips_below(base), None) is not None]
    if not folders:
        raise DataError(
            f"no clips of {TITLE} found",
            given=", ".join(str(base) for base in (root, unpacked) if base is not None),
            allowed="<youtube id>_<start>_<end>.mp4 with six digits each, such as 0347ZoDXyP0_000095_000105.mp4, or "
            f"folders of pictures with such names, at most {_DEPTH} levels down",
            hint="give the folder of the download with --root",
        )
    return folders


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


def _index(media_root: Path, notes: list[str]) -> dict[str, str]:
    """Clip name -> key of its file. A replacement goes before what it replaces."""
    found: dict[str, str] = {}
    replaced = 0
    twice: list[str] = []
    for path in _clips_below(media_root):
        name = path.rpartition("/")[2]
        other = found.setdefault(name, path)
        if other == path:
            continue
        if _is_replacement(path) != _is_replacement(other):
            found[name] = path if _is_replacement(path) else other
            replaced += 1
        else:
            twice.append(f"{other} and {path}")
    if replaced:
        notes.append(f"{replaced} clips were taken from the replacements for damaged ones")
    if twice:
        notes.append(f"{len(twice)} clips are there twice, and the first was taken: {twice[0]}")
    return found


def _note_packed_replacements(root: Path, unpacked: Path | None, notes: list[str]) -> None:
    if media_roots(root, unpacked)[0] != root:
        return  # everything was unpacked, the replacements too
    packed = [path for folder in _folders(root, 2) for path in folder.glob(f"{_REPLACEMENTS}*") if path.is_file()]
    if packed and not any(_is_replacement(f"{folder.name}/") for folder in _folders(root, _DEPTH)):
        notes.append(f"{packed[0].name} was not used: unpack it into a folder {_REPLACEMENTS}/ beside the clips")


def _is_replacement(path: str) -> bool:
    return any(part.startswith(_REPLACEMENTS) for part in path.split("/")[:-1])


def _clips_below(base: Path, skip: str | None = None) -> Iterator[str]:
    """Keys of the clips below a folder: paths relative to it without suffix, folder by folder and by name."""
    for folder in _folders(base, _DEPTH, skip):
        prefix = "" if folder == base else f"{folder.relative_to(base).as_posix()}/"
        for name in _clips_in(folder):
            yield prefix + name


def _clips_in(folder: Path) -> list[str]:
    names = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, dot, suffix = entry.name.rpartition(".")
            if dot and f".{suffix.lower()}" in _VIDEOS and _STEM.fullmatch(stem):
                names.add(stem)
            elif _STEM.fullmatch(entry.name) and entry.is_dir():
                names.add(entry.name)
    return sorted(names)


def _folders(base: Path, depth: int, skip: str | None = None) -> Iterator[Path]:
    """A folder and those below it, but hidden ones, those of a clip's pictures and those called `skip`."""
    yield base
    if depth == 0:
        return
    try:
        with os.scandir(base) as entries:
            below = sorted(
                entry.path
                for entry in entries
                if entry.is_dir() and entry.name[0] != "." and entry.name != skip and not _STEM.fullmatch(entry.name)
            )
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", given=base, where=base) from error
    for path in below:
        yield from _folders(Path(path), depth - 1, skip)
