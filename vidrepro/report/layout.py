"""A printed table and its records -> grids with headings, footnotes and the reasons for empty cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vidrepro.experiments import Paper, Row, Table
from vidrepro.experiments.schema import Column
from vidrepro.report.facts import cost_facts, section_facts
from vidrepro.report.grid import Cell, Grid, Notes, TableReport, grid
from vidrepro.report.records import Cost, section_records, trained_text
from vidrepro.report.sections import Section

DELTA = "printed_delta_"
SHORT_REASONS = {"not built yet": "not built"}  # a reason stands in full once a row
Column_ = tuple[Cell, list[Cell]]


@dataclass(frozen=True)
class Surroundings:
    """What a report needs to know beside runs and costs.

    Attributes:
        prepared: names of the datasets that are prepared here, or prepared on demand.
        unmatched: finished runs of the paper that stand in none of its tables, such as runs of an older preset.
        unfinished: runs that were begun and not finished.
    """

    prepared: frozenset[str]
    unmatched: int = 0
    unfinished: int = 0


def table_report(
    paper: Paper, table: Table, sections: Sequence[Section], costs: Mapping[str, Cost], around: Surroundings
) -> TableReport:
    """Lay out one table.

    Args:
        paper: the paper.
        table: its table.
        sections: the settings it was measured under; at least one, which may have no runs.
        costs: experiment id -> a record of `vidrepro.cost.measure_paper`.
        around: what else is known.
    """
    notes = Notes()
    own_is_shown = any(section.key.dataset == paper.dataset for section in sections)
    grids, records = [], []
    for section in sections:
        prepared = bool(section.runs) or section.key.dataset in around.prepared
        rows = section_records(paper, table, section, costs, prepared=prepared)
        records += rows
        columns = [_labels(table, notes), *_printed_accuracies(paper, table, notes)]
        if not own_is_shown and any(row.runnable for row in table.rows):
            columns.append(_own_dataset_column(paper, table, around))
        columns += _measured_columns(paper, table, section, rows)
        grids.append(grid(_section_title(table, section, rows), columns, section_facts(paper, table, section, rows)))
    if any(column.unit == "GMAC" for column in table.printed.columns):
        grids.append(_cost_grid(paper, table, costs, notes))
    return TableReport(
        paper=paper.name,
        table=table.slug,
        title=f"{paper.name.upper()}, Table {table.id}: {table.printed.caption}",
        grids=tuple(grids),
        notes=notes.texts,
        remarks=tuple(f"Doubt about the printed table: {d.text}." for d in table.printed.doubts if d.row is None),
        records=tuple(records),
        measured=any(row["runs"] for row in records),
        leftovers=_leftovers(around),
    )


def _labels(table: Table, notes: Notes) -> Column_:
    cells = [Cell(row.label, _doubt_marks(table, row.label, None, notes)) for row in table.rows]
    return Cell(table.printed.columns[0].title), cells


def _printed_accuracies(paper: Paper, table: Table, notes: Notes) -> list[Column_]:
    columns = [column for column in table.printed.columns if column.unit == "%"]
    return [
        (
            Cell(f"{column.title}\nprinted\n{paper.dataset}"),
            [_printed_cell(table, row, column, notes) for row in table.rows],
        )
        for column in columns
    ]


def _printed_cell(table: Table, row: Row, column: Column, notes: Notes) -> Cell:
    value = row.printed[column.name]
    bold = (row.label, column.name) in table.printed.bold
    marks = _doubt_marks(table, row.label, column.name, notes)
    if value is None:
        return Cell("not printed", marks)
    text = f"{value:.{decimals(table, column.name)}f}"
    delta = row.printed.get(DELTA + column.name)
    if isinstance(delta, int | float):
        text += f" ({_delta_text(table, column.name, delta)})"
        if note := truncation(table, row, column.name):
            marks = tuple(sorted((*marks, notes.mark(note))))
    return Cell(text, marks, bold)


def decimals(table: Table, column: str) -> int:
    """Digits after the point that a printed column shows (YAML does not keep a final zero)."""
    cells = [row.printed.get(column) for row in table.rows]
    return max((len(str(cell).partition(".")[2]) for cell in cells if isinstance(cell, float)), default=0)


def _delta_text(table: Table, column: str, delta: float) -> str:
    """As printed: a whole number stays one, other ones keep the column's digits."""
    return signed(delta, decimals(table, DELTA + column) if isinstance(delta, float) else 0)


def truncation(table: Table, row: Row, column: str) -> str | None:
    """A note if the printed difference is the exact one cut off instead of rounded, or does not follow at all."""
    delta, value = row.printed.get(DELTA + column), row.printed[column]
    base = table.printed.row(table.printed.baseline)[column] if table.printed.baseline else None
    if not (isinstance(delta, int | float) and isinstance(value, int | float) and isinstance(base, int | float)):
        return None
    digits = len(str(delta).partition(".")[2]) if isinstance(delta, float) else 0
    exact = round(value - base, 6)
    scale = 10**digits
    rounded = math.copysign(math.floor(abs(exact) * scale + 0.5 + 1e-9) / scale, exact)  # half away from zero
    if math.isclose(delta, rounded, abs_tol=1e-9):
        return None
    if math.isclose(delta, math.trunc(exact * scale) / scale, abs_tol=1e-9):
        return "the paper cuts its differences off instead of rounding them; exact ones: " + _exact_differences(table)
    return f"printed {signed(delta)}, but {value} - {base} = {signed(exact)}"


def _exact_differences(table: Table) -> str:
    assert table.printed.baseline is not None
    base = table.printed.row(table.printed.baseline)
    texts = []
    for row in table.rows:
        gains = [
            signed(round(float(row.printed[name]) - float(base[name]), 6))  # type: ignore[arg-type]
            for name in row.printed
            if row.printed.get(DELTA + name) is not None
        ]
        if gains:
            texts.append(f"{row.label} {' / '.join(gains)}")
    return ", ".join(texts)


def _doubt_marks(table: Table, row: str | None, column: str | None, notes: Notes) -> tuple[int, ...]:
    doubts = (doubt for doubt in table.printed.doubts if (doubt.row, doubt.column) == (row, column))
    return tuple(notes.mark(doubt.text) for doubt in doubts)


def _own_dataset_column(paper: Paper, table: Table, around: Surroundings) -> Column_:
    reason = "not run" if paper.dataset in around.prepared else f"{paper.dataset} not prepared"
    cells = [Cell(reason if row.runnable else _short(row.not_built or "")) for row in table.rows]
    return Cell(f"Top-1\nmeasured\n{paper.dataset}"), cells


def _short(reason: str) -> str:
    return next((short for long, short in SHORT_REASONS.items() if reason.startswith(long)), reason)


def _measured_columns(paper: Paper, table: Table, section: Section, records: Sequence[dict[str, Any]]) -> list[Column_]:
    where = section.key.dataset
    if not any(row.runnable for row in table.rows):
        return [(Cell("measured"), [Cell(_short(str(record["empty_because"]))) for record in records])]
    baseline = paper.row(table.baseline).label if table.baseline else None
    columns: list[Column_] = [(Cell(f"Top-1\nmeasured\n{where}"), [_accuracy(record, "top1") for record in records])]
    if baseline is not None:
        columns.append((Cell(f"over\n{baseline}"), [_gain(record, table, baseline) for record in records]))
    columns += [
        (Cell("last\nepoch"), [_cell(record, lambda r: f"{r['last_top1']:.1f}") for record in records]),
        (Cell(f"Top-5\nmeasured\n{where}"), [_accuracy(record, "top5", interval=False) for record in records]),
    ]
    if any(record["pair"] is not None for record in records):
        columns.append(
            (Cell(f"Pair\nmeasured\n{where}"), [_accuracy(record, "pair", interval=False) for record in records])
        )
    columns.append((Cell("seeds"), [Cell(str(len((record["seeds"] or "").split()))) for record in records]))
    return columns


def _accuracy(record: Mapping[str, Any], metric: str, *, interval: bool = True) -> Cell:
    if record["empty_because"] is not None:
        return Cell(record["empty_because"] if interval else _short(record["empty_because"]))
    if record[metric] is None:
        return Cell("not measured")
    text = f"{record[metric]:.1f}"
    if record[f"{metric}_sd"] is not None:
        text += f" ± {record[f'{metric}_sd']:.1f}"
    elif interval:
        text += f" [{record[f'{metric}_low']:.1f}, {record[f'{metric}_high']:.1f}]"
    return Cell(text)


def _gain(record: Mapping[str, Any], table: Table, baseline: str) -> Cell:
    if record["experiment"] == table.baseline:
        return Cell("baseline")
    if record["empty_because"] is None and record["delta_top1"] is None:
        return Cell(f"{baseline} not run")
    return _cell(
        record,
        lambda r: (
            signed(r["delta_top1"], 1) + (f" ± {r['delta_top1_sd']:.1f}" if r["delta_top1_sd"] is not None else "")
        ),
    )


def _cell(record: Mapping[str, Any], text: Any) -> Cell:
    return Cell(text(record) if record["empty_because"] is None else _short(record["empty_because"]))


def _section_title(table: Table, section: Section, records: Sequence[Mapping[str, Any]]) -> str:
    key = section.key
    if table.not_built is not None:
        return f"Accuracy in %: nothing measured; {table.not_built}"
    trained = sorted({trained_text(record) for record in records if record["runs"]})
    if not trained:
        return f"Accuracy in %: nothing measured on {key.dataset} yet"
    protocols = sorted({record["protocol"] for record in records if record["runs"]})
    backbone = ", ".join(trained)
    return f"Accuracy in %: measured on {key.dataset} with {backbone}, {', '.join(protocols)}, preset {key.preset}"


def _cost_grid(paper: Paper, table: Table, costs: Mapping[str, Cost], notes: Notes) -> Grid:
    clip = paper.cost_input
    known = [costs.get(row.id, {}) for row in table.rows]
    printed = next(column for column in table.printed.columns if column.unit == "GMAC")
    columns: list[Column_] = [
        _labels(table, notes),
        (Cell(f"{printed.title}\nprinted"), [_printed_cell(table, row, printed, notes) for row in table.rows]),
        (Cell("printed\nconvention"), [_convention(cost, notes) for cost in known]),
        (Cell("counted by\nfvcore"), [_counted(cost, "gmacs_fvcore", ".3f") for cost in known]),
        (Cell("parameters"), [_counted(cost, "params", ",d") for cost in known]),
    ]
    backbone = f"{table.backbone}, " if table.backbone else ""
    title = f"Cost in GMACs a clip: {backbone}{clip.frames} frames of {clip.size}x{clip.size}, {clip.classes} classes"
    return grid(title, columns, cost_facts(known))


def _counted(cost: Cost, name: str, form: str) -> Cell:
    value = cost.get(name)
    return Cell(format(value, form) if value is not None else _short(str(cost.get("not_measured") or "not measured")))


def _convention(cost: Cost, notes: Notes) -> Cell:
    cell = _counted(cost, "gmacs_printed_convention", ".3f")
    if cost.get("rule") is None:
        return cell
    return Cell(cell.text, (notes.mark(f"counted by {cost['rule']}: {cost['rule_description']}"),))


def _leftovers(around: Surroundings) -> tuple[str, ...]:
    remarks = []
    if around.unmatched:
        remarks.append(
            f"{around.unmatched} finished runs of this paper are not shown: the settings they were made with are no "
            "longer those of a row (see 'vidrepro runs')."
        )
    if around.unfinished:
        remarks.append(f"{around.unfinished} runs are not finished and not counted.")
    return tuple(remarks)


def signed(value: float, digits: int | None = None) -> str:
    """``+3``, ``-0.5``, ``0``: with `digits` after the point, or as many as the number has."""
    text = f"{value:+.{digits}f}" if digits is not None else f"{value:+g}"
    return text.lstrip("+-") if float(text) == 0 else text
