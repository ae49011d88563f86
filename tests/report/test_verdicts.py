"""Whether the paper's ordering and sentences are borne out: by hand for a few counts, and as it stands in a table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from fake_runs import made_up_costs, write_run

from vidrepro.config import RunConfig
from vidrepro.experiments import load_paper
from vidrepro.experiments.schema import Comparison
from vidrepro.report.finished_runs import load_runs
from vidrepro.report.grid import Grid, TableReport
from vidrepro.report.own_rows import with_own_rows
from vidrepro.report.render import FORMATS
from vidrepro.report.statistics import CLIPS, PAIRED_SEEDS, SEPARATE_SEEDS, gap, rank_correlation
from vidrepro.report.verdicts import cost_sentences, judge
from vidrepro.report.write import report_tables


def counts(*right: int, clips: int = 100, first_seed: int = 0) -> dict[int, tuple[int, int]]:
    return {first_seed + number: (count, clips) for number, count in enumerate(right)}


def report(results: Path, table: str, costs: dict[str, Any] | None = None) -> TableReport:
    runs = load_runs(results)
    paper = with_own_rows(load_paper("m2a"), runs.runs)
    costs = made_up_costs() if costs is None else costs
    return report_tables(paper, [paper.table(table)], runs, costs, data_folder=results / "no-data")[0]


def sentences(grid: Grid) -> dict[str, tuple[str, ...]]:
    return {row[0].text: tuple(cell.text for cell in row[1:]) for row in grid.rows}


def test_paired_seeds_give_students_interval() -> None:
    """Differences 10, 12, 14: mean 12, sd 2, t(2 degrees, 97.5 %) = 4.3027."""
    measured = gap(counts(50, 61, 72), counts(40, 49, 58))
    half = 4.302653 * 2 / math.sqrt(3)
    assert (measured.mean, measured.how) == (pytest.approx(12), PAIRED_SEEDS)
    assert (measured.low, measured.high) == (pytest.approx(12 - half, abs=1e-4), pytest.approx(12 + half, abs=1e-4))
    assert gap(counts(50, 61, 72, 99), counts(40, 49, 58)) == measured  # seed 3 has no counterpart


def test_separate_seeds_give_welchs_interval() -> None:
    """Equal variances and counts: Welch's interval is the pooled one, 4 degrees, t = 2.7764."""
    measured = gap(counts(50, 52, 54), counts(40, 42, 44, first_seed=10))
    half = 2.776445 * math.sqrt(2 * 4 / 3)
    assert measured.how == SEPARATE_SEEDS
    assert (measured.low, measured.high) == (pytest.approx(10 - half, abs=1e-4), pytest.approx(10 + half, abs=1e-4))


def test_one_run_each_gives_newcombes_interval() -> None:
    """Newcombe (1998), table II, method 10, case (a): 56/70 against 48/80 is 0.2, from 0.0524 to 0.3339."""
    measured = gap({0: (56, 70)}, {0: (48, 80)})
    assert measured.how == CLIPS
    assert (measured.mean, measured.low, measured.high) == (
        pytest.approx(20), pytest.approx(5.24, abs=0.005), pytest.approx(33.39, abs=0.005),
    )  # fmt: skip


def test_seeds_that_do_not_differ_leave_the_clips() -> None:
    """Three equal differences say nothing about training's spread; and three runs are not three times the clips."""
    assert gap(counts(50, 60, 70), counts(40, 50, 60)).how == CLIPS
    repeated = gap(counts(60, 60, 60), counts(50, 50, 50))
    assert repeated == gap(counts(60), counts(50))
    assert repeated.low < 0 < repeated.high


def test_rank_correlations_by_hand() -> None:
    """One swap of neighbours among four: rho = 1 - 6 * 2 / (4 * 15), tau = (5 - 1) / 6."""
    ranks = rank_correlation([13.9, 16.9, 28.9, 34.7], [40, 70, 50, 90])
    assert (ranks.spearman, ranks.kendall, ranks.count) == (pytest.approx(0.8), pytest.approx(4 / 6), 4)
    assert rank_correlation([1, 2, 3], [3, 2, 1]).kendall == pytest.approx(-1)
    assert rank_correlation([1, 2, 3], [5, 5, 5]).spearman is None
    with pytest.raises(ValueError, match="the same two or more"):
        rank_correlation([1], [1])


@pytest.mark.parametrize(
    ("right", "verdict", "likeness"),
    [(640, "holds", "does not hold"), (300, "does not hold", "does not hold"), (410, "cannot be told", "holds")],
)
def test_a_comparison_is_judged_by_its_interval(tmp_path: Path, right: int, verdict: str, likeness: str) -> None:
    write_run(tmp_path, "m2a/table1/none", 400)
    write_run(tmp_path, "m2a/table1/m2a", right)
    first, second = sorted(load_runs(tmp_path).runs, key=lambda run: run.config["model"]["mechanism"])
    runs = {"m2a": (first,), "none": (second,)}
    assert judge(Comparison(higher="m2a", lower="none"), runs).verdict == verdict
    assert judge(Comparison(similar=("m2a", "none")), runs).verdict == likeness
    assert judge(Comparison(higher="m2a", lower="tsm"), runs).verdict == "not measured"
    assert judge(Comparison(higher="m2a", lower="same"), runs | {"same": (first,)}).verdict == "the same network here"


def test_a_tables_sentences_are_judged_beneath_it(tmp_path: Path) -> None:
    for row, correct in (("none", 352), ("m2a-attention", 356), ("m2a-motion", 640), ("m2a", 560)):
        write_run(tmp_path, f"m2a/table1/{row}", correct)
    shown = report(tmp_path, "I")
    (grid,) = shown.verdicts
    assert "judged on synthetic with micro" in grid.title
    judged = sentences(grid)
    assert judged["IV-A: M2A-Motion outperforms None by +15 %"][0::2] == ("+15.0", "holds")
    assert judged["IV-A: M2A-Motion outperforms None by +15 %"][1].startswith("+36.0 [+3")
    assert judged["IV-A: M2A-Attention improves on None by +3 %"][2] == "cannot be told"
    assert judged["IV-A: M2A achieves the highest improvement, +20 %"] == ("all of 3", "all of 3", "does not hold")
    assert judged["– M2A above M2A-Motion"][2] == "does not hold"
    facts = " ".join(grid.facts)
    # 352, 356, 640, 560 against 13.9, 16.9, 28.9, 34.7: the last two are swapped
    assert "Spearman 0.80, Kendall 0.67 (n = 4 of 4 rows)" in facts
    assert "Of 6 pairs of rows, 4 are measured in the printed order, 1 in the reverse order, 1 cannot be told" in facts
    assert "this is synthetic" in facts
    for name in ("md", "tex"):
        assert "M2A achieves the highest improvement" in FORMATS[name](shown)


def test_a_sentence_may_compare_with_another_table(tmp_path: Path) -> None:
    """MobileNetV2 with M2A against ResNet-18 with M2A: each table's own backbone under the same setting."""
    write_run(tmp_path, "m2a/table2/m2a", 700)
    (grid,) = report(tmp_path, "II").verdicts
    name = "IV-A: M2A has a higher top-1 with MobileNetV2 (35.6) than with ResNet-18 (34.7)"
    assert sentences(grid)[name] == ("+0.9", "not measured", "not measured")
    assert "not stated for 1 measured rows" in grid.facts[0]
    write_run(tmp_path, "m2a/table1/m2a", 500)
    (grid,) = report(tmp_path, "II").verdicts
    assert sentences(grid)[name][2] == "holds"


def test_nothing_measured_is_not_judged(tmp_path: Path) -> None:
    write_run(tmp_path, "m2a/table1/m2a", 500)
    assert report(tmp_path, "III").verdicts == ()


def test_any_of_several_is_enough_where_the_sentence_says_not_always(tmp_path: Path) -> None:
    cells = {"tdn-none": 500, "tdn-m2a": 600, "tdn-tam": 400, "tea-none": 500, "tea-m2a": 600, "tea-tam": 600}
    for cell, correct in cells.items():
        write_run(tmp_path, f"m2a/table6/{cell}", correct)
    (grid,) = report(tmp_path, "VI").verdicts
    judged = sentences(grid)
    (sentence,) = [text for text in judged if "not always improved" in text]
    assert judged[sentence] == ("any of 4", "any of 4", "holds")
    assert judged["– TDN-Motion, None above TDN-Motion, TAM-Attention"][2] == "holds"
    (sentence,) = [text for text in judged if "all attention methods" in text]
    assert judged[sentence][2] == "not measured"


def test_sentences_about_cost_are_judged_on_counts() -> None:
    paper = load_paper("m2a")
    costs = {
        "m2a/table1/none": {"gmacs_printed_convention": 14.574, "gmacs_fvcore": 14.549},
        "m2a/table1/m2a": {"gmacs_printed_convention": 14.81, "gmacs_fvcore": 14.773},
        "m2a/table2/m2a": {"gmacs_printed_convention": 2.584, "gmacs_fvcore": 2.533},
    }
    (first,) = cost_sentences(paper, paper.table("I"), costs)
    assert "M2A / None = 1.016 in the printed convention, 1.015 by fvcore: holds." in first
    (second,) = cost_sentences(paper, paper.table("II"), costs)
    assert "Table I's M2A / M2A = 5.731" in second and second.endswith("holds.")
    (third,) = cost_sentences(paper, paper.table("III"), costs)
    assert third.endswith("not counted.")
    costs["m2a/table3/none"] = {"gmacs_printed_convention": 22.525, "gmacs_fvcore": 22.503}
    (third,) = cost_sentences(paper, paper.table("III"), costs)
    assert "= 8.717" in third and third.endswith("does not hold.")


@pytest.fixture
def own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """None of Table I and two versions of a class of one's own; the class itself is not to be found any more."""
    (tmp_path / "verdict_rows.py").write_text("from torch import nn\n\nclass Mine(nn.Identity):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    results = tmp_path / "results"
    write_run(results, "m2a/table1/none", 352)
    write_run(results, "m2a/table1/verdict_rows:Mine", 400)
    monkeypatch.undo()
    return results


def test_a_mechanism_of_ones_own_stands_beneath_the_printed_rows(own_runs: Path) -> None:
    shown = report(own_runs, "I", made_up_costs())
    accuracy, cost = shown.grids
    assert [row[0].text for row in accuracy.rows] == ["None", "M2A-Attention", "M2A-Motion", "M2A", "Mine"]
    cells = [cell.text for cell in accuracy.rows[-1]]
    assert cells[1:3] == ["not printed", "not printed"] and "50.0 [46.5, 53.5]" in cells and "+6.0" in cells
    (mark,) = accuracy.rows[-1][0].marks
    assert shown.notes[mark - 1].startswith("not in the paper: a mechanism of your own, verdict_rows:Mine, source sha")
    assert cost.rows[-1][1].text == "not printed"
    assert "not stated for 1 measured rows" in shown.verdicts[0].facts[0]  # it has no printed number to rank with
    for other in ("II", "IV", "VI"):  # another backbone; tables of blocks
        assert "Mine" not in [row[0].text for row in report(own_runs, other).grids[0].rows]


def test_two_versions_of_a_class_are_two_rows(own_runs: Path) -> None:
    """Showing them takes what the runs recorded, not the class, which has changed or is gone."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in own_runs.glob("runs/*/run.json")]
    (record,) = [item for item in records if item["config"]["model"]["mechanism_digest"]]
    record["config"]["model"]["mechanism_digest"] = "f" * 64
    fingerprint = RunConfig.model_validate(record["config"]).fingerprint
    best = record["best"] | {"top1_correct": 600, "top1": 75.0}
    second = own_runs / "runs" / "second" / "run.json"
    second.parent.mkdir()
    text = json.dumps(record | {"id": "second", "config_fingerprint": fingerprint, "best": best})
    second.write_text(text, encoding="utf-8")
    rows = {row[0].text: [cell.text for cell in row] for row in report(own_runs, "I").grids[0].rows}
    versions = [label for label in rows if label.startswith("Mine @")]
    assert len(versions) == 2 and "Mine @ffffffff" in versions
    assert any(text.startswith("75.0") for text in rows["Mine @ffffffff"])
