"""Right and wrong of every clip under sets of runs, read from the score files they keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidrepro.errors import ConfigError, ResultsError
from vidrepro.evaluation.scores import Scores, load_scores, matching_order, scores_path
from vidrepro.report.run_sets import RunSet
from vidrepro.runs.folder import CHECKPOINTS, require_checkpoint_name
from vidrepro.runs.record import RunRecord


@dataclass(frozen=True)
class SetScores:
    """Sets of runs on the same N clips.

    Attributes:
        ids, labels: of the clips, shape (N,).
        right: right or wrong, one table (S, N) for each set, with one row for each of its S seeds.
        split, protocol: of all.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    right: tuple[NDArray[np.bool_], ...]
    split: str
    protocol: str


def set_scores(
    sets: Sequence[RunSet], *, split: str | None = None, checkpoint: str = "best", protocol: str | None = None
) -> SetScores:
    """Read all sets' scores and line the clips up.

    Args:
        sets: one or more.
        split: train, val or test; None for the one the runs' best epoch was chosen on.
        checkpoint: best or last.
        protocol: None for the runs' own.

    Raises:
        UnknownNameError: for another checkpoint.
        ConfigError: if the runs are of different datasets, prepared differently, or of different protocols.
        ResultsError: if a run keeps no such scores (with the command that makes them), or scores of other clips.
    """
    require_checkpoint_name(checkpoint)
    members = [member for one in sets for member in zip(one.runs, one.folders, strict=True)]
    require_comparable([run for run, _ in members], protocol)
    named = protocol or members[0][0].protocol
    split = split or members[0][0].best.split
    tables = [_read(run, folder, split, named, checkpoint) for run, folder in members]
    first = tables[0]
    right = []
    for scores, (run, folder) in zip(tables, members, strict=True):
        order = matching_order(first, scores)
        if order is None:
            raise ResultsError(
                "the runs keep scores of different clips",
                given=f"{members[0][0].id}: {len(first.ids)} clips; {run.id}: {len(scores.ids)}",
                allowed="the same clips with the same labels",
                hint=_evaluate_command(run, split, protocol, checkpoint),
                where=_scores_path(run, folder, split, named, checkpoint),
            )
        right.append((scores.logits.argmax(1) == scores.labels)[order])
    rows = iter(right)
    by_set = tuple(np.stack([next(rows) for _ in one.runs]) for one in sets)
    return SetScores(first.ids, first.labels, by_set, split, named)


def require_comparable(runs: list[RunRecord], protocol: str | None = None) -> None:
    """Refuse runs whose accuracies do not stand against one another.

    Raises:
        ConfigError: if dataset, its preparation or (unless one is asked for) the protocol differ.
    """
    kinds = {
        "datasets": {run.dataset.name for run in runs},
        "preparations of the dataset": {run.dataset.fingerprint for run in runs},
        "folds or label sets": {selection(run) for run in runs},
    } | ({} if protocol else {"protocols": {run.protocol for run in runs}})
    for kind, found in kinds.items():
        if len(found) > 1:
            shown = {"datasets": "dataset.name", "protocols": "protocol", "folds or label sets": "dataset.selection"}
            values = {run.id: attrgetter(shown.get(kind, "dataset.fingerprint"))(run) for run in runs}
            raise ConfigError(
                f"the runs are of different {kind}, so their accuracies cannot be compared",
                given="; ".join(f"{name}: {value}" for name, value in values.items()),
                allowed="the same for all",
                hint="score both under one: vidrepro evaluate RUN --protocol P, then compare with --protocol P"
                if kind == "protocols"
                else None,
            )


def selection(run: RunRecord) -> str:
    """The fingerprint of what a run was trained and scored on, its fold and label set included."""
    return run.dataset.selection or run.dataset.fingerprint


def _scores_path(run: RunRecord, folder: Path, split: str, protocol: str, checkpoint: str) -> Path:
    return scores_path(folder, split, protocol, checkpoint, run.averaged)


def _read(run: RunRecord, folder: Path, split: str, protocol: str, checkpoint: str) -> Scores:
    path = _scores_path(run, folder, split, protocol, checkpoint)
    if not path.is_file():
        given = None if protocol == run.protocol else protocol
        if (folder / CHECKPOINTS[checkpoint]).is_file():
            hint = _evaluate_command(run, split, given, checkpoint)
        else:
            hint = (
                "scores and checkpoints are not versioned, run.json alone holds no result of single clips or classes: "
                "run it again, here or elsewhere, with another --results"
            )
        raise ResultsError(
            f"run '{run.id}' keeps no scores of single clips for {split}, {protocol}, {checkpoint} checkpoint",
            given=path,
            hint=hint,
        )
    scores = load_scores(path)
    if scores.dataset_fingerprint != selection(run) or scores.protocol != protocol:
        raise ResultsError(
            "the scores are not this run's",
            given=f"dataset {scores.dataset_fingerprint}, protocol {scores.protocol}",
            allowed=f"dataset {selection(run)}, protocol {protocol}",
            hint=_evaluate_command(run, split, protocol, checkpoint),
            where=path,
        )
    return scores


def _evaluate_command(run: RunRecord, split: str, protocol: str | None, checkpoint: str) -> str:
    words = ["vidrepro evaluate", run.id]
    words += [f"--protocol {protocol}"] if protocol else []
    words += [f"--split {split}"] if split != "val" else []
    words += [f"--checkpoint {checkpoint}"] if checkpoint != "best" else []
    return " ".join(words)
