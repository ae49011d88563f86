"""Which runs belong to which row: one section of a table per setting that has runs for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidrepro.errors import ResultsError, VidreproError
from vidrepro.experiments import Paper, Row, Table, resolve_row
from vidrepro.report.derived import derive
from vidrepro.runs.record import DatasetFacts, RunRecord

Runs = dict[tuple[str | None, str | None], tuple[RunRecord, ...]]  # (config, prepared dataset) -> runs by seed


@dataclass(frozen=True, order=True)
class SettingKey:
    """What makes accuracies of a table comparable with one another."""

    dataset: str
    fingerprint: str | None  # of the prepared dataset; None where nothing has been run
    preset: str
    backbone: str | None  # asked for in place of the table's
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A table measured under one setting.

    Attributes:
        key: the setting.
        runs: experiment id -> its runs in the order of their seeds; rows without runs are absent. The baseline's runs
            are here even if the table does not print that row.
        compared: the same for every experiment that the paper's sentences about the table compare.
        missing: experiment id -> why a row that is had from other rows' runs has no accuracy.
    """

    key: SettingKey
    runs: dict[str, tuple[RunRecord, ...]]
    compared: dict[str, tuple[RunRecord, ...]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def dataset(self) -> DatasetFacts | None:
        """The prepared dataset, as the runs recorded it."""
        return next((runs[0].dataset for runs in self.runs.values()), None)


def collect_sections(
    paper: Paper,
    table: Table,
    runs: Sequence[RunRecord],
    *,
    dataset: str | None = None,
    preset: str | None = None,
    results: Path | None = None,
) -> list[Section]:
    """The settings under which rows of the table have been run, the paper's own dataset first.

    A row's runs are those with the config it resolves to under the setting, on the same prepared dataset: runs are
    shared by all rows that resolve alike, and a run made under settings that have since changed belongs to none.

    Args:
        paper: the paper.
        table: one of its tables.
        runs: finished runs of any paper.
        dataset: keep sections on this dataset only.
        preset: keep sections of this preset only.
        results: the results folder, from which rows that are had from other rows' runs are filled; None leaves them.

    Raises:
        ResultsError: if two runs have the same config, dataset and seed.
    """
    by_identity = _by_identity(runs)
    sections: dict[tuple[object, ...], Section] = {}
    for key in sorted({_key(run) for run in runs if _is_of(run, paper)}, key=lambda key: _order(key, paper)):
        if dataset not in (None, key.dataset) or preset not in (None, key.preset):
            continue
        configs = {row.id: row_fingerprint(row, key) for row in _rows_with_baseline(paper, table)}
        found = _runs_of(configs, key, by_identity)
        if any(row.id in found and not _belongs_elsewhere(row, key, table, paper) for row in table.rows):
            section = Section(key, found, _compared_runs(paper, table, key, by_identity, results))
            if results is not None:
                _add_derived(paper, table.rows, section.runs, section.missing, key, by_identity, results)
            sections.setdefault((key.fingerprint, *configs.values()), section)
    return list(sections.values())


def find_runs(
    paper: Paper, runs: Sequence[RunRecord], row: Row, change: Sequence[str] = ()
) -> dict[SettingKey, tuple[RunRecord, ...]]:
    """A row's runs under every setting of the paper's runs, with `change` on top of it (`resolve_row`)."""
    by_identity = _by_identity(runs)
    found = {}
    for key in sorted({_key(run) for run in runs if _is_of(run, paper)}, key=lambda key: _order(key, paper)):
        identity = (row_fingerprint(row, key, change), key.fingerprint)
        if identity in by_identity:
            found[key] = by_identity[identity]
    return found


def _runs_of(configs: dict[str, str | None], key: SettingKey, by_identity: Runs) -> dict[str, tuple[RunRecord, ...]]:
    identities = {row: (config, key.fingerprint) for row, config in configs.items()}
    return {row: by_identity[identity] for row, identity in identities.items() if identity in by_identity}


def _compared_runs(
    paper: Paper, table: Table, key: SettingKey, by_identity: Runs, results: Path | None
) -> dict[str, tuple[RunRecord, ...]]:
    """The runs of every experiment that the sentences about a table compare."""
    rows = [paper.row(name) for name in _compared(paper, table)]
    found = _runs_of({row.id: row_fingerprint(row, key) for row in rows}, key, by_identity)
    if results is not None:
        _add_derived(paper, rows, found, {}, key, by_identity, results)
    return found


def _add_derived(
    paper: Paper,
    rows: Sequence[Row],
    found: dict[str, tuple[RunRecord, ...]],
    missing: dict[str, str],
    key: SettingKey,
    by_identity: Runs,
    results: Path,
) -> None:
    """Put the rows that are had from other rows' runs into `found`, or the reason why not into `missing`."""
    derived = [row for row in rows if row.derived is not None]
    sources = {trained.id: trained for row in derived for trained in paper.trained_rows(row)}
    runs = _runs_of({name: row_fingerprint(row, key) for name, row in sources.items()}, key, by_identity)
    for row in derived:
        entry = derive(paper, row, lambda name: runs.get(name, ()), results)
        if entry.missing is not None:
            missing[row.id] = entry.missing
        else:
            found[row.id] = entry.runs


def _compared(paper: Paper, table: Table) -> list[str]:
    named = (name for claim in paper.claims if table.id in claim.tables for name in claim.experiments)
    return list(dict.fromkeys(named))


def shown_runs(sections: Iterable[Section]) -> set[str]:
    """Ids of the runs that stand in any of the sections (of evaluations of runs, ids that are no run's)."""
    return {run.id for section in sections for runs in section.runs.values() for run in runs}


def _by_identity(runs: Sequence[RunRecord]) -> Runs:
    grouped: dict[tuple[str | None, str | None], dict[int, RunRecord]] = {}
    for run in runs:
        seeds = grouped.setdefault((run.config_fingerprint, run.dataset.fingerprint), {})
        if run.seed in seeds:
            raise ResultsError(
                "two runs have the same config, dataset and seed",
                given=f"{seeds[run.seed].id} and {run.id}",
                hint="delete one of them",
            )
        seeds[run.seed] = run
    return {identity: tuple(seeds[seed] for seed in sorted(seeds)) for identity, seeds in grouped.items()}


def _is_of(run: RunRecord, paper: Paper) -> bool:
    return run.paper_setting is not None and run.paper_setting.paper == paper.name


def _key(run: RunRecord) -> SettingKey:
    asked = run.paper_setting
    assert asked is not None
    return SettingKey(run.dataset.name, run.dataset.fingerprint, asked.preset, asked.backbone, asked.overrides)


def _order(key: SettingKey, paper: Paper) -> tuple[object, ...]:
    own_settings = (key.backbone is not None, len(key.overrides))  # of settings that amount to the same, the plainest
    datasets = list(dict.fromkeys([paper.dataset, *(name for table in paper.tables for name in table.datasets)]))
    return (
        datasets.index(key.dataset) if key.dataset in datasets else len(datasets),
        key.dataset,
        key.fingerprint,
        *own_settings,
        key.preset,
        key.backbone or "",
        key.overrides,
    )


def _belongs_elsewhere(row: Row, key: SettingKey, table: Table, paper: Paper) -> bool:
    """Whether the backbone asked for (``--backbone mobilenetv2``) has a printed table of its own with this network."""
    if key.backbone in (None, table.backbone):
        return False
    network = row.model | {"backbone": key.backbone}
    return any(other.is_trained and other.model == network for table in paper.tables for other in table.rows)


def _rows_with_baseline(paper: Paper, table: Table) -> list[Row]:
    rows = list(table.rows)
    if table.baseline is not None and table.baseline not in {row.id for row in rows}:
        rows.append(paper.row(table.baseline))
    return rows


def row_fingerprint(row: Row, key: SettingKey, change: Sequence[str] = ()) -> str | None:
    """Of the config a row has under a setting; None if it has no runs of its own, or cannot have them any more."""
    if not row.is_trained:
        return None
    try:
        config = resolve_row(
            row, dataset=key.dataset, preset=key.preset, backbone=key.backbone, overrides=key.overrides, change=change
        )
    except VidreproError:
        return None  # a preset or a key that is no more; the runs are counted as not shown
    return config.fingerprint
