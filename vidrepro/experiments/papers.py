"""paper -> tables -> rows, read from ``experiments/<paper>``: what is printed, and what is run for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from vidrepro.clips_config import Protocol
from vidrepro.errors import ConfigError, UnknownNameError, closest, unknown_name
from vidrepro.experiments.schema import (
    Cell,
    Claim,
    Column,
    CostInput,
    Difference,
    PrintedTable,
    RecipeFile,
    Selection,
)

QUOTED, NOT_BUILT = "quoted", "not built"  # kinds of rows that nothing is run for
_Schema = TypeVar("_Schema", bound=BaseModel)
_ROMAN = {
    tens * "x" + ones: 10 * tens + value
    for tens in range(3)
    for value, ones in enumerate(("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix"))
    if tens or value
}


@dataclass(frozen=True, order=True)
class Place:
    """What an accuracy is printed for: a dataset, its label set, and the official folds the table has columns for."""

    dataset: str
    task: str | None = None
    folds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """Another row's runs looked at again.

    Attributes:
        of: experiment whose runs they are.
        crops, clips: views of a video; both None for the runs' own.
        probe: (what, how) of ``vidrepro invert``, or None.
    """

    of: str
    crops: int | None = None
    clips: int | None = None
    probe: tuple[str, str] | None = None

    def protocol(self, own: Protocol) -> Protocol:
        """What the runs are looked at with: their own frames and size, and these views."""
        return own.model_copy(update={"crops": self.crops or own.crops, "clips": self.clips or own.clips})


@dataclass(frozen=True)
class Ensemble:
    """Several rows as one network: experiments, and their weights (None: all alike)."""

    members: tuple[str, ...]
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Row:
    """One row of a printed table, or one cell of a matrix, and the experiment run for it.

    Attributes:
        id: the experiment's name, e.g. ``m2a/table1/m2a``.
        label: the row's first cell, exactly as printed; of a matrix's cell, with its column: ``TDN-Motion, None``.
        printed: its other cells by column name; of a matrix's cell, ``top1`` and ``printed_delta_top1``. Of a user's
            own row they are None.
        layers: ``(file, settings)`` of the table's base and of the row, for `vidrepro.config.resolve`. The last one's
            ``data`` and ``train`` are what the row is about, and no preset changes them.
        place: printed row and column of a matrix's cell, else None.
        own: whether the paper does not print it: a user's own row, or an extra one of the table's file.
        for_variant: by variant, the settings of `data` and `train` that it has in the place of its own.
        quoted: why nothing is run for it; None for a row that the paper does not quote.
        not_built: why nothing is run for a row of the paper's own authors; None for one whose network is built.
        derived: what its accuracy is had from where it has no runs of its own.
        views: looks at a video that its accuracy is of.
        starts_from: experiment whose trained network its run starts from, of the same seed; None for any other start.
        built: whether its settings name a network: false for rows of networks that are not built here.
    """

    id: str
    label: str
    paper: str
    table: str
    printed: Mapping[str, Cell]
    layers: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    place: tuple[str, str] | None = None
    own: bool = False
    for_variant: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    quoted: str | None = None
    not_built: str | None = None
    derived: Evaluation | Ensemble | None = None
    built: bool = True
    views: int = 1
    starts_from: str | None = None

    @property
    def not_run(self) -> str | None:
        """``quoted`` or ``not built`` where nothing is run for it; None where its accuracy is had here."""
        return QUOTED if self.quoted is not None else NOT_BUILT if self.not_built is not None else None

    @property
    def why_not_run(self) -> str | None:
        """The same with the reason: ``quoted: …``, ``not built: …``."""
        return f"{self.not_run}: {self.quoted or self.not_built}" if self.not_run else None

    @property
    def is_trained(self) -> bool:
        """Whether it has runs of its own."""
        return self.not_run is None and self.derived is None

    @property
    def frames(self) -> int | None:
        """Frames of its clips where the row says so itself."""
        return next(
            (data["frames"] for _, layer in reversed(self.layers) if "frames" in (data := layer.get("data", {}))), None
        )

    @property
    def name(self) -> str:
        """Last part of the id, which `--rows` takes."""
        return self.id.rsplit("/", 1)[1]

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
    base: tuple[str, Mapping[str, Any]]  # file and settings below every row's own
    baseline: str | None = None  # experiment id
    takes_own_rows: bool = True

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

    @property
    def dataset(self) -> str:
        """The dataset it is printed for, or the first of them."""
        return str(self.base[1]["dataset"])

    @property
    def places(self) -> tuple[Place, ...]:
        """Everything it is printed for, in printed order."""
        folds: dict[tuple[str, str | None], list[str]] = {}
        for column in self.printed.columns:
            if column.measured_as is not None:
                of_place = folds.setdefault((column.dataset or self.dataset, column.task), [])
                of_place += [column.fold] if column.fold is not None and column.fold not in of_place else []
        places = tuple(Place(dataset, task, tuple(named)) for (dataset, task), named in folds.items())
        return places or (Place(self.dataset),)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets of its places, each once."""
        return tuple(dict.fromkeys(place.dataset for place in self.places))

    def column(
        self, metric: str, dataset: str | None = None, task: str | None = None, fold: str | None = None
    ) -> Column | None:
        """The printed column that a measured accuracy stands beside: of the same dataset, label set and fold as far as
        there is one, else the first of its metric; None if the table prints none."""
        columns = [column for column in self.printed.columns if column.measured_as == metric]
        for wanted in ((dataset, task, fold), (dataset, task), (dataset,)):
            for column in columns:
                own = (column.dataset or self.dataset, column.task, column.fold)
                if own[: len(wanted)] == wanted:
                    return column
        return columns[0] if columns else None

    @property
    def backbone(self) -> str | None:
        """The backbone the table is printed for."""
        name = self.base[1].get("model", {}).get("backbone")
        return None if name is None else str(name)

    @property
    def is_matrix(self) -> bool:
        """Whether every cell is an experiment of its own (M2A's Table VI: motion x attention)."""
        return any(row.place is not None for row in self.rows)

    def baseline_of(self, row: Row) -> str | None:
        """The experiment a row's measured difference is relative to: of a matrix's cell, the one above it in the
        printed baseline row; None for a baseline itself."""
        if row.place is None or self.printed.baseline is None:
            return None if row.id == self.baseline else self.baseline
        above = (self.printed.baseline, row.place[1])
        return next((other.id for other in self.rows if other.place == above and other.id != row.id), None)

    def row(self, name: str) -> Row:
        """The row of that short name or printed label; a mechanism of one's own (``package.module:Class``) is a row
        too, see `own_row`.

        Raises:
            UnknownNameError: with the closest rows.
            ConfigError: for a mechanism of one's own in a table that takes none.
        """
        for row in self.rows:
            if name == row.name or name.casefold() == row.label.casefold():
                return row
        if is_own_mechanism(name):
            return self.own_row(name)
        raise unknown_name(f"row of {self.paper}'s Table {self.id}", name, [row.name for row in self.rows])

    def own_row(self, mechanism: str, digest: str | None = None) -> Row:
        """A row the paper does not print: a user's mechanism on the table's backbone.

        Args:
            mechanism: ``package.module:Class``, or any other mechanism's spec.
            digest: of its source, where a run recorded it (`vidrepro.config.ModelConfig.mechanism_digest`).

        Raises:
            ConfigError: if the table has no place for one.
        """
        if not self.takes_own_rows:
            raise ConfigError(
                f"Table {self.id} of {self.paper} has no place for a mechanism of your own",
                given=mechanism,
                hint="name a table of mechanisms, as --table I",
            )
        model = {"mechanism": mechanism} | ({"mechanism_digest": digest} if digest else {})
        return Row(
            id=f"{self.paper}/{self.slug}/{mechanism}",
            label=mechanism.rpartition(":")[2],
            paper=self.paper,
            table=self.id,
            printed=dict.fromkeys(column.name for column in self.printed.columns[1:]),
            layers=(self.base, ("--rows", {"model": model})),
            own=True,
        )


@dataclass(frozen=True, eq=False)
class Paper:
    """A paper's tables, the numbers it prints, and the facts needed to run and judge them."""

    name: str
    title: str
    authors: str
    code: str | None
    dataset: str
    dataset_title: str
    dataset_titles: Mapping[str, str]
    tables: tuple[Table, ...]
    figures: tuple[PrintedTable, ...]
    claims: tuple[Claim, ...]
    differences: tuple[Difference, ...]
    recipe: RecipeFile | None
    default_selection: tuple[Selection, ...]
    cost_input: CostInput
    folder: Path = field(repr=False)

    def title_of(self, dataset: str) -> str:
        """A dataset as sentences name it."""
        return self.dataset_title if dataset == self.dataset else self.dataset_titles.get(dataset, dataset)

    def trained_rows(self, row: Row) -> list[Row]:
        """The rows whose runs a row's accuracy comes from: itself, or what it is derived from; none of a quoted row."""
        if row.derived is None:
            return [row] if row.not_run is None else []
        names = [row.derived.of] if isinstance(row.derived, Evaluation) else row.derived.members
        found = [trained for name in names for trained in self.trained_rows(self.row(name))]
        return list({trained.id: trained for trained in found}.values())

    def runs_needed(self, row: Row) -> list[Row]:
        """The `trained_rows` of a row, each behind the row that its run starts from."""
        needed: dict[str, Row] = {}
        for trained in self.trained_rows(row):
            if trained.starts_from is not None:
                needed |= {one.id: one for one in self.runs_needed(self.row(trained.starts_from))}
            needed[trained.id] = trained
        return list(needed.values())

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
            ConfigError: see `Table.row`.
        """
        parts = experiment.split("/", 2)
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


def is_own_mechanism(name: str) -> bool:
    """Whether a row's name is a mechanism written out: ``package.module:Class``, or a spec with options."""
    return ":" in name or "(" in name


def unknown_experiment(given: str, ids: list[str], paper: str) -> UnknownNameError:
    """The error for an experiment id nobody knows, with the closest of `ids`."""
    near = closest(given, ids, count=3)
    return UnknownNameError(
        f"unknown experiment '{given}'",
        given=given,
        allowed=near or ids,
        hint=f"'vidrepro show {paper}' lists the experiments",
    )
