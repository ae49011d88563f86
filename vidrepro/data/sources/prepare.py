"""From an official download to a manifest: unpack, read, join, compare, check every clip, copy if asked, write.

The datasets' modules say what is particular to them (`official.OfficialDataset`); everything else is here, once.
Nothing is written below the user's download: archives are unpacked to ``<data>/<name>/unpacked``, copies go to
``<data>/<name>/clips``. A killed call's work is kept, and the same call again ends in the same files.
"""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vidrepro.data.archives import unpack
from vidrepro.data.manifest import INFO_NAME, MANIFEST_NAME, Journal, Manifest, load_manifest, write_manifest
from vidrepro.data.manifest_rows import NO_SPLIT
from vidrepro.data.scan.reencode import Encoding, choose_encoding, remove_temporary
from vidrepro.data.sources.annotations import UNPACKED
from vidrepro.data.sources.check_clips import Checked, check_clips, scan_key
from vidrepro.data.sources.completeness import Completeness, write_report
from vidrepro.data.sources.contract import Options
from vidrepro.data.sources.download import Download, folders_of, missing_clips, read_download
from vidrepro.data.sources.locate import Media
from vidrepro.data.sources.official import Annotations, Entry, OfficialDataset
from vidrepro.data.sources.parallel import usable_cores
from vidrepro.errors import ConfigError, DataError, ManifestError, unknown_name
from vidrepro.files import atomic_write_text, fingerprint, not_writable, unexpanded

COPIES = "clips"
# What a preparation puts into the dataset's folder, but for what it unpacks; the clips before what names them.
_OURS = (COPIES, "splits", "labels", "cache", "report.json", MANIFEST_NAME, INFO_NAME)


def prepare(dataset: OfficialDataset, options: Options) -> Manifest:
    """Prepare an official dataset from the download in ``options.root``.

    Raises:
        ConfigError: if there is no root, or options contradict each other.
        DataError: if the download is damaged, malformed (file and line), or lacks more than ``options.allow_missing``.
        ManifestError: if the folder holds a dataset of other settings or a damaged manifest (unless ``options.force``).
        ResultsError: if it cannot be written.
        PreparationInterrupted: on Ctrl-C.
    """
    root = check_options(dataset, options)
    encoding = choose_encoding(options.reencode, options.frames, options.quality)
    folder = options.data_folder / dataset.NAME
    say = options.say or (lambda sentence: None)
    packed = dataset.archives(root)
    if packed:
        unpack(packed, folder / UNPACKED, say=options.say, progress=options.unpack_progress)
    download = read_download(dataset, root, folder, options.label_order)
    annotations = download.annotations
    fold = choose_fold(annotations, options.split)
    for note in annotations.notes:
        say(note)
    completeness = Completeness(
        dataset.NAME, annotations, fold, options.allow_missing, missing_clips(download), download.searched
    )
    info = dataset_info(dataset, download, folder, fold, encoding)
    old = _existing(folder, info, options.force)
    if not completeness.accepted():
        found = {"clips_decoded": False, **folders_of(download)}
        completeness.require(write_report(folder, completeness, "refused", found))
    if old is not None and not old.read_as_now:
        say("an earlier version prepared this, which did not turn clips as players do: every clip is checked again")

    key = scan_key(dataset.NAME, download.media_root, encoding)
    with Journal(folder, key) as journal:
        if journal.discarded:
            say(journal.discarded)
        old = _existing(folder, info, options.force)  # another process may have finished meanwhile
        if old is None:
            _remove_existing(folder, keep_copies=bool(journal.done))
        copies = folder / COPIES if encoding else None
        if copies:
            remove_temporary(copies)
        checked = check_clips(
            download, copies, encoding, journal, old, options.workers or usable_cores(), options.progress
        )
        completeness.lost += checked.bad
        completeness.lost.sort(key=lambda one: checked.order[one.entry.id])
        more = _particulars(download, checked)
        if not completeness.accepted():
            completeness.require(write_report(folder, completeness, "refused", more))
        if not any(row["ok"] for row in completeness.counts().values()):
            write_report(folder, completeness, "refused", more)
            raise _nothing_usable(completeness, folder)
        rows = [
            manifest_row(completeness, entry, download.located.media[entry.id], checked)
            for entry in annotations.entries
            if entry.id in download.located.media
        ]
        info["completeness"] = completeness.summary()
        info["second_setting"] = checked.second_setting
        info["turned"] = checked.turned
        before = _content(folder)
        _write_side_tables(folder, annotations, {row["id"] for row in rows})
        write_report(folder, completeness, "prepared", more)
        manifest = write_manifest(folder, rows, info)
        if old is not None and before == _content(folder):
            say(f"dataset '{dataset.NAME}' is already prepared")
        for turned, count in Counter(checked.turned.values()).items():
            say(f"{count:,} clips are {turned}")
        for problem in completeness.problems():
            say(problem)
        return manifest


def check_options(dataset: OfficialDataset, options: Options) -> Path:
    """The root of the download; refuses what has no meaning for one.

    Raises:
        ConfigError: naming the option.
    """
    if options.preset is not None or options.seed is not None:
        raise ConfigError(f"--preset and --seed have no meaning for '{dataset.NAME}'", allowed="with synthetic only")
    if not 0 <= options.allow_missing <= 1:
        raise ConfigError("bad --allow-missing", given=options.allow_missing, allowed="a share, 0 to 1")
    if options.root is None:
        raise ConfigError(
            f"'{dataset.NAME}' is made from a download of yours",
            allowed="--root FOLDER, where it lies",
            hint=f"vidrepro prepare {dataset.NAME} --help tells where to get it",
        )
    root = options.root.resolve()
    if not root.is_dir():
        raise ConfigError(
            "--root is no folder" if root.exists() else "--root does not exist",
            given=options.root,
            allowed=f"the folder with the download of {dataset.NAME}",
            hint=unexpanded(options.root),
        )
    return root


def choose_fold(annotations: Annotations, asked: str | None) -> str | None:
    """The fold that becomes the manifest's split column: the one asked for, or the first; None if there is none.

    Raises:
        UnknownNameError: if there is no such fold.
    """
    if asked is None:
        return next(iter(annotations.folds), None)
    if asked not in annotations.folds:
        raise unknown_name("fold", asked, annotations.folds, hint=None if annotations.folds else "leave --split out")
    return asked


def dataset_info(
    dataset: OfficialDataset, download: Download, folder: Path, fold: str | None, encoding: Encoding | None
) -> dict[str, Any]:
    """The content of dataset.json, but for what the check of the clips adds."""
    annotations = download.annotations
    root = "." if encoding else str(download.media_root)
    with contextlib.suppress(ValueError):
        if not encoding:  # what was unpacked to the dataset's folder may move with it
            root = download.media_root.relative_to((folder / UNPACKED).resolve()).as_posix()
            root = UNPACKED if root == "." else f"{UNPACKED}/{root}"
    settings: dict[str, Any] = {"root": root, "label_order": annotations.label_order, "split": fold}
    settings |= {"version": annotations.version, "encoding": encoding.describe() if encoding else {}}
    if encoding:
        settings["source"] = str(download.media_root)
    info: dict[str, Any] = {
        "name": dataset.NAME,
        "root": root,
        "classes": list(annotations.classes),
        "label_order": annotations.label_order,
        "version": annotations.version,
        "encoding": settings["encoding"],
        "tasks": {name: list(task.classes) for name, task in annotations.tasks.items()},
        "title": dataset.guide().title,
        "fold": fold,
        "notes": list(annotations.notes),
        "settings": settings,
        "settings_fingerprint": fingerprint(settings)[:16],
    }
    return info


def _existing(folder: Path, info: Mapping[str, Any], force: bool) -> Manifest | None:
    """The finished dataset in the folder, if it was made with the same settings; None if there is none, or `force`.

    Raises:
        ManifestError: if it is damaged or was made with other settings, unless `force`.
    """
    if force or not ((folder / MANIFEST_NAME).is_file() and (folder / INFO_NAME).is_file()):
        return None
    old = load_manifest(folder.name, folder.parent)
    if old.info.get("settings_fingerprint") == info["settings_fingerprint"]:
        return old
    have, want = old.info.get("settings", {}), info["settings"]
    differing = [key for key in want if want[key] != have.get(key)]
    raise ManifestError(
        f"dataset '{folder.name}' is already prepared with other settings",
        given=", ".join(f"{key} {want[key]}" for key in differing),
        allowed=", ".join(f"{key} {have.get(key)}" for key in differing)
        + f": what is there (fingerprint {old.fingerprint})",
        hint="add --force to replace it, or choose another folder with --data",
        where=folder,
    )


def _remove_existing(folder: Path, *, keep_copies: bool) -> None:
    """Delete what an earlier preparation left, but for what it unpacked and what the journal says is done."""
    try:
        for name in _OURS:
            path = folder / name
            if name == COPIES and keep_copies:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise not_writable(folder, error) from error


def manifest_row(completeness: Completeness, entry: Entry, media: Media, checked: Checked) -> dict[str, Any]:
    """A clip's row of the manifest."""
    scan = checked.scans[entry.id]
    copy = checked.copies.get(entry.id)
    sequence = media.kind == "frames" and copy is None
    row: dict[str, Any] = {
        "id": entry.id,
        "path": copy.path if copy else media.path,
        "frames": scan.frames,
        "fps": scan.fps,
        "width": scan.width,
        "height": scan.height,
        "label": entry.label,
        "split": completeness.split_of(entry) or NO_SPLIT,
        "bytes": scan.bytes,
        "digest": scan.digest,
        "status": "bad" if scan.problem else "ok",
    }
    if copy is not None and copy.pattern:
        row |= {"first_frame": 0, "start_index": 1, "pattern": copy.pattern}
    elif sequence and media.pattern:
        row |= {"first_frame": media.first_frame, "start_index": media.start_index, "pattern": media.pattern}
    return row


def _particulars(download: Download, checked: Checked) -> dict[str, Any]:
    """What the report says beside counts and lost clips."""
    located = download.located
    return {
        "label_order": download.annotations.label_order,
        "version": download.annotations.version,
        **folders_of(download),
        "stray_files_ignored": located.stray,
        "other_pictures_left_out": located.flow,
        "clamped": {clip: media.clamped for clip, media in located.media.items() if media.clamped},
        "second_setting": checked.second_setting,
        "turned": Counter(checked.turned.values()),
        "turned_clips": checked.turned,
        "decoder": checked.decoder,
    }


def _nothing_usable(completeness: Completeness, folder: Path) -> DataError:
    first = completeness.lost[0].line() if completeness.lost else "the annotations list no clip"
    return DataError(
        f"no clip of {completeness.dataset} can be used",
        given="\n  ".join([first, *completeness.where_searched()]),
        hint="see the report",
        where=folder / "report.json",
    )


def _write_side_tables(folder: Path, annotations: Annotations, known: set[str]) -> None:
    """``splits/<fold>.csv`` and ``labels/<task>.csv``, for the clips in the manifest; files of other names go."""
    wanted = {
        f"splits/{name}.csv": _table(("id", "split"), fold.items(), known) for name, fold in annotations.folds.items()
    }
    for name, task in annotations.tasks.items():
        wanted[f"labels/{name}.csv"] = _table(("id", "label"), task.labels.items(), known)
    for kind in ("splits", "labels"):
        for path in (folder / kind).glob("*.csv"):
            if f"{kind}/{path.name}" not in wanted:
                path.unlink()
    for name, text in wanted.items():
        atomic_write_text(folder / name, text)


def _table(header: tuple[str, str], rows: Iterable[tuple[str, Any]], known: set[str]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows((clip, value) for clip, value in rows if clip in known and value != "")
    return buffer.getvalue()


def _content(folder: Path) -> dict[str, bytes]:
    """What a finished preparation consists of, to see whether anything changed."""
    files: Iterator[Path] = (folder / name for name in (MANIFEST_NAME, INFO_NAME))
    return {path.name: path.read_bytes() for path in files if path.is_file()}
