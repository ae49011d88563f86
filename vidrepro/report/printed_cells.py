"""What the paper prints, as cells: its numbers with their bracketed differences, doubts, and how those were rounded."""

from __future__ import annotations

import math

from vidrepro.experiments.schema import Cell as PrintedValue
from vidrepro.experiments.schema import Column, PrintedTable
from vidrepro.report.grid import Cell, Notes

DELTA = "printed_delta_"


def printed_cell(printed: PrintedTable, label: str, column: Column, notes: Notes) -> Cell:
    """One number as printed, with its difference in brackets, its doubts and bold as in the paper."""
    if label not in printed.labels:
        return Cell("not printed")
    value = printed.row(label)[column.name]
    marks = doubt_marks(printed, label, column.name, notes)
    if value is None:
        return Cell("not printed", marks)
    if not isinstance(value, int | float):
        return Cell(str(value), marks)
    text = f"{value:.{decimals(printed, column.name)}f}"
    delta = printed.row(label).get(DELTA + column.name)
    if isinstance(delta, int | float):
        text += f" ({_delta_text(printed, column.name, delta)})"
        if note := truncation(printed, label, column.name):
            marks = tuple(sorted((*marks, notes.mark(note))))
    return Cell(text, marks, (label, column.name) in printed.bold)


def doubt_marks(printed: PrintedTable, row: str | None, column: str | None, notes: Notes) -> tuple[int, ...]:
    """Marks of the doubts about exactly that cell, or about that row as a whole."""
    doubts = (doubt for doubt in printed.doubts if (doubt.row, doubt.column) == (row, column))
    return tuple(notes.mark(doubt.text) for doubt in doubts)


def decimals(printed: PrintedTable, column: str) -> int:
    """Digits after the point that a printed column shows (YAML does not keep a final zero)."""
    cells = _column(printed, column)
    return max((len(str(cell).partition(".")[2]) for cell in cells if isinstance(cell, float)), default=0)


def truncation(printed: PrintedTable, label: str, column: str) -> str | None:
    """A note if the printed difference is the exact one cut off instead of rounded, or does not follow at all."""
    delta, value = printed.row(label).get(DELTA + column), printed.row(label)[column]
    base = printed.row(printed.baseline)[column] if printed.baseline else None
    if not (isinstance(delta, int | float) and isinstance(value, int | float) and isinstance(base, int | float)):
        return None
    digits = len(str(delta).partition(".")[2]) if isinstance(delta, float) else 0
    exact = round(value - base, 6)
    scale = 10**digits
    rounded = math.copysign(math.floor(abs(exact) * scale + 0.5 + 1e-9) / scale, exact)  # half away from zero
    if math.isclose(delta, rounded, abs_tol=1e-9):
        return None
    if math.isclose(delta, math.trunc(exact * scale) / scale, abs_tol=1e-9):
        return "the paper cuts its differences off instead of rounding them; exact ones: " + _exact_differences(printed)
    return f"printed {signed(delta)}, but {value} - {base} = {signed(exact)}"


def signed(value: float, digits: int | None = None) -> str:
    """``+3``, ``-0.5``, ``0``: with `digits` after the point, or as many as the number has."""
    text = f"{value:+.{digits}f}" if digits is not None else f"{value:+g}"
    return text.lstrip("+-") if float(text) == 0 else text


def _delta_text(printed: PrintedTable, column: str, delta: float) -> str:
    """As printed: a whole number stays one, other ones keep the column's digits."""
    return signed(delta, decimals(printed, DELTA + column) if isinstance(delta, float) else 0)


def _exact_differences(printed: PrintedTable) -> str:
    assert printed.baseline is not None
    base = printed.row(printed.baseline)
    texts = []
    for label in printed.labels:
        row = printed.row(label)
        gains = [
            signed(round(float(row[name]) - float(base[name]), 6))  # type: ignore[arg-type]
            for name in row
            if row.get(DELTA + name) is not None
        ]
        if gains:
            texts.append(f"{label} {' / '.join(gains)}")
    return ", ".join(texts)


def _column(printed: PrintedTable, name: str) -> list[PrintedValue]:
    names = [column.name for column in printed.columns]
    return [cells[names.index(name)] for cells in printed.rows] if name in names else []
