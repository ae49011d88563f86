"""Where things lie, and how they are written: to a temporary name, then renamed, so that nothing is ever half there."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidrepro.errors import ResultsError, VidreproError

DATA_VARIABLE = "VIDREPRO_DATA"
RESULTS_VARIABLE = "VIDREPRO_RESULTS"


def data_folder(option: Path | str | None = None) -> Path:
    """Folder of prepared datasets: the option, else ``$VIDREPRO_DATA``, else ``./data``."""
    return Path(option or os.environ.get(DATA_VARIABLE) or "data")


def results_folder(option: Path | str | None = None) -> Path:
    """Folder of runs and tables: the option, else ``$VIDREPRO_RESULTS``, else ``./results``."""
    return Path(option or os.environ.get(RESULTS_VARIABLE) or "results")


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
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` when the block ends without an error.

    Args:
        path: the final name; its folder is created. An existing file is replaced as a whole.

    Raises:
        ResultsError: if the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise not_writable(path.parent, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp's 0600 would hide shared results from colleagues
        temporary.replace(path)
    except OSError as error:
        raise not_writable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Create a folder and its parents where missing.

    Raises:
        ResultsError: if that is not possible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(path, error) from error


def atomic_write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8, LF) to `path` as a whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def atomic_write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, as a whole or not at all."""
    atomic_write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json_object(path: Path) -> dict[str, Any] | None:
    """A file's JSON object; None where there is no such file, or it holds anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def not_writable(path: Path, error: OSError) -> ResultsError:
    """The error for a place that cannot be written."""
    return ResultsError(
        f"cannot write to '{path}': {error.strerror or error}",
        given=path,
        allowed="a folder you may write to, on a disk with room",
        hint="choose another with --results or --data, or change its permissions",
    )


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of `value` as canonical JSON: the same content gives the same fingerprint on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
