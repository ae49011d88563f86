"""Accuracies had from other rows' runs: looked at again with more views, with an attention replaced, or as one.

What they come to is kept in ``runs/<run>/evaluations/*.json``, small and to be versioned, made from the scores of
single clips in ``runs/<run>/scores`` where these are newer; a probe's lies in ``runs/<run>/probes``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidrepro.clips_config import Protocol
from vidrepro.errors import VidreproError
from vidrepro.evaluation.probe_records import CHECKPOINT, probe_record
from vidrepro.evaluation.scores import scores_path
from vidrepro.experiments import Ensemble, Evaluation, Paper, Row
from vidrepro.files import atomic_write_json, fingerprint, read_json_object
from vidrepro.runs.folder import runs_folder
from vidrepro.runs.record import RunRecord, Score

if TYPE_CHECKING:
    from vidrepro.evaluation.scores import Scores

FOLDER = "evaluations"
SCHEMA = 1
RunsOf = Callable[[str], Sequence[RunRecord]]


@dataclass(frozen=True)
class Derived:
    """What a row without runs of its own has: entries in the place of runs, one a seed, or why there are none."""

    runs: tuple[RunRecord, ...] = ()
    missing: str | None = None


def derive(paper: Paper, row: Row, runs_of: RunsOf, results: Path) -> Derived:
    """A derived row's accuracies under one setting.

    Args:
        paper: the paper.
        row: one with `Row.derived`.
        runs_of: experiment id -> the runs of that row under the setting.
        results: the results folder.
    """
    if isinstance(row.derived, Ensemble):
        return _ensemble(paper, row.derived, runs_of, results)
    assert row.derived is not None
    runs = runs_of(row.derived.of)
    if not runs:
        return Derived(missing=f"{_short(row, row.derived.of)} not run")
    found = [_evaluated(run, row.derived, results) for run in runs]
    missing = [run.seed for run, one in zip(runs, found, strict=True) if one is None]
    if missing:
        return Derived(missing=_not_evaluated(row.derived, missing, len(runs)))
    return Derived(tuple(one for one in found if one is not None))


def _evaluated(run: RunRecord, evaluation: Evaluation, results: Path) -> RunRecord | None:
    if evaluation.probe is not None:
        return _probed(run, evaluation, results)
    protocol = _protocol(run, evaluation)
    if str(protocol) == run.protocol:
        return run
    folder = runs_folder(results) / run.id
    source = _scores_path(run, protocol, results)
    file = folder / FOLDER / f"{source.stem}.json"
    content = _kept(file, [source]) or _from_scores(file, source, [run], {"protocol": str(protocol)})
    return None if content is None else _entry([run], content, f"{run.id}@{protocol}", "other views of a run")


def _probed(run: RunRecord, evaluation: Evaluation, results: Path) -> RunRecord | None:
    assert evaluation.probe is not None
    what, how = evaluation.probe
    protocol = str(_protocol(run, evaluation))
    record = probe_record(runs_folder(results) / run.id, evaluation.probe, run.best.split, protocol)
    if record is None:
        return None
    content = record["probed"] | {"protocol": protocol}
    return _entry([run], content, f"{run.id}@{what}-{how}", f"{what} attention replaced: {how}")


def _ensemble(paper: Paper, ensemble: Ensemble, runs_of: RunsOf, results: Path) -> Derived:
    members: list[dict[int, tuple[RunRecord, Path]]] = []
    lacking: list[str] = []
    for name in ensemble.members:
        row = paper.row(name)
        evaluation = row.derived if isinstance(row.derived, Evaluation) else Evaluation(row.id)
        runs = runs_of(evaluation.of)
        if not runs:
            lacking.append(f"{row.name} not run")
        of_seeds = {run.seed: (run, _scores_path(run, _protocol(run, evaluation), results)) for run in runs}
        members.append(of_seeds)
    if lacking:
        return Derived(missing=", ".join(lacking))
    seeds = sorted(set.intersection(*(set(of_seeds) for of_seeds in members)))
    if not seeds:
        return Derived(missing="no seed that every member was run with")
    entries = []
    for seed in seeds:
        runs, sources = zip(*(of_seeds[seed] for of_seeds in members), strict=True)
        entry = _ensemble_entry(runs, sources, ensemble, results)
        if isinstance(entry, str):
            return Derived(missing=entry)
        entries.append(entry)
    return Derived(tuple(entries))


def _ensemble_entry(
    runs: Sequence[RunRecord], sources: Sequence[Path], ensemble: Ensemble, results: Path
) -> RunRecord | str:
    identity = fingerprint([[run.id, path.name] for run, path in zip(runs, sources, strict=True)] + [ensemble.weights])
    file = runs_folder(results) / runs[0].id / FOLDER / f"ensemble-{identity[:12]}.json"
    content = _kept(file, sources)
    if content is None:
        missing = [run.id for run, path in zip(runs, sources, strict=True) if not path.is_file()]
        if missing:
            return f"no scores of {', '.join(missing)}"
        content = _from_ensemble(file, runs, sources, ensemble)
    return _entry(runs, content, f"ensemble-{identity[:12]}", f"ensemble of {', '.join(run.id for run in runs)}")


def _from_ensemble(
    file: Path, runs: Sequence[RunRecord], sources: Sequence[Path], ensemble: Ensemble
) -> dict[str, Any]:
    from vidrepro.evaluation.ensemble import ensemble_scores
    from vidrepro.evaluation.scores import load_scores

    scores = ensemble_scores([load_scores(path) for path in sources], ensemble.weights, names=[run.id for run in runs])
    return _keep(file, scores, runs, {"protocol": scores.protocol, "weights": ensemble.weights})


def _from_scores(file: Path, source: Path, runs: Sequence[RunRecord], facts: dict[str, Any]) -> dict[str, Any] | None:
    from vidrepro.evaluation.scores import load_scores

    return _keep(file, load_scores(source), runs, facts) if source.is_file() else None


def _keep(file: Path, scores: Scores, runs: Sequence[RunRecord], facts: dict[str, Any]) -> dict[str, Any]:
    from vidrepro.evaluation.metrics import accuracies

    content = {
        "schema": SCHEMA,
        "runs": [run.id for run in runs],
        "split": runs[0].best.split,
        "checkpoint": CHECKPOINT,
        "dataset_fingerprint": scores.dataset_fingerprint,
        **facts,
        **accuracies(scores.labels, scores.logits),
    }
    with suppress(VidreproError):  # a folder that cannot be written keeps nothing
        atomic_write_json(file, content)
    return content


def _kept(file: Path, sources: Sequence[Path]) -> dict[str, Any] | None:
    """What was kept, unless scores are newer."""
    content = read_json_object(file)
    if content is None or content.get("schema") != SCHEMA:
        return None
    kept = file.stat().st_mtime
    return None if any(path.is_file() and path.stat().st_mtime > kept for path in sources) else content


def _entry(runs: Sequence[RunRecord], content: dict[str, Any], name: str, how: str) -> RunRecord:
    """A run-like record of what several runs come to; as trained they are the first one's."""
    first = runs[0]
    known = {
        key: content.get(key) for key in ("clips", "top1", "top1_correct", "top5", "mean_class", "pair", "pair_correct")
    }
    score = Score.model_validate(known | {"epoch": first.best.epoch, "split": first.best.split})
    trained = first.backbone.model_copy(
        update={
            "parameters": sum(run.backbone.parameters for run in runs),
            "frames": sum(run.backbone.frames for run in runs),
        }
    )
    changes = {"id": name, "best": score, "last": score, "protocol": content["protocol"], "derived": how}
    return first.model_copy(update=changes | {"backbone": trained, "seconds": sum(run.seconds for run in runs)})


def _protocol(run: RunRecord, evaluation: Evaluation) -> Protocol:
    return evaluation.protocol(Protocol.parse(run.protocol))


def _scores_path(run: RunRecord, protocol: Protocol, results: Path) -> Path:
    return scores_path(runs_folder(results) / run.id, run.best.split, str(protocol), CHECKPOINT, run.averaged)


def _short(row: Row, experiment: str) -> str:
    """Of the same table the row's name, else the whole id."""
    table, _, name = experiment.rpartition("/")
    return name if row.id.startswith(f"{table}/") else experiment


def _not_evaluated(evaluation: Evaluation, seeds: Sequence[int], count: int) -> str:
    what = "not evaluated so" if evaluation.probe is None else "not probed"
    return what if len(seeds) == count else f"{what}: seed {', '.join(map(str, seeds))}"
