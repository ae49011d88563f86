"""A finished run's record, as far as working on with the run needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidrepro.config import RunConfig
from vidrepro.errors import ResultsError
from vidrepro.files import read_json
from vidrepro.runs.folder import RUN_FILE


def read_record(folder: Path) -> tuple[dict[str, Any], RunConfig]:
    """A finished run's record and settings.

    Raises:
        ResultsError: if it cannot be read.
    """
    path = folder / RUN_FILE
    try:
        record = read_json(path)
        _ = record["id"], record["seed"], record["dataset"]["fingerprint"]  # what is read of it
        return record, RunConfig.model_validate(record["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(
            "the run's record cannot be read",
            given=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            hint="put the versioned run.json back, or delete the folder and run again",
            where=path,
        ) from error
