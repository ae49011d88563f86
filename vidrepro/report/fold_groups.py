"""Sections that differ in the official fold only, as one: a row's mean over the folds, and each fold by itself."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidrepro.data.sources.lists import OFFICIAL_FOLDS
from vidrepro.experiments import Paper, Row, Table
from vidrepro.experiments.overrides import FOLD_KEY
from vidrepro.report.folds import FoldMean, fold_mean
from vidrepro.report.records import METRICS, Cost, accuracy_cell, section_records
from vidrepro.report.sections import Section, SettingKey, row_fingerprint
from vidrepro.report.statistics import difference
from vidrepro.runs.record import DatasetFacts, RunRecord

Record = dict[str, Any]


@dataclass(frozen=True)
class FoldGroup:
    """A table measured under one setting on one or more official folds of a dataset.

    Attributes:
        key: the setting, without the fold.
        official: the folds that a mean is over, all of them.
        sections: fold -> its runs, in the official order; folds without runs are absent.
    """

    key: SettingKey
    official: tuple[str, ...]
    sections: dict[str, Section]

    @property
    def datasets(self) -> list[DatasetFacts]:
        """The dataset as the runs of each fold recorded it."""
        return [section.dataset for section in self.sections.values() if section.dataset is not None]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that anything was run with."""
        runs = [run for section in self.sections.values() for of_row in section.runs.values() for run in of_row]
        return tuple(sorted({run.seed for run in runs}))

    def runs(self, experiment: str | None) -> list[RunRecord]:
        """An experiment's runs on all folds."""
        return [run for section in self.sections.values() for run in section.runs.get(experiment or "", ())]

    def mean(self, experiment: str | None, metric: str = "top1") -> FoldMean:
        """See `fold_mean`."""
        return fold_mean(self.runs(experiment), self.official, metric)


def group_folds(table: Table, sections: Iterable[Section]) -> list[Section | FoldGroup]:
    """Sections of the official folds of one dataset as one group; other sections stay as they are, in their order.

    The manifest's own fold and the same fold asked for by name are one fold.
    """
    groups: dict[tuple[Any, ...], list[Section]] = {}
    for section in sections:
        official = OFFICIAL_FOLDS.get(section.key.dataset, ())
        key: tuple[Any, ...] = (section.key,)
        if section.dataset is not None and section.dataset.fold in official:
            plain = without_fold(section.key)
            key = (plain.dataset, plain.fingerprint, *(row_fingerprint(row, plain) for row in table.rows))
        groups.setdefault(key, []).append(section)
    return [members[0] if len(key) == 1 else _fold_group(members) for key, members in groups.items()]


def without_fold(key: SettingKey) -> SettingKey:
    """The setting without the fold that was asked for."""
    return replace(key, overrides=tuple(text for text in key.overrides if not text.startswith(FOLD_KEY)))


def group_records(
    paper: Paper, table: Table, group: FoldGroup, costs: Mapping[str, Cost]
) -> tuple[list[Record], dict[str, list[Record]]]:
    """The table's rows as means over the folds, and the rows of each fold (see `section_records`), by fold.

    All have ``fold``. A mean's accuracies are None unless every official fold is there for every seed that the row was
    run with, ``empty_because`` says what is missing, and ``by_fold`` is the text of what is there.
    """
    by_fold = {
        fold: [
            record | {"fold": fold, "by_fold": None}
            for record in section_records(paper, table, section, costs, prepared=True)
        ]
        for fold, section in group.sections.items()
    }
    means = [
        _mean_record(table, group, row, {fold: rows[place] for fold, rows in by_fold.items()})
        for place, row in enumerate(table.rows)
    ]
    return means, by_fold


def missing_runs(group: FoldGroup, table: Table) -> dict[tuple[tuple[str, ...], tuple[int, ...]], list[str]]:
    """(folds, seeds) that are not there -> the names of the rows that lack them."""
    rows: dict[tuple[tuple[str, ...], tuple[int, ...]], list[str]] = {}
    for row in (row for row in table.rows if row.not_run is None):
        lacking: dict[str, list[int]] = {}
        for fold, seed in group.mean(row.id).missing:
            lacking.setdefault(fold, []).extend(group.seeds if seed is None else (seed,))
        folds_by_seeds: dict[tuple[int, ...], list[str]] = {}
        for fold in group.official:
            if fold in lacking:
                folds_by_seeds.setdefault(tuple(sorted(lacking[fold])), []).append(fold)
        for seeds, folds in folds_by_seeds.items():
            rows.setdefault((tuple(folds), seeds), []).append(row.id.rsplit("/", 1)[1])
    return rows


def _fold_group(members: Sequence[Section]) -> FoldGroup:
    official = OFFICIAL_FOLDS[members[0].key.dataset]
    found: dict[str, list[Section]] = {}
    for section in members:  # the plainest setting first: see `collect_sections`
        assert section.dataset is not None and section.dataset.fold is not None
        found.setdefault(section.dataset.fold, []).append(section)
    merged = {fold: _merged(found[fold]) for fold in official if fold in found}
    return FoldGroup(without_fold(members[0].key), official, merged)


def _merged(sections: Sequence[Section]) -> Section:
    """Sections of one fold as one; of two runs of a row with the same seed, the first section's counts."""
    return replace(
        sections[0],
        runs=_merged_runs([section.runs for section in sections]),
        compared=_merged_runs([section.compared for section in sections]),
    )


def _merged_runs(parts: Sequence[Mapping[str, tuple[RunRecord, ...]]]) -> dict[str, tuple[RunRecord, ...]]:
    by_seed: dict[str, dict[int, RunRecord]] = {}
    for part in parts:
        for experiment, runs in part.items():
            for run in runs:
                by_seed.setdefault(experiment, {}).setdefault(run.seed, run)
    return {name: tuple(seeds[seed] for seed in sorted(seeds)) for name, seeds in by_seed.items()}


def _mean_record(table: Table, group: FoldGroup, row: Row, by_fold: Mapping[str, Record]) -> Record:
    there = {fold: record for fold, record in by_fold.items() if record["runs"]}
    first = next(iter((there or by_fold).values()))
    if row.not_run is not None:
        return first | {"fold": f"mean of {', '.join(group.official)}"}
    record = first | {
        "fold": f"mean of {', '.join(group.official)}",
        "overrides": " ".join(group.key.overrides) or None,
    }
    if not there:
        return record
    record |= _run_facts(list(there.values()))
    record |= dict.fromkeys(
        (*(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high", "_sd")), "delta_top1",
         "delta_top1_sd", "last_top1")
    )  # fmt: skip
    mean = group.mean(row.id)
    record["by_fold"] = ", ".join(f"{fold} {accuracy_cell(one, 'top1').text}" for fold, one in there.items())
    record["seeds"] = " ".join(map(str, mean.seeds))
    record["empty_because"] = mean.missing_text()
    if mean.missing:
        return record
    for metric in METRICS:
        if all(getattr(run.best, metric) is not None for run in group.runs(row.id)):
            of_metric = group.mean(row.id, metric)
            record |= {metric: of_metric.mean, f"{metric}_sd": of_metric.sd}
    last = [one["last_top1"] for one in there.values()]
    record["last_top1"] = None if None in last else statistics.fmean(last)
    baseline = group.mean(table.baseline_of(row))
    if not baseline.missing:
        gain = difference(mean.by_seed, baseline.by_seed)
        record |= {"delta_top1": gain.mean, "delta_top1_sd": gain.sd}
    return record


def _run_facts(records: Sequence[Record]) -> Record:
    """What the records of several folds say about their runs, together."""
    return {
        "clips": sum(record["clips"] for record in records),
        "runs": " ".join(record["runs"] for record in records),
        "best_epochs": " ".join(record["best_epochs"] for record in records),
        "commits": " ".join(sorted({commit for record in records for commit in record["commits"].split()})),
        "torch": " ".join(sorted({version for record in records for version in record["torch"].split()})),
        "seconds": statistics.fmean(record["seconds"] for record in records),
    }
