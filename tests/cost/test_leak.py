"""The leak check: what it compares, what it refuses, and where its run is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.conftest import make_toy_dataset
from vidrepro.cli.measure import measure
from vidrepro.config import RunConfig
from vidrepro.data.manifest import Manifest
from vidrepro.errors import ConfigError
from vidrepro.report.runs import load_runs
from vidrepro.training import leak
from vidrepro.training.leak import check_leak


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
    assert found["leaks"] == (low > 50)


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
        return numbers | {"epochs": 120, "clips": 1, "interval": [0.0, 100.0], "leaks": False}

    monkeypatch.setattr(leak, "check_leak", checked)
    app = typer.Typer()
    app.command()(measure)
    words = ["leak", "--data", str(tmp_path / "data"), *(["--results", str(tmp_path / where)] if where else [])]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0 and "no leak seen" in " ".join(result.output.split())
    ((config, results),) = asked
    assert results == (tmp_path / where if where else tmp_path / "data" / "synthetic" / "leak")
    assert config.dataset == "synthetic" and config.model.mechanism == "none"
