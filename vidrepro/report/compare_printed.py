"""What a paper prints about single classes, where two compared runs are the networks it is about."""

from __future__ import annotations

from dataclasses import dataclass

from vidrepro.experiments import Paper, load_paper, paper_names
from vidrepro.report.run_sets import RunSet


@dataclass(frozen=True)
class PerClassFigure:
    """A figure of per-class gains: its number, the row whose gains they are, and the table that has all its rows."""

    figure: str
    ours: str
    table: str


# By paper. M2A's Figure 5: "the change in accuracy using M2A compared to other SOTA mechanisms for each class"; the
# compared ones are rows of Table V, beside which it stands (section IV-D).
FIGURES = {"m2a": PerClassFigure(figure="5", ours="M2A", table="V")}


@dataclass(frozen=True)
class PrintedGain:
    """A printed top-1 gain of one class in percentage points, turned to A minus B.

    Attributes:
        known: whether the compared dataset has a class of this wording.
    """

    source: str
    class_name: str
    delta: float
    known: bool


def printed_gains(a: RunSet, b: RunSet, classes: list[str]) -> list[PrintedGain]:
    """Every gain that a paper prints for these two networks; of the wrong way round, with the sign changed.

    Args:
        a, b: the compared sets.
        classes: class names of their dataset.
    """
    lower = {name.casefold() for name in classes}
    found = []
    for name in paper_names():
        if name not in FIGURES:
            continue
        paper, entry = load_paper(name), FIGURES[name]
        figure = next(item for item in paper.figures if item.id == entry.figure)
        rows = _rows_of(a, paper, entry.table), _rows_of(b, paper, entry.table)
        for row in figure.rows:
            cells = dict(zip((column.name for column in figure.columns), row, strict=True))
            rival, class_name, delta = str(cells["compared_with"]), str(cells["class"]), cells["delta_top1"]
            assert isinstance(delta, int | float)
            for first, second, sign in ((entry.ours, rival, 1), (rival, entry.ours, -1)):
                if first in rows[0] and second in rows[1]:
                    source = f"{name} Fig. {entry.figure}, {entry.ours} over {rival}"
                    found.append(PrintedGain(source, class_name, sign * delta, class_name.casefold() in lower))
    return found


def _rows_of(one: RunSet, paper: Paper, table: str) -> set[str]:
    """Labels of the table's rows that this network is, whatever backbone and size it was trained with."""
    model = one.runs[0].config.get("model", {})
    network = (model.get("mechanism"), bool(model.get("temporal_shift")))
    return {
        row.label
        for row in paper.table(table).rows
        if (row.model.get("mechanism"), bool(row.model.get("temporal_shift"))) == network
    }
