"""What a report consists of before it is Markdown, LaTeX or terminal text: titled grids of cells, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One cell: its text (a newline where a narrow terminal may break it), the numbers of the notes it refers to, and
    whether the paper prints it bold."""

    text: str
    marks: tuple[int, ...] = ()
    bold: bool = False


@dataclass(frozen=True)
class Grid:
    """A titled grid; the first column is left-aligned, the others right-aligned.

    Attributes:
        title: what is in it.
        heads: one cell per column.
        rows: cells, as many per row as there are heads.
        facts: sentences below it that hold for the whole grid.
    """

    title: str
    heads: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableReport:
    """A printed table beside its measurements, ready to be rendered.

    Attributes:
        paper, table: names for files, e.g. ``m2a`` and ``table1``.
        title: heading with the printed caption.
        grids: accuracy, one grid per setting, then cost.
        verdicts: what the measurements say about the paper's ordering and sentences, one grid per setting.
        notes: footnotes; a mark n refers to ``notes[n - 1]``.
        remarks: sentences about the table as a whole.
        leftovers: sentences about what else lies in the results folder: for the reader at the terminal, never for the
            files, which say what was measured and must not change because something unrelated lies there.
        records: one flat mapping per row and setting, every number unrounded.
        measured: whether any row has a run.
    """

    paper: str
    table: str
    title: str
    grids: tuple[Grid, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    measured: bool
    leftovers: tuple[str, ...] = ()
    verdicts: tuple[Grid, ...] = ()


class Notes:
    """Footnotes in the order they are first used; the same text keeps its number."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def mark(self, text: str) -> int:
        """The number of the note with this text."""
        if text not in self._texts:
            self._texts.append(text)
        return self._texts.index(text) + 1

    @property
    def texts(self) -> tuple[str, ...]:
        """All notes; number n stands at position n - 1."""
        return tuple(self._texts)


Column_ = tuple[Cell, list[Cell]]  # head, and the cells from top to bottom


def grid(title: str, columns: Sequence[Column_], facts: Sequence[str] = ()) -> Grid:
    """A grid from its columns: (head, cells from top to bottom)."""
    heads = tuple(head for head, _ in columns)
    rows = tuple(zip(*(cells for _, cells in columns), strict=True))
    return Grid(title, heads, rows, tuple(facts))
