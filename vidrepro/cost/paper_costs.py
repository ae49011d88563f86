"""What every row of a paper's tables costs at the paper's own input size, beside what the paper prints.

Nothing here imports torch: a cost that is already known is read from a file (`KnownCosts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vidrepro.config import parse_override, resolve
from vidrepro.cost.costs_file import KnownCosts, Record
from vidrepro.cost.printed_convention import FVCORE, PrintedRule, rule_for_cell
from vidrepro.errors import ConfigError, ModelError, UnknownNameError
from vidrepro.experiments import Ensemble, Evaluation, Paper, Row, load_paper
from vidrepro.experiments.overrides import applicable_overrides, require_some_row_takes, with_mechanism_digest
from vidrepro.experiments.papers import NOT_BUILT
from vidrepro.experiments.schema import Effect

GMACS_UNIT = "GMAC"
PARAMS_UNIT = "M"  # millions of parameters


def measure_paper(
    paper: str | Paper,
    table: str | int | None = None,
    *,
    overrides: Iterable[str] = (),
    results: Path | None = None,
    use_kept: bool = True,
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
        use_kept: whether the costs kept with the paper are used, or counted too.
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
    costs = KnownCosts(results, source if use_kept else None)
    return [measure_row(source, row, costs, overrides=overrides, progress=progress) for row in rows]


def save_costs(paper: Paper, progress: Callable[[str], None] | None = None) -> Path:
    """Count all that is ever shown of a paper's costs, and keep it in the paper's folder.

    Returns:
        The file.

    Raises:
        ResultsError: if it cannot be written.
    """
    costs = KnownCosts()
    measure_everything(paper, costs, progress)
    return costs.save(paper.folder)


def measure_everything(paper: Paper, costs: KnownCosts, progress: Callable[[str], None] | None = None) -> None:
    """Ask for the cost of every row, and of every effect of the differences between text and code."""
    for table in paper.tables:
        for row in table.rows:
            measure_row(paper, row, costs, progress=progress)
    for difference in paper.differences:
        for effect in difference.effects:
            measure_effect(paper, effect, costs, progress)


def measure_effect(
    paper: Paper, effect: Effect, costs: KnownCosts, progress: Callable[[str], None] | None = None
) -> tuple[Record, Record]:
    """Two records of `measure_paper`: of the effect's row as it is run, and with the change.

    Raises:
        ConfigError, ModelError, UnknownNameError: if the change does not fit.
    """
    row = paper.row(effect.row)
    told = f"{row.id} with {', '.join(effect.set)}"
    plain = measure_row(paper, row, costs, progress=progress)
    return plain, measure_row(paper, row, costs, change=effect.set, progress=progress and (lambda _: progress(told)))


def measure_row(
    paper: Paper,
    row: Row,
    costs: KnownCosts,
    *,
    overrides: Sequence[str] = (),
    change: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> Record:
    """One record of `measure_paper`.

    Args:
        overrides: for many rows: options are left out that the row's mechanism does not have.
        change: for this row: applied after them, as it stands.

    Raises:
        ConfigError, ModelError, UnknownNameError: if `overrides` or `change` do not fit; without any, a network that
            cannot be built is told by the record.
    """
    record = _facts(paper, row)
    if isinstance(row.derived, Ensemble):
        members = [
            measure_row(paper, paper.row(name), costs, overrides=overrides, change=change, progress=progress)
            for name in row.derived.members
        ]
        record |= _sum_of_members(members)
        return record | _compared_with_print(record)
    if not row.built:
        kind = "quoted, not built here" if row.quoted else NOT_BUILT
        return record | {"not_measured": f"{kind}: {row.quoted or row.not_built}"}
    source = paper.row(row.derived.of) if isinstance(row.derived, Evaluation) else row
    config = resolve(source.layers, [*applicable_overrides(source, overrides), *change])
    record |= {key: getattr(config.model, key) for key in ("backbone", "mechanism", "temporal_shift", "variant")}
    clip = paper.cost_input.model_copy(update={"frames": record["frames"]})
    try:
        network = with_mechanism_digest(config).model
        cost = costs.of(network, clip, progress and (lambda: progress(row.id)))
        rule = rule_for_cell(paper.name, network.mechanism)
        usual = paper.cost_input if rule is not None and rule.usual_frames else clip
        basis = cost if usual == clip else costs.of(network, usual)
    except (ModelError, UnknownNameError) as error:
        if overrides or change:
            raise
        return record | {"not_measured": error.problem}
    record |= cost | _printed_convention(rule, basis, clip.frames / usual.frames)
    return record | _compared_with_print(record)


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
