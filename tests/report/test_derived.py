"""Rows that have no runs of their own: other views, ensembles and probes of other rows' runs, in a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import made_up_costs, write_run
from fake_scores import give_scores

from vidrepro.experiments import load_paper
from vidrepro.experiments.schema import Comparison
from vidrepro.report.finished_runs import load_runs
from vidrepro.report.grid import Grid, TableReport
from vidrepro.report.verdicts import FAILS, HOLDS, UNCLEAR, judge
from vidrepro.report.write import report_tables
from vidrepro.runs.record import RunRecord, Score

CLIPS = 800
MEASURED = "Top-1 measured synthetic"


def report(results: Path, table: str = "II", **choice: Any) -> TableReport:
    paper = load_paper("aia")
    costs = made_up_costs("aia")
    return report_tables(
        paper,
        [paper.table(table)],
        load_runs(results),
        costs,
        data_folder=results / "no-data",
        **choice,
    )[0]


def column(grid: Grid, head: str) -> dict[str, str]:
    position = [" ".join(cell.text.split()) for cell in grid.heads].index(head)
    return {row[0].text: row[position].text for row in grid.rows}


def right(*parts: tuple[int, int]) -> np.ndarray:
    """Of the clips, those within any of the ranges."""
    found = np.zeros(CLIPS, dtype=bool)
    for first, last in parts:
        found[first:last] = True
    return found


@pytest.fixture
def labels() -> np.ndarray:
    return np.arange(CLIPS) % 8


def test_empty_cells_say_what_is_missing(tmp_path: Path, labels: np.ndarray) -> None:
    file = write_run(tmp_path, "aia/table2/aia-tsn-8x1x1", 400)
    cells = column(report(tmp_path).grids[0], MEASURED)
    assert cells["AIA(TSN), 8x1x1"].startswith("50.0 [")
    assert cells["AIA(TSN), 8x3x2"] == "not evaluated so"
    assert cells["AIA(TSN), (8+16)x3x2"] == "aia-tsn-16x3x2 not run"
    assert cells["AIA(TSN), 12x1x2"] == "aia-tsn-12x1x1 not run"
    assert cells["GST, 16x1x1"] == "quoted"
    facts = " ".join(report(tmp_path).grids[0].facts)
    assert "aia-tsn-8x3x2" in facts and "gst" not in facts  # what a command can still fill
    assert file.is_file()


def test_other_views_are_read_from_the_runs_scores(tmp_path: Path, labels: np.ndarray) -> None:
    file = write_run(tmp_path, "aia/table2/aia-tsn-8x1x1", 400)
    scores = give_scores(file, labels, right((0, 600)), protocol="8x3x2@32")
    accuracy = report(tmp_path).grids[0]
    assert column(accuracy, MEASURED)["AIA(TSN), 8x3x2"].startswith("75.0 [")
    assert column(accuracy, "last epoch")["AIA(TSN), 8x3x2"] == "not measured"
    kept = list((file.parent / "evaluations").glob("*.json"))
    assert len(kept) == 1 and json.loads(kept[0].read_text())["top1_correct"] == 600
    scores.unlink()  # scores are not versioned, what they come to is
    assert column(report(tmp_path).grids[0], MEASURED)["AIA(TSN), 8x3x2"].startswith("75.0 [")


def test_an_ensemble_is_the_mean_of_its_members_scores(tmp_path: Path, labels: np.ndarray) -> None:
    """Both right on 300 clips, each alone on 100 more: there the two one-hot scores tie, and the lower class wins."""
    members = [
        ("aia/table2/aia-tsn-8x1x1", "8x3x2@32", (300, 400)),
        ("aia/table2/aia-tsn-16x1x1", "16x3x2@32", (400, 500)),
    ]
    for experiment, protocol, alone in members:
        file = write_run(tmp_path, experiment, 400)
        give_scores(file, labels, right((0, 300), alone), protocol=protocol)
    wrong = (labels + 1) % 8
    won = 300 + int((labels < wrong)[300:500].sum())
    shown = report(tmp_path)
    cell = column(shown.grids[0], MEASURED)["AIA(TSN), (8+16)x3x2"]
    assert cell.startswith(f"{100 * won / CLIPS:.1f} [")
    record = next(r for r in shown.records if r["experiment"] == "aia/table2/aia-tsn-8+16x3x2")
    assert record["protocol"] == "(8+16)x3x2@32" and record["derived"].startswith("ensemble of ")
    assert "not run" in column(shown.grids[0], MEASURED)["AIA(TSN), (8+12+16)x3x2"]
    assert not [r for r in shown.leftovers if "not shown" in r]


def test_an_ensemble_takes_the_seeds_that_every_member_has(tmp_path: Path, labels: np.ndarray) -> None:
    for experiment, protocol, seeds in (
        ("aia/table2/aia-tsn-8x1x1", "8x3x2@32", (0, 1, 2)),
        ("aia/table2/aia-tsn-16x1x1", "16x3x2@32", (1, 2)),
    ):
        for seed in seeds:
            file = write_run(tmp_path, experiment, 400, seed=seed)
            give_scores(file, labels, right((0, 400 + 80 * seed)), protocol=protocol)
    shown = report(tmp_path)
    record = next(r for r in shown.records if r["experiment"] == "aia/table2/aia-tsn-8+16x3x2")
    assert (record["seeds"], record["top1"]) == ("1 2", pytest.approx(100 * (480 + 560) / 2 / CLIPS))


def test_measured_accuracies_stand_beside_the_printed_ones_of_their_dataset(tmp_path: Path) -> None:
    """Table II prints V1 and V2: a section on ssv2 is judged against V2's columns."""
    write_run(tmp_path, "aia/table2/tsn-8x1x1", 240, dataset="ssv2", preset="paper", fingerprint="f" * 16)
    write_run(tmp_path, "aia/table2/tsn-8x1x1", 160, dataset="ssv1", preset="paper", fingerprint="e" * 16)
    shown = report(tmp_path)
    printed = {r["dataset"]: r["printed_top1"] for r in shown.records if r["experiment"] == "aia/table2/tsn-8x1x1"}
    assert printed == {"ssv1": 19.7, "ssv2": 30.0}
    assert all("not the paper's dataset" not in fact for grid in shown.grids for fact in grid.facts)


def runs(*correct: int) -> list[RunRecord]:
    """Runs of 1,000 clips, seeds 0, 1, …; nothing but what a comparison looks at."""
    score: dict[str, Any] = {"epoch": 1, "clips": 1000, "top5": 0.0}
    facts: list[dict[str, Any]] = [
        {"id": f"{count}-{seed}", "seed": seed, "best": Score(top1=count / 10, top1_correct=count, **score)}
        for seed, count in enumerate(correct)
    ]
    return [RunRecord.model_construct(**one) for one in facts]


@pytest.mark.parametrize(
    "high, verdict", [((800, 802, 801), HOLDS), ((553, 552, 550), FAILS), ((601, 602, 600), UNCLEAR)]
)
def test_a_gap_can_be_asked_to_have_a_size(high: tuple[int, ...], verdict: str) -> None:
    """Above 50 %: by 30, by 5 and by 10 points, where 10 are asked for."""
    comparison = Comparison(higher="a", lower="b", by=10)
    assert judge(comparison, {"a": runs(*high), "b": runs(500, 501, 502)}).verdict == verdict


@pytest.mark.parametrize(
    "other, verdict", [((520, 522, 521), HOLDS), ((800, 802, 801), FAILS), ((600, 602, 601), UNCLEAR)]
)
def test_similar_within_points(other: tuple[int, ...], verdict: str) -> None:
    comparison = Comparison(similar=("a", "b"), within=10)
    assert judge(comparison, {"a": runs(*other), "b": runs(501, 500, 502)}).verdict == verdict
