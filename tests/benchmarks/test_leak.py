"""The leak check: what it compares, what it refuses, and where its run is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import leak
from benchmarks.__main__ import app
from benchmarks.leak import check_leak
from tests.conftest import make_toy_dataset
from vidrepro.config import RunConfig
from vidrepro.data.manifest import Manifest
from vidrepro.errors import ConfigError
from vidrepro.report.finished_runs import load_runs


def changed(config: RunConfig, *, mechanism: str = "none", **data: Any) -> RunConfig:
    model = config.model.model_copy(update={"mechanism": mechanism})
    return config.model_copy(update={"model": model, "data": config.data.model_copy(update=data)})


def test_the_last_epoch_is_compared_with_the_datasets_ceiling(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path
) -> None:
    found = check_leak(changed(toy_config), toy, tmp_path, factor=2, device="cpu", threads=1)
    (run,) = load_runs(tmp_path).runs
    assert (found["run"], found["epochs"], found["clips"], found["ceiling"]) == (run.id, 4, 8, 50.0)
    assert found["top1"] == run.last.top1 and run.last.epoch == 4
    low, high = found["interval"]
    assert low < found["top1"] < high or found["top1"] in (0, 100)
    assert found["direction_clips"] == run.last.pair_correct  # every class of this dataset has a partner
    assert found["direction"] == pytest.approx(100 * run.last.top1_correct / run.last.pair_correct)
    assert found["leaks"] == (low > 50 or found["direction_interval"][0] > 50)


def test_directions_are_counted_among_the_pairs_that_were_told() -> None:
    """Classes 0 and 3 are each other's reversal, so are 1 and 4; 2 has no partner and says nothing of direction."""
    labels = np.array([0, 0, 0, 3, 3, 1, 4, 2, 2, 1])
    predicted = np.array([0, 3, 1, 3, 0, 1, 4, 2, 0, 2])
    right = {0, 3, 5, 6}  # indices predicted exactly, of paired classes
    reversed_ones = {1, 4}
    assert leak.direction_counts(labels, predicted, [[0, 3], [1, 4]]) == (len(right), len(right | reversed_ones))
    assert leak.direction_counts(labels, predicted, []) == (0, 0)


def test_a_direction_told_below_the_ceiling_is_a_leak(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leak, "direction_counts", lambda *arguments: (60, 80))
    found = check_leak(changed(toy_config), toy, tmp_path, factor=1, device="cpu", threads=1)
    assert found["leaks"] and found["direction"] == 75
    # Wilson's interval in its textbook form, z = 1.96
    centre, half = (0.75 + 1.96**2 / 160) / (1 + 1.96**2 / 80), 1.96 * (0.75 * 0.25 / 80 + 1.96**2 / 25600) ** 0.5
    expected = [100 * (centre - half / (1 + 1.96**2 / 80)), 100 * (centre + half / (1 + 1.96**2 / 80))]
    assert found["direction_interval"] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mechanism": "m2a"}, "needs an order-blind network"),
        ({"frames": 3}, "with 3 frames by tsm-train, training sees other frames of clips of 8 frames"),
        ({"train_sampling": "tsm-val"}, "with 4 frames by tsm-val"),
        ({"train_sampling": "tsm-test"}, "with 4 frames by tsm-test"),
    ],
)
def test_refused_where_no_ceiling_holds(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        check_leak(changed(toy_config, **changes), toy, tmp_path / "results", device="cpu")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("where", [None, "elsewhere"])
def test_its_run_is_kept_beside_the_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str | None) -> None:
    """./results and $VIDREPRO_RESULTS are for the rows of papers."""
    make_toy_dataset(tmp_path / "data", "synthetic", clips=3)
    monkeypatch.setenv("VIDREPRO_RESULTS", str(tmp_path / "results"))
    asked: list[tuple[RunConfig, Path]] = []

    def checked(config: RunConfig, manifest: Manifest, results: Path, **_: Any) -> dict[str, Any]:
        asked.append((config, results))
        numbers = dict.fromkeys(("top1", "pair", "train_top1", "ceiling"), 50.0)
        direction = {"direction": 50.0, "direction_interval": [1.0, 99.0], "direction_clips": 2}
        return numbers | {"epochs": 120, "clips": 1, "interval": [0.0, 100.0], "leaks": False} | direction

    monkeypatch.setattr(leak, "check_leak", checked)
    words = ["leak", "--data", str(tmp_path / "data"), *(["--results", str(tmp_path / where)] if where else [])]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0 and "no leak seen" in " ".join(result.output.split())
    ((config, results),) = asked
    assert results == (tmp_path / where if where else tmp_path / "data" / "synthetic" / "leak")
    assert config.dataset == "synthetic" and config.model.mechanism == "none"
