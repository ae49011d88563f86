"""Runs found by name, and what is said where one is not there or has lost its checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidrepro.errors import CheckpointError, ResultsError, UnknownNameError
from vidrepro.evaluation.rerun import load_trained
from vidrepro.runs.folder import find_run

COMMITTED = Path(__file__).parents[2] / "results"  # run.json without checkpoints


def results_with(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "run.json").write_text("{}")
    return folder


def test_a_run_is_found_by_name_beginning_or_path(tmp_path: Path) -> None:
    results = results_with(tmp_path, "synthetic_micro_c_1_s0", "synthetic_micro_st_2_s0")
    wanted = results / "runs" / "synthetic_micro_st_2_s0"
    for name in ("synthetic_micro_st_2_s0", "synthetic_micro_st", str(wanted)):
        assert find_run(results, name) == wanted
    with pytest.raises(ResultsError, match="beginning of several runs"):
        find_run(results, "synthetic_micro")


def test_an_unknown_run_is_answered_with_the_closest_and_not_with_all(tmp_path: Path) -> None:
    results = results_with(tmp_path, *(f"synthetic_micro_m2a_{number:08x}_s0" for number in range(200)))
    with pytest.raises(UnknownNameError) as caught:
        find_run(results, "synthetic_micro_m2b_00000007_s0")
    text = str(caught.value)
    assert "200 runs" in text and "synthetic_micro_m2a_00000007_s0" in text and "vidrepro runs" in text
    assert text.count("synthetic_micro_m2a_") <= 2


def test_no_runs_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no finished run lies in"):
        find_run(tmp_path, "anything")


def test_a_run_without_its_checkpoint_says_why(tmp_path: Path) -> None:
    run = next(COMMITTED.glob("runs/synthetic_micro_none_*_s0"))
    with pytest.raises(CheckpointError, match="best checkpoint is not here: results are versioned without them"):
        load_trained(run, data=tmp_path)
