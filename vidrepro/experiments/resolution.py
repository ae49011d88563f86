"""From rows to run configs: presets, the dataset that is used, and the order in which settings win."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vidrepro.config import START_RUN, RunConfig, parse_override, resolve
from vidrepro.errors import ConfigError, unknown_name
from vidrepro.experiments.lookup import load_paper
from vidrepro.experiments.overrides import applicable_overrides, for_row, replaces_start, with_mechanism_digest
from vidrepro.experiments.papers import Evaluation, Paper, Place, Row, Table, is_own_mechanism
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
    from vidrepro.data.known import SOURCES

    return {*SOURCES, *(path.parent.name for path in data_folder.glob("*/manifest.csv"))}


def choose_dataset(choice: str, paper: Paper, data_folder: Path, own: str | None = None) -> DatasetChoice:
    """Resolve ``auto`` to the paper's dataset if it is prepared in `data_folder`, else to the embedded one.

    Args:
        choice: a dataset's name, or ``auto``.
        paper: the paper.
        data_folder: where prepared datasets lie.
        own: the dataset of the table in question; None for the paper's main one.

    Raises:
        UnknownNameError: for a dataset nobody knows, with the closest ones.
    """
    own = own or paper.dataset
    named = f"'{own}' ({paper.title_of(own)})"
    if choice not in ("auto", own):
        if choice not in (known := known_datasets(data_folder)):
            raise unknown_name("dataset", choice, known)
        return DatasetChoice(
            choice,
            f"Dataset '{choice}', as asked; the paper's is {named}, so accuracies "
            "are not comparable with the printed ones.",
        )
    prepared = (data_folder / own / "manifest.csv").is_file()
    if prepared or choice == own:
        return DatasetChoice(own, f"Dataset {named}, the paper's own.")
    return DatasetChoice(
        EMBEDDED_DATASET,
        f"The paper's dataset {named} is not prepared in '{data_folder}', so the "
        f"embedded dataset '{EMBEDDED_DATASET}' is used; its accuracies are not comparable with the printed ones.",
    )


def choose_places(choice: str, paper: Paper, table: Table, data_folder: Path) -> list[tuple[Place, DatasetChoice]]:
    """What a table is run on: of the places it is printed for those that are prepared, or that `choice` names; where
    there are none, the embedded dataset or the one named.

    Raises:
        UnknownNameError: for a dataset nobody knows, with the closest ones.
    """
    chosen = [(place, choose_dataset(choice, paper, data_folder, place.dataset)) for place in table.places]
    own = [(place, found) for place, found in chosen if found.name == place.dataset]
    return own or [(Place(chosen[0][1].name), chosen[0][1])]


def resolve_row(
    row: Row,
    *,
    dataset: str,
    preset: str,
    backbone: str | None = None,
    overrides: Iterable[str] = (),
    change: Iterable[str] = (),
) -> RunConfig:
    """The settings a row is run with. Later layers win: table, row, preset, `backbone`, the row's own ``data`` and
    ``train`` (those of its variant last), overrides. A row that starts from another one's trained network is resolved
    after that one, under the same choices; weights asked for by an override take that network's place.

    A preset may replace the table's backbone (named in the result); a backbone asked for by `backbone` or by the
    override ``model.backbone=`` is never replaced, but still gets the preset's options for it.

    Overrides are for many rows, and options in them are left out that the row's mechanism does not have; `change` is
    for this row, applied last and as it stands.

    Raises:
        ConfigError: listing every fault in the settings.
        UnknownNameError: if there is no such preset.
        ModelError: if a mechanism of one's own cannot be imported.
    """
    if not row.is_trained:
        raise ConfigError(f"'{row.id}' has no run of its own", given=row.label, hint=_instead(row))
    asked_for, change = list(overrides), list(change)
    overrides = for_row(row, [*applicable_overrides(row, asked_for), *change])
    size = load_preset(preset)
    asked = [parse_override(text).get("model", {}) for text in overrides]
    chosen = next((model["backbone"] for model in reversed(asked) if "backbone" in model), backbone)
    if chosen is None:
        own = str(row.model.get("backbone"))
        chosen = size.replace_backbone.get(own, own)
    name = f"preset {preset}"
    of_preset: list[tuple[str, dict[str, Any]]] = [
        (name, {section: getattr(size, section) for section in ("model", "data", "train")}),
        (name, size.for_backbone.get(str(chosen), BackboneLayer()).model_dump()),
        (name, size.for_paper.get(row.paper, BackboneLayer()).model_dump()),
    ]
    models = [*(settings.get("model", {}) for _, settings in (*row.layers, *of_preset)), *asked]
    variant = str(next((model["variant"] for model in reversed(models) if "variant" in model), "official"))
    layers = [
        *row.layers,
        *(_recipe(row.paper, size.recipe, variant) if size.recipe is not None else ()),
        *of_preset,
        (name, {"model": {"backbone": chosen, "backbone_options": size.backbone_options.get(str(chosen), {})}}),
        *_start_settings(row, size, dataset=dataset, preset=preset, backbone=backbone, overrides=[*asked_for, *change]),
        *_own_settings(row, variant),
        ("dataset", {"dataset": dataset}),
    ]
    return with_mechanism_digest(resolve(layers, overrides))


def _start_settings(
    row: Row, size: PresetFile, *, dataset: str, preset: str, backbone: str | None, overrides: list[str]
) -> list[tuple[str, dict[str, Any]]]:
    """What comes of a row's starting from another: the preset's settings for it, and which run it is, by its config."""
    if row.starts_from is None:
        return []
    layers: list[tuple[str, dict[str, Any]]] = [(f"preset {preset}, for_start", size.for_start.model_dump())]
    if not replaces_start(overrides):
        start = load_paper(row.paper).row(row.starts_from)
        config = resolve_row(start, dataset=dataset, preset=preset, backbone=backbone, overrides=overrides)
        layers.append((row.starts_from, {"model": {"weights": f"{START_RUN}{config.fingerprint}"}}))
    return layers


def _own_settings(row: Row, variant: str) -> list[tuple[str, dict[str, Any]]]:
    """What the row is about, whatever the preset: its numbers of frames, not the table's; and what its variant has."""
    where, settings = row.layers[-1] if row.layers else ("", {})
    own = {section: settings[section] for section in ("data", "train") if settings.get(section)}
    return [(where, own), (f"{where}, for_variant {variant}", dict(row.for_variant.get(variant, {})))]


def _instead(row: Row) -> str:
    if row.quoted is not None:
        return f"quoted in the paper: {row.quoted}"
    if row.derived is None:
        return str(row.why_not_run)
    names = [row.derived.of] if isinstance(row.derived, Evaluation) else row.derived.members
    return f"its accuracy is had from the runs of {', '.join(names)}: vidrepro ablate {row.paper} --rows {row.name}"


def select_rows(
    paper: Paper,
    tables: str | Iterable[str | int] | None = None,
    rows: str | Iterable[str] | None = None,
    backbone: str | None = None,
) -> list[Row]:
    """The rows a command is about, in printed order; rows that nothing is run for, quoted or not built, are left out.

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
        ConfigError: for a mechanism of one's own where no table has a place for it, or for a row that is not run.
    """
    selected = _rows_of_tables(paper, tables, backbone)
    if rows is None:
        return [row for row in selected if row.not_run is None]
    names = _comma_list(rows)
    pools = [selected] if tables is not None else [selected, [row for table in paper.tables for row in table.rows]]
    found = [_row_named(name, pools, paper) for name in names]
    for row in found:
        if row.not_run:
            raise ConfigError(f"'{row.id}' is not run here", given=row.label, hint=_instead(row))
    return found


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


def _recipe(paper: str, file_name: str, variant: str) -> list[tuple[str, dict[str, Any]]]:
    recipe = load_paper(paper).recipe
    if recipe is None:
        raise ConfigError(
            f"'{paper}' has no recipe of its own",
            given=f"preset with recipe: {file_name}",
            allowed=f"experiments/{paper}/{file_name}",
            hint="choose another --preset",
        )
    where = f"{paper}/{file_name}"
    of_variant = [layer.model_dump() for name, layer in recipe.for_variant.items() if name == variant]
    return [
        (where, {"model": recipe.model, "data": recipe.data, "train": recipe.train}),
        *((f"{where}, for_variant {variant}", settings) for settings in of_variant),
    ]
