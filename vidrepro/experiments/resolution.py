"""From rows to run configs: presets, the dataset that is used, and the order in which settings win."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vidrepro.config import RunConfig, parse_override, resolve
from vidrepro.errors import ConfigError, unknown_name
from vidrepro.experiments.lookup import load_paper
from vidrepro.experiments.overrides import applicable_overrides, with_mechanism_digest
from vidrepro.experiments.papers import Paper, Row, Table, is_own_mechanism
from vidrepro.experiments.reading import read_schema
from vidrepro.experiments.schema import BackboneLayer, PresetFile
from vidrepro.files import experiments_folder

EMBEDDED_DATASET = "synthetic"
PAPER_PRESET = "paper"


@dataclass(frozen=True)
class DatasetChoice:
    """The dataset that is used, and one plain sentence that says why."""

    name: str
    reason: str


def preset_names() -> list[str]:
    """Every preset there is."""
    return sorted(file.stem for file in (experiments_folder() / "presets").glob("*.yaml"))


def load_preset(name: str) -> PresetFile:
    """Read a preset.

    Raises:
        UnknownNameError: if there is none of that name, with the closest ones.
        ConfigError: listing every fault in its file.
    """
    if name not in preset_names():
        raise unknown_name("preset", name, preset_names())
    return _read_preset(experiments_folder() / "presets" / f"{name}.yaml")


@cache
def _read_preset(file: Path) -> PresetFile:
    preset = read_schema(file, PresetFile)
    if preset.name != file.stem:
        raise ConfigError(f"the preset calls itself '{preset.name}'", where=file, allowed=file.stem)
    return preset


def default_preset(dataset: str) -> str:
    """The preset used when none is named: the one made for the dataset, else the paper's own recipe."""
    for name in preset_names():
        if dataset in load_preset(name).for_datasets:
            return name
    return PAPER_PRESET


def known_datasets(data_folder: Path) -> set[str]:
    """Every dataset that can be prepared, or is prepared in `data_folder`."""
    from vidrepro.data.sources import SOURCES

    return {*SOURCES, *(path.parent.name for path in data_folder.glob("*/manifest.csv"))}


def choose_dataset(choice: str, paper: Paper, data_folder: Path) -> DatasetChoice:
    """Resolve ``auto`` to the paper's dataset if it is prepared in `data_folder`, else to the embedded one.

    Raises:
        UnknownNameError: for a dataset nobody knows, with the closest ones.
    """
    if choice not in ("auto", paper.dataset):
        if choice not in (known := known_datasets(data_folder)):
            raise unknown_name("dataset", choice, known)
        return DatasetChoice(
            choice,
            f"Dataset '{choice}', as asked; the paper's is '{paper.dataset}' ({paper.dataset_title}), so accuracies "
            "are not comparable with the printed ones.",
        )
    prepared = (data_folder / paper.dataset / "manifest.csv").is_file()
    if prepared or choice == paper.dataset:
        return DatasetChoice(paper.dataset, f"Dataset '{paper.dataset}' ({paper.dataset_title}), the paper's own.")
    return DatasetChoice(
        EMBEDDED_DATASET,
        f"The paper's dataset '{paper.dataset}' ({paper.dataset_title}) is not prepared in '{data_folder}', so the "
        f"embedded dataset '{EMBEDDED_DATASET}' is used; its accuracies are not comparable with the printed ones.",
    )


def resolve_row(
    row: Row, *, dataset: str, preset: str, backbone: str | None = None, overrides: Iterable[str] = ()
) -> RunConfig:
    """The settings a row is run with. Later layers win: table, row, preset, `backbone`, overrides.

    A preset may replace the table's backbone (named in the result); a backbone asked for by `backbone` or by the
    override ``model.backbone=`` is never replaced, but still gets the preset's options for it.

    Raises:
        ConfigError: listing every fault in the settings.
        UnknownNameError: if there is no such preset.
        ModelError: if a mechanism of one's own cannot be imported.
    """
    overrides = applicable_overrides(row, overrides)
    size = load_preset(preset)
    asked = [parse_override(text).get("model", {}) for text in overrides]
    chosen = next((model["backbone"] for model in reversed(asked) if "backbone" in model), backbone)
    if chosen is None:
        own = str(row.model.get("backbone"))
        chosen = size.replace_backbone.get(own, own)
    name = f"preset {preset}"
    layers = [*row.layers]
    if size.recipe is not None:
        layers.append((f"{row.paper}/{size.recipe}", _recipe(row.paper, size.recipe)))
    layers += [
        (name, {section: getattr(size, section) for section in ("model", "data", "train")}),
        (name, size.for_backbone.get(str(chosen), BackboneLayer()).model_dump()),
        (name, size.for_paper.get(row.paper, BackboneLayer()).model_dump()),
        (name, {"model": {"backbone": chosen, "backbone_options": size.backbone_options.get(str(chosen), {})}}),
        ("dataset", {"dataset": dataset}),
    ]
    return with_mechanism_digest(resolve(layers, overrides))


def select_rows(
    paper: Paper,
    tables: str | Iterable[str | int] | None = None,
    rows: str | Iterable[str] | None = None,
    backbone: str | None = None,
) -> list[Row]:
    """The rows a command is about, in printed order.

    Args:
        paper: where they are printed.
        tables: ``I``, ``1``, ``table1`` or a comma list; None for the paper's default selection, or for the tables
            printed for `backbone` where the default ones are for another.
        rows: short names (``none,m2a``), printed labels or experiment ids, or mechanisms of one's own
            (``package.module:Class``), which join the first of those tables that has a place for them; None for all
            rows of those tables.
        backbone: what ``--backbone`` says.

    Raises:
        UnknownNameError: for a table or row that does not exist, with the closest ones.
        ConfigError: for a mechanism of one's own where no table has a place for it.
    """
    selected = _rows_of_tables(paper, tables, backbone)
    if rows is None:
        return selected
    names = _comma_list(rows)
    pools = [selected] if tables is not None else [selected, [row for table in paper.tables for row in table.rows]]
    return [_row_named(name, pools, paper) for name in names]


def _rows_of_tables(paper: Paper, tables: str | Iterable[str | int] | None, backbone: str | None) -> list[Row]:
    if tables is not None:
        chosen = {table.id: table for table in (paper.table(which) for which in _comma_list(tables))}
        return [row for table in chosen.values() for row in table.rows]
    default = [(paper.table(selection.table), selection.rows) for selection in paper.default_selection]
    if backbone is not None and all(table.backbone != backbone for table, _ in default):
        printed_for_it: list[Table] = [table for table in paper.tables if table.backbone == backbone]
        if printed_for_it:
            return [row for table in printed_for_it for row in table.rows]
    return [row for table, names in default for row in table.rows if names is None or row.name in names]


def _row_named(name: str, pools: list[list[Row]], paper: Paper) -> Row:
    if name.startswith(f"{paper.name}/"):
        return paper.row(name)
    if is_own_mechanism(name):
        tables = [paper.table(row.table) for row in pools[0]]
        return next((table for table in tables if table.takes_own_rows), tables[0]).own_row(name)
    for pool in pools:
        for row in pool:
            if name == row.name or name.casefold() == row.label.casefold():
                return row
    raise unknown_name(
        f"row of {paper.name}",
        name,
        {row.name for pool in pools for row in pool},
    )


def _comma_list(names: str | Iterable[Any]) -> list[str]:
    # commas inside parentheses belong to a mechanism's options
    parts = re.split(r",(?![^(]*\))", names) if isinstance(names, str) else [str(name) for name in names]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _recipe(paper: str, file_name: str) -> dict[str, Any]:
    recipe = load_paper(paper).recipe
    if recipe is None:
        raise ConfigError(
            f"'{paper}' has no recipe of its own",
            given=f"preset with recipe: {file_name}",
            allowed=f"experiments/{paper}/{file_name}",
            hint="choose another --preset",
        )
    return {"model": recipe.model, "data": recipe.data, "train": recipe.train}
