"""The papers' YAML files as typed records. What a file may contain is said here; what it means, in `papers`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Cell = str | float | int | bool | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


METRICS = ("top1", "top5")


class Column(_Strict):
    """A printed column: `name` in code, `title` as in the paper, `unit` %, pp, GMAC, M (of parameters) or None.

    Of accuracies:

    Attributes:
        dataset: what it is printed for; None for the table's own.
        fold, task: the official fold, the label set; None for the dataset's usual ones.
        metric: ``top1`` or ``top5``; ``none`` for an accuracy that nothing is measured against; None for what the
            name's end says, else top-1.
        output: of a network with several predictions the one it is the top-1 accuracy of, as
            `vidrepro.models.VideoClassifier.all_logits` names it; None for the network's own.
    """

    name: str
    title: str
    unit: str | None = None
    dataset: str | None = None
    fold: str | None = None
    task: str | None = None
    metric: Literal["top1", "top5", "none"] | None = None
    output: str | None = None

    @property
    def measured_as(self) -> str | None:
        """The metric it is put against: ``top1``, ``top5``, or None for a column that is no such accuracy."""
        if self.unit != "%" or self.metric == "none" or self.output is not None:
            return None
        return self.metric or next((metric for metric in METRICS if self.name.endswith(metric)), "top1")

    @model_validator(mode="after")
    def _place_is_of_an_accuracy(self) -> Column:
        if self.unit != "%" and (self.dataset or self.fold or self.task or self.metric):
            raise ValueError(f"column {self.name}: only an accuracy has a dataset, fold, task or metric")
        return self


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
    """What a sentence says about two experiments' accuracies: `higher` above `lower`, or `similar` to each other.

    How far above, and how similar, can be said where the sentence does ("far outstrip"): for its reader, not printed.
    """

    higher: str | None = None
    lower: str | None = None
    similar: tuple[str, str] | None = None
    by: float = Field(0, ge=0)  # percentage points that `higher` is above `lower` at least
    within: float | None = Field(None, gt=0)  # percentage points that similar ones differ by at most

    @property
    def experiments(self) -> tuple[str, str]:
        """The first minus the second is what decides."""
        assert self.similar is not None or (self.higher is not None and self.lower is not None)
        return self.similar or (self.higher, self.lower)  # type: ignore[return-value]

    @model_validator(mode="after")
    def _one_of_two(self) -> Comparison:
        if (self.similar is None) == (self.higher is None) or (self.higher is None) != (self.lower is None):
            raise ValueError("a comparison says either higher and lower, or similar")
        if (self.by and self.similar) or (self.within and not self.similar):
            raise ValueError("a comparison with `by` says higher and lower, one with `within` says similar")
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


class ProbeEntry(_Strict):
    """An attention replaced at test time, as ``vidrepro invert --what … --how …`` does."""

    what: str
    how: str = "invert"


class VariantLayer(_Strict):
    """Settings of a recipe or a row under one variant: what the released code does, or what the text says."""

    data: dict[str, Any] = {}
    train: dict[str, Any] = {}


VariantLayers = dict[Literal["official", "paper"], VariantLayer]


class RowEntry(_Strict):
    """What is run for one printed row, or for one cell of a matrix, on top of the table's base.

    Attributes:
        column: of a matrix: the accuracy column whose cell this is; None for the whole row.
        model, data, train: settings of its run. `data` and `train` are what the row is about and win over presets.
        for_variant: `data` and `train` that a variant of the model has instead.
        quoted: why nothing is run for a row: the paper quotes it. With `model`, its cost is counted all the same.
        not_built: why nothing is run for a row of the authors' own: its network is not built here.
        evaluates: the row whose runs this one looks at again, with `views` or under `probe`.
        views: ``crops x clips``, e.g. ``3x2``; of a quoted row, for its cost.
        members, weights: of an ensemble, the rows it is made of.
        starts_from: the row whose trained network its run starts from, of the same seed; in the place of any weights.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")
    label: str
    column: str | None = None
    model: dict[str, Any] = {}
    data: dict[str, Any] = {}
    train: dict[str, Any] = {}
    for_variant: VariantLayers = {}
    quoted: str | None = None
    not_built: str | None = None
    evaluates: str | None = None
    views: str | None = Field(None, pattern=r"^[0-9]+x[0-9]+$")
    probe: ProbeEntry | None = None
    members: list[str] = []
    weights: list[float] | None = None
    starts_from: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The row's layer of a run config."""
        sections = {"model": self.model, "data": self.data, "train": self.train}
        return {name: section for name, section in sections.items() if section}

    @model_validator(mode="after")
    def _one_kind(self) -> RowEntry:
        kinds = [name for name in ("quoted", "not_built", "evaluates", "members") if getattr(self, name)]
        if len(kinds) > 1:
            raise ValueError(f"row {self.id} has {' and '.join(kinds)}: it is one of them")
        if kinds and self.starts_from is not None:
            raise ValueError(f"row {self.id}: starts_from is of a row that is trained, not of one with {kinds[0]}")
        if kinds and kinds != ["quoted"] and (self.settings or self.for_variant):
            raise ValueError(f"row {self.id}: a row with {kinds[0]} has no settings of its own")
        asked = self.probe is not None or (self.views is not None and self.quoted is None)
        if bool(self.evaluates) != asked:
            raise ValueError(f"row {self.id}: evaluates needs views or a probe, and they need it")
        if self.members and (len(self.members) < 2 or (self.weights and len(self.weights) != len(self.members))):
            raise ValueError(f"row {self.id}: an ensemble has two or more members, and a weight for each or none")
        return self


class TableFile(_Strict):
    """``table<number>.yaml``."""

    paper: str
    table: str
    baseline: str | None = None  # experiment that measured differences are relative to
    own_rows: bool = True  # whether a user's own mechanism may stand beneath the printed rows
    base: dict[str, Any]
    rows: list[RowEntry] = Field(min_length=1)
    extra_rows: list[RowEntry] = []  # run and shown beneath the printed ones, though the paper has no such row


class Selection(_Strict):
    """A table, or some of its rows."""

    table: str
    rows: list[str] | None = None


class CostInput(_Strict):
    """The clip that costs are counted on: T frames of S x S pixels and a head of K classes."""

    frames: int = Field(ge=1)
    size: int = Field(ge=8)
    classes: int = Field(ge=1)


class CountedCost(_Strict):
    """One network's cost, as `vidrepro.cost.network_cost.CostReport` has it."""

    frames: int
    size: int
    channels: int
    params: int
    gmacs_fvcore: float
    gmacs_conv_linear: float
    by_operator: dict[str, int]
    uncounted: dict[str, int]
    components: dict[str, int]
    elements: dict[str, int]
    cross_check: dict[str, Any]


class KeptCost(_Strict):
    """The cost of a network (settings that are not at their defaults) on a clip."""

    network: dict[str, Any]
    clip: CostInput
    cost: CountedCost


class CostsFile(_Strict):
    """``costs.json``: what ``vidrepro measure PAPER --save`` counted, and with which versions."""

    counted_with: dict[str, str]
    costs: list[KeptCost]


class PaperFile(_Strict):
    """``paper.yaml``."""

    name: str
    title: str
    authors: str
    code: str | None = None
    dataset: str
    dataset_title: str
    dataset_titles: dict[str, str] = {}  # of the other datasets its tables are about
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
    for_variant: VariantLayers = {}  # over the sections above


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
    for_start: BackboneLayer = BackboneLayer()  # what a row that starts from a trained network needs set otherwise
    for_paper: dict[str, BackboneLayer] = {}  # likewise a paper's rows
