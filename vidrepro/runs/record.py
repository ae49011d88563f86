"""A finished run's record: what writes run.json, and what reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vidrepro.config import RunConfig
from vidrepro.errors import ResultsError
from vidrepro.files import atomic_write_json, read_json
from vidrepro.runs.folder import RUN_FILE

SCHEMA = 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)  # what another version wrote is kept


class PaperSetting(_Record):
    """What was asked for when the run was made; no paper where a run was made from Python."""

    paper: str | None = None
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
    label_order: str | None = None  # None under a task, and in older records
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
    weights_report: dict[str, Any] | None = None  # what became of every tensor of the start weights


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
    torchvision: str | None = None
    python: str | None = None
    device: str | None = None
    threads: int | None = None

    def commit_texts(self) -> list[str]:
        """The commits, normally one, each marked if the checkout was modified."""
        if len(self.commits) > 1:
            return [f"{commit}modified" if commit.endswith("+") else commit for commit in self.commits]
        return [f"{self.commit}+modified" if self.commit and self.dirty else self.commit or "unknown"]


class RunRecord(_Record):
    """One finished run, as its run.json holds it."""

    version: int = Field(SCHEMA, alias="schema")
    id: str
    state: Literal["finished"] = "finished"
    config: dict[str, Any]
    config_fingerprint: str
    seed: int
    preset: str | None = None
    paper_setting: PaperSetting | None = None
    dataset: DatasetFacts
    protocol: str
    backbone: BackboneFacts
    own_mechanism: dict[str, Any] | None = None  # files of a mechanism of a user's own
    effective_batch: int | None = None
    effective_learning_rate: float | None = None
    best: Score
    last: Score
    history: tuple[dict[str, Any], ...] = ()  # one entry per epoch
    seconds: float
    environment: Environment = Environment()
    # of an evaluation of other runs (`vidrepro.report.derived`): how it was had
    derived: str | None = Field(None, exclude=True)

    @field_validator("config")
    @classmethod
    def _sections(cls, config: dict[str, Any]) -> dict[str, Any]:
        missing = [name for name in ("model", "data", "train") if not isinstance(config.get(name), dict)]
        if missing:
            raise ValueError(f"no settings under {', '.join(missing)}")
        return config

    @property
    def averaged(self) -> str:
        """What its scores are the mean of over a clip's views; logits in older records, which do not say so."""
        return str(self.config.get("data", {}).get("eval_average", "logits"))


def write_record(folder: Path, record: RunRecord) -> None:
    """Write a run's record, by which the run is finished: everything that was said when it was made, and no default.

    Raises:
        ResultsError: if it cannot be written.
    """
    atomic_write_json(folder / RUN_FILE, record.model_dump(mode="json", by_alias=True, exclude_unset=True))


def is_finished(folder: Path) -> bool:
    """Whether a run's folder holds its record.

    Raises:
        ResultsError: if what it holds is no record.
    """
    return _content(folder / RUN_FILE).get("state") == "finished"


def read_record(folder: Path) -> tuple[RunRecord, RunConfig]:
    """A finished run's record and settings, to work on with it.

    Raises:
        ResultsError: if the run is not finished, or its record cannot be read.
    """
    file = folder / RUN_FILE
    record = read_run(file)
    if record is None:
        raise _damaged(file, "there is none of a finished run")
    try:
        return record, RunConfig.model_validate(record.config)
    except ValidationError as error:
        raise _damaged(file, _faults(error)) from error


def read_run(file: Path) -> RunRecord | None:
    """Read one record; None if the run is not finished.

    Raises:
        ResultsError: if it is damaged or of another version, with everything that is wrong.
    """
    content = _content(file)
    if content.get("state") != "finished":
        return None
    if content.get("schema") != SCHEMA:
        raise _damaged(file, f"schema {content.get('schema')!r}; this vidrepro reads {SCHEMA}")
    try:
        return RunRecord.model_validate(content)
    except ValidationError as error:
        raise _damaged(file, _faults(error)) from error


def _content(file: Path) -> dict[str, Any]:
    """What stands in a file; nothing if there is none."""
    try:
        content = read_json(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(content, dict):
        raise _damaged(file, f"a {type(content).__name__} instead of a record")
    return content


def _faults(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())


def _damaged(file: Path, fault: str) -> ResultsError:
    return ResultsError(
        "a run's record cannot be read",
        given=fault,
        hint="restore it, or delete the run's folder and run it again",
        where=file,
    )
