"""A paper's tables from a results folder: collected, laid out, and written below ``tables/<paper>/``.

What is written is always the report without a dataset or preset filter: a file has one name, whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vidrepro.errors import unknown_name
from vidrepro.experiments import EMBEDDED_DATASET, Paper, Table, choose_places, default_preset
from vidrepro.files import atomic_write_text
from vidrepro.report.finished_runs import RunCollection
from vidrepro.report.grid import TableReport
from vidrepro.report.layout import Surroundings, table_report
from vidrepro.report.records import Cost
from vidrepro.report.render import FORMATS
from vidrepro.report.sections import Section, SettingKey, collect_sections, shown_runs


def report_tables(
    paper: Paper,
    tables: Sequence[Table],
    collection: RunCollection,
    costs: Mapping[str, Cost],
    *,
    data_folder: Path,
    dataset: str | None = None,
    preset: str | None = None,
) -> list[TableReport]:
    """Lay out tables of a paper.

    Args:
        paper: the paper.
        tables: those of its tables that are wanted.
        collection: the results folder's runs.
        costs: experiment id -> a record of `vidrepro.cost.measure_paper`.
        data_folder: where prepared datasets lie; decides why cells are empty.
        dataset, preset: show only what was measured on this dataset, with this preset: for the terminal, not for
            `write_report`.

    Raises:
        ResultsError: if two runs have the same config, dataset and seed.
        UnknownNameError: if nobody knows `dataset`.
    """
    by_table = {
        table.id: collect_sections(
            paper, table, collection.runs, dataset=dataset, preset=preset, results=collection.results
        )
        for table in tables
    }
    unfiltered = [collect_sections(paper, table, collection.runs) for table in paper.tables]
    of_paper = {run.id for run in collection.runs if run.paper_setting and run.paper_setting.paper == paper.name}
    shown = shown_runs(section for sections in unfiltered for section in sections)
    around = Surroundings(
        prepared=frozenset({EMBEDDED_DATASET, *_prepared(data_folder)}),
        unmatched=len(of_paper - shown),
        unfinished=len(collection.unfinished),
    )
    measured_on = {run.dataset.name for run in collection.runs}
    reports = []
    for table in tables:
        name = dataset
        if name is None or name not in measured_on:
            name = choose_places(dataset or "auto", paper, table, data_folder)[0][1].name
        empty = Section(SettingKey(name, None, preset or default_preset(name), None, ()), {})
        reports.append(table_report(paper, table, by_table[table.id] or [empty], costs, around))
    return reports


def write_report(report: TableReport, results: Path, formats: Iterable[str]) -> list[Path]:
    """Write an unfiltered report as ``<results>/tables/<paper>/<table>.<format>``, each file as a whole.

    Raises:
        UnknownNameError: for a format that does not exist.
        ResultsError: if the folder cannot be written.
    """
    written = []
    for name in check_formats(formats):
        path = results / "tables" / report.paper / f"{report.table}.{name}"
        atomic_write_text(path, FORMATS[name](report))
        written.append(path)
    return written


def check_formats(names: str | Iterable[str]) -> list[str]:
    """Formats as a list, from ``md,csv,tex`` or names.

    Raises:
        UnknownNameError: for a format that does not exist.
    """
    chosen = [name.strip() for name in (names.split(",") if isinstance(names, str) else names)]
    for name in chosen:
        if name not in FORMATS:
            raise unknown_name("table format", name, FORMATS)
    return list(dict.fromkeys(chosen))


def _prepared(data_folder: Path) -> set[str]:
    return {path.parent.name for path in data_folder.glob("*/manifest.csv")}
