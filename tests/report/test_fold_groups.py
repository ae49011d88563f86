"""Tables of runs on official folds: which runs a mean is over, and what a table says where one is missing."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from fake_runs import made_up_costs, write_run

from vidrepro.experiments import load_paper
from vidrepro.report.figures import draw_table
from vidrepro.report.finished_runs import load_runs
from vidrepro.report.grid import Grid, TableReport
from vidrepro.report.render import csv_text
from vidrepro.report.write import report_tables

FOLDS = ("split1", "split2", "split3")


def write_fold(
    results: Path,
    row: str,
    fold: str,
    correct: int,
    *,
    named: bool = True,
    dataset: str = "ucf101",
    more: tuple[str, ...] = (),
    **facts: Any,
) -> None:
    """A run on a fold, asked for by name or, if not `named`, because the manifest was prepared with it."""
    overrides = (*((f"data.fold={fold}",) if named else ()), *more)
    facts = {"preset": "paper", "ceiling": None, "pair_correct": None, "fold": fold, "overrides": overrides} | facts
    write_run(results, f"m2a/table1/{row}", correct, dataset=dataset, **facts)


def write_folds(results: Path, row: str, counts: tuple[int, ...], **facts: Any) -> None:
    for fold, correct in zip(FOLDS, counts, strict=True):
        write_fold(results, row, fold, correct, named=fold != "split1", **facts)


def report(results: Path, table: str = "I") -> TableReport:
    paper = load_paper("m2a")
    tables = [paper.table(table)]
    return report_tables(paper, tables, load_runs(results), made_up_costs(), data_folder=results / "no-data")[0]


def column(grid: Grid, head: str) -> dict[str, str]:
    """A column's cells by the row's label."""
    position = [" ".join(cell.text.split()) for cell in grid.heads].index(head)
    return {row[0].text: row[position].text for row in grid.rows}


def accuracies(shown: TableReport) -> list[Grid]:
    return [grid for grid in shown.grids if grid.title.startswith("Accuracy")]


def test_a_mean_is_over_exactly_the_official_folds(tmp_path: Path) -> None:
    write_folds(tmp_path, "none", (400, 480, 560))  # of 800: 50, 60 and 70 %
    write_folds(tmp_path, "m2a", (600, 640, 716), last_correct=400)  # 75, 80 and 89.5 %
    shown = report(tmp_path)
    (grid,) = accuracies(shown)
    assert "ucf101, mean of split1, split2, split3," in grid.title
    measured = column(grid, "Top-1 measured ucf101")
    assert measured == {"None": "60.0", "M2A-Attention": "not run", "M2A-Motion": "not run", "M2A": "81.5"}
    assert column(grid, "Top-1 split1 alone ucf101")["M2A"].startswith("75.0 [")
    assert column(grid, "over None")["M2A"] == "+21.5"
    assert column(grid, "last epoch")["M2A"] == "50.0"
    assert column(grid, "seeds")["M2A"] == "1"  # three runs, but of one seed
    text = "\n".join(grid.facts)
    assert "M2A: split1 75.0 [" in text and ", split2 80.0 [" in text and ", split3 89.5 [" in text
    assert all(f"fold {fold}" in text for fold in FOLDS)
    missing = "--rows m2a-attention,m2a-motion --dataset ucf101 --folds split1,split2,split3"
    assert f"Not run: vidrepro ablate m2a --table I {missing}" in grid.facts
    assert shown.leftovers == ()


def test_several_seeds_are_averaged_within_a_seed_first(tmp_path: Path) -> None:
    write_folds(tmp_path, "none", (400, 480, 560))
    write_folds(tmp_path, "none", (424, 504, 584), seed=1)  # 3 points more on every fold
    (grid,) = accuracies(report(tmp_path))
    assert column(grid, "Top-1 measured ucf101")["None"] == "61.5 ± 2.1"  # 3 / sqrt(2); over six runs it would be 9.1
    assert column(grid, "Top-1 split1 alone ucf101")["None"] == "51.5 ± 2.1"
    assert column(grid, "seeds")["None"] == "2"


def test_without_every_fold_there_is_no_mean_but_what_is_there_and_the_command(tmp_path: Path) -> None:
    write_folds(tmp_path, "none", (400, 480, 560))
    write_folds(tmp_path, "m2a", (600, 640, 680))
    write_fold(tmp_path, "m2a", "split1", 608, named=False, seed=1)  # the second seed lacks two folds
    write_fold(tmp_path, "m2a-motion", "split3", 520)
    (grid,) = accuracies(report(tmp_path))
    measured = column(grid, "Top-1 measured ucf101")
    assert measured["None"] == "60.0"
    assert measured["M2A"].endswith("split3 85.0 [82.4, 87.3]; split2 seed 1, split3 seed 1 not run")
    assert measured["M2A"].startswith("split1 75.5 ± 0.7, split2 80.0 [")
    assert measured["M2A-Motion"] == "split3 65.0 [61.6, 68.2]; split1, split2 not run"
    assert column(grid, "Top-1 split1 alone ucf101")["M2A-Motion"] == "not run"
    assert column(grid, "over None")["M2A"] == "split2 seed 1, split3 seed 1 not run"
    start = "Not run: vidrepro ablate m2a --table I --rows"
    commands = [fact for fact in grid.facts if fact.startswith("Not run")]
    assert sorted(commands) == [
        f"{start} m2a --dataset ucf101 --folds split2,split3 --seeds 1",
        f"{start} m2a-attention --dataset ucf101 --folds split1,split2,split3 --seeds 0,1",
        f"{start} m2a-motion --dataset ucf101 --folds split1,split2",
    ]


def test_the_manifests_own_fold_and_the_same_fold_by_name_are_one(tmp_path: Path) -> None:
    write_fold(tmp_path, "none", "split1", 400, named=False)
    write_fold(tmp_path, "none", "split1", 800, named=True)  # the same clips and seed again: counted once
    write_fold(tmp_path, "none", "split1", 424, named=True, seed=1)
    for seed, extra in ((0, 0), (1, 24)):
        write_fold(tmp_path, "none", "split2", 480 + extra, seed=seed)
        write_fold(tmp_path, "none", "split3", 560 + extra, seed=seed)
    shown = report(tmp_path)
    (grid,) = accuracies(shown)
    assert column(grid, "Top-1 measured ucf101")["None"] == "61.5 ± 2.1"
    assert shown.leftovers == ()


@pytest.mark.parametrize(
    "other", [{"fingerprint": "ff" * 8}, {"more": ("train.epochs=3",)}, {"dataset": "hmdb51"}], ids=str
)
def test_folds_of_other_settings_complete_no_mean(other: dict[str, Any], tmp_path: Path) -> None:
    write_fold(tmp_path, "none", "split1", 400, named=False)
    write_fold(tmp_path, "none", "split2", 480)
    write_fold(tmp_path, "none", "split3", 560, **other)
    shown = report(tmp_path)
    assert len(accuracies(shown)) == 2
    cells = [cell.text for grid in accuracies(shown) for row in grid.rows for cell in row]
    assert "60.0" not in cells
    assert any(cell.endswith("; split3 not run") for cell in cells)
    assert any(cell.endswith("; split1, split2 not run") for cell in cells)


def test_overrides_that_change_nothing_part_no_folds(tmp_path: Path) -> None:
    """Settings are compared as they resolve, not as they were typed."""
    write_fold(tmp_path, "none", "split1", 400, named=False)
    epochs = load_runs(tmp_path).runs[0].config["train"]["epochs"]
    write_fold(tmp_path, "none", "split2", 480, more=(f"train.epochs={epochs}",))
    write_fold(tmp_path, "none", "split3", 560)
    assert column(accuracies(report(tmp_path))[0], "Top-1 measured ucf101")["None"] == "60.0"


def test_other_datasets_and_folds_are_left_alone(tmp_path: Path) -> None:
    write_fold(tmp_path, "none", "split1", 400, named=False, dataset="mine")
    write_fold(tmp_path, "none", "split2", 480, dataset="mine")
    write_fold(tmp_path, "m2a", "half", 600)  # a fold of one's own
    grids = accuracies(report(tmp_path))
    assert len(grids) == 3 and not any("mean" in grid.title for grid in grids)
    cells = {cell.text.split(" [")[0] for grid in grids for row in grid.rows for cell in row}
    assert {"50.0", "60.0", "75.0"} <= cells and "55.0" not in cells


def test_the_csv_holds_the_mean_and_every_fold(tmp_path: Path) -> None:
    write_folds(tmp_path, "m2a", (600, 640, 716))
    lines = csv.DictReader(io.StringIO(csv_text(report(tmp_path))))
    found = {line["fold"]: line["top1"] for line in lines if line["experiment"] == "m2a/table1/m2a"}
    mean = "mean of split1, split2, split3"
    assert found == {mean: "81.5", "split1": "75.0", "split2": "80.0", "split3": "89.5"}


def test_each_fold_is_judged_by_itself_and_the_mean_is_drawn(tmp_path: Path) -> None:
    write_folds(tmp_path, "none", (400, 480, 560))
    write_folds(tmp_path, "m2a", (600, 640, 716))
    write_fold(tmp_path, "m2a-motion", "split1", 520, named=False)  # no mean: not drawn, no error
    shown = report(tmp_path)
    assert [grid.title.partition(" with")[0].rpartition(", ")[2] for grid in shown.verdicts] == list(FOLDS)
    draw_table(shown, load_paper("m2a"), tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 1000


def test_a_matrix_shows_means_too(tmp_path: Path) -> None:
    for fold, correct in zip(FOLDS, (400, 480, 560), strict=True):
        overrides = () if fold == "split1" else (f"data.fold={fold}",)
        write_run(
            tmp_path, "m2a/table6/none-none", correct, dataset="ucf101", preset="paper", fold=fold, overrides=overrides
        )
    (grid,) = accuracies(report(tmp_path, "VI"))
    assert column(grid, "None measured ucf101")["None"].startswith("60.0")
