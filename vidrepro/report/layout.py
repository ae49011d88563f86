"""A printed table and its records -> grids with headings, footnotes and the reasons for empty cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vidrepro.experiments import Ensemble, Evaluation, Paper, Row, Table
from vidrepro.experiments.papers import NOT_BUILT, is_own_mechanism
from vidrepro.experiments.schema import Column
from vidrepro.report.facts import cost_facts, group_facts, section_facts
from vidrepro.report.fold_groups import FoldGroup, group_folds, group_records
from vidrepro.report.grid import Cell, Column_, Grid, Notes, TableReport, grid
from vidrepro.report.matrix import matrix_columns, seed_facts
from vidrepro.report.printed_cells import doubt_marks, printed_cell, signed
from vidrepro.report.records import (
    Cost,
    accuracy_cell,
    output_name,
    section_records,
    trained_text,
)
from vidrepro.report.sections import Section
from vidrepro.report.verdicts import cost_sentences, verdict_grid


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
    own_is_shown = any(section.key.dataset in table.datasets for section in sections)
    elsewhere = None if own_is_shown else _own_dataset_reason(table, around)
    grids, records = [], []
    judged: list[tuple[Section, list[dict[str, Any]]]] = []
    for block in group_folds(table, sections):
        alone: list[Column_] = []
        if isinstance(block, FoldGroup):
            rows, by_fold = group_records(paper, table, block, costs)
            facts = group_facts(paper, table, block, rows, by_fold)
            section = Section(block.key, {})
            alone = [_first_fold(table, block, by_fold)]
            judged += [(block.sections[fold], of_fold) for fold, of_fold in by_fold.items()]
            records += [rows, *by_fold.values()]
        else:
            section = block
            prepared = bool(section.runs) or section.key.dataset in around.prepared
            rows = section_records(paper, table, section, costs, prepared=prepared)
            facts = section_facts(paper, table, section, rows)
            judged.append((section, rows))
            records.append(rows)
        if table.is_matrix:
            columns = matrix_columns(paper, table, section, rows, notes)  # the first fold alone: in the facts
            facts += seed_facts(rows)
            facts += [f"On the paper's own dataset: {elsewhere}."] if elsewhere else []
        else:
            columns = [_labels(table, notes), *_printed_accuracies(table, notes)]
            columns += [_own_dataset_column(table, elsewhere)] if elsewhere else []
            measured = _measured_columns(paper, table, section, rows)
            columns += [measured[0], *alone, *measured[1:]]
        grids.append(grid(_section_title(section, rows), columns, facts))
    costs_are_printed = any(column.unit in ("GMAC", "M") for column in table.printed.columns)
    if costs_are_printed or any(not row.is_trained for row in table.rows):
        grids.append(_cost_grid(paper, table, costs, notes))
    verdicts = [verdict_grid(paper, table, *pair, notes) for pair in judged]
    return TableReport(
        paper=paper.name,
        table=table.slug,
        title=f"{paper.name.upper()}, Table {table.id}: {table.printed.caption}",
        grids=tuple(grids),
        notes=notes.texts,
        remarks=tuple(f"Doubt about the printed table: {d.text}." for d in table.printed.doubts if d.row is None),
        records=tuple(row for rows in records for row in rows),
        measured=any(row["runs"] for rows in records for row in rows),
        leftovers=_leftovers(around),
        verdicts=tuple(verdict for verdict in verdicts if verdict is not None),
    )


def _labels(table: Table, notes: Notes) -> Column_:
    cells = [Cell(row.label, _label_marks(table, row, notes)) for row in table.rows]
    return Cell(table.printed.columns[0].title), cells


def _label_marks(table: Table, row: Row, notes: Notes) -> tuple[int, ...]:
    if not is_own_mechanism(row.name):
        told = ["not in the paper"] if row.own else []
        told += [row.why_not_run] if row.why_not_run else []
        told += [_derivation_text(table, row.derived)] if row.derived is not None else []
        told += [f"starts from the trained network of {_short(table, row.starts_from)}"] if row.starts_from else []
        return (*doubt_marks(table.printed, row.label, None, notes), *map(notes.mark, told))
    digest = row.model.get("mechanism_digest")
    source = f", source sha256 {digest[:12]}" if digest else ""
    return (notes.mark(f"not in the paper: a mechanism of your own, {row.model['mechanism']}{source}"),)


def _derivation_text(table: Table, derived: Evaluation | Ensemble) -> str:
    def short(experiment: str) -> str:
        return experiment.removeprefix(f"{table.paper}/{table.slug}/")

    if isinstance(derived, Ensemble):
        weights = f", weighted {', '.join(f'{weight:g}' for weight in derived.weights)}" if derived.weights else ""
        members = ", ".join(_short(table, name) for name in derived.members)
        return f"ensemble of {members}{weights}: mean of their scores, seed by seed"
    if derived.probe is not None:
        what, how = derived.probe
        return f"the runs of {_short(table, derived.of)} with {what} attention replaced: {how}"
    return f"the runs of {_short(table, derived.of)} looked at with {derived.crops} crops x {derived.clips} clips"


def _short(table: Table, experiment: str) -> str:
    return experiment.removeprefix(f"{table.paper}/{table.slug}/")


def _printed_accuracies(table: Table, notes: Notes) -> list[Column_]:
    columns = [column for column in table.printed.columns if column.unit == "%"]
    return [
        (
            Cell(f"{column.title}\nprinted\n{column.dataset or table.dataset}"),
            [printed_cell(table.printed, row.label, column, notes) for row in table.rows],
        )
        for column in columns
    ]


def _own_dataset_reason(table: Table, around: Surroundings) -> str:
    if any(dataset in around.prepared for dataset in table.datasets):
        return "not run"
    return f"{' and '.join(table.datasets)} not prepared"


def _own_dataset_column(table: Table, reason: str) -> Column_:
    cells = [Cell(row.not_run or reason) for row in table.rows]
    return Cell(f"Top-1\nmeasured\n{' and '.join(table.datasets)}"), cells


def _measured_columns(paper: Paper, table: Table, section: Section, records: Sequence[dict[str, Any]]) -> list[Column_]:
    where = section.key.dataset
    baseline = paper.row(table.baseline).label if table.baseline else None
    columns: list[Column_] = [
        (Cell(f"Top-1\nmeasured\n{where}"), [accuracy_cell(record, "top1") for record in records])
    ]
    for column in table.printed.columns:
        if column.output is not None:
            name = output_name(column.output)
            columns.append((Cell(f"{column.title}\nmeasured\n{where}"), [_output_cell(one, name) for one in records]))
    if baseline is not None:
        columns.append((Cell(f"over\n{baseline}"), [_gain(record, table, baseline) for record in records]))
    columns += [
        (Cell("last\nepoch"), [_cell(record, _last_epoch) for record in records]),
        (Cell(f"Top-5\nmeasured\n{where}"), [accuracy_cell(record, "top5", interval=False) for record in records]),
    ]
    if any(record["pair"] is not None for record in records):
        columns.append(
            (Cell(f"Pair\nmeasured\n{where}"), [accuracy_cell(record, "pair", interval=False) for record in records])
        )
    columns.append((Cell("seeds"), [Cell(str(len((record["seeds"] or "").split()))) for record in records]))
    return columns


def _output_cell(record: Mapping[str, Any], name: str) -> Cell:
    """Of a network without this prediction a dash."""
    if record["empty_because"] is None and record.get(name) is None:
        return Cell("not measured" if record.get("fold") else "-")
    return accuracy_cell(record, name, interval=False)


def _last_epoch(record: Mapping[str, Any]) -> str:
    return "not measured" if record["last_top1"] is None else f"{record['last_top1']:.1f}"


def _first_fold(table: Table, group: FoldGroup, by_fold: Mapping[str, Sequence[Mapping[str, Any]]]) -> Column_:
    """Top-1 on the first official fold alone, which is what many papers print."""
    fold = group.official[0]
    records = by_fold.get(fold)
    cells = [accuracy_cell(record, "top1") for record in records] if records else [Cell("not run")] * len(table.rows)
    return Cell(f"Top-1\n{fold} alone\n{group.key.dataset}"), cells


def _gain(record: Mapping[str, Any], table: Table, baseline: str) -> Cell:
    if record["experiment"] == table.baseline:
        return Cell("baseline")
    if record["empty_because"] is None and record["delta_top1"] is None:
        return Cell(f"no mean of {baseline}" if record.get("fold") else f"{baseline} not run")
    return _cell(
        record,
        lambda r: (
            signed(r["delta_top1"], 1) + (f" ± {r['delta_top1_sd']:.1f}" if r["delta_top1_sd"] is not None else "")
        ),
    )


def _cell(record: Mapping[str, Any], text: Any) -> Cell:
    return Cell(text(record) if record["empty_because"] is None else record["empty_because"])


def _section_title(section: Section, records: Sequence[Mapping[str, Any]]) -> str:
    key = section.key
    trained = sorted({trained_text(record) for record in records if record["runs"]})
    if not trained:
        return f"Accuracy in %: nothing measured on {key.dataset} yet"
    protocols = sorted({record["protocol"] for record in records if record["runs"]})
    backbone = ", ".join(trained)
    where = f"{key.dataset}, {records[0]['fold']}," if records[0].get("fold") else key.dataset
    return f"Accuracy in %: measured on {where} with {backbone}, {', '.join(protocols)}, preset {key.preset}"


def _cost_grid(paper: Paper, table: Table, costs: Mapping[str, Cost], notes: Notes) -> Grid:
    clip = paper.cost_input
    known = [costs.get(row.id, {}) for row in table.rows]
    printed = {column.unit: column for column in table.printed.columns if column.unit in ("GMAC", "M")}
    columns: list[Column_] = [_labels(table, notes)]
    if "GMAC" in printed:
        columns += [
            _printed_costs(table, printed["GMAC"], notes),
            (Cell("printed\nconvention"), [_convention(cost, notes) for cost in known]),
        ]
    columns.append((Cell("counted by\nfvcore"), [_counted(cost, "gmacs_fvcore", ".3f") for cost in known]))
    if any((cost.get("views") or 1) != 1 for cost in known):
        columns += [
            (Cell("views"), [_counted(cost, "views", "d") for cost in known]),
            (Cell("fvcore\nx views"), [_times_views(cost) for cost in known]),
        ]
    if "M" in printed:
        columns.append(_printed_costs(table, printed["M"], notes))
    columns.append((Cell("parameters"), [_counted(cost, "params", ",d") for cost in known]))
    backbone = f"{table.backbone}, " if table.backbone else ""
    frames = " or ".join(map(str, sorted({cost.get("frames") or clip.frames for cost in known})))
    of = "a view" if any((cost.get("views") or 1) != 1 for cost in known) else "a clip"
    title = f"Cost in GMACs {of}: {backbone}{frames} frames of {clip.size}x{clip.size}, {clip.classes} classes"
    return grid(title, columns, [*cost_facts(known), *cost_sentences(paper, table, costs)])


def _printed_costs(table: Table, column: Column, notes: Notes) -> Column_:
    cells = [printed_cell(table.printed, row.label, column, notes) for row in table.rows]
    return Cell(f"{column.title}\nprinted"), cells


def _times_views(cost: Cost) -> Cell:
    if cost.get("gmacs_fvcore") is None or not cost.get("views"):
        return _counted(cost, "gmacs_fvcore", ".3f")
    return Cell(f"{cost['gmacs_fvcore'] * cost['views']:.1f}")


def _counted(cost: Cost, name: str, form: str) -> Cell:
    value = cost.get(name)
    if value is None:
        not_built = cost.get("quoted") or cost.get("not_built")
        return Cell(NOT_BUILT if not_built else str(cost.get("not_measured") or "not measured"))
    return Cell(format(value, form))


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
