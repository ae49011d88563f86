"""What is said of a video that does not decode, and the checks that need no decoder."""

from __future__ import annotations

from pathlib import Path

from vidrepro.data.containers import check_complete, kind_of_file
from vidrepro.errors import DataError, DecodeError, VidreproError


def check_file(path: Path) -> None:
    """Refuse a video that is missing, a folder, or empty."""
    if not path.is_file():
        problem = "is a folder, not a video" if path.is_dir() else "is missing"
        raise DecodeError(f"'{path.name}' {problem}", allowed="a video file", where=path)
    if path.stat().st_size == 0:
        raise DecodeError(f"'{path.name}' is empty (zero bytes)", hint="copy or download it again", where=path)


def cannot_open(path: Path, error: Exception) -> DecodeError:
    """Why a file FFmpeg refuses is no video, as precisely as its bytes tell."""
    if isinstance(error, PermissionError):
        return DecodeError(f"'{path.name}' may not be read", hint="change its permissions", where=path)
    kind = kind_of_file(path)
    if kind is not None:
        return DecodeError(f"'{path.name}' is not a video but {kind}", allowed="a video file", where=path)
    try:
        check_complete(path)
    except DecodeError as truncated:
        return truncated
    return DecodeError(
        f"'{path.name}' cannot be opened as a video: truncated, damaged or none",
        given=told(error),
        hint="copy or download it again",
        where=path,
    )


def of_clip(error: Exception, clip: str, path: Path) -> VidreproError:
    """An error in reading a clip or in changing its frames, with the clip's id; of its own kind where it is ours."""
    who = f"clip '{clip}'"
    if not isinstance(error, VidreproError):
        given = f"{type(error).__name__}: {error}"
        return DataError(f"{who} cannot be read and made fit for a network", given=given, where=path)
    problem = error.problem if who in error.problem else f"{who}: {error.problem}"
    where = error.where or path
    return type(error)(problem, given=error.given, allowed=error.allowed, hint=error.hint, where=where)


def told(error: Exception) -> str:
    """FFmpeg's reason, without the log and the path that PyAV adds to it."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def corrupt(path: Path, position: int, reason: str) -> DecodeError:
    """The error for a video that decodes up to a position, and no further."""
    return DecodeError(
        f"'{path.name}' is corrupt or truncated: it stops decoding after {position} frames",
        given=reason,
        hint="copy or download it again, and prepare again",
        where=path,
    )


def too_short(path: Path, decoded: int, frames: int | None, last: int) -> DecodeError:
    """The error for a video that ends before the last position wanted; `frames` are those the manifest records."""
    recorded = f"shorter than recorded: '{path.name}'" if frames is not None else f"'{path.name}' is too short: it"
    return DecodeError(
        f"{recorded} decodes to {decoded} frames",
        given=f"position {last} wanted",
        allowed=f"{frames} frames, as the manifest records" if frames is not None else f"0 to {decoded - 1}",
        hint="copy or download it again, or prepare the dataset again",
        where=path,
    )


def check_size(size: tuple[int, int], least: int, path: Path) -> None:
    """Refuse frames of (width, height) with a side below `least`, of which no network can use a crop."""
    if min(size) < least:
        raise DecodeError(
            f"the frames of '{path.name}' are too small for any network",
            given=f"{size[0]}x{size[1]} pixels",
            allowed=f"{least} pixels a side, or more",
            where=path,
        )


def size_changes(path: Path, position: int, found: tuple[int, ...], size: tuple[int, ...]) -> DecodeError:
    """The error for a frame of another size, (width, height), than those before it."""
    return DecodeError(
        f"frames of '{path.name}' change their size at position {position}",
        given=f"{found[0]}x{found[1]}",
        allowed=f"{size[0]}x{size[1]}",
        where=path,
    )
