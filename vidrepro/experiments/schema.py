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


class Claim(_Strict):
    """A number the text claims outside the tables."""

    section: str
    text: str
    doubt: str | None = None


class PrintedFile(_Strict):
    """``printed.yaml``."""

    tables: list[PrintedTable]
    figures: list[PrintedTable] = []
    claims: list[Claim] = []


class RowEntry(_Strict):
    """What is run for one printed row, on top of the table's base."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")
    label: str
    model: dict[str, Any] = {}
    data: dict[str, Any] = {}
    train: dict[str, Any] = {}
    not_built: str | None = None

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
    not_built: dict[str, str] = {}


class SidedOption(_Strict):
    """A mechanism's option whose values stand for the released code and for the text."""

    name: str
    official: str
    paper: str


class Difference(_Strict):
    """One disagreement between a paper's text and its released code."""

    id: str
    topic: str
    paper: str
    code: str
    ours: str
    option: SidedOption | None = None
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
