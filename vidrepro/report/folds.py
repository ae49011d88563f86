"""The mean over a dataset's official folds: of all of them or of none."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from vidrepro.config import RunConfig
from vidrepro.errors import ResultsError
from vidrepro.runs.record import RunRecord


@dataclass(frozen=True)
class FoldMean:
    """Accuracies in percent over folds, each fold weighing the same.

    Attributes:
        folds: the official ones.
        by_fold: fold -> mean over its seeds; folds without a run are absent.
        mean: over the folds, then over the seeds; None unless every seed has every fold.
        sd: sample standard deviation of the seeds' means; None for a single seed.
        seeds: every seed that any fold was run with.
        by_seed: seed -> mean over the folds; empty unless every seed has every fold.
        missing: (fold, seed) of the runs that are not there; (fold, None) where there is no run at all.
    """

    folds: tuple[str, ...]
    by_fold: dict[str, float]
    mean: float | None
    sd: float | None
    seeds: tuple[int, ...]
    missing: tuple[tuple[str, int | None], ...] = ()
    by_seed: dict[int, float] = field(default_factory=dict)

    def missing_text(self) -> str | None:
        """What is missing, as a table's cell says it; None if nothing is."""
        if not self.missing:
            return None
        several = len(self.seeds) > 1
        runs = [fold if seed is None or not several else f"{fold} seed {seed}" for fold, seed in self.missing]
        return f"{', '.join(runs)} not run"


def fold_mean(runs: Sequence[RunRecord], official: Sequence[str], metric: str = "top1") -> FoldMean:
    """Average runs that differ in fold and seed only.

    Args:
        runs: of one config on one prepared dataset; none at all is as good as all missing.
        official: the folds to be averaged, exactly.
        metric: ``top1``, ``top5`` or ``mean_class`` of the best epoch.

    Raises:
        ResultsError: if the runs differ in anything else, have a fold that is not official, lack the metric, or two are
            of one fold and seed.
    """
    _require_alike(runs)
    values: dict[int, dict[str, float]] = {}
    for run in runs:
        fold = run.dataset.fold
        if fold is None or fold not in official:
            raise _refusal("a run is of no official fold", run, f"fold {fold}", ", ".join(official))
        of_seed = values.setdefault(run.seed, {})
        if fold in of_seed:
            raise _refusal("two runs are of one fold and seed", run, f"{fold}, seed {run.seed}", "one run each")
        value = getattr(run.best, metric)
        if value is None:
            raise _refusal(f"a run has no {metric}", run, metric, "a metric that every run has")
        of_seed[fold] = value
    seeds = tuple(sorted(values))
    missing: list[tuple[str, int | None]] = [(fold, None) for fold in official if not seeds]
    missing += [(fold, seed) for seed in seeds for fold in official if fold not in values[seed]]
    by_seed = {} if missing else {s: statistics.fmean(values[s][fold] for fold in official) for s in seeds}
    means = list(by_seed.values())
    found = {fold: [values[seed][fold] for seed in seeds if fold in values[seed]] for fold in official}
    return FoldMean(
        folds=tuple(official),
        by_fold={fold: statistics.fmean(of_fold) for fold, of_fold in found.items() if of_fold},
        mean=statistics.fmean(means) if means else None,
        sd=statistics.stdev(means) if len(means) > 1 else None,
        seeds=seeds,
        missing=tuple(missing),
        by_seed=by_seed,
    )


def _require_alike(runs: Sequence[RunRecord]) -> None:
    """Refuse runs that differ in more than fold and seed."""
    for run in runs[1:]:
        first = runs[0]
        for what, one, other in (
            ("settings", _settings(first.config), _settings(run.config)),
            (
                "prepared dataset",
                (first.dataset.name, first.dataset.fingerprint),
                (run.dataset.name, run.dataset.fingerprint),
            ),
            ("protocol", first.protocol, run.protocol),
        ):
            if one != other:
                raise _refusal(
                    f"the runs differ in their {what}",
                    run,
                    f"not as {first.id}",
                    "runs that differ in fold and seed only",
                )


def _settings(config: dict[str, Any]) -> str | dict[str, Any]:
    """What a config is told by, the fold left out: its fingerprint, or all of it where this version cannot read it."""
    data = {key: value for key, value in config.get("data", {}).items() if key != "fold"}
    plain = config | {"data": data}
    try:
        return RunConfig.model_validate(plain).fingerprint
    except ValidationError:
        return plain | {"data": data | {"task": data.get("task")}}  # records of older versions have no task


def _refusal(problem: str, run: RunRecord, given: str, allowed: str) -> ResultsError:
    return ResultsError(f"no mean over folds: {problem}", given=f"{run.id}: {given}", allowed=allowed)
