"""Where things lie, and how they are written: to a temporary name, then renamed, so that nothing is ever half there."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from vidrepro.errors import NO_ROOM, NotFiniteError, ResultsError, VidreproError, system_error

# What reading a damaged .npz or .zip may raise; an encrypted or oddly packed member is damage too.
BAD_ARCHIVE = (OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
DATA_VARIABLE = "VIDREPRO_DATA"
RESULTS_VARIABLE = "VIDREPRO_RESULTS"


def data_folder(option: Path | str | None = None) -> Path:
    """Folder of prepared datasets: the option, else ``$VIDREPRO_DATA``, else ``./data``."""
    return Path(option or os.environ.get(DATA_VARIABLE) or "data")


def results_folder(option: Path | str | None = None) -> Path:
    """Folder of runs and tables: the option, else ``$VIDREPRO_RESULTS``, else ``./results``."""
    return Path(option or os.environ.get(RESULTS_VARIABLE) or "results")


def unexpanded(path: Path) -> str | None:
    """What to do about a path with a ``~`` that the shell left as it is; a path means what is written. None without."""
    if not str(path).startswith("~"):
        return None
    return "'~' is a name here, because the shell did not replace it: write $HOME for your own folder"


def is_prepared(data: Path, dataset: str) -> bool:
    """Whether a dataset's preparation is finished; its content may still be refused when it is read."""
    return (data / dataset / "manifest.csv").is_file()


def experiments_folder() -> Path:
    """The papers' tables and presets: packaged as ``vidrepro/_experiments``, else beside an editable install.

    Raises:
        VidreproError: if the installation carries neither.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_experiments", package.parent / "experiments"):
        if (folder / "presets").is_dir():
            return folder
    raise VidreproError(
        "this installation of vidrepro carries no experiments",
        given=package,
        allowed="vidrepro/_experiments inside the package, or experiments/ beside it",
        hint="reinstall: pip install --force-reinstall vidrepro",
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around whatever writes `path`: what the disk, a quota or a permission refuses inside becomes one refusal.

    Raises:
        ResultsError: if it cannot be written.
    """
    try:
        yield
    except VidreproError:
        raise
    except Exception as error:
        refused = system_error(error)
        if refused is None:
            raise
        raise not_writable(path, refused) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` when the block ends without an error.

    Args:
        path: the final name; its folder is created. An existing file is replaced as a whole.

    Raises:
        ResultsError: if it cannot be written. What was there before is kept, and nothing else is left.
    """
    make_folder(path.parent)
    with writing(path):
        # Not the whole stem: with what mkstemp adds, a long name that fits would not
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:32]}-", suffix=path.suffix[:16], dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)  # mkstemp's 0600 would hide shared results from colleagues
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """The same, opened for writing bytes.

    A library that opens the file itself may lose the system's reason (torch raises a RuntimeError about positions).
    """
    with atomic_path(path) as temporary, _PlainFile(io.FileIO(temporary, "w")) as file:
        yield file


class _PlainFile(io.BufferedWriter):
    """A file without a descriptor: given one, Pillow writes by itself and ends a picture short on a full disk."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("written through Python alone")


def make_folder(path: Path) -> None:
    """Create a folder and its parents where missing.

    Raises:
        ResultsError: if that is not possible.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8, LF) to `path` as a whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def atomic_write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, as a whole or not at all.

    Raises:
        NotFiniteError: naming the number in it that is not finite.
        ResultsError: if the file cannot be written.
    """
    for place, number in _not_finite(value):
        raise NotFiniteError(
            f"{place or 'the value'} is not finite", given=number, allowed="a finite number, or null", where=path
        )
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    atomic_write_text(path, _escaped(text).decode() + "\n")


def _not_finite(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every number in plain data that is not finite, with its place, e.g. ``best.top1``."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    elif isinstance(value, dict | list | tuple):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in entries:
            yield from _not_finite(entry, f"{place}.{key}" if place else str(key))


def read_json(path: Path) -> Any:
    """A file's JSON, in which every number is finite.

    Raises:
        ValueError: for anything else, among it the NaN and Infinity that Python's own reader lets through.
        OSError: if it cannot be read.
    """
    return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_finite_number, parse_float=_finite_number)


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def read_json_object(path: Path) -> dict[str, Any] | None:
    """A file's JSON object; None where there is no such file, or it holds anything else."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def not_writable(path: Path, error: OSError) -> ResultsError:
    """The error for a place that cannot be written."""
    reason = error.strerror or str(error)
    if error.errno == errno.EFBIG:
        reason += " (no space left below the limit on file sizes: ulimit -f, or the file system's)"
    hint = "choose another with --results or --data, or change its permissions"
    if error.errno in NO_ROOM:
        hint = "make room there, or choose another place with --results or --data; the same command then goes on"
    return ResultsError(
        f"cannot write to '{path}': {reason}",
        given=path,
        allowed="a folder you may write to, on a disk with room",
        hint=hint,
    )


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of `value` as canonical JSON: the same content gives the same fingerprint on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(_escaped(text)).hexdigest()


def _escaped(json_text: str) -> bytes:
    """In UTF-8, bytes of a file's name that are none as JSON's escapes of what Python reads them as."""
    return json_text.encode("utf-8", "backslashreplace")


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
