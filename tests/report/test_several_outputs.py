"""T-CNN's Table 4: accuracy of each branch beside the total, and the verdict on the paper's three conclusions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_runs import change_record, made_up_costs, write_run

from vidrepro.experiments import load_paper
from vidrepro.report.finished_runs import load_runs
from vidrepro.report.grid import Grid, TableReport
from vidrepro.report.verdicts import FAILS, HOLDS
from vidrepro.report.write import report_tables

CLIPS = 800
TOTALS = {"o": 600, "o+d": 740, "o+c": 660, "c+d": 690, "o+c+d": 780, "o-longer": 700}  # of clips, right


def report(results: Path, paper: str = "tcnn", table: str = "4") -> TableReport:
    source = load_paper(paper)
    found = report_tables(
        source, [source.table(table)], load_runs(results), made_up_costs(paper), data_folder=results / "no-data"
    )
    return found[0]


def column(grid: Grid, head: str) -> dict[str, str]:
    position = [" ".join(cell.text.split()) for cell in grid.heads].index(head)
    return {row[0].text: row[position].text for row in grid.rows}


def write_branches(results: Path, seed: int, shift: int = 0) -> None:
    for name, correct in TOTALS.items():
        right = correct + shift
        file = write_run(results, f"tcnn/table4/{name}", right, seed=seed)
        branches = name.removesuffix("-longer").upper().split("+")
        if name == "o":
            continue  # a plain T-CNN has one prediction
        outputs: dict[str, Any] = {
            branch: {"clips": CLIPS, "top1": 100 * (right - 8 * place) / CLIPS, "top1_correct": right - 8 * place}
            for place, branch in enumerate(branches, 1)
        }
        best = json.loads(file.read_text(encoding="utf-8"))["best"]
        change_record(file, best=best | {"outputs": outputs})


def test_each_branch_stands_beside_the_total(tmp_path: Path) -> None:
    write_branches(tmp_path, 0)
    grid = report(tmp_path).grids[0]
    assert column(grid, "Top-1 measured synthetic")["O + C + D"].startswith("97.5 [")
    original, discriminative, complementary = (
        column(grid, f"{name} branch measured synthetic") for name in ("Original", "Discriminative", "Complement")
    )
    assert original == {
        "O": "75.0",  # its only prediction
        "O + D": "91.5",
        "O + C": "81.5",
        "C + D": "-",
        "O + C + D": "96.5",
        "O, trained as long as the others": "86.5",
    }
    assert discriminative["O + C + D"] == "94.5" and complementary["O + C + D"] == "95.5"
    assert discriminative["O"] == complementary["O"] == complementary["O + D"] == "-"
    assert column(grid, "Original branch printed ucf101")["O + D"] == "96.0"
    assert column(grid, "Total accuracy printed ucf101")["O, trained as long as the others"] == "not printed"


def test_several_seeds_give_each_branch_a_spread(tmp_path: Path) -> None:
    for seed, shift in enumerate((-8, 0, 8)):
        write_branches(tmp_path, seed, shift)
    cells = column(report(tmp_path).grids[0], "Discriminative branch measured synthetic")
    assert cells["O + D"] == "90.5 ± 1.0"  # 8 of 800 clips up and down


def test_the_three_conclusions_are_judged_and_a_fairer_first_one_beside(tmp_path: Path) -> None:
    for seed, shift in enumerate((-8, 0, 8)):
        write_branches(tmp_path, seed, shift)
    (verdicts,) = report(tmp_path).verdicts
    said = {row[0].text: row[-1].text for row in verdicts.rows}
    by_number = {text.partition("(")[2][:1]: verdict for text, verdict in said.items() if text.startswith("3.3: (")}
    assert by_number["2"] == HOLDS and by_number["3"] == HOLDS
    first = [verdict for text, verdict in said.items() if text.startswith("3.3: (1)")]
    assert first == [HOLDS, FAILS]  # O + C is above T-CNN, and below one that was trained as long


def test_what_a_row_starts_from_and_what_the_paper_has_not_is_said_below(tmp_path: Path) -> None:
    write_branches(tmp_path, 0)
    notes = report(tmp_path).notes
    assert "starts from the trained network of o" in notes and "not in the paper" in notes


@pytest.mark.parametrize(
    ("shares", "expected"), [((790, 720, 700, 500), HOLDS), ((700, 700, 700, 700), "cannot be told")]
)
def test_stabns_sentences_are_judged_on_probes(tmp_path: Path, shares: tuple[int, ...], expected: str) -> None:
    for seed in range(3):
        file = write_run(tmp_path, "stabn/table2/neither", shares[0], seed=seed)
        for what, correct in zip(("spatial", "temporal", "all"), shares[1:], strict=True):
            probed = {"clips": CLIPS, "top1": 100 * correct / CLIPS, "top1_correct": correct, "top5": 99.0}
            record = {"what": what, "how": "invert", "checkpoint": "best", "split": "val", "probed": probed}
            record["protocol"] = json.loads(file.read_text(encoding="utf-8"))["protocol"]
            probe = file.parent / "probes" / f"{what}-invert.json"
            probe.parent.mkdir(exist_ok=True)
            probe.write_text(json.dumps(record), encoding="utf-8")
    found = report(tmp_path, "stabn", "2")
    cells = column(found.grids[0], "Top-1 measured synthetic")
    assert cells["spatial and temporal"] == f"{100 * shares[3] / CLIPS:.1f} ± 0.0"
    assert cells["spatial: its mean"] == "not probed"
    (verdicts,) = found.verdicts
    said = [row[-1].text for row in verdicts.rows if row[0].text.startswith("4:")]
    assert len(said) == 3 and set(said) == {expected}
