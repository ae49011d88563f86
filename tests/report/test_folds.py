"""The mean over official folds: exactly all of them, or what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_runs import change_record, made_up_costs, write_run

from vidrepro.data.sources.lists import OFFICIAL_FOLDS
from vidrepro.errors import ResultsError
from vidrepro.experiments import load_paper
from vidrepro.report.finished_runs import load_runs
from vidrepro.report.folds import fold_mean
from vidrepro.report.write import report_tables
from vidrepro.runs.record import RunRecord

FOLDS = ("split1", "split2", "split3")


def run(fold: str | None, top1: float, seed: int = 0, **changed: Any) -> RunRecord:
    """A finished run of one fold; None stands for the run whose fold is the manifest's own, split1."""
    clips = changed.pop("clips", 100)
    score = {"epoch": 1, "clips": clips, "top1": top1, "top1_correct": round(top1 * clips / 100), "top5": 90.0}
    record = {
        "schema": 1,
        "id": f"{fold}-s{seed}",
        "config": {"dataset": "ucf101", "model": {}, "train": {"epochs": 3}, "data": {"fold": fold, "frames": 8}},
        "config_fingerprint": f"{fold}",
        "seed": seed,
        "dataset": {"name": "ucf101", "fingerprint": "ab", "classes": 101, "counts": {}, "fold": fold or "split1"},
        "protocol": "8x1x1@224",
        "backbone": {"name": "resnet50", "parameters": 1, "input_size": 224, "frames": 8},
        "best": score,
        "last": score,
        "seconds": 1.0,
    }
    return RunRecord.model_validate(record | changed)


def test_folds_weigh_the_same_however_many_clips_they_have() -> None:
    mean = fold_mean([run("split3", 50.0, clips=20), run(None, 80.0, clips=1000), run("split2", 71.0)], FOLDS)
    assert mean.mean == pytest.approx((50 + 80 + 71) / 3)
    assert mean.by_fold == {"split1": 80.0, "split2": 71.0, "split3": 50.0}
    assert mean.sd is None and mean.missing == () and mean.missing_text() is None


def test_no_mean_unless_every_fold_is_there() -> None:
    mean = fold_mean([run("split1", 80.0), run("split3", 50.0)], FOLDS)
    assert mean.mean is None and mean.missing == (("split2", 0),)
    assert mean.missing_text() == "split2 not run"
    assert mean.by_fold == {"split1": 80.0, "split3": 50.0}
    nothing = fold_mean([], FOLDS)
    assert nothing.mean is None and nothing.missing_text() == "split1, split2, split3 not run"


def test_seeds_are_averaged_after_the_folds() -> None:
    runs = [
        run(fold, value + 3 * seed, seed) for seed in (0, 1) for fold, value in zip(FOLDS, (60, 70, 80), strict=True)
    ]
    mean = fold_mean(runs, FOLDS)
    assert mean.mean == pytest.approx(71.5) and mean.sd == pytest.approx(3 / 2**0.5) and mean.seeds == (0, 1)
    lacking = fold_mean(runs[:-1], FOLDS)  # seed 1 has no split3
    assert lacking.mean is None and lacking.missing_text() == "split3 seed 1 not run"


def test_other_metrics() -> None:
    assert fold_mean([run(fold, 10.0) for fold in FOLDS], FOLDS, "top5").mean == 90.0
    with pytest.raises(ResultsError, match="no mean_class"):
        fold_mean([run(fold, 10.0) for fold in FOLDS], FOLDS, "mean_class")


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (run("split1", 50.0), "two runs are of one fold and seed"),
        (run("split4", 50.0), "no official fold"),
        (run("split2", 50.0, protocol="8x3x2@224"), "differ in their protocol"),
        (
            run("split2", 50.0, config={"dataset": "ucf101", "model": {}, "data": {}, "train": {"epochs": 4}}),
            "differ in their settings",
        ),
        (
            run("split2", 50.0, dataset={"name": "ucf101", "fingerprint": "cd", "classes": 101, "counts": {}}),
            "differ in their prepared dataset",
        ),
    ],
)
def test_runs_that_differ_in_more_than_fold_and_seed_are_refused(other: RunRecord, problem: str) -> None:
    with pytest.raises(ResultsError, match=problem):
        fold_mean([run(None, 80.0), other], FOLDS)


def test_the_official_folds() -> None:
    assert OFFICIAL_FOLDS == {"ucf101": FOLDS, "hmdb51": FOLDS, "egtea": FOLDS}


def test_a_table_says_which_fold_it_is_and_what_was_not_there(tmp_path: Path) -> None:
    file = write_run(tmp_path, "m2a/table1/none", 400, dataset="ucf101", preset="paper", ceiling=None)
    dataset = json.loads(file.read_text())["dataset"] | {
        "fold": "split2",
        "counts": {"train": {"ok": 9000, "bad": 2}, "test": {"ok": 800, "bad": 0}},
        "completeness": {
            "allow_missing": 0.8,
            "splits": {"test": {"expected": 3734, "listed": 3734, "ok": 800, "missing": 2934, "bad": 0}},
        },
    }
    change_record(file, dataset=dataset)
    paper = load_paper("m2a")
    tables = report_tables(paper, [paper.table("I")], load_runs(tmp_path), made_up_costs(), data_folder=tmp_path)
    text = "\n".join(fact for grid in tables[0].grids for fact in grid.facts)
    assert "fold split2" in text and "Best epoch on 800 test clips" in text
    assert "Not the whole official dataset: test 800 of 3,734 clips (2,934 missing) (--allow-missing 0.8)." in text
