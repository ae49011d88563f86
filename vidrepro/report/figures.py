"""A table as a picture: what the paper prints beside what was measured here, each on its own axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidrepro.errors import ResultsError
from vidrepro.experiments import Paper
from vidrepro.pictures import picture
from vidrepro.report.grid import TableReport
from vidrepro.report.records import trained_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PRINTED_COLOUR = "0.65"
MEASURED_COLOUR = "tab:blue"
CEILING_COLOUR = "tab:red"


def draw_table(report: TableReport, paper: Paper, path: Path) -> None:
    """Bar charts of printed and measured top-1, written as PNG.

    Only rows with runs are drawn, of the first setting that has any. Whiskers are the interval of one run or the
    standard deviation over seeds.

    Raises:
        ResultsError: if no row has a run, or the file cannot be written.
    """
    measured = [record for record in report.records if record["runs"] and record["empty_because"] is None]
    if not measured:
        raise ResultsError(
            f"{report.title}: nothing is measured yet, so there is nothing to draw",
            hint=f"vidrepro ablate {report.paper} --table {report.table.removeprefix('table')}",
        )
    first = _setting(measured[0])
    rows = [record for record in measured if _setting(record) == first]
    with picture(path, figsize=(9, 1.4 + 0.42 * len(rows))) as figure:
        _draw(figure, report, paper, rows)


def _draw(figure: Figure, report: TableReport, paper: Paper, rows: Sequence[dict[str, Any]]) -> None:
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
    _bars(left, rows, "printed_top1", PRINTED_COLOUR)
    left.set_title(f"printed, {_printed_on(paper, report, rows[0])}", fontsize=10)
    _bars(right, rows, "top1", MEASURED_COLOUR)
    _whiskers(right, rows)
    network = f"{trained_text(rows[0])}, {rows[0]['protocol']}, {_seeds_text(rows)}"
    fold = f", {rows[0]['fold']}" if rows[0].get("fold") else ""
    right.set_title(f"measured, {rows[0]['dataset']}{fold}\n{network}", fontsize=10)
    ceilings = {record["order_blind_ceiling"] for record in rows}
    _ceiling(right, ceilings.pop() if len(ceilings) == 1 else None)
    left.set_yticks(range(len(rows)), [record["label"] for record in rows])
    left.set_ylim(len(rows) - 0.5, -0.95)  # downwards; the strip above is for the ceiling's name
    for axes in (left, right):
        axes.set_xlabel("top-1 accuracy in %", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
    right.set_xlim(0, 119)  # room for the numbers beside full bars
    right.set_xticks(range(0, 101, 20))
    left.set_xlim(0, 1.3 * max(record["printed_top1"] or 1 for record in rows))
    figure.tight_layout()


def _printed_on(paper: Paper, report: TableReport, record: dict[str, Any]) -> str:
    """The dataset of the printed column that stands beside the measured one."""
    table = paper.table(report.table)
    column = table.column("top1", record["dataset"])
    return (column.dataset if column is not None else None) or table.dataset


def _setting(record: dict[str, Any]) -> tuple[Any, ...]:
    names = ("dataset", "dataset_fingerprint", "preset", "asked_backbone", "overrides", "fold")
    return tuple(record.get(name) for name in names)


def _bars(axes: Axes, rows: Sequence[dict[str, Any]], name: str, colour: str) -> None:
    axes.barh(range(len(rows)), [record[name] or 0 for record in rows], color=colour, height=0.6)
    for position, record in enumerate(rows):
        if record[name] is None:  # a row the paper does not print
            continue
        end = max(record[name], record.get(f"{name}_high") or 0, record[name] + (record.get(f"{name}_sd") or 0))
        axes.annotate(
            f"{record[name]:.1f}", (end, position), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip


def _whiskers(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    below, above = [], []
    for record in rows:
        spread = record["top1_sd"]
        if spread is None and record["top1_low"] is None:
            spread = 0.0  # the mean over folds of one seed
        below.append(spread if spread is not None else max(0.0, record["top1"] - record["top1_low"]))
        above.append(spread if spread is not None else max(0.0, record["top1_high"] - record["top1"]))
    centres = [record["top1"] for record in rows]
    axes.errorbar(centres, range(len(rows)), xerr=[below, above], fmt="none", ecolor="black", capsize=3, linewidth=1)


def _ceiling(axes: Axes, share: float | None) -> None:
    if share is None:
        return
    axes.axvline(100 * share, color=CEILING_COLOUR, linestyle="--", linewidth=1)
    axes.annotate(
        f"order-blind ceiling {100 * share:.0f} %", (100 * share, -0.62), xytext=(4, 0), textcoords="offset points",
        color=CEILING_COLOUR, fontsize=8, va="center",
    )  # fmt: skip


def _seeds_text(rows: Sequence[dict[str, Any]]) -> str:
    counts = sorted({len(record["seeds"].split()) for record in rows})
    text = " to ".join(dict.fromkeys(str(count) for count in (counts[0], counts[-1])))
    return f"{text} seed{'s' if counts[-1] > 1 else ''}"
