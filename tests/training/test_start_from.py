"""Starting a run from another one: by row (the run with the same seed), or by its id (its file's digest)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.short_runs import TCNN
from vidrepro.ablation.setting import Setting, select_setting
from vidrepro.ablation.start import start_from
from vidrepro.config import RunConfig, resolve
from vidrepro.data.manifest import Manifest
from vidrepro.errors import CheckpointError, ConfigError, UnknownNameError
from vidrepro.files import file_digest
from vidrepro.runs.folder import start_weights
from vidrepro.training import execute
from vidrepro.training.execute import execute_run
from vidrepro.training.loop import Trainer

SPATIAL = ["model.mechanism=sparse-spatial", "model.options.branches=O+D", "model.options.warmup_all_peaks_epochs=1"]


def changed(config: RunConfig, *overrides: str) -> RunConfig:
    return resolve([("base", config.model_dump())], overrides)


@pytest.fixture
def plain(toy_config: RunConfig) -> RunConfig:
    """A T-CNN of next to nothing, for one epoch."""
    base = toy_config.model_dump()
    return resolve([("test", {**base, "model": TCNN, "train": {**base["train"], "epochs": 1}})])


def setting(tmp_path: Path, *overrides: str) -> Setting:
    return select_setting(
        "m2a", dataset="synthetic", preset="tiny", backbone=None, overrides=[*overrides], data=tmp_path
    )


def test_a_row_is_started_from_its_run_with_the_same_seed(
    toy: Manifest, plain: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoomed = changed(plain, *SPATIAL, f"model.weights=run:{plain.fingerprint}")
    assert zoomed.fingerprint != changed(plain, *SPATIAL).fingerprint
    with pytest.raises(CheckpointError, match="seed 0"):
        execute_run(zoomed, toy, 0, tmp_path, device="cpu")
    folders = [execute_run(plain, toy, seed, tmp_path, device="cpu") for seed in (0, 1)]

    began: list[dict[str, torch.Tensor]] = []

    class Watched(Trainer):
        def run(self) -> Any:
            began.append({name: value.clone() for name, value in self.model.state_dict().items()})
            return super().run()

    monkeypatch.setattr(execute, "Trainer", Watched)
    for seed in (0, 1):
        told: list[str] = []
        execute_run(zoomed, toy, seed, tmp_path, device="cpu", say=told.append)
        trained = torch.load(folders[seed] / "best.pt", weights_only=True)["model"]
        assert all(torch.equal(began[seed][name], value) for name, value in trained.items())
        assert folders[seed].name in told[0]
    assert not torch.equal(began[0]["fc.weight"], began[1]["fc.weight"])


def test_a_start_that_is_not_there_is_refused(plain: RunConfig, toy: Manifest, tmp_path: Path) -> None:
    folder = execute_run(plain, toy, 0, tmp_path, device="cpu")
    selection = toy.selection_fingerprint()
    weights = f"run:{plain.fingerprint}"
    assert start_weights(tmp_path, weights, selection, 0) == folder / "best.pt"
    assert start_weights(tmp_path, None, selection, 0) is None
    assert start_weights(tmp_path, "imagenet", selection, 0) is None
    for wrong in ((weights, selection, 1), (weights, "0" * 12, 0), ("run:000000000000", selection, 0)):
        with pytest.raises(CheckpointError, match="no finished run"):
            start_weights(tmp_path, *wrong)
    (folder / "best.pt").unlink()
    with pytest.raises(CheckpointError, match="lost its checkpoint"):
        start_weights(tmp_path, weights, selection, 0)


def test_from_names_a_row_or_a_run(plain: RunConfig, toy: Manifest, tmp_path: Path) -> None:
    bare = setting(tmp_path, "model.dropout=0.25", "train.epochs=3")
    assert start_from(bare, None, tmp_path) is bare
    by_row = start_from(bare, "m2a/table1/none", tmp_path)
    start = replace(bare, overrides=("model.dropout=0.25",)).resolve("m2a/table1/none")
    assert by_row.resolve("m2a/table1/m2a").model.weights == f"run:{start.fingerprint}"
    folder = execute_run(plain, toy, 0, tmp_path, device="cpu")
    by_run = start_from(bare, folder.name, tmp_path).resolve("m2a/table1/m2a").model
    assert by_run.weights == str(folder / "best.pt")
    assert by_run.weights_digest == file_digest(folder / "best.pt")


def test_from_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    for start in ("m2a/table1/nobody", "no-such-run"):
        with pytest.raises(UnknownNameError):
            start_from(setting(tmp_path), start, tmp_path)
    with pytest.raises(ConfigError, match="--weights"):
        start_from(setting(tmp_path, "model.weights=w.pt"), "m2a/table1/none", tmp_path)
