"""paper -> tables -> rows, read from ``experiments/<paper>``: what is printed, and what is run for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from vidrepro.errors import UnknownNameError, closest, unknown_name
from vidrepro.experiments.schema import (
    Cell,
    Claim,
    CostInput,
    Difference,
    PrintedTable,
    RecipeFile,
    Selection,
)

_Schema = TypeVar("_Schema", bound=BaseModel)
_ROMAN = {
    tens * "x" + ones: 10 * tens + value
    for tens in range(3)
    for value, ones in enumerate(("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix"))
    if tens or value
}


@dataclass(frozen=True)
class Row:
    """One row of a printed table and the experiment run for it.

    Attributes:
        id: the experiment's name, e.g. ``m2a/table1/m2a``.
        label: the row's first cell, exactly as printed.
        printed: its other cells by column name.
        layers: ``(file, settings)`` of the table's base and of the row, for `vidrepro.config.resolve`.
        not_built: why it cannot be run, or None.
    """

    id: str
    label: str
    paper: str
    table: str
    printed: Mapping[str, Cell]
    layers: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    not_built: str | None = None

    @property
    def name(self) -> str:
        """Last part of the id, which `--rows` takes."""
        return self.id.rsplit("/", 1)[1]

    @property
    def runnable(self) -> bool:
        """Whether its network can be built."""
        return self.not_built is None

    @property
    def model(self) -> dict[str, Any]:
        """The model settings of table and row, before any preset."""
        merged: dict[str, Any] = {}
        for _, settings in self.layers:
            merged.update(settings.get("model", {}))
        return merged


@dataclass(frozen=True)
class Table:
    """One table of a paper: as printed, with the experiments run for it."""

    paper: str
    printed: PrintedTable
    rows: tuple[Row, ...]
    baseline: str | None = None  # experiment id
    backbone: str | None = None  # of the table's base; None if the table is not built
    not_built: str | None = None

    @property
    def id(self) -> str:
        """As the paper numbers it: ``I``, or ``1`` in other papers."""
        return self.printed.id

    @property
    def number(self) -> int:
        """The table's number; Roman ones converted."""
        return table_number(self.id) or 0

    @property
    def slug(self) -> str:
        """``table1``: in experiment ids and file names."""
        return f"table{self.number}"

    def row(self, name: str) -> Row:
        """The row of that short name or printed label.

        Raises:
            UnknownNameError: with the closest rows.
        """
        for row in self.rows:
            if name == row.name or name.casefold() == row.label.casefold():
                return row
        raise unknown_name(f"row of {self.paper}'s Table {self.id}", name, [row.name for row in self.rows])


@dataclass(frozen=True, eq=False)
class Paper:
    """A paper's tables, the numbers it prints, and the facts needed to run and judge them."""

    name: str
    title: str
    authors: str
    code: str | None
    dataset: str
    dataset_title: str
    tables: tuple[Table, ...]
    figures: tuple[PrintedTable, ...]
    claims: tuple[Claim, ...]
    differences: tuple[Difference, ...]
    recipe: RecipeFile | None
    default_selection: tuple[Selection, ...]
    cost_input: CostInput
    folder: Path = field(repr=False)

    def table(self, which: str | int) -> Table:
        """The table called ``I``, ``1``, ``table1`` or ``Table I``.

        Raises:
            UnknownNameError: naming the tables there are.
        """
        number = table_number(str(which))
        for table in self.tables:
            if number is not None and table.number == number:
                return table
        raise unknown_name(
            f"table of {self.name}",
            str(which),
            [table.id for table in self.tables],
            hint=f"'vidrepro show {self.name}' lists them",
        )

    def row(self, experiment: str) -> Row:
        """The row of an experiment id such as ``m2a/table1/m2a`` (or ``m2a/I/m2a``).

        Raises:
            UnknownNameError: with the closest ids.
        """
        parts = experiment.split("/")
        try:
            if len(parts) == 3 and parts[0] == self.name:
                return self.table(parts[1]).row(parts[2])
        except UnknownNameError:
            pass
        raise unknown_experiment(experiment, [row.id for table in self.tables for row in table.rows], self.name)


def table_number(text: str) -> int | None:
    """``I``, ``1``, ``table1``, ``Table I`` -> 1; None if the text is none of these."""
    body = re.sub(r"^tab(le|\.)?\s*", "", text.strip().lower())
    if body.isdigit():
        return int(body)
    return _ROMAN.get(body)


def unknown_experiment(given: str, ids: list[str], paper: str) -> UnknownNameError:
    """The error for an experiment id nobody knows, with the closest of `ids`."""
    near = closest(given, ids, count=3)
    return UnknownNameError(
        f"unknown experiment '{given}'",
        given=given,
        allowed=near or ids,
        hint=f"'vidrepro show {paper}' lists the experiments",
    )
