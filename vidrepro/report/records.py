"""One flat record per row and setting: every printed, counted and measured number, unrounded, with its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vidrepro.evaluation.ceiling import why_no_ceiling
from vidrepro.experiments import Paper, Row, Table
from vidrepro.report.grid import Cell
from vidrepro.report.sections import Section, SettingKey
from vidrepro.report.statistics import accuracy, difference
from vidrepro.runs.record import RunRecord

METRICS = ("top1", "top5", "pair")
Cost = Mapping[str, Any]


def section_records(
    paper: Paper, table: Table, section: Section, costs: Mapping[str, Cost], *, prepared: bool
) -> list[dict[str, Any]]:
    """The table's rows under one setting.

    Args:
        paper: the paper.
        table: its table.
        section: the setting and its runs.
        costs: experiment id -> what `vidrepro.cost.measure_paper` says about it.
        prepared: whether the setting's dataset is prepared here; decides why a cell is empty.
    """
    return [
        {
            "paper": paper.name,
            "table": table.id,
            "experiment": row.id,
            "label": row.label,
            **printed_numbers(row),
            **_printed_beside(table, row, section),
            **_cost_numbers(costs.get(row.id)),
            **_setting_facts(section.key),
            **_measured(section.runs.get(row.id, ()), section.runs.get(table.baseline_of(row) or "", ())),
            "empty_because": empty_reason(row, section, prepared=prepared),
            **_outputs(table, row, section.runs.get(row.id, ())),
            **_derivation(table, section.runs.get(row.id, ())),
        }
        for row in table.rows
    ]


def printed_beside(table: Table, row: Row, section: Section, metric: str = "top1") -> float | None:
    """The printed accuracy that one measured in this section stands beside; None if the row prints none."""
    column = table.column(metric, *section_place(section))
    value = row.printed.get(column.name) if column is not None and not table.is_matrix else row.printed.get(metric)
    return float(value) if isinstance(value, int | float) else None


def section_place(section: Section) -> tuple[str, str | None, str | None]:
    """Dataset, label set and official fold that a section was measured on, as far as they were asked for."""
    asked = dict(text.split("=", 1) for text in section.key.overrides if "=" in text)
    fold = section.dataset.fold if section.dataset is not None else None
    return section.key.dataset, asked.get("data.task"), asked.get("data.fold", fold)


def _printed_beside(table: Table, row: Row, section: Section) -> dict[str, Any]:
    """``printed_top1``, ``printed_top5``: of a table with several columns of a metric, those of the section's place."""
    metrics = [metric for metric in ("top1", "top5") if table.column(metric) is not None]
    return {f"printed_{metric}": printed_beside(table, row, section, metric) for metric in metrics}


def _derivation(table: Table, runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Of a table with rows that are had from other rows' runs: how each was."""
    if all(row.derived is None for row in table.rows):
        return {}
    return {"derived": "; ".join(dict.fromkeys(run.derived for run in runs if run.derived)) or None}


def printed_numbers(row: Row) -> dict[str, Any]:
    """The printed cells, each name beginning with ``printed_``."""
    return {name if name.startswith("printed_") else f"printed_{name}": value for name, value in row.printed.items()}


def empty_reason(row: Row, section: Section, *, prepared: bool) -> str | None:
    """Why a row has no measured accuracy, or None if it has one."""
    if row.id in section.runs:
        return None
    if row.not_run is not None:
        return row.not_run
    if row.derived is not None:
        return section.missing.get(row.id, "not run")
    return "not run" if prepared else f"{section.key.dataset} not prepared"


def _cost_numbers(cost: Cost | None) -> dict[str, Any]:
    names = ("gmacs_fvcore", "gmacs_conv_linear", "gmacs_printed_convention", "rule", "params")
    return {name: cost.get(name) if cost else None for name in names}


def _setting_facts(key: SettingKey) -> dict[str, Any]:
    return {
        "dataset": key.dataset,
        "dataset_fingerprint": key.fingerprint,
        "preset": key.preset,
        "asked_backbone": key.backbone,
        "overrides": " ".join(key.overrides) or None,
    }


def _options_text(options: Mapping[str, Any]) -> str | None:
    """``stem=small2 width=16``; an option that is left open (None) says nothing."""
    return " ".join(f"{name}={value}" for name, value in sorted(options.items()) if value is not None) or None


def _measured(runs: Sequence[RunRecord], baseline: Sequence[RunRecord]) -> dict[str, Any]:
    record: dict[str, Any] = dict.fromkeys(MEASURED_NAMES)
    if not runs:
        return record
    first = runs[0]
    record |= {
        "trained_backbone": first.backbone.name,
        "trained_backbone_options": _options_text(first.backbone.options),
        "trained_params": first.backbone.parameters,
        "input_size": first.backbone.input_size,
        "frames": first.backbone.frames,
        "protocol": first.protocol,
        "clips": first.best.clips,
        "bad_clips": sum(count.get("bad", 0) for count in first.dataset.counts.values()),
        **_ceiling(first),
        "seeds": " ".join(str(run.seed) for run in runs),
        "runs": " ".join(run.id for run in runs),
        "commits": " ".join(sorted({commit for run in runs for commit in run.environment.commit_texts()})),
        "torch": " ".join(sorted({run.environment.torch or "unknown" for run in runs})),
        "best_epochs": " ".join(str(run.best.epoch) for run in runs),
        "last_top1": None if first.derived else sum(run.last.top1 for run in runs) / len(runs),
        "seconds": sum(run.seconds for run in runs) / len(runs),
    }
    for metric in METRICS:
        record |= _accuracy_numbers(metric, runs)
    if baseline:
        gain = difference({run.seed: run.best.top1 for run in runs}, {run.seed: run.best.top1 for run in baseline})
        record |= {"delta_top1": gain.mean, "delta_top1_sd": gain.sd}
    return record


def accuracy_cell(record: Mapping[str, Any], metric: str, *, interval: bool = True) -> Cell:
    """An accuracy of a record as a table shows it: ``44.0 [40.6, 47.5]`` or ``42.0 ± 2.6``, or why there is none."""
    if record["empty_because"] is not None:
        there = f"{record['by_fold']}; " if metric == "top1" and record.get("by_fold") else ""
        return Cell(f"{there}{record['empty_because']}")
    if record[metric] is None:
        return Cell("not measured")
    text = f"{record[metric]:.1f}"
    if record[f"{metric}_sd"] is not None:
        text += f" ± {record[f'{metric}_sd']:.1f}"
    elif interval and record[f"{metric}_low"] is not None:  # the mean over folds of one seed has none
        text += f" [{record[f'{metric}_low']:.1f}, {record[f'{metric}_high']:.1f}]"
    return Cell(text)


def _accuracy_numbers(metric: str, runs: Sequence[RunRecord]) -> dict[str, Any]:
    correct = [run.best.correct(metric) for run in runs]
    known = [count for count in correct if count is not None]
    if len(known) != len(runs):
        return {}
    result = accuracy(known, [run.best.clips for run in runs])
    return {
        metric: result.mean,
        f"{metric}_low": result.low,
        f"{metric}_high": result.high,
        f"{metric}_sd": result.sd,
    }


def output_name(output: str) -> str:
    """What the top-1 accuracy of one of several predictions is called in a record."""
    return f"top1_{output}"


def _outputs(table: Table, row: Row, runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Top-1 of each prediction that the table has a column for; a network with a single one is what its row prints."""
    numbers: dict[str, Any] = {}
    for column in table.printed.columns:
        if column.output is None:
            continue
        name = output_name(column.output)
        numbers |= {f"{name}{suffix}": None for suffix in ("", "_low", "_high", "_sd")}
        alone = row.printed.get(column.name) is not None
        found = [
            one
            for run in runs
            if (one := run.best.outputs.get(column.output) or (run.best if alone and not run.best.outputs else None))
        ]
        if runs and len(found) == len(runs):
            result = accuracy([one.top1_correct for one in found], [one.clips for one in found])
            numbers |= {name: result.mean, f"{name}_low": result.low, f"{name}_high": result.high}
            numbers[f"{name}_sd"] = result.sd
    return numbers


def _ceiling(run: RunRecord) -> dict[str, Any]:
    """The dataset's order-blind ceiling where it holds for the run, else why it does not."""
    share = run.dataset.order_blind_ceiling
    if share is None:
        return {}
    data = run.config["data"]
    reason = why_no_ceiling(data["train_sampling"], data["frames"], run.dataset.frame_counts, data.get("stride", 1))
    return {"order_blind_ceiling": None if reason else share, "no_order_blind_ceiling": reason}


def trained_text(record: Mapping[str, Any]) -> str:
    """The backbone as really trained, with its options: ``micro (width=16)``."""
    options = record["trained_backbone_options"]
    return f"{record['trained_backbone']}{f' ({options})' if options else ''}"


MEASURED_NAMES = (
    *(f"{metric}{suffix}" for metric in METRICS for suffix in ("", "_low", "_high", "_sd")),
    "delta_top1",
    "delta_top1_sd",
    "last_top1",
    "best_epochs",
    "seeds",
    "clips",
    "bad_clips",
    "order_blind_ceiling",
    "no_order_blind_ceiling",
    "protocol",
    "trained_backbone",
    "trained_backbone_options",
    "trained_params",
    "input_size",
    "frames",
    "commits",
    "torch",
    "seconds",
    "runs",
)
