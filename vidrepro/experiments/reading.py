"""Files of ``experiments/<paper>`` -> `Paper`, with every fault in them reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vidrepro.config import load_yaml, resolve
from vidrepro.errors import ConfigError, VidreproError, closest
from vidrepro.experiments.papers import Ensemble, Evaluation, Paper, Row, Table, table_number
from vidrepro.experiments.schema import (
    Cell,
    DifferencesFile,
    PaperFile,
    PrintedFile,
    PrintedTable,
    RecipeFile,
    RowEntry,
    TableFile,
)

_Schema = TypeVar("_Schema", bound=BaseModel)


@cache
def read_paper(folder: Path) -> Paper:
    """Read the paper described by the files in `folder`; see `load_paper`."""
    faults: list[str] = []
    about = _read(folder / "paper.yaml", PaperFile, faults)
    printed = _read(folder / "printed.yaml", PrintedFile, faults)
    recipe = _read(folder / "recipe.yaml", RecipeFile, faults) if (folder / "recipe.yaml").exists() else None
    differences_file = folder / "differences.yaml"
    differences = _read(differences_file, DifferencesFile, faults) if differences_file.exists() else None
    table_files = {
        file: content
        for file in sorted(folder.glob("table*.yaml"))
        if (content := _read(file, TableFile, faults)) is not None
    }
    tables: list[Table] = []
    if about is not None and printed is not None:
        tables = _tables(about, printed, table_files, faults)
        faults += [*_selection_faults(about, tables), *_claim_faults(printed, tables)]
        faults += [*_difference_faults(differences, tables), *_derivation_faults(tables), *_start_faults(tables)]
    if faults or about is None or printed is None:
        raise ConfigError(
            f"the experiments of '{folder.name}' cannot be used", where=folder, allowed="\n    " + "\n    ".join(faults)
        )
    return Paper(
        **about.model_dump(include={"name", "title", "authors", "code", "dataset", "dataset_title", "dataset_titles"}),
        tables=tuple(tables),
        figures=tuple(printed.figures),
        claims=tuple(printed.claims),
        differences=tuple(differences.differences) if differences else (),
        recipe=recipe,
        default_selection=tuple(about.default_selection),
        cost_input=about.cost_input,
        folder=folder,
    )


def read_schema(file: Path, schema: type[_Schema]) -> _Schema:
    """Read a YAML file as `schema`.

    Raises:
        ConfigError: listing every fault, with the file's name.
    """
    faults: list[str] = []
    content = _read(file, schema, faults)
    if content is None:
        raise ConfigError(faults[0], where=file, allowed="\n    " + "\n    ".join(faults) if faults[1:] else None)
    return content


def _read(file: Path, schema: type[_Schema], faults: list[str]) -> _Schema | None:
    try:
        return schema.model_validate(load_yaml(file))
    except ConfigError as error:
        faults.append(f"{error.where or file}: {error.problem}")
    except ValidationError as error:
        for item in error.errors():
            place = ".".join(map(str, item["loc"]))
            near = closest(str(item["loc"][-1]), schema.model_fields, count=1) if item["loc"] else []
            unknown = item["type"] == "extra_forbidden"
            message = "unknown key" if unknown else item["msg"].removeprefix("Value error, ")
            better = f"; did you mean {near[0]}" if unknown and near else ""
            faults.append(f"{file}: {place + ': ' if place else ''}{message}{better}")
    return None


def _tables(about: PaperFile, printed: PrintedFile, files: dict[Path, TableFile], faults: list[str]) -> list[Table]:
    by_number: dict[int | None, tuple[Path, TableFile]] = {}
    for file, content in files.items():
        number = table_number(content.table)
        if content.paper != about.name:
            faults.append(f"{file}: paper is '{content.paper}', but the folder's is '{about.name}'")
        if number is None or number not in {table_number(table.id) for table in printed.tables}:
            faults.append(f"{file}: table '{content.table}' is not in printed.yaml")
        if number in by_number:
            faults.append(f"{file}: table '{content.table}' is already described by {by_number[number][0].name}")
        by_number[number] = (file, content)
    tables = []
    for entry in printed.tables:
        number = table_number(entry.id)
        if number in by_number:
            tables.append(_table(about, entry, *by_number[number], faults))
        else:
            faults.append(f"printed.yaml, table {entry.id}: no table file says what is run for it")
    return tables


def _table(about: PaperFile, entry: PrintedTable, file: Path, content: TableFile, faults: list[str]) -> Table:
    if "dataset" not in content.base:
        faults.append(f"{file}, base: no dataset")
    columns = [column.name for column in entry.columns if column.unit == "%"]
    matrix = any(row.column is not None for row in content.rows)
    places = [(label, column) for label in entry.labels for column in (columns if matrix else (None,))]
    by_place: dict[tuple[str, str | None], RowEntry] = {(row.label, row.column): row for row in content.rows}
    every = [*content.rows, *content.extra_rows]
    faults += [f"{file}: {_place_text(*place)} is not printed" for place in by_place if place not in places]
    given = {"label": [_place_text(row.label, row.column) for row in every], "id": [row.id for row in every]}
    for what, values in given.items():
        faults += [f"{file}: {what} {value} stands twice" for value in sorted(set(values)) if values.count(value) > 1]
    base = (str(file), content.base)
    base_faults = _settings_faults(f"{file}, base", [base])
    faults += base_faults
    rows = []
    for label, column in places:
        if (label, column) not in by_place:
            faults.append(f"{file}: the printed {_place_text(label, column)} is missing")
            continue
        printed_as = entry.row(label) if column is None else entry.cell(label, column)
        title = label if column is None else f"{label}, {entry.short_title(column)}"
        rows.append(_row(about, entry, file, base, by_place[label, column], title, printed_as))
    nothing = dict.fromkeys(column.name for column in entry.columns[1:])
    for row in content.extra_rows:
        extra = _row(about, entry, file, base, row, row.label, nothing)
        rows.append(replace(extra, own=True, place=None))
    for built in () if base_faults else rows:
        faults += _settings_faults(f"{file}, row {built.name}", built.layers)
        for variant, settings in built.for_variant.items():
            of_variant = (f"for_variant {variant}", settings)
            faults += _settings_faults(f"{file}, row {built.name}", [*built.layers, of_variant])
    return Table(about.name, entry, tuple(rows), base, content.baseline, content.own_rows)


def _row(
    about: PaperFile,
    entry: PrintedTable,
    file: Path,
    base: tuple[str, Mapping[str, Any]],
    row: RowEntry,
    title: str,
    printed: Mapping[str, Cell],
) -> Row:
    table = f"{about.name}/table{table_number(entry.id)}/"
    return Row(
        id=f"{table}{row.id}",
        label=title,
        paper=about.name,
        table=entry.id,
        printed=printed,
        layers=(base, (f"{file}, row {row.id}", row.settings)),
        place=None if row.column is None else (row.label, row.column),
        for_variant={variant: layer.model_dump() for variant, layer in row.for_variant.items()},
        quoted=row.quoted,
        not_built=row.not_built,
        derived=_derived(row, table),
        built=row.not_built is None and (row.quoted is None or bool(row.model)),
        views=_views(row),
        starts_from=_whole_id(row.starts_from, table) if row.starts_from is not None else None,
    )


def _whole_id(name: str, table: str) -> str:
    """An experiment's id; one of the same table may be named by its last part."""
    return name if "/" in name else table + name


def _views(row: RowEntry) -> int:
    crops, clips = map(int, row.views.split("x")) if row.views else (1, 1)
    return crops * clips * int(row.data.get("eval_crops", 1)) * int(row.data.get("eval_clips", 1))


def _derived(row: RowEntry, table: str) -> Evaluation | Ensemble | None:
    """What a row without runs of its own is had from."""
    if row.evaluates is not None:
        crops, clips = map(int, row.views.split("x")) if row.views else (None, None)
        probe = (row.probe.what, row.probe.how) if row.probe else None
        return Evaluation(_whole_id(row.evaluates, table), crops, clips, probe)
    if row.members:
        members = tuple(_whole_id(name, table) for name in row.members)
        return Ensemble(members, tuple(row.weights) if row.weights else None)
    return None


def _derivation_faults(tables: list[Table]) -> Iterable[str]:
    rows = {row.id: row for table in tables for row in table.rows}
    for row in rows.values():
        source = row.derived.of if isinstance(row.derived, Evaluation) else None
        if source is not None and (source not in rows or not rows[source].is_trained):
            yield f"{row.id} evaluates '{source}', which is not a row that is trained"
        for name in row.derived.members if isinstance(row.derived, Ensemble) else ():
            member = rows.get(name)
            if member is None or member.not_run or isinstance(member.derived, Ensemble):
                yield f"{row.id} has the member '{name}', which is not a row that is trained or evaluates one"


def _start_faults(tables: list[Table]) -> Iterable[str]:
    rows = {row.id: row for table in tables for row in table.rows}
    for row in rows.values():
        passed = {row.id}
        start = row.starts_from
        while start is not None and start not in passed:
            passed.add(start)
            if start not in rows or not rows[start].is_trained:
                yield f"{row.id} starts from '{start}', which is not a row that is trained"
                break
            start = rows[start].starts_from
        else:
            if start is not None:
                yield f"{row.id} starts from itself by way of '{start}'"


def _place_text(label: str, column: str | None) -> str:
    return f"row '{label}'" if column is None else f"cell '{label}', {column}"


def _settings_faults(
    place: str, layers: Iterable[tuple[str, Mapping[str, Any]]], overrides: Iterable[str] = ()
) -> list[str]:
    try:
        resolve(layers, overrides)
    except VidreproError as error:
        return [f"{place}: {error.problem}{': ' + error.allowed if error.allowed else ''}"]
    return []


def _selection_faults(about: PaperFile, tables: list[Table]) -> Iterable[str]:
    by_number = {table.number: table for table in tables}
    ids = {row.id for table in tables for row in table.rows}
    for table in tables:
        if table.baseline is not None and table.baseline not in ids:
            yield f"{table.slug}.yaml: baseline '{table.baseline}' is not an experiment"
    for selection in about.default_selection:
        chosen = by_number.get(table_number(selection.table) or 0)
        names = {row.name for row in chosen.rows} if chosen else set()
        if chosen is None:
            yield f"paper.yaml: default_selection names table '{selection.table}', which is not printed"
        for name in selection.rows or []:
            if chosen is not None and name not in names:
                yield f"paper.yaml: default_selection names row '{name}', which Table {chosen.id} has not"


def _claim_faults(printed: PrintedFile, tables: list[Table]) -> Iterable[str]:
    ids = {row.id for table in tables for row in table.rows}
    for claim in printed.claims:
        named = [*claim.experiments, *(name for ratio in claim.costs for name in (ratio.of, ratio.over))]
        for name in named:
            if name not in ids:
                yield f"printed.yaml: the claim '{claim.text}' is about '{name}', which is not an experiment"
        for table in claim.tables:
            if table not in {entry.id for entry in tables}:
                yield f"printed.yaml: the claim '{claim.text}' is about table '{table}', which is not printed"


def _difference_faults(differences: DifferencesFile | None, tables: list[Table]) -> Iterable[str]:
    rows = {row.id: row for table in tables for row in table.rows}
    for difference in differences.differences if differences else ():
        for effect in difference.effects:
            place = f"differences.yaml, {difference.id}"
            if effect.row not in rows:
                yield f"{place}: '{effect.row}' is not an experiment"
            else:
                yield from _settings_faults(place, rows[effect.row].layers, effect.set)
