"""Finished runs, read from ``results/runs/*/run.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vidrepro.errors import ResultsError
from vidrepro.runs.folder import LAST_CHECKPOINT, PROGRESS_FILE, RUN_FILE
from vidrepro.runs.record import RunRecord, read_run


@dataclass(frozen=True)
class RunCollection:
    """Every finished run of a results folder, in the order of their folders, and the names of those not finished.

    Not finished is what has begun to train; a folder of a run that was refused, or only its log, is neither.
    """

    runs: tuple[RunRecord, ...]
    unfinished: tuple[str, ...] = ()
    results: Path | None = None  # the folder


def load_runs(results: Path) -> RunCollection:
    """Read every run of a results folder.

    Raises:
        ResultsError: if a record is damaged, of another version, or stands there twice; the file is named.
    """
    runs: dict[str, tuple[RunRecord, Path]] = {}
    unfinished: list[str] = []
    for folder in sorted(path for path in (results / "runs").glob("*") if path.is_dir()):
        run = read_run(folder / RUN_FILE)
        if run is None:
            if any((folder / name).exists() for name in (LAST_CHECKPOINT, PROGRESS_FILE)):
                unfinished.append(folder.name)
        elif run.id in runs:
            raise ResultsError(
                f"run '{run.id}' lies there twice",
                given=f"{runs[run.id][1]} and {folder}",
                allowed="one folder per run",
                hint="delete the copy",
            )
        else:
            runs[run.id] = (run, folder)
    return RunCollection(tuple(run for run, _ in runs.values()), tuple(unfinished), results)
