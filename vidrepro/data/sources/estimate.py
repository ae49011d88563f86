"""``--dry-run``: what a preparation would find, how long it would take and how much disk, without writing anything."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vidrepro.data.scan.check_clip import ClipFiles, Scan, scan_clip
from vidrepro.data.scan.pool import Died, run_tasks
from vidrepro.data.scan.reencode import Encoding, choose_encoding, copied_bytes
from vidrepro.data.sources.annotations import UNPACKED
from vidrepro.data.sources.check_clips import clip_files, seconds_for
from vidrepro.data.sources.completeness import Completeness
from vidrepro.data.sources.contract import Options
from vidrepro.data.sources.download import missing_clips, read_download
from vidrepro.data.sources.official import ArchiveSet, OfficialDataset
from vidrepro.data.sources.parallel import usable_cores
from vidrepro.data.sources.prepare import check_options, choose_fold
from vidrepro.errors import DataError

SAMPLE = 32  # clips that are decoded, or encoded, to estimate the rest from
_ROW_BYTES = 300  # of the manifest, the journal and the report, a clip
_UNPACK_BYTES_PER_SECOND = 60e6  # a .tgz of videos on an ordinary disk
_RATIO = {"gzip": 1.05, "zip": 1.05, "rar": 1.05}  # media hardly shrink when they are packed


@dataclass(frozen=True)
class Estimate:
    """What a preparation would be.

    Attributes:
        packed_bytes: of archives still to be unpacked.
        read: whether the annotations could be read (they may lie in an archive).
        counts: as in `Completeness.counts`; empty if not read.
        problems: differences from the official dataset.
        accepted: whether ``--allow-missing`` covers them.
        clips: clips to be checked or copied.
        sampled: how many were tried.
        sampled_bad: how many of those cannot be used.
        seconds: of the whole preparation, estimated; None if nothing could be tried.
        disk_bytes: written to the data folder, estimated.
        free_bytes: on the disk of the data folder.
        notes: sentences for the user.
    """

    packed_bytes: int
    read: bool
    counts: dict[str, dict[str, int | None]]
    problems: list[str]
    accepted: bool
    clips: int
    sampled: int
    sampled_bad: int
    seconds: float | None
    disk_bytes: int
    free_bytes: int
    notes: list[str]


def estimate(dataset: OfficialDataset, options: Options) -> Estimate:
    """Look at a download and try a few of its clips. Writes nothing.

    Raises:
        ConfigError, DataError: as a preparation would.
    """
    root = check_options(dataset, options)
    encoding = choose_encoding(options.reencode, options.frames, options.quality)
    folder = options.data_folder / dataset.NAME
    packed = dataset.archives(root)
    # what an earlier call has unpacked already is looked at where it lies
    waiting = 0 if (folder / UNPACKED).is_dir() else sum(_size(one) for one in packed)
    unpacking = waiting / _UNPACK_BYTES_PER_SECOND
    free = shutil.disk_usage(_nearest(options.data_folder)).free
    workers = options.workers or usable_cores()
    try:
        download = read_download(dataset, root, folder, options.label_order)
    except DataError as error:
        if not waiting:
            raise
        note = f"the clips or the annotations are still packed ({error.problem}); only unpacking is estimated"
        return Estimate(waiting, False, {}, [], True, 0, 0, 0, unpacking, int(waiting * 1.05), free, [note])
    located = download.located
    fold = choose_fold(download.annotations, options.split)
    completeness = Completeness(
        dataset.NAME, download.annotations, fold, options.allow_missing, missing_clips(download), download.searched
    )
    clips = list(located.media)
    chosen = [clips[place * len(clips) // SAMPLE] for place in range(SAMPLE)] if len(clips) > SAMPLE else clips
    files = [clip_files(clip, located.media[clip], download) for clip in chosen if not located.media[clip].gaps]
    trials = _try(files, encoding, workers)
    seconds = sum(one.seconds for one in trials) / len(trials) * len(clips) / workers if trials else None
    written = sum(one.written for one in trials) / len(trials) * len(clips) if trials and encoding else 0
    return Estimate(
        packed_bytes=waiting,
        read=True,
        counts=completeness.counts(),
        problems=completeness.problems(),
        accepted=completeness.accepted(),
        clips=len(clips),
        sampled=len(chosen),
        sampled_bad=len(chosen) - len(files) + sum(one.bad for one in trials),
        seconds=None if seconds is None else seconds + unpacking,
        disk_bytes=int(written + _ROW_BYTES * len(clips) + waiting * 1.05),
        free_bytes=free,
        notes=list(download.annotations.notes),
    )


@dataclass(frozen=True)
class _Trial:
    seconds: float
    written: int
    bad: bool


def _try(files: list[ClipFiles], encoding: Encoding | None, workers: int) -> list[_Trial]:
    work: Any = partial(_trial, encoding=encoding)
    results = run_tasks(work, files, max(1, min(workers, len(files))), seconds_for)
    return [_Trial(seconds_for(task), 0, True) if isinstance(one, Died) else one for task, one in results]


def _trial(files: ClipFiles, encoding: Encoding | None) -> _Trial:
    """Check a clip, and make its copy in memory (in a worker)."""
    start = time.perf_counter()
    scan: Scan = scan_clip(files) if encoding is None else Scan()
    written = None if encoding is None else copied_bytes(files, encoding)
    seconds = time.perf_counter() - start
    return _Trial(seconds, written or 0, bool(scan.problem) or (encoding is not None and written is None))


def _size(archives: ArchiveSet) -> int:
    return sum(part.stat().st_size for part in archives.parts)


def _nearest(folder: Path) -> Path:
    """The folder, or the first above it that exists."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())
