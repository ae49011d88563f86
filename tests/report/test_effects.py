"""What `show PAPER --differences` says about how much a difference matters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_run

from vidrepro.cost.costs_file import KnownCosts
from vidrepro.experiments import Paper, load_paper
from vidrepro.experiments.schema import CostInput
from vidrepro.report.describe import describe_effect
from vidrepro.report.effects import difference_effects
from vidrepro.report.finished_runs import load_runs


@pytest.fixture(scope="module")
def paper() -> Paper:
    """M2A, counted on a clip that takes no time."""
    return replace(load_paper("m2a"), cost_input=CostInput(frames=2, size=32, classes=5))


def effects(paper: Paper, name: str, results: Path) -> list[dict[str, Any]]:
    difference = next(item for item in paper.differences if item.id == name)
    return difference_effects(paper, difference, load_runs(results).runs, KnownCosts(results))


def test_the_cost_of_one_change_is_counted(paper: Paper, tmp_path: Path) -> None:
    """After its first convolution a ResNet-18 block has its own width instead of its input's: in three stages twice."""
    (resnet, mobilenet) = effects(paper, "position", tmp_path)
    assert (resnet["row"], resnet["set"]) == ("m2a/table1/m2a", ["model.options.position=after_first_conv"])
    before, after = resnet["cost"]["params"]
    widths = [(64, 128), (128, 256), (256, 512)]  # the first block of stages 2 to 4: before and after
    assert after - before == sum(_shell(wide) - _shell(narrow) for narrow, wide in widths)
    assert mobilenet["cost"]["gmacs_fvcore"][1] > 1.2 * mobilenet["cost"]["gmacs_fvcore"][0]
    assert resnet["accuracy"] == []
    assert describe_effect(resnet)[-1] == ("  on accuracy", "no runs")


def _shell(channels: int) -> int:
    """Parameters of the two 1x1 convolutions with bias, reduction 8."""
    inner = channels // 8
    return channels * inner + inner + inner * channels + channels


def test_a_change_that_costs_nothing_says_so(paper: Paper, tmp_path: Path) -> None:
    (entry,) = effects(paper, "boundary", tmp_path)
    assert entry["cost"]["params"][0] == entry["cost"]["params"][1]
    assert "(no change)" in dict(describe_effect(entry))["  on cost"]
    assert len(list((tmp_path / ".cache" / "cost").glob("*.json"))) == 2  # kept for the next time


def test_a_difference_without_effects_has_none(paper: Paper, tmp_path: Path) -> None:
    assert effects(paper, "recipe", tmp_path) == []


def test_accuracy_is_compared_where_just_that_was_changed(paper: Paper, tmp_path: Path) -> None:
    """Seeds 0 to 2, differences 8, 16, 24 of 800 clips: +2 pp. Runs that changed something else do not count."""
    change = "model.options.boundary=first"
    for seed in range(3):
        write_run(tmp_path, "m2a/table1/m2a", 600, seed=seed)
        write_run(tmp_path, "m2a/table1/m2a", 608 + 8 * seed, seed=seed, overrides=(change,))
    write_run(tmp_path, "m2a/table1/m2a", 100, overrides=(change, "train.epochs=3"))
    (entry,) = effects(paper, "boundary", tmp_path)
    (score,) = entry["accuracy"]
    assert (score["dataset"], score["preset"], score["backbone"]) == ("synthetic", "tiny", "micro")
    assert score["seeds"] == [[0, 1, 2], [0, 1, 2]]
    assert score["delta_top1"]["mean"] == pytest.approx(2.0)
    assert score["delta_top1"]["low"] == pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-4)
    line = dict(describe_effect(entry))["  on accuracy"]
    assert line.startswith("top-1 +2.0 [-0.5, +4.5] pp on synthetic with micro, preset tiny; seed 0, 1, 2;")
    write_run(tmp_path, "m2a/table1/m2a", 120, overrides=("train.epochs=3",))
    assert len(effects(paper, "boundary", tmp_path)[0]["accuracy"]) == 2
