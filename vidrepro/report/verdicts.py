"""Whether measurements order a table's rows as the paper does, and which of its sentences they bear out.

Judged on top-1 under one setting. A difference counts only if its 95 % interval excludes zero; sizes are never judged,
for another dataset and another network have other sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from vidrepro.experiments import Paper, Table
from vidrepro.experiments.schema import Claim, Comparison, CostRatio
from vidrepro.report.facts import titles
from vidrepro.report.grid import Cell, Grid, Notes, grid
from vidrepro.report.printed_cells import signed
from vidrepro.report.records import Cost, printed_beside, section_place, trained_text
from vidrepro.report.sections import Section
from vidrepro.report.statistics import Gap, gap, rank_correlation
from vidrepro.runs.record import RunRecord

HOLDS = "holds"
FAILS = "does not hold"
UNCLEAR = "cannot be told"  # the interval has zero inside
UNMEASURED = "not measured"
SAME = "the same network here"
LEAST_ROWS = 3  # of a rank correlation
NEAR_ONE = 0.005  # a ratio of costs so near 1 is shown with a digit more


@dataclass(frozen=True)
class Judged:
    """A comparison with what was measured for it; `gap` is None where one side has no runs."""

    comparison: Comparison
    gap: Gap | None
    verdict: str


def judge(comparison: Comparison, runs: Mapping[str, Sequence[RunRecord]]) -> Judged:
    """What runs say about a comparison.

    Args:
        comparison: of two experiments.
        runs: experiment id -> its runs under one setting.
    """
    first, second = (runs.get(name, ()) for name in comparison.experiments)
    if not first or not second:
        return Judged(comparison, None, UNMEASURED)
    if {run.id for run in first} == {run.id for run in second}:
        return Judged(comparison, None, SAME)
    measured = gap(clip_counts(first), clip_counts(second))
    return Judged(comparison, measured, _verdict(comparison, measured))


def _verdict(comparison: Comparison, measured: Gap) -> str:
    if comparison.similar is None:
        return HOLDS if measured.low > comparison.by else FAILS if measured.high < comparison.by else UNCLEAR
    if comparison.within is None:
        return HOLDS if measured.low <= 0 <= measured.high else FAILS
    if -comparison.within <= measured.low and measured.high <= comparison.within:
        return HOLDS
    apart = measured.low > comparison.within or measured.high < -comparison.within
    return FAILS if apart else UNCLEAR


def overall(claim: Claim, judged: Sequence[Judged]) -> str:
    """A sentence's verdict from those of its comparisons."""
    verdicts = [item.verdict for item in judged]
    decisive, otherwise = (FAILS, HOLDS) if claim.needs == "all" else (HOLDS, FAILS)
    if decisive in verdicts:
        return decisive
    return next((verdict for verdict in (UNMEASURED, SAME, UNCLEAR) if verdict in verdicts), otherwise)


def verdict_grid(
    paper: Paper, table: Table, section: Section, records: Sequence[Mapping[str, Any]], notes: Notes
) -> Grid | None:
    """The paper's sentences about a table, judged under one setting; None where nothing was measured.

    Args:
        paper, table: what is printed.
        section: the setting, with the runs its sentences compare.
        records: the table's rows under it, see `vidrepro.report.records.section_records`.
        notes: takes the doubts about the sentences.
    """
    measured = [record for record in records if record["runs"]]
    if not measured:
        return None
    rows: list[tuple[Cell, ...]] = []
    for claim in paper.claims:
        if table.id in claim.tables and claim.holds:
            judged = [judge(comparison, section.compared) for comparison in claim.holds]
            rows += _claim_rows(paper, table, claim, section, notes, judged)
    names = ", ".join(sorted({trained_text(record) for record in measured}))
    fold = f", {measured[0]['fold']}" if measured[0].get("fold") else ""
    where = f"{section.key.dataset}{fold} with {names}, preset {section.key.preset}"
    heads = ("The paper's sentence", "printed", f"measured\n{section.key.dataset}", "verdict")
    columns = [(Cell(head), [row[place] for row in rows]) for place, head in enumerate(heads)]
    facts = [*_ordering_facts(paper, table, section, measured), *_reading_facts(paper, table, section, rows)]
    return grid(f"The paper's ordering and sentences, judged on {where}", columns, facts)


def cost_sentences(paper: Paper, table: Table, costs: Mapping[str, Cost]) -> list[str]:
    """The paper's sentences about costs, each with the counted ratio and whether it holds."""
    return [
        f"“{claim.text}” (section {claim.section}): {_ratio_text(paper, table, ratio, costs)}."
        for claim in paper.claims
        if table.id in claim.tables
        for ratio in claim.costs
    ]


def with_tables_compared(paper: Paper, tables: Sequence[Table]) -> list[Table]:
    """These tables and those whose costs the paper's sentences about them need too."""
    chosen = {table.id for table in tables}
    ratios = [ratio for claim in paper.claims if chosen & set(claim.tables) for ratio in claim.costs]
    named = {paper.row(name).table for ratio in ratios for name in (ratio.of, ratio.over)}
    return [table for table in paper.tables if table.id in chosen | named]


def _ratio_text(paper: Paper, table: Table, ratio: CostRatio, costs: Mapping[str, Cost]) -> str:
    names = f"{_name(paper, table, ratio.of)} / {_name(paper, table, ratio.over)}"
    convention, fvcore = (
        _ratio(costs.get(ratio.of), costs.get(ratio.over), name)
        for name in ("gmacs_printed_convention", "gmacs_fvcore")
    )
    if convention is None or fvcore is None:
        return f"{names} not counted"
    holds = HOLDS if ratio.at_least <= convention <= ratio.at_most else FAILS
    shown = [f"{value:.4f}" if abs(value - 1) < NEAR_ONE else f"{value:.4g}" for value in (convention, fvcore)]
    return f"{names} = {shown[0]} in the printed convention, {shown[1]} by fvcore: {holds}"


def _ratio(of: Cost | None, over: Cost | None, name: str) -> float | None:
    above, below = ((cost or {}).get(name) for cost in (of, over))
    return None if above is None or not below else above / below


def _claim_rows(
    paper: Paper, table: Table, claim: Claim, section: Section, notes: Notes, judged: Sequence[Judged]
) -> list[tuple[Cell, ...]]:
    marks = (notes.mark(claim.doubt),) if claim.doubt else ()
    sentence = Cell(f"{claim.section}: {claim.text}", marks)
    if len(judged) == 1:
        return [(sentence, *_comparison_cells(paper, section, judged[0], overall(claim, judged)))]
    needed = f"{claim.needs} of {len(judged)}"
    rows: list[tuple[Cell, ...]] = [(sentence, Cell(needed), Cell(needed), Cell(overall(claim, judged)))]
    for item in judged:
        first, second = (_name(paper, table, name) for name in item.comparison.experiments)
        word = _word(item.comparison)
        rows.append((Cell(f"– {first} {word} {second}"), *_comparison_cells(paper, section, item, item.verdict)))
    return rows


def _word(comparison: Comparison) -> str:
    if comparison.similar is not None:
        return "like" if comparison.within is None else f"within {comparison.within:g} pp of"
    return f"by {comparison.by:g} pp above" if comparison.by else "above"


def _comparison_cells(paper: Paper, section: Section, judged: Judged, verdict: str) -> tuple[Cell, Cell, Cell]:
    rows = [paper.row(name) for name in judged.comparison.experiments]
    first, second = (printed_beside(paper.table(row.table), row, section) for row in rows)
    both = first is not None and second is not None
    printed = signed(round(first - second, 6), 1) if both else "not printed"  # type: ignore[operator]
    return Cell(printed), Cell(_gap_text(judged.gap) if judged.gap else judged.verdict), Cell(verdict)


def _gap_text(measured: Gap) -> str:
    return f"{signed(measured.mean, 1)} [{signed(measured.low, 1)}, {signed(measured.high, 1)}]"


def _name(paper: Paper, table: Table, experiment: str) -> str:
    row = paper.row(experiment)
    return row.label if row.table == table.id else f"Table {row.table}'s {row.label}"


def _ordering_facts(paper: Paper, table: Table, section: Section, measured: Sequence[Mapping[str, Any]]) -> list[str]:
    both = [record for record in measured if record.get("printed_top1") is not None]
    if len(both) < LEAST_ROWS:
        return [f"Rank correlation with the printed column: not stated for {len(both)} measured rows."]
    ranks = rank_correlation([record["printed_top1"] for record in both], [record["top1"] for record in both])
    values = (("Spearman", ranks.spearman), ("Kendall", ranks.kendall))
    text = ", ".join(f"{name} {'undefined' if value is None else f'{value:.2f}'}" for name, value in values)
    rows = [row for row in table.rows if not row.own and row.not_run is None]
    return [
        f"Rank correlation of top-1 measured on {section.key.dataset} with top-1 printed on "
        f"{_printed_on(table, section)}: {text} (n = {ranks.count} of {len(rows)} rows). {_pairs_text(section, both)}"
    ]


def _printed_on(table: Table, section: Section) -> str:
    column = table.column("top1", *section_place(section))
    return (column.dataset if column is not None else None) or table.dataset


def _pairs_text(section: Section, both: Sequence[Mapping[str, Any]]) -> str:
    counts = dict.fromkeys((HOLDS, FAILS, UNCLEAR), 0)
    pairs = 0
    for first, second in combinations(both, 2):
        if first["printed_top1"] == second["printed_top1"]:
            continue
        higher, lower = sorted((first, second), key=lambda record: -record["printed_top1"])
        judged = judge(Comparison(higher=higher["experiment"], lower=lower["experiment"]), section.runs)
        if judged.verdict in counts:
            counts[judged.verdict] += 1
            pairs += 1
    return (
        f"Of {pairs} pairs of rows, {counts[HOLDS]} are measured in the printed order, {counts[FAILS]} in the reverse "
        f"order, {counts[UNCLEAR]} cannot be told apart."
    )


def _reading_facts(paper: Paper, table: Table, section: Section, rows: Sequence[Any]) -> list[str]:
    facts = [
        "Differences of top-1 in percentage points with 95 % intervals: over the seeds both rows have (paired, "
        "Student's t: how training varies, on the same clips), else over clips. Holds, does not hold: the interval "
        "excludes zero; cannot be told: it does not. The direction is judged, not the size."
    ]
    if section.key.dataset not in table.datasets:
        facts.append(f"The sentences are about {titles(paper, table)}; this is {section.key.dataset}.")
    return facts if rows else ["No sentence of the paper compares rows of this table.", *facts]


def clip_counts(runs: Sequence[RunRecord]) -> dict[int, tuple[int, int]]:
    """Seed -> (clips right, clips), as `vidrepro.report.statistics.gap` takes them."""
    return {run.seed: (run.best.top1_correct, run.best.clips) for run in runs}
