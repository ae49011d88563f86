"""How much a difference between text and code matters: one setting changed, counted and, where it was run, scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from vidrepro.cost.costs_file import KnownCosts
from vidrepro.cost.paper_costs import measure_effect
from vidrepro.experiments import Paper, Row
from vidrepro.experiments.schema import Difference, Effect
from vidrepro.report.sections import SettingKey, find_runs
from vidrepro.report.statistics import gap
from vidrepro.report.verdicts import clip_counts
from vidrepro.runs.record import RunRecord

COUNTS = ("gmacs_fvcore", "params")


def difference_effects(
    paper: Paper,
    difference: Difference,
    runs: Sequence[RunRecord],
    costs: KnownCosts,
    progress: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """One entry for each of the difference's effects, which change one thing and leave the rest as it is run here.

    Args:
        paper: the paper.
        difference: one of its differences.
        runs: finished runs of any paper.
        costs: known costs; others are counted, at the paper's own input size.
        progress: told the experiment before its network is counted.

    Returns:
        Entries with ``row``, ``set``; ``cost``: ``gmacs_fvcore`` and ``params``, each (as it is run, with the change),
        or the reason ``not_measured``; ``accuracy``: for each setting under which both were run, dataset, preset,
        trained backbone, seeds, and top-1 with the change minus top-1 without, its 95 % interval and where that comes
        from (`vidrepro.report.statistics.Gap`).
    """
    entries = []
    for effect in difference.effects:
        row = paper.row(effect.row)
        entries.append(
            {
                "row": effect.row,
                "set": list(effect.set),
                "cost": _cost(paper, effect, costs, progress),
                "accuracy": _accuracies(paper, row, effect, runs),
            }
        )
    return entries


def _cost(paper: Paper, effect: Effect, costs: KnownCosts, progress: Callable[[str], None] | None) -> dict[str, Any]:
    plain, changed = measure_effect(paper, effect, costs, progress)
    if plain["not_measured"]:
        return {"not_measured": plain["not_measured"]}
    return {name: [plain[name], changed[name]] for name in COUNTS}


def _accuracies(paper: Paper, row: Row, effect: Effect, runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    plain, changed = find_runs(paper, runs, row), find_runs(paper, runs, row, effect.set)
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for key in plain.keys() & changed.keys():
        ids = tuple(run.id for run in (*plain[key], *changed[key]))
        if plain[key] != changed[key]:
            found.setdefault(ids, _scored(key, plain[key], changed[key]))
    return [found[ids] for ids in sorted(found)]


def _scored(key: SettingKey, plain: Sequence[RunRecord], changed: Sequence[RunRecord]) -> dict[str, Any]:
    return {
        "dataset": key.dataset,
        "preset": key.preset,
        "backbone": plain[0].backbone.name,
        "seeds": [[run.seed for run in side] for side in (plain, changed)],
        "delta_top1": asdict(gap(clip_counts(changed), clip_counts(plain))),
    }
