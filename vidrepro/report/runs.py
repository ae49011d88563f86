"""Finished runs, read from ``results/runs/*/run.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vidrepro.errors import ResultsError
from vidrepro.files import read_json
from vidrepro.runs.folder import LAST_CHECKPOINT, PROGRESS_FILE, RUN_FILE

SCHEMA = 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # what a report does not use may be added freely


class PaperSetting(_Record):
    """What was asked for when the run was made."""

    paper: str
    preset: str
    backbone: str | None = None
    overrides: tuple[str, ...] = ()


class DatasetFacts(_Record):
    """The prepared dataset a run used."""

    name: str
    fingerprint: str
    selection: str | None = None  # fingerprint under the run's fold and task; older records have none
    fold: str | None = None
    task: str | None = None
    version: str | int | None = None
    preset: str | None = None
    classes: int
    order_blind_ceiling: float | None = None  # share in [0, 1]
    counts: dict[str, dict[str, int]]
    frame_counts: tuple[int, ...] | None = None  # distinct ones, of all clips; older records have none
    completeness: dict[str, Any] | None = None  # of an official dataset: see `evaluation.scores.incomplete_text`


class BackboneFacts(_Record):
    """The backbone as really trained."""

    name: str
    options: dict[str, Any] = {}
    parameters: int
    input_size: int
    frames: int
    weights: str | None = None


class Output(_Record):
    """One of several predictions of a network."""

    clips: int = Field(ge=1)
    top1: float = Field(ge=0, le=100)
    top1_correct: int


class Score(_Record):
    """Accuracies in percent at one epoch, with the counts intervals need."""

    epoch: int
    split: str = "val"
    clips: int = Field(ge=1)
    top1: float = Field(ge=0, le=100)
    top1_correct: int
    top5: float = Field(ge=0, le=100)
    mean_class: float | None = None
    pair: float | None = None
    pair_correct: int | None = None
    outputs: dict[str, Output] = {}  # of a network with several predictions: each by its name

    def correct(self, metric: str) -> int | None:
        """Clips counted right by ``top1``, ``top5`` or ``pair``; None if the metric was not measured."""
        exact = {"top1": self.top1_correct, "pair": self.pair_correct}.get(metric)
        value = getattr(self, metric)
        return exact if exact is not None or value is None else round(value * self.clips / 100)


class Environment(_Record):
    """What a run was made with."""

    commit: str | None = None
    dirty: bool = False
    commits: tuple[str, ...] = ()  # of every process that worked on it, a + after a modified one; older records: none
    vidrepro: str | None = None
    torch: str | None = None
    device: str | None = None

    def commit_texts(self) -> list[str]:
        """The commits, normally one, each marked if the checkout was modified."""
        if len(self.commits) > 1:
            return [f"{commit}modified" if commit.endswith("+") else commit for commit in self.commits]
        return [f"{self.commit}+modified" if self.commit and self.dirty else self.commit or "unknown"]


class Run(_Record):
    """One finished run."""

    version: int = Field(alias="schema")
    id: str
    config: dict[str, Any]
    config_fingerprint: str
    seed: int
    paper_setting: PaperSetting | None = None
    dataset: DatasetFacts
    protocol: str
    backbone: BackboneFacts
    best: Score
    last: Score
    seconds: float
    environment: Environment = Environment()
    derived: str | None = None  # of an evaluation of other runs (`vidrepro.report.derived`): how it was had

    @property
    def averaged(self) -> str:
        """What its scores are the mean of over a clip's views; logits in older records, which do not say so."""
        return str(self.config.get("data", {}).get("eval_average", "logits"))


@dataclass(frozen=True)
class RunCollection:
    """Every finished run of a results folder, in the order of their folders, and the names of those not finished.

    Not finished is what has begun to train; a folder of a run that was refused, or only its log, is neither.
    """

    runs: tuple[Run, ...]
    unfinished: tuple[str, ...] = ()
    results: Path | None = None  # the folder


def load_runs(results: Path) -> RunCollection:
    """Read every run of a results folder.

    Raises:
        ResultsError: if a record is damaged, of another version, or stands there twice; the file is named.
    """
    runs: dict[str, tuple[Run, Path]] = {}
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


def read_run(file: Path) -> Run | None:
    """Read one record; None if the run is not finished.

    Raises:
        ResultsError: if it is damaged or of another version, with everything that is wrong.
    """
    try:
        content = read_json(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(content, dict):
        raise _damaged(file, f"a {type(content).__name__} instead of a record")
    if content.get("state") != "finished":
        return None
    if content.get("schema") != SCHEMA:
        raise _damaged(file, f"schema {content.get('schema')!r}; this vidrepro reads {SCHEMA}")
    try:
        return Run.model_validate(content)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise _damaged(file, "; ".join(faults)) from error


def _damaged(file: Path, fault: str) -> ResultsError:
    return ResultsError(
        "a run's record cannot be read",
        given=fault,
        hint="restore it, or delete the run's folder and run it again",
        where=file,
    )
