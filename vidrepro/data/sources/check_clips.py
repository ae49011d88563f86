"""The full check of a located download: each clip in a worker, what is done kept in the journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from vidrepro.data.journal import Journal
from vidrepro.data.manifest_rows import iterate_clips
from vidrepro.data.scan.check_clip import SCAN_VERSION, ClipFiles, Scan, scan_clip
from vidrepro.data.scan.pool import Died, run_tasks
from vidrepro.data.scan.reencode import PICTURES, CopyJob, Encoding, copy_clip, copy_path
from vidrepro.data.sources.completeness import Lost
from vidrepro.data.sources.contract import PreparationInterrupted
from vidrepro.files import fingerprint

if TYPE_CHECKING:
    from vidrepro.data.manifest import Manifest
    from vidrepro.data.sources.download import Download
    from vidrepro.data.sources.locate import Media
    from vidrepro.data.sources.official import Entry

Progress = Callable[[int, int], None]

# Time a clip may take: far beyond what any decodes in, on a machine busy with other things.
_SECONDS = 60.0
_BYTES_PER_SECOND = 100_000
_PICTURES_PER_SECOND = 20


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy's place below the dataset's folder; the pattern of its pictures, empty for a video."""

    path: str
    pattern: str


@dataclass
class Checked:
    """What the check of all clips found.

    Attributes:
        scans: by clip id, for every clip that has a file.
        bad: those that cannot be used.
        copies: where the clips' copies lie, by id; empty without re-encoding.
        order: each clip's place in the annotations.
        second_setting: clips that only the second decoder setting decodes.
        turned: what is done to clips' stored frames to show them, in words, by id.
        decoder: what decoded them.
    """

    order: dict[str, int]
    scans: dict[str, Scan] = field(default_factory=dict)
    bad: list[Lost] = field(default_factory=list)
    copies: dict[str, Copy] = field(default_factory=dict)
    second_setting: list[str] = field(default_factory=list)
    turned: dict[str, str] = field(default_factory=dict)
    decoder: dict[str, str] = field(default_factory=dict)


def decoder() -> dict[str, str]:
    """Versions of what decodes."""
    versions = {name: ".".join(map(str, av.library_versions[name])) for name in ("libavcodec", "libavformat")}
    return {"pyav": av.__version__, **versions}


def scan_key(name: str, media_root: Path, encoding: Encoding | None) -> str:
    """Fingerprint of everything that decides what the check of a clip finds, but for the clip's own files."""
    return fingerprint(
        {
            "name": name,
            "media_root": str(media_root),
            "encoding": encoding.describe() if encoding else {},
            "scan": SCAN_VERSION,
            "decoder": decoder(),
        }
    )[:16]


def check_clips(
    download: Download,
    copies: Path | None,
    encoding: Encoding | None,
    journal: Journal,
    old: Manifest | None,
    workers: int,
    progress: Progress | None,
) -> Checked:
    """Check every clip that has a file, or copy it and check the copy.

    Args:
        download: the clips.
        copies: folder of the copies; None to check the clips themselves.
        encoding: of the copies.
        journal: takes each result at once, and knows those of an interrupted call.
        old: a finished preparation with the same settings, whose good clips need no second check.
        workers: processes.
        progress: called with (clips done, clips in all).

    Raises:
        PreparationInterrupted: on Ctrl-C.
        DataError: if no worker can be started.
        ResultsError: if a copy or the journal cannot be written.
    """
    entries = [entry for entry in download.annotations.entries if entry.id in download.located.media]
    checked = Checked({entry.id: place for place, entry in enumerate(download.annotations.entries)}, decoder=decoder())
    if encoding is not None:
        checked.copies = {entry.id: _copy_of(entry, download.located.media[entry.id], encoding) for entry in entries}
    known = _Known(download, checked.copies, copies.parent if copies else None, journal, old)
    todo: list[ClipFiles | CopyJob] = []
    for entry in entries:
        media = download.located.media[entry.id]
        if media.gaps:
            checked.scans[entry.id] = Scan(problem=media.gaps)
            continue
        scan = known.scan(entry.id, media)
        if scan is not None:
            checked.scans[entry.id] = scan
            continue
        files = clip_files(entry.id, media, download)
        if encoding is None or copies is None:
            todo.append(files)
        else:
            name = checked.copies[entry.id].path.partition("/")[2]
            todo.append(CopyJob(files, copies, name.removesuffix(".mp4") if not encoding.pictures else name))
    _work(todo, encoding, checked, known, journal, workers, len(entries), progress)
    for entry in entries:
        scan = checked.scans[entry.id]
        if scan.problem:
            checked.bad.append(Lost(entry, "bad", scan.problem))
            continue
        if scan.setting != "first":
            checked.second_setting.append(entry.id)
        if scan.turned:
            checked.turned[entry.id] = scan.turned
    return checked


def clip_files(clip: str, media: Media, download: Download) -> ClipFiles:
    """Where a clip lies, for the workers."""
    path = download.media_root / media.path
    if media.kind == "video":
        return ClipFiles(clip, path)
    first = media.start_index + media.first_frame
    return ClipFiles(clip, path, media.pattern, first, media.count, download.fps)


def seconds_for(task: ClipFiles | CopyJob) -> float:
    """How long a clip may take before its worker is killed."""
    files = task.source if isinstance(task, CopyJob) else task
    if files.pattern:
        return _SECONDS + files.count / _PICTURES_PER_SECOND
    try:
        return _SECONDS + files.path.stat().st_size / _BYTES_PER_SECOND
    except OSError:
        return _SECONDS


def results_of(
    tasks: Sequence[ClipFiles | CopyJob], encoding: Encoding | None, workers: int
) -> Generator[tuple[str, Scan]]:
    """Clip ids with what their check found, as they are done; a clip that kills its worker is bad."""
    work: Any = scan_clip if encoding is None else partial(copy_clip, encoding=encoding)
    results = run_tasks(work, tasks, min(workers, len(tasks)), seconds_for)
    with closing(results):
        for task, result in results:
            clip = task.source.id if isinstance(task, CopyJob) else task.id
            yield clip, Scan(problem=result.reason) if isinstance(result, Died) else result


def _work(
    todo: list[ClipFiles | CopyJob],
    encoding: Encoding | None,
    checked: Checked,
    known: _Known,
    journal: Journal,
    workers: int,
    total: int,
    progress: Progress | None,
) -> None:
    if progress:
        progress(len(checked.scans), total)
    results = results_of(todo, encoding, workers)
    try:
        for clip, scan in results:
            checked.scans[clip] = scan
            if not scan.problem:  # a bad clip is looked at again: its file may have been put right meanwhile
                journal.append(known.record(clip, scan))
            if progress:
                progress(len(checked.scans), total)
    except KeyboardInterrupt:
        raise PreparationInterrupted(len(checked.scans), total) from None
    finally:
        results.close()


def _copy_of(entry: Entry, media: Media, encoding: Encoding) -> Copy:
    """Where a clip's copy goes; a clip of a longer sequence gets a name of its own."""
    name = entry.media if entry.span is None else f"{entry.media}/{entry.id}"
    return Copy(f"clips/{copy_path(name, encoding)}", PICTURES if encoding.pictures else "")


class _Known:
    """What earlier calls found out, as far as the files are still the same."""

    def __init__(
        self,
        download: Download,
        copies: Mapping[str, Copy],
        folder: Path | None,
        journal: Journal,
        old: Manifest | None,
    ) -> None:
        self._download, self._copies, self._folder = download, copies, folder
        self._journal = journal.done
        self._old: dict[str, Any] = {}
        self._second: set[str] = set()
        self._turned: dict[str, str] = {}
        if old is not None and old.read_as_now:
            self._old = {row.id: row for row in iterate_clips(old.table) if row.status == "ok"}
            self._second = set(old.info.get("second_setting", ()))
            self._turned = old.info.get("turned", {})

    def scan(self, clip: str, media: Media) -> Scan | None:
        """What is known of a clip; None if it must be checked."""
        row = self._journal.get(clip)
        if row is not None and row["file"] == [media.path, *self._stamp(media)]:
            scan = Scan(*row["scan"])
            return scan if self._copy_is_there(clip, scan) else None
        old = self._old.get(clip)
        if old is None:
            return None
        found = (old.frames, old.fps, old.width, old.height, old.bytes, old.digest)
        scan = Scan(*found, "", self._setting(clip), self._turned.get(clip, ""))
        copy = self._copies.get(clip)
        if copy is not None:
            return scan if self._copy_is_there(clip, scan) else None
        if old.path != media.path or old.pattern != media.pattern:
            return None
        if media.kind == "frames":
            place = (media.start_index, media.first_frame, media.count)
            return scan if place == (old.start_index, old.first_frame, old.frames) else None
        return scan if self._stamp(media)[0] == scan.bytes else None

    def record(self, clip: str, scan: Scan) -> dict[str, Any]:
        """A result as the journal keeps it."""
        media = self._download.located.media[clip]
        return {"id": clip, "file": [media.path, *self._stamp(media)], "scan": list(scan)}

    def _setting(self, clip: str) -> str:
        return "second" if clip in self._second else "first"

    def _stamp(self, media: Media) -> list[int]:
        """What tells whether the files are the ones that were checked: of a video its size and time of change, of
        pictures the folder's, with which of them are the clip's."""
        try:
            status = os.stat(self._download.media_root / media.path)  # noqa: PTH116 - for 220,847 clips
        except OSError:
            return [-1, 0]
        if media.kind == "video":
            return [status.st_size, status.st_mtime_ns]
        return [media.count, status.st_mtime_ns, media.first_frame, media.start_index]

    def _copy_is_there(self, clip: str, scan: Scan) -> bool:
        """Whether a clip's copy is as long as it was made; True without copies."""
        copy = self._copies.get(clip)
        if copy is None or self._folder is None:
            return True
        path = self._folder / copy.path
        try:
            if not copy.pattern:
                return path.is_file() and path.stat().st_size == scan.bytes
            return sum(file.stat().st_size for file in path.iterdir()) == scan.bytes
        except OSError:
            return False
