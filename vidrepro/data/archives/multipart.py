"""Archives that come in several files: found, put in order, and refused by name when they are not whole."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from vidrepro.data.archives.byte_stream import Segment
from vidrepro.data.archives.kind import ARCHIVES, HEAD, kind_of, kind_of_head
from vidrepro.data.archives.refusals import AGAIN, naming, refuse
from vidrepro.errors import DataError

_SUFFIXES = frozenset({"", ".zip", ".tgz", ".tar.gz", ".gz", ".tar"})
_UNFINISHED = (".part", ".crdownload", ".download", ".partial", ".tmp", ".aria2", ".opdownload")
_COPY = re.compile(r" ?\(\d+\)(\.\w+)*$")
_PART_NAME = re.compile(r"-(\d\d)(\.zip|\.tgz|\.tar\.gz|\.gz|\.tar)?$", re.IGNORECASE)
_SIDE_FILES = "__MACOSX/"


def find_parts(root: Path, pattern: str) -> list[Path]:
    """The parts of an archive that lie in a folder, in order and checked.

    Something-Something is a byte split of one .tgz: any number of parts ``...-00``, ``...-01`` and so on, all but the
    last of one size; Qualcomm's copies wrap each in a zip, or call the bare part ``.zip``.

    Args:
        root: the folder of the download.
        pattern: the parts' names, their number as ``??``: ``20bn-something-something-v1-??``. Endings such as ``.zip``
            are accepted and mean nothing.

    Returns:
        The files by number; empty when there is none.

    Raises:
        DataError: naming the file, if a part is missing, there twice, not finished, empty, a web page, damaged or cut
            short, or if the parts have the letters of the upload of 2017.
        ValueError: if the pattern does not end in ``??``.
    """
    if not pattern.endswith("??"):
        raise ValueError(f"a pattern of parts ends in '??': {pattern!r}")
    prefix = pattern.removesuffix("??")
    files = [path for path in _files(root) if path.name.startswith(prefix)]
    numbered = _numbered(files, prefix)
    if not numbered:
        return []
    _refuse_gaps(numbered, prefix)
    parts = [numbered[number] for number in sorted(numbered)]
    for part in parts:
        check_archive(part, part_of_split=True)
    segments_of(parts)
    return parts


def check_archive(path: Path, *, part_of_split: bool = False) -> str:
    """The kind of a downloaded archive.

    Args:
        path: the file.
        part_of_split: whether bytes of no known kind are right, as in every part but the first.

    Raises:
        DataError: naming the file, if it is empty, a web page, or no archive.
    """
    try:
        kind = kind_of(path)
    except OSError as error:
        raise refuse(path.name, f"it cannot be read: {error.strerror}", hint="check the disk it lies on") from error
    if kind == "empty":
        raise refuse(path.name, f"the file is empty: {path}", hint="download it again")
    if kind == "html":
        raise refuse(
            path.name,
            f"the file is a web page, saved in the archive's place: {path}",
            hint="log in (and accept the licence) in the browser, then download this file again",
        )
    if kind == "unknown" and not part_of_split:
        raise refuse(path.name, f"it is no zip, tar, gzip or rar file: {path}")
    return kind


def segments_of(parts: Sequence[Path]) -> list[Segment] | None:
    """How the parts make up one archive.

    Args:
        parts: checked files, in order.

    Returns:
        The bytes of the one archive that they are a split of, be they bare or inside zips; None when each file is an
        archive by itself (as the two zips of 2024 are said to be).

    Raises:
        DataError: naming the part, if it is damaged, cut short, or the first does not begin an archive.
    """
    kinds = [kind_of(part) for part in parts]
    if len(parts) == 1 and kinds[0] != "zip":
        return [_bare(parts[0])]
    if "zip" not in kinds or _is_split_zip(parts, kinds):
        if all(kind in ARCHIVES for kind in kinds):
            return None
        segments = [_bare(part) for part in parts]
    else:
        inside = _inside_zips(parts, kinds)
        if inside is None:
            return None
        segments = inside
    _check_split(segments)
    return segments


def _files(root: Path) -> Iterable[Path]:
    try:
        return sorted(path for path in Path(root).iterdir() if path.is_file())
    except OSError as error:
        raise DataError(
            f"cannot list '{root}': {error.strerror}", given=root, hint="give the folder of the download with --root"
        ) from error


def _numbered(files: Iterable[Path], prefix: str) -> dict[int, Path]:
    """The parts among the files, by number."""
    found: dict[int, Path] = {}
    for path in files:
        number, rest = path.name[len(prefix) :][:2], path.name[len(prefix) :][2:]
        ending = _COPY.sub("", rest).lower()
        unfinished = ending.endswith(_UNFINISHED)
        if not re.fullmatch(r"[0-9]{2}|[A-Za-z]{2}", number) or not (unfinished or ending in _SUFFIXES):
            continue  # another file of the dataset, such as its labels
        if number.isalpha():
            raise refuse(
                path.name,
                "parts with letters (-aa, -ab, ...) are the upload of early 2017, which holds one tar per video and "
                "other clips than the published dataset",
                hint=f"get the parts with numbers, {prefix}00 and so on",
            )
        if unfinished:
            raise refuse(path.name, f"the download of this part is not finished: {path}", hint="download it again")
        if _COPY.search(rest):
            raise refuse(
                path.name,
                f"by its name it is a second download of part {number}: {path}",
                hint="keep the one that is whole, name it without the '(1)', and move the other away",
            )
        if int(number) in found:
            raise refuse(
                path.name,
                f"part {number} is there twice: {found[int(number)].name} and {path.name}",
                hint="keep either kind for all parts and move the others to another folder",
            )
        found[int(number)] = path
    return found


def _refuse_gaps(numbered: dict[int, Path], prefix: str) -> None:
    missing = [number for number in range(max(numbered) + 1) if number not in numbered]
    if missing:
        names = ", ".join(f"{prefix}{number:02d}" for number in missing[:8]) + (", ..." if len(missing) > 8 else "")
        first = numbered[min(numbered)]
        raise DataError(
            f"{len(missing)} of the parts up to {numbered[max(numbered)].name} missing: {names}",
            given=f"{len(numbered)} parts",
            allowed="parts numbered from 00 without a gap",
            hint="download the missing parts into the same folder",
            where=first.parent,
        )


def _bare(part: Path) -> Segment:
    return Segment(part, part.stat().st_size, None, part.name)


def _is_split_zip(parts: Sequence[Path], kinds: Sequence[str]) -> bool:
    """Whether the parts are a byte split of one zip: only the first begins as one, and it has no end of its own."""
    return len(parts) > 1 and kinds[0] == "zip" and "zip" not in kinds[1:] and not zipfile.is_zipfile(parts[0])


def _inside_zips(parts: Sequence[Path], kinds: Sequence[str]) -> list[Segment] | None:
    """The parts that zips hold, in order; None if the zips hold anything else."""
    segments: list[Segment] = []
    heads: list[bytes] = []
    for part, kind in zip(parts, kinds, strict=True):
        if kind != "zip":
            segments.append(_bare(part))
            heads.append(_head(segments[-1]))
            continue
        with naming(part.name), zipfile.ZipFile(part) as archive:
            members = archive.infolist()
            if len(members) > 200:
                return None  # a list of clips; no split has more than a hundred parts
            for position, info in enumerate(members):
                if info.is_dir() or info.filename.startswith(_SIDE_FILES):
                    continue
                if not _PART_NAME.search(info.filename) or info.flag_bits & 1:
                    return None
                segments.append(Segment(part, info.file_size, position, info.filename.rsplit("/", 1)[-1]))
        heads.extend(_head(segment) for segment in segments[len(heads) :])
    if not segments or (len(segments) > 1 and all(kind_of_head(head) in ARCHIVES for head in heads)):
        return None
    for segment, head in zip(segments, heads, strict=True):
        if kind_of_head(head) in ("html", "empty"):
            raise refuse(f"{segment.path.name} > {segment.name}", "this part is a web page or empty", hint=AGAIN)
    order = [_number(segment.name) for segment in segments]
    if sorted(order) != list(range(len(order))):
        missing = [number for number in range(max(order) + 1) if number not in order]
        twice = [number for number, times in Counter(order).items() if times > 1]
        raise refuse(
            segments[0].path.name,
            f"the zips do not hold the parts from 00 on once each (missing: {missing}, twice: {twice})",
            hint="each zip holds the part of its own number: look which was renamed or left out",
        )
    return [segment for _, segment in sorted(zip(order, segments, strict=True), key=lambda pair: pair[0])]


def _number(name: str) -> int:
    match = _PART_NAME.search(name)
    return int(match[1]) if match else -1


def _head(segment: Segment) -> bytes:
    with naming(segment.path.name), segment.open() as stream:
        return stream.read(HEAD)


def _check_split(segments: Sequence[Segment]) -> None:
    """A byte split begins as an archive, and all its parts but the last have one size."""
    first = segments[0]
    if kind_of_head(_head(first)) not in ARCHIVES:
        raise refuse(
            first.name,
            f"the first part does not begin as a gzip, tar or zip file does: {first.path}",
            hint="download this part again; parts must not be renamed",
        )
    if len(segments) < 2:
        return
    times = Counter(segment.size for segment in segments[:-1])
    size = max(size for size, count in times.items() if count == max(times.values()))
    if len(segments) == 2:  # either may be the one that is cut short: the last is never the longer
        size = max(size, segments[1].size)
    for segment in segments[:-1]:
        if segment.size != size:
            shorter = "cut short" if segment.size < size else "too long"
            raise refuse(
                segment.name,
                f"the part is {shorter}: {segment.size:,} bytes, the other parts have {size:,} ({segment.path})",
                hint="download this part again",
            )
    last = segments[-1]
    if last.size > size:
        raise refuse(
            last.name,
            f"the last part is too long: {last.size:,} bytes, the other parts have {size:,} ({last.path})",
            hint="download this part again",
        )
