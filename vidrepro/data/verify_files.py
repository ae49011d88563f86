"""Whether the files a manifest promises are there, as long as they were, and the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vidrepro.data.frames import first_orientation
from vidrepro.data.image_sequences import sequence_file
from vidrepro.data.known import SOURCES, prepare_command
from vidrepro.data.manifest_rows import Clip, iterate_clips
from vidrepro.errors import DecodeError, ManifestError
from vidrepro.files import file_digest

if TYPE_CHECKING:
    from vidrepro.data.manifest import Manifest


@dataclass(frozen=True)
class FileProblem:
    """A clip whose file is not what the manifest records.

    Attributes:
        clip: its id.
        path: its file or folder.
        line: its line in manifest.csv.
        problem: what is wrong with it.
    """

    clip: str
    path: Path
    line: int
    problem: str


def check_files(
    manifest: Manifest,
    quick: bool,
    *,
    splits: Iterable[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[FileProblem]:
    """Compare the files of all usable clips with what the manifest records.

    Args:
        manifest: the dataset.
        quick: True looks at presence and size only (of an image sequence: at its first and last picture); False
            reads every byte and compares digests as well, and in a dataset that an earlier version prepared looks
            for videos that it recorded as they are stored and players turn.
        splits: only these splits of the manifest; all by default.
        progress: called with (clips done, clips in all).

    Returns:
        One problem per clip that has any, in the manifest's order.
    """
    table = manifest.table
    chosen = table["status"] == "ok"
    if splits is not None:
        chosen &= table["split"].isin(list(splits))
    rows = table[chosen]
    problems: list[FileProblem] = []
    for done, (row, line) in enumerate(zip(iterate_clips(rows), manifest.lines[chosen], strict=True), start=1):
        path = manifest.root / row.path
        problem = _check_sequence(path, row, quick) if row.pattern else _check_video(path, row, quick)
        if problem is None and not quick and not row.pattern and not manifest.read_as_now:
            problem = _check_turn(path)
        if problem is not None:
            problems.append(FileProblem(row.id, path, int(line), problem))
        if progress is not None:
            progress(done, len(rows))
    return problems


def require_files(manifest: Manifest, *, splits: Iterable[str] | None = None) -> None:
    """Refuse a dataset whose files are gone, or shorter than recorded (the quick check), before work begins on it.

    Raises:
        ManifestError: naming the first clip, its line, and how many more there are.
    """
    problems = check_files(manifest, quick=True, splits=splits)
    if not problems:
        return
    first = problems[0]
    more = f" (and {len(problems) - 1} more clips)" if len(problems) > 1 else ""
    raise ManifestError(
        f"clip '{first.clip}' of dataset '{manifest.name}': {first.problem}{more}",
        given=first.path,
        allowed="the file that was there when the dataset was prepared",
        hint="put it back" + (f", or run: {prepare_command(manifest.name)}" if manifest.name in SOURCES else ""),
        where=(manifest.path, first.line),
    )


def describe_sequence(folder: Path, pattern: str, start_index: int, first_frame: int, frames: int) -> tuple[int, str]:
    """Bytes and digest of an image sequence's clip, as its manifest row records them.

    Returns:
        The sum of the pictures' sizes, and the SHA-256 of their bytes one after the other.
    """
    total, digest = 0, hashlib.sha256()
    for position in range(frames):
        content = sequence_file(folder, pattern, start_index, first_frame, position).read_bytes()
        total += len(content)
        digest.update(content)
    return total, digest.hexdigest()


def _check_video(path: Path, row: Clip, quick: bool) -> str | None:
    if not path.is_file():
        return "its file is gone"
    size = path.stat().st_size
    if size < row.bytes:
        return f"its file is shorter than recorded: {size} of {row.bytes} bytes"
    if size > row.bytes:
        return f"its file is longer than recorded: {size} instead of {row.bytes} bytes"
    if not quick and file_digest(path) != row.digest:
        return "its file is not the one recorded: the SHA-256 differs"
    return None


def _check_turn(path: Path) -> str | None:
    """Of a video that an earlier version recorded."""
    try:
        turned = first_orientation(path)
    except DecodeError as error:
        return error.problem
    return f"it is {turned.name}, and was recorded as it is stored: prepare the dataset again" if turned.turns else None


def _check_sequence(folder: Path, row: Clip, quick: bool) -> str | None:
    start_index, first_frame = int(row.start_index or 0), int(row.first_frame or 0)
    for position in (0, row.frames - 1) if quick else range(row.frames):
        file = sequence_file(folder, row.pattern, start_index, first_frame, position)
        if not file.is_file():
            return f"its picture {file.name} is gone"
        if file.stat().st_size == 0:
            return f"its picture {file.name} is empty"
    if quick:
        return None
    size, digest = describe_sequence(folder, row.pattern, start_index, first_frame, row.frames)
    if size != row.bytes:
        return f"its pictures have {size} bytes instead of the {row.bytes} recorded"
    return None if digest == row.digest else "its pictures are not the ones recorded: the SHA-256 differs"
