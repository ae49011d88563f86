"""A table whose every cell is an experiment (M2A's Table VI, motion x attention), laid out as it is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vidrepro.experiments import Paper, Table
from vidrepro.report.grid import Cell, Column_, Notes
from vidrepro.report.printed_cells import doubt_marks, printed_cell, signed
from vidrepro.report.records import accuracy_cell
from vidrepro.report.sections import Section


def matrix_columns(
    paper: Paper, table: Table, section: Section, records: Sequence[Mapping[str, Any]], notes: Notes
) -> list[Column_]:
    """The printed rows; for each printed accuracy column what the paper prints and, beside it, what was measured.

    A measured cell's bracket is, as a printed one's, the difference to the cell of the same column in the baseline row.

    Args:
        paper, table: the matrix.
        section: the setting it was measured under.
        records: one per experiment, see `vidrepro.report.records.section_records`.
        notes: takes the footnotes.
    """
    printed = table.printed
    by_id = {record["experiment"]: record for record in records}
    by_place = {row.place: by_id[row.id] for row in table.rows}
    columns: list[Column_] = [
        (
            Cell(printed.columns[0].title),
            [Cell(label, doubt_marks(printed, label, None, notes)) for label in printed.labels],
        )
    ]
    for column in printed.columns:
        if column.unit != "%":
            continue
        measured = [_measured(by_place[label, column.name]) for label in printed.labels]
        columns += [
            (
                Cell(f"{column.title}\nprinted\n{column.dataset or table.dataset}"),
                [printed_cell(printed, label, column, notes) for label in printed.labels],
            ),
            (Cell(f"{printed.short_title(column.name)}\nmeasured\n{section.key.dataset}"), measured),
        ]
    return columns


def seed_facts(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """How many seeds stand behind each cell, for the cells have no column that says so."""
    counts: dict[int, list[str]] = {}
    for record in records:
        if record["runs"]:
            counts.setdefault(len(record["seeds"].split()), []).append(record["label"])
    if len(counts) < 2:
        return [f"Seeds a cell: {count}." for count in counts]
    texts = [f"{count} ({'; '.join(labels)})" for count, labels in sorted(counts.items(), reverse=True)]
    return [f"Seeds a cell: {', '.join(texts)}."]


def _measured(record: Mapping[str, Any]) -> Cell:
    cell = accuracy_cell(record, "top1")
    delta = record["delta_top1"]
    return cell if delta is None else Cell(f"{cell.text} ({signed(delta, 1)})")
