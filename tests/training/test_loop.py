"""Training: resumes bit for bit, is bound to its identity, stops on bad losses, and learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vidrepro.config import RunConfig, resolve
from vidrepro.data.manifest import Manifest
from vidrepro.errors import CheckpointError, ConfigError, ResultsError, TrainingError, VidreproError
from vidrepro.evaluation.scores import load_scores
from vidrepro.training import loop
from vidrepro.training.execute import execute_run
from vidrepro.training.loop import Interrupted, Trainer
from vidrepro.training.progress import Progress

CPU = torch.device("cpu")


def changed(config: RunConfig, *overrides: str) -> RunConfig:
    return resolve([("base", config.model_dump())], overrides)


class StopAfter:
    """Asks to stop at a given step."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left < 0


def trainer(config: RunConfig, toy: Manifest, folder: Path, **options: Any) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(config, toy, 0, folder, device=CPU, **options)


def final_tensors(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(folder / "last.pt", weights_only=True)
    momentum = {f"momentum {index}": state["momentum_buffer"] for index, state in content["optimizer"]["state"].items()}
    return {**content["model"], **momentum, "random": content["random"]["torch"]}


@pytest.mark.parametrize("steps", [1, 3, 4, 6])  # inside epoch 1, at its end, inside epoch 2 (4 batches an epoch)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_interrupted_and_resumed_equals_straight(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path, steps: int, accumulation: int
) -> None:
    config = changed(toy_config, f"train.accumulation={accumulation}", "train.schedule=cosine")
    straight = trainer(config, toy, tmp_path / "straight").run()

    folder = tmp_path / "resumed"
    with pytest.raises(Interrupted):
        trainer(config, toy, folder, stop=StopAfter(steps)).run()
    torch.manual_seed(12345)  # another process would be in another state
    second = trainer(config, toy, folder)
    assert second.restore()
    resumed = second.run()

    assert resumed.history == straight.history
    assert (resumed.best, resumed.last) == (straight.best, straight.last)
    expected, got = final_tensors(tmp_path / "straight"), final_tensors(folder)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[key], got[key]) for key in expected)


@pytest.mark.parametrize("steps", [3, 10])
def test_plateau_lowers_the_rate_and_a_resumed_run_remembers(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path, steps: int
) -> None:
    """A threshold that no loss gets below: the rate falls after every evaluation but the first, also across a stop."""
    plateau = ["train.schedule=plateau", "train.plateau_patience=0", "train.plateau_threshold=0.99"]
    config = changed(toy_config, "train.epochs=4", "train.plateau_factor=0.5", "model.mechanism=none", *plateau)
    straight = trainer(config, toy, tmp_path / "straight").run()
    rates = [record["learning_rate"] / config.train.learning_rate for record in straight.history]
    assert rates == pytest.approx([1, 1, 0.5, 0.25])
    folder = tmp_path / "resumed"
    with pytest.raises(Interrupted):
        trainer(config, toy, folder, stop=StopAfter(steps)).run()
    second = trainer(config, toy, folder)
    assert second.restore() and second.run().history == straight.history


def test_the_validation_loss_is_the_predictions(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    for average in ("logits", "softmax"):
        state = trainer(changed(toy_config, f"data.eval_average={average}"), toy, tmp_path / average).run()
        (file,) = (tmp_path / average / "scores").glob("*-last*.npz")
        scores = load_scores(file)
        values, labels = torch.from_numpy(scores.logits), torch.from_numpy(scores.labels)
        loss = nn.CrossEntropyLoss() if average == "logits" else lambda p, y: nn.NLLLoss()(p.log(), y)
        assert state.history[-1]["val_loss"] == pytest.approx(float(loss(values, labels)), rel=1e-5)


def test_results_do_not_depend_on_workers_or_cache(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    from vidrepro.data.cache import open_cache

    plain = trainer(toy_config, toy, tmp_path / "plain").run()
    workers = trainer(toy_config, toy, tmp_path / "workers", workers=2).run()
    cached = trainer(toy_config, toy, tmp_path / "cached", cache=open_cache(toy, "always")).run()
    assert plain.history == workers.history == cached.history


def test_gradients_are_accumulated(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    """Two batches of 4 make the step that one batch of 8 makes, where nothing couples the clips of a batch."""
    frozen = ["train.frozen_batch_norm=all-but-first", "model.dropout=0", "model.mechanism=none"]
    together = trainer(changed(toy_config, *frozen, "train.batch_size=8", "train.epochs=1"), toy, tmp_path / "a")
    apart = trainer(
        changed(toy_config, *frozen, "train.batch_size=4", "train.accumulation=2", "train.epochs=1"),
        toy,
        tmp_path / "b",
    )
    for each in (together, apart):
        each.model.backbone.bn1.eval()  # the one norm that partial BN leaves running
    batches = list(together.loader)
    halves = list(apart.loader)
    together._forward_backward(batches[0])
    for half in halves[:2]:
        apart._forward_backward(half)
    pairs = zip(together.model.parameters(), apart.model.parameters(), strict=True)
    checked = 0
    for one, two in pairs:
        if one.grad is not None:
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-6)
            checked += 1
    assert checked > 5


def test_checkpoint_of_another_run_is_refused(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        trainer(toy_config, toy, folder, stop=StopAfter(1)).run()
    with pytest.raises(CheckpointError, match="another config"):
        trainer(changed(toy_config, "train.epochs=3"), toy, folder).restore()
    (folder / "last.pt").write_bytes(b"garbage")
    with pytest.raises(CheckpointError):
        trainer(toy_config, toy, folder).restore()


def test_non_finite_loss_stops(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = trainer(toy_config, toy, tmp_path / "run")
    monkeypatch.setattr(loop, "normalise", lambda clip: clip.float() * float("inf"))
    with pytest.raises(TrainingError, match="no longer finite in epoch 1, batch 1"):
        broken.run()
    assert not (tmp_path / "run" / "last.pt").exists()


def test_split_smaller_than_a_step_is_refused(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"smaller|fewer"):
        trainer(changed(toy_config, "train.batch_size=64"), toy, tmp_path / "a")
    with pytest.raises(ConfigError, match="smaller than one optimiser step"):
        trainer(changed(toy_config, "train.accumulation=5"), toy, tmp_path / "b")


def test_execute_writes_a_complete_record_once(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    seen: list[Progress] = []

    class Listener:
        def update(self, progress: Progress) -> None:
            seen.append(progress)

    folder = execute_run(toy_config, toy, 3, tmp_path, device="cpu", reporter=Listener(), provenance={"preset": "x"})
    record = json.loads((folder / "run.json").read_text())
    assert record["state"] == "finished" and record["seed"] == 3 and record["preset"] == "x"
    assert record["config"] == toy_config.model_dump(mode="json")
    assert record["dataset"]["fingerprint"] == toy.fingerprint
    assert record["dataset"]["counts"]["val"] == {"ok": 8, "bad": 0}
    assert record["protocol"] == "4x1x1@24"
    assert len(record["history"]) == 2 and record["history"][-1]["val_top1"] == record["last"]["top1"]
    assert record["best"]["top1"] == max(epoch["val_top1"] for epoch in record["history"])

    scores = load_scores(folder / "scores" / "val-4x1x1@24-best.npz")
    assert scores.dataset_fingerprint == toy.fingerprint
    assert 100 * np.mean(scores.logits.argmax(1) == scores.labels) == record["best"]["top1"]
    assert [(p.phase, p.batch) for p in seen] == [*(("train", step) for step in (1, 2, 3, 4)), ("val", 8)] * 2
    assert seen[-1].share == 1.0
    first = seen[:4]  # before any evaluation was timed: what is left is the batches left at the speed so far
    batches_left = [one.remaining_seconds * one.clips_per_second / toy_config.train.batch_size for one in first]
    assert batches_left == pytest.approx([7, 6, 5, 4])

    seen.clear()
    before = (folder / "run.json").stat().st_mtime_ns
    assert execute_run(toy_config, toy, 3, tmp_path, device="cpu", reporter=Listener()) == folder
    assert not seen and (folder / "run.json").stat().st_mtime_ns == before


def test_a_run_held_by_another_process_is_refused(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    from vidrepro.runs.folder import make_run_folder, run_id
    from vidrepro.training import execute

    monkeypatch.setattr(execute, "LOCK_SECONDS", 0.1)

    folder = make_run_folder(tmp_path, run_id(toy_config, toy.fingerprint, 0))
    with filelock.FileLock(folder / ".lock"), pytest.raises(ResultsError, match="another process"):
        execute_run(toy_config, toy, 0, tmp_path, device="cpu")


def test_start_weights_are_used_and_reported_key_by_key(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    from vidrepro.models import build_from_config

    path = tmp_path / "start.pt"
    torch.manual_seed(7)
    torch.save(build_from_config(toy_config.model, frames=4, classes=2).state_dict(), path)
    config = changed(toy_config, f"model.weights={path}", "train.epochs=1")
    started = trainer(config, toy, tmp_path / "run").model.state_dict()
    saved = torch.load(path, weights_only=True)
    assert all(torch.equal(started[key], saved[key]) for key in saved)
    sentences: list[str] = []
    folder = execute_run(config, toy, 0, tmp_path, device="cpu", say=sentences.append)
    report = json.loads((folder / "run.json").read_text())["backbone"]["weights_report"]
    assert sorted(report["loaded"]) == sorted(saved) and not report["missing"]
    assert len(sentences) == 1 and str(path) in sentences[0]


def test_a_finished_run_needs_no_writable_folder_and_an_unwritable_one_is_refused_cleanly(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path
) -> None:
    folder = execute_run(toy_config, toy, 0, tmp_path, device="cpu")
    (folder / ".lock").unlink(missing_ok=True)
    (folder / ".lock").mkdir()  # stands for a folder in which no file can be made, which root is never refused
    assert execute_run(toy_config, toy, 0, tmp_path, device="cpu") == folder
    (folder / "run.json").unlink()
    with pytest.raises(ResultsError, match="cannot write"):
        execute_run(toy_config, toy, 0, tmp_path, device="cpu")


def test_a_refused_run_leaves_nothing_behind(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(VidreproError):
        execute_run(changed(toy_config, "model.backbone=resnet81"), toy, 0, tmp_path / "r", device="cpu")
    with pytest.raises(ConfigError):
        execute_run(changed(toy_config, "train.batch_size=64"), toy, 0, tmp_path / "r", device="cpu")
    assert not (tmp_path / "r").exists()


def test_every_version_of_the_code_that_worked_on_a_run_is_recorded(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("aaa", "aaa", "bbb+"):
        monkeypatch.setattr(loop, "code_version", lambda version=version: version)
        attempt = trainer(toy_config, toy, tmp_path / "run", stop=StopAfter(1))
        attempt.restore()
        with pytest.raises(Interrupted):
            attempt.run()
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["state"]["versions"] == ["aaa", "bbb+"]


def test_results_that_cannot_be_written_are_refused(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(ResultsError, match="cannot write"):
        execute_run(toy_config, toy, 0, tmp_path / "results", device="cpu")


def test_motion_is_learned_and_an_order_blind_network_cannot(
    toy_data: Path, toy_config: RunConfig, tmp_path: Path
) -> None:
    """On two classes that are each other's reversal, the temporal shift gets far; none stays at the ceiling."""
    from tests.conftest import make_toy_dataset

    data = make_toy_dataset(tmp_path / "data", clips=96)
    # TSM's TRAIN rule treats both directions alike where N is a multiple of T; its VAL and TEST rules take every other
    # frame, the odd ones, whose set alone tells the direction here: nothing may be trained on them.
    recipe = ["train.epochs=12", "train.batch_size=8", "data.crop=centre"]
    shift = trainer(
        changed(toy_config, *recipe, "model.mechanism=none", "model.temporal_shift=true"), data, tmp_path / "s"
    )
    blind = trainer(changed(toy_config, *recipe, "model.mechanism=none"), data, tmp_path / "n")
    shifted, none = shift.run(), blind.run()
    assert shifted.best is not None and none.last is not None
    assert shifted.best["top1"] >= 90
    assert none.last["top1"] <= 75  # 50 % expected on 32 clips; 75 % lies 2.8 standard deviations above
