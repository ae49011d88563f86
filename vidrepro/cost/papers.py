"""What every row of a paper's tables costs at the paper's own input size, beside what the paper prints.

Nothing here imports torch: a cost that is already known is read from a file (`CostCache`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import vidrepro
from vidrepro.config import ModelConfig, parse_override, resolve
from vidrepro.cost.printed_convention import rule_for_cell
from vidrepro.errors import ConfigError, ModelError, ResultsError, UnknownNameError
from vidrepro.experiments import Paper, Row, load_paper
from vidrepro.experiments.overrides import applicable_overrides, require_some_row_takes
from vidrepro.experiments.schema import CostInput
from vidrepro.files import atomic_write_json, atomic_write_text, fingerprint

GMACS_UNIT = "GMAC"
Record = dict[str, Any]


def measure_paper(
    paper: str | Paper,
    table: str | int | None = None,
    *,
    overrides: Iterable[str] = (),
    results: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Record]:
    """Cost of every row of a paper's tables, in printed order, each distinct network measured once.

    Measured on the network the table names, never on a preset's smaller one, at the paper's input (M2A: 8 frames of
    224x224, 174 classes), in eval mode.

    Args:
        paper: a paper or its name.
        table: ``I``, ``1``, ``table1`` or several with commas between; None for all.
        overrides: ``key=value`` texts on top of the rows' settings, of the network only, e.g. ``model.variant=paper``;
            ``model.options.…`` changes the rows whose mechanism has that option.
        results: results folder to keep measured costs in; None keeps nothing.
        progress: told the id of each row before its network is measured.

    Returns:
        One record per row: experiment, table, label, backbone, mechanism, temporal_shift, variant, frames, size,
        classes; gmacs_fvcore, gmacs_conv_linear, gmacs_printed_convention, rule and rule_description, printed (the
        paper's number), matches_printed (to the digits the table prints; None where it prints none), params,
        by_operator, uncounted, components, elements, cross_check; not_measured, the reason why a row has no numbers
        (they are None then), else None.

    Raises:
        UnknownNameError: for an unknown paper or table, or for a name in `overrides` nobody knows.
        ConfigError, ModelError: if `overrides` do not fit, are not about the network, or no row has such an option.
    """
    source = load_paper(paper) if isinstance(paper, str) else paper
    tables = source.tables if table is None else tuple(source.table(name) for name in str(table).split(","))
    rows = [row for chosen in tables for row in chosen.rows]
    overrides = list(overrides)
    _check_overrides(overrides, rows)
    costs = CostCache(results)
    return [measure_row(source, row, costs, overrides=overrides, progress=progress) for row in rows]


def measure_row(
    paper: Paper,
    row: Row,
    costs: CostCache,
    *,
    overrides: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> Record:
    """One record of `measure_paper`.

    Raises:
        ConfigError, ModelError, UnknownNameError: if `overrides` do not fit; without any, a network that cannot be
            built is told by the record.
    """
    record = _facts(paper, row)
    network = resolve(row.layers, applicable_overrides(row, overrides)).model
    record |= {key: getattr(network, key) for key in ("backbone", "mechanism", "temporal_shift", "variant")}
    key = network_key(network, paper.cost_input)
    cost = costs.read(key)
    if cost is None:
        if progress:
            progress(row.id)
        try:
            _require_recorded_source(network)
            cost = _measure(network, paper.cost_input)
        except (ModelError, UnknownNameError) as error:
            if overrides:
                raise
            return record | {"not_measured": error.problem}
        costs.write(key, cost)
    return record | cost | _printed_convention(paper.name, network.mechanism, cost, record)


def network_key(network: ModelConfig, clip: CostInput) -> str:
    """Fingerprint of all that determines a cost: the network, its input, the code that builds and counts it."""
    settings = network.model_dump(mode="json", exclude={"weights", "dropout"})  # neither changes a count
    versions = {name: version(name) for name in ("torch", "torchvision", "fvcore")}
    content = {"network": settings, "clip": clip.model_dump(), "versions": versions, "code": _code_fingerprint()}
    return fingerprint(content)[:24]


class CostCache:
    """Measured costs by network, kept in memory and, given a results folder, as small files below it.

    Only a shortcut: a file that cannot be read is measured again, one that cannot be written is left out.
    """

    def __init__(self, results: Path | None) -> None:
        self.folder = results / ".cache" / "cost" if results is not None else None
        self._known: dict[str, Record] = {}

    def read(self, key: str) -> Record | None:
        """The cost kept under `key`, if there is one."""
        if key not in self._known and self.folder is not None:
            with suppress(OSError, ValueError):
                self._known[key] = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
        return self._known.get(key)

    def write(self, key: str, cost: Record) -> None:
        """Keep a cost."""
        self._known[key] = cost
        if self.folder is not None:
            with suppress(ResultsError):
                atomic_write_json(self.folder / f"{key}.json", cost)
                atomic_write_text(self.folder.parent / ".gitignore", "*\n")


def printed_cost(paper: Paper, row: Row) -> tuple[float | None, int]:
    """The cost a row prints, in GMACs, and the number of decimals its column prints.

    The decimals are the most any cell of the column shows: YAML does not keep the zero of 14.80.
    """
    printed = paper.table(row.table).printed
    for position, column in enumerate(printed.columns):
        if column.unit == GMACS_UNIT:
            cells = [cells[position] for cells in printed.rows if isinstance(cells[position], int | float)]
            decimals = max((len(str(cell).partition(".")[2]) for cell in cells), default=0)
            cell = row.printed[column.name]
            return (float(cell) if isinstance(cell, int | float) else None), decimals
    return None, 0


_MEASURED = (
    "gmacs_fvcore",
    "gmacs_conv_linear",
    "gmacs_printed_convention",
    "rule",
    "rule_description",
    "matches_printed",
    "params",
    "by_operator",
    "uncounted",
    "components",
    "elements",
    "cross_check",
)


def _check_overrides(overrides: Sequence[str], rows: Sequence[Row]) -> None:
    others = [text for text in overrides if parse_override(text).keys() != {"model"}]
    if others:
        raise ConfigError(
            "cost is counted at the paper's own input, so nothing but the network can be changed",
            given=", ".join(others),
            allowed="model.KEY=VALUE, e.g. model.variant=paper",
        )
    require_some_row_takes(rows, overrides)


def _facts(paper: Paper, row: Row) -> Record:
    printed, decimals = printed_cost(paper, row)
    return {
        "experiment": row.id,
        "table": row.table,
        "label": row.label,
        **{key: row.model.get(key) for key in ("backbone", "mechanism", "temporal_shift", "variant")},
        **paper.cost_input.model_dump(),
        "printed": printed,
        "printed_decimals": decimals if printed is not None else None,
        **dict.fromkeys(_MEASURED),
        "not_measured": None,
    }


def _printed_convention(paper: str, mechanism: str, measured: Record, facts: Record) -> Record:
    rule = rule_for_cell(paper, mechanism)
    if rule is None:
        return {}
    gmacs = rule.total(measured["components"]) / 1e9
    decimals, printed = facts["printed_decimals"], facts["printed"]
    return {
        "gmacs_printed_convention": gmacs,
        "rule": rule.name,
        "rule_description": rule.description,
        "matches_printed": None if printed is None else f"{gmacs:.{decimals}f}" == f"{printed:.{decimals}f}",
    }


def _require_recorded_source(network: ModelConfig) -> None:
    """Refuse to count a user's class in place of an older version of it that a run was made with."""
    if network.mechanism_digest is None:
        return
    from vidrepro.models.mechanisms import external_digest

    if external_digest(network.mechanism) != network.mechanism_digest:
        raise ModelError(f"the source of '{network.mechanism}' has changed since it was run")


def _measure(network: ModelConfig, clip: CostInput) -> Record:
    from vidrepro.cost.report import measure_model
    from vidrepro.models import build_from_config

    model = build_from_config(network, frames=clip.frames, classes=clip.classes, pretrained=False)
    return measure_model(model, frames=clip.frames, size=clip.size).as_dict()


@cache
def _code_fingerprint() -> str:
    package = Path(vidrepro.__file__).parent
    files = sorted(file for room in ("models", "cost") for file in (package / room).rglob("*.py"))
    return fingerprint({file.relative_to(package).as_posix(): file.read_text(encoding="utf-8") for file in files})
