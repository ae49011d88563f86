"""The papers' YAML files as typed records. What a file may contain is said here; what it means, in `papers`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Cell = str | float | int | bool | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Strict):
    """A printed column: `name` in code, `title` as in the paper, `unit` %, pp, GMAC or None."""

    name: str
    title: str
    unit: str | None = None


class Doubt(_Strict):
    """Something in a printed table that does not add up, for one cell, one row, or the whole table."""

    text: str
    row: str | None = None
    column: str | None = None


class PrintedTable(_Strict):
    """One table (or listed numbers of a figure) as printed: the first cell of a row is its label."""

    id: str
    section: str
    caption: str
    columns: list[Column] = Field(min_length=1)
    rows: list[list[Cell]] = Field(min_length=1)
    baseline: str | None = None  # label of the row that printed_delta_* columns are relative to
    bold: list[tuple[str, str]] = []
    doubts: list[Doubt] = []

    @property
    def labels(self) -> list[str]:
        """Row labels in printed order."""
        return [str(row[0]) for row in self.rows]

    def row(self, label: str) -> dict[str, Cell]:
        """The cells of a row by column name, without the label."""
        cells = self.rows[self.labels.index(label)]
        return {column.name: cell for column, cell in zip(self.columns[1:], cells[1:], strict=True)}

    def cell(self, label: str, column: str) -> dict[str, Cell]:
        """One accuracy of a matrix and its printed difference, by the names they have in other tables."""
        cells = self.row(label)
        return {"top1": cells[column], "printed_delta_top1": cells.get(f"printed_delta_{column}")}

    def short_title(self, column: str) -> str:
        """What tells a matrix's column from the others: ``TAM-Attention`` of "Top-1 Acc, TAM-Attention"."""
        return next(entry.title for entry in self.columns if entry.name == column).rpartition(", ")[2]

    @model_validator(mode="after")
    def _consistent(self) -> PrintedTable:
        names = [column.name for column in self.columns]
        faults = [f"row {row[0]!r} has {len(row)} cells" for row in self.rows if len(row) != len(names)]
        faults += [f"bold names {row!r}, {column!r}" for row, column in self.bold if column not in names]
        places = [(doubt.row, doubt.column) for doubt in self.doubts]
        known_columns, known_rows = {None, *names}, {None, *self.labels}
        faults += [f"a doubt names {row!r}, {column!r}" for row, column in places if column not in known_columns]
        for row in [self.baseline, *(row for row, _ in self.bold), *(row for row, _ in places)]:
            if row not in known_rows:
                faults.append(f"there is no row {row!r}")
        if faults:
            raise ValueError(f"table {self.id} ({len(names)} columns): {'; '.join(faults)}")
        return self


class Comparison(_Strict):
    """What a sentence says about two experiments' accuracies: `higher` above `lower`, or `similar` to each other."""

    higher: str | None = None
    lower: str | None = None
    similar: tuple[str, str] | None = None

    @property
    def experiments(self) -> tuple[str, str]:
        """The first minus the second is what decides."""
        assert self.similar is not None or (self.higher is not None and self.lower is not None)
        return self.similar or (self.higher, self.lower)  # type: ignore[return-value]

    @model_validator(mode="after")
    def _one_of_two(self) -> Comparison:
        if (self.similar is None) == (self.higher is None) or (self.higher is None) != (self.lower is None):
            raise ValueError("a comparison says either higher and lower, or similar")
        return self


class CostRatio(_Strict):
    """What a sentence says about two experiments' costs: `of` divided by `over` lies in a range."""

    of: str
    over: str
    at_least: float = 0
    at_most: float = float("inf")


class Claim(_Strict):
    """A sentence of the paper that claims something about its numbers.

    Attributes:
        tables: those beneath which it is judged.
        holds: comparisons it comes to; `needs` says whether all of them or any one makes it true.
        costs: ratios of costs it comes to.
    """

    section: str
    text: str
    doubt: str | None = None
    tables: list[str] = []
    holds: list[Comparison] = []
    needs: Literal["all", "any"] = "all"
    costs: list[CostRatio] = []

    @property
    def experiments(self) -> list[str]:
        """Every experiment whose accuracy it is about."""
        return list(dict.fromkeys(name for comparison in self.holds for name in comparison.experiments))


class PrintedFile(_Strict):
    """``printed.yaml``."""

    tables: list[PrintedTable]
    figures: list[PrintedTable] = []
    claims: list[Claim] = []


class RowEntry(_Strict):
    """What is run for one printed row, or for one cell of a matrix, on top of the table's base."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")
    label: str
    column: str | None = None  # of a matrix: the accuracy column whose cell this is; None for the whole row
    model: dict[str, Any] = {}
    data: dict[str, Any] = {}
    train: dict[str, Any] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """The row's layer of a run config."""
        sections = {"model": self.model, "data": self.data, "train": self.train}
        return {name: section for name, section in sections.items() if section}


class TableFile(_Strict):
    """``table<number>.yaml``."""

    paper: str
    table: str
    baseline: str | None = None  # experiment that measured differences are relative to
    own_rows: bool = True  # whether a user's own mechanism may stand beneath the printed rows
    base: dict[str, Any]
    rows: list[RowEntry] = Field(min_length=1)


class Selection(_Strict):
    """A table, or some of its rows."""

    table: str
    rows: list[str] | None = None


class CostInput(_Strict):
    """The clip that costs are counted on: T frames of S x S pixels and a head of K classes."""

    frames: int = Field(ge=1)
    size: int = Field(ge=8)
    classes: int = Field(ge=1)


class PaperFile(_Strict):
    """``paper.yaml``."""

    name: str
    title: str
    authors: str
    code: str | None = None
    dataset: str
    dataset_title: str
    default_selection: list[Selection] = Field(min_length=1)
    cost_input: CostInput


class SidedOption(_Strict):
    """An option of a mechanism or a backbone whose values stand for the released code and for the text."""

    name: str
    official: str
    paper: str
    of: Literal["mechanism", "backbone"] = "mechanism"

    @property
    def key(self) -> str:
        """As ``--set`` takes it."""
        return f"model.{'options' if self.of == 'mechanism' else 'backbone_options'}.{self.name}"


class Effect(_Strict):
    """What to look at to see how much a difference matters: an experiment, and the same with overrides on top."""

    row: str
    set: list[str] = Field(min_length=1)


class Difference(_Strict):
    """One disagreement between a paper's text and its released code."""

    id: str
    topic: str
    paper: str
    code: str
    ours: str
    option: SidedOption | None = None
    effects: list[Effect] = []
    changes: list[Literal["cost", "accuracy"]]


class DifferencesFile(_Strict):
    """``differences.yaml``."""

    differences: list[Difference]


class RecipeFile(_Strict):
    """``recipe.yaml``: a paper's own training recipe as a layer of a run config."""

    about: str
    model: dict[str, Any] = {}
    data: dict[str, Any] = {}
    train: dict[str, Any] = {}


class BackboneLayer(_Strict):
    """Settings of a preset for one backbone."""

    model: dict[str, Any] = {}
    data: dict[str, Any] = {}
    train: dict[str, Any] = {}


class PresetFile(_Strict):
    """``presets/<name>.yaml``: how large to run. Used by default for the datasets it lists."""

    name: str
    about: str
    for_datasets: list[str] = []
    recipe: str | None = None  # file in the paper's folder whose settings come first
    replace_backbone: dict[str, str] = {}
    backbone_options: dict[str, dict[str, Any]] = {}
    model: dict[str, Any] = {}
    data: dict[str, Any] = {}
    train: dict[str, Any] = {}
    for_backbone: dict[str, BackboneLayer] = {}  # what a backbone needs set otherwise, over the sections above
    for_paper: dict[str, BackboneLayer] = {}  # likewise a paper's rows
