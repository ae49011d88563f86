"""What every row of a paper's tables costs at the paper's own input size, beside what the paper prints.

Nothing here imports torch: a cost that is already known is read from a file (`CostCache`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import vidrepro
from vidrepro.config import ModelConfig, parse_override, resolve
from vidrepro.cost.printed_convention import FVCORE, PrintedRule, rule_for_cell
from vidrepro.errors import ConfigError, ModelError, ResultsError, UnknownNameError
from vidrepro.experiments import Ensemble, Evaluation, Paper, Row, load_paper
from vidrepro.experiments.overrides import applicable_overrides, require_some_row_takes
from vidrepro.experiments.papers import NOT_BUILT
from vidrepro.experiments.schema import CostInput
from vidrepro.files import atomic_write_json, atomic_write_text, fingerprint, read_json

GMACS_UNIT = "GMAC"
PARAMS_UNIT = "M"  # millions of parameters
# hundreds of GMACs a clip: counted on the meta device, not computed
_ONLY_COUNTED = ("slow-r50", "slow-r101", "i3d-resnet50", "c3d-resnet50")
_RATHER_COUNTED = ("resnet50",)  # tens of GMACs, many rows: likewise, unless the counters disagree there
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
        classes, views (looks at a video; all costs are of one); quoted, not_built (why nothing is run for it);
        gmacs_fvcore, gmacs_conv_linear, gmacs_printed_convention, rule and rule_description, printed (the paper's
        number), matches_printed (to the digits the table prints; None where it prints none), params, printed_params (in
        millions), matches_printed_params, by_operator, uncounted, components, elements, cross_check; not_measured, the
        reason why a row has no numbers (they are None then), else None.

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
    if isinstance(row.derived, Ensemble):
        members = [measure_row(paper, paper.row(name), costs, progress=progress) for name in row.derived.members]
        record |= _sum_of_members(members)
        return record | _compared_with_print(record)
    if not row.built:
        kind = "quoted, not built here" if row.quoted else NOT_BUILT
        return record | {"not_measured": f"{kind}: {row.quoted or row.not_built}"}
    source = paper.row(row.derived.of) if isinstance(row.derived, Evaluation) else row
    network = resolve(source.layers, applicable_overrides(source, overrides)).model
    record |= {key: getattr(network, key) for key in ("backbone", "mechanism", "temporal_shift", "variant")}
    clip = paper.cost_input.model_copy(update={"frames": record["frames"]})
    try:
        cost = _known_or_measured(network, clip, costs, progress and (lambda: progress(row.id)))
        rule = rule_for_cell(paper.name, network.mechanism)
        usual = paper.cost_input if rule is not None and rule.usual_frames else clip
        basis = cost if usual == clip else _known_or_measured(network, usual, costs, None)
    except (ModelError, UnknownNameError) as error:
        if overrides:
            raise
        return record | {"not_measured": error.problem}
    record |= cost | _printed_convention(rule, basis, clip.frames / usual.frames)
    return record | _compared_with_print(record)


def _known_or_measured(
    network: ModelConfig, clip: CostInput, costs: CostCache, begin: Callable[[], None] | None
) -> Record:
    """A network's cost, read where it is known.

    Raises:
        ModelError, UnknownNameError: if it cannot be built.
    """
    key = network_key(network, clip)
    cost = costs.read(key)
    if cost is None:
        if begin:
            begin()
        cost = _measure(network, clip)
        costs.write(key, cost)
    return cost


def _sum_of_members(members: Sequence[Record]) -> Record:
    """What an ensemble costs: every member once."""
    unknown = [member for member in members if member["not_measured"]]
    if unknown:
        return {"not_measured": f"{unknown[0]['label']}: {unknown[0]['not_measured']}"}
    total: Record = {key: members[0][key] for key in ("backbone", "mechanism", "temporal_shift", "variant")}
    total |= {"frames": sum(member["frames"] for member in members), "views": max(m["views"] for m in members)}
    for name in ("gmacs_fvcore", "gmacs_conv_linear", "gmacs_printed_convention", "params"):
        values = [member[name] for member in members]
        total[name] = None if None in values else sum(values)
    for name in ("rule", "rule_description"):
        total[name] = members[0][name]
    for name in ("by_operator", "uncounted", "components", "elements"):
        keys = dict.fromkeys(key for member in members for key in member[name])
        total[name] = {key: sum(member[name].get(key, 0) for member in members) for key in keys}
    agrees = all(member["cross_check"]["agrees"] for member in members)
    disagreements = list(dict.fromkeys(text for m in members for text in m["cross_check"]["disagreements"]))
    return total | {"cross_check": {"agrees": agrees, "disagreements": disagreements, "macs": {}}}


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
                self._known[key] = read_json(self.folder / f"{key}.json")
        return self._known.get(key)

    def write(self, key: str, cost: Record) -> None:
        """Keep a cost."""
        self._known[key] = cost
        if self.folder is not None:
            with suppress(ResultsError):
                atomic_write_json(self.folder / f"{key}.json", cost)
                atomic_write_text(self.folder.parent / ".gitignore", "*\n")


def printed_cost(paper: Paper, row: Row, unit: str = GMACS_UNIT) -> tuple[float | None, int]:
    """The cost a row prints, in GMACs (or parameters in millions, M), and the number of decimals its column prints.

    The decimals are the most any cell of the column shows: YAML does not keep the zero of 14.80.
    """
    printed = paper.table(row.table).printed
    for position, column in enumerate(printed.columns):
        if column.unit == unit:
            cells = [cells[position] for cells in printed.rows if isinstance(cells[position], int | float)]
            decimals = max((len(str(cell).partition(".")[2]) for cell in cells), default=0)
            cell = row.printed.get(column.name)
            return (float(cell) if isinstance(cell, int | float) else None), decimals
    return None, 0


_MEASURED = (
    "gmacs_fvcore",
    "gmacs_conv_linear",
    "gmacs_printed_convention",
    "rule",
    "rule_description",
    "matches_printed",
    "matches_printed_params",
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
    params, param_decimals = printed_cost(paper, row, PARAMS_UNIT)
    source = paper.row(row.derived.of) if isinstance(row.derived, Evaluation) else row
    network = source.model if source.built and not isinstance(row.derived, Ensemble) else {}
    return {
        "experiment": row.id,
        "table": row.table,
        "label": row.label,
        **{key: network.get(key) for key in ("backbone", "mechanism", "temporal_shift", "variant")},
        **paper.cost_input.model_dump(),
        "frames": source.frames or paper.cost_input.frames,
        "views": row.views,
        "printed": printed,
        "printed_decimals": decimals if printed is not None else None,
        "printed_params": params,
        "printed_params_decimals": param_decimals if params is not None else None,
        "quoted": row.quoted,
        "not_built": row.not_built,
        **dict.fromkeys(_MEASURED),
        "not_measured": None,
    }


def _printed_convention(rule: PrintedRule | None, measured: Record, times: float) -> Record:
    if rule is None:
        return {}
    components = measured["components"] | {FVCORE: measured["gmacs_fvcore"] * 1e9}
    return {
        "gmacs_printed_convention": times * rule.total(components) / 1e9,
        "rule": rule.name,
        "rule_description": rule.description,
    }


def _compared_with_print(record: Record) -> Record:
    """Whether a count agrees with what is printed, to the printed digits; None where one of them is missing."""
    compared = {}
    for name, printed, counted in (
        ("matches_printed", "printed", record["gmacs_printed_convention"]),
        ("matches_printed_params", "printed_params", record["params"] and record["params"] / 1e6),
    ):
        digits = record[f"{printed}_decimals"]
        known = record[printed] is not None and counted is not None
        compared[name] = f"{counted:.{digits}f}" == f"{record[printed]:.{digits}f}" if known else None
    return compared


def _measure(network: ModelConfig, clip: CostInput) -> Record:
    if network.backbone not in (*_ONLY_COUNTED, *_RATHER_COUNTED):
        return _measure_on("cpu", network, clip)
    if network.backbone in _ONLY_COUNTED:
        return _measure_on("meta", network, clip)
    from vidrepro.models.mechanisms.external_faults import OwnCodeError

    with suppress(RuntimeError, OwnCodeError):  # a mechanism that looks at values
        counted = _measure_on("meta", network, clip)
        if counted["cross_check"]["agrees"]:
            return counted
    return _measure_on("cpu", network, clip)


def _measure_on(device: str, network: ModelConfig, clip: CostInput) -> Record:
    import torch

    from vidrepro.cost.report import measure_model
    from vidrepro.models import build_from_config

    with torch.device(device):
        model = build_from_config(network, frames=clip.frames, classes=clip.classes, pretrained=False)
    return measure_model(model, frames=clip.frames, size=clip.size).as_dict()


@cache
def _code_fingerprint() -> str:
    package = Path(vidrepro.__file__).parent
    files = sorted(file for room in ("models", "cost") for file in (package / room).rglob("*.py"))
    return fingerprint({file.relative_to(package).as_posix(): file.read_text(encoding="utf-8") for file in files})
