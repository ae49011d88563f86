"""Official folds and further label sets in runs: what is trained on, what a run is called, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import make_toy_dataset
from vidrepro.config import RunConfig, resolve
from vidrepro.data.manifest import Manifest, load_manifest, write_manifest
from vidrepro.errors import CheckpointError, ManifestError, UnknownNameError
from vidrepro.evaluation.rerun import evaluate_run
from vidrepro.evaluation.scores import Scores, incomplete_text, load_scores, save_scores
from vidrepro.training.execute import execute_run

COMPLETENESS = {
    "allow_missing": 1.0,
    "complete": False,
    "splits": {"train": {"expected": 9537, "listed": 9537, "ok": 16, "missing": 9520, "bad": 1}},
}


@pytest.fixture
def folded(tmp_path: Path) -> Manifest:
    """The toy dataset with train, test and clips that only split2 uses; a task of three classes."""
    toy = make_toy_dataset(tmp_path / "data", clips=20)
    rows = toy.table.assign(split=["train"] * 12 + ["test"] * 5 + ["none"] * 3)
    folds = {
        "split1": {row.id: row.split for row in rows.itertuples() if row.split != "none"},
        "split2": {clip: "test" if number >= 14 else "train" for number, clip in enumerate(rows["id"])},
    }
    tasks = {"thirds": {clip: number % 3 for number, clip in enumerate(rows["id"])}}
    side: list[tuple[str, str, dict[str, dict[str, Any]]]] = [("splits", "split", folds), ("labels", "label", tasks)]
    for kind, column, tables in side:
        (toy.folder / kind).mkdir()
        for name, values in tables.items():
            lines = [f"id,{column}", *(f"{clip},{value}" for clip, value in values.items())]
            (toy.folder / kind / f"{name}.csv").write_text("\n".join(lines) + "\n")
    info = toy.info | {"fold": "split1", "tasks": {"thirds": ["zero", "one", "two"]}, "completeness": COMPLETENESS}
    return write_manifest(toy.folder, rows, info)


def changed(config: RunConfig, *overrides: str) -> RunConfig:
    return resolve([("base", config.model_dump())], overrides)


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def test_a_clip_in_no_split_is_kept_for_the_folds_that_use_it(folded: Manifest) -> None:
    assert set(folded.table["split"]) == {"train", "test", "none"}
    assert folded.counts() == {"train": {"ok": 12, "bad": 0}, "test": {"ok": 5, "bad": 0}}
    assert folded.counts("split2") == {"train": {"ok": 14, "bad": 0}, "test": {"ok": 6, "bad": 0}}
    assert len(folded.clips("test", fold="split2")) == 6
    with pytest.raises(UnknownNameError):
        folded.clips("none")


def test_evaluation_is_on_val_and_on_test_only_where_there_is_no_val(folded: Manifest, toy: Manifest) -> None:
    assert toy.eval_split() == "val"
    assert folded.eval_split() == folded.eval_split("split2") == "test"
    (folded.folder / "splits" / "own.csv").write_text("id,split\n000,train\n001,val\n002,test\n")
    assert folded.eval_split("own") == "val"


def test_runs_of_folds_and_tasks_are_runs_of_their_own(folded: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    said: list[str] = []
    base = changed(toy_config, "train.epochs=1")
    runs = {}
    for name, extra in {
        "own": [],
        "split2": ["data.fold=split2"],
        "thirds": ["data.task=thirds"],
        "both": ["data.fold=split2", "data.task=thirds"],
    }.items():
        config = changed(base, *extra)
        runs[name] = execute_run(config, folded, 0, tmp_path / "r", device="cpu", say=said.append)
    assert len(set(runs.values())) == 4
    datasets = {name: record_of(folder)["dataset"] for name, folder in runs.items()}
    assert {name: (one["fold"], one["task"], one["classes"]) for name, one in datasets.items()} == {
        "own": ("split1", None, 2),
        "split2": ("split2", None, 2),
        "thirds": ("split1", "thirds", 3),
        "both": ("split2", "thirds", 3),
    }
    assert {one["fingerprint"] for one in datasets.values()} == {folded.fingerprint}
    assert len({one["selection"] for one in datasets.values()}) == 4
    assert datasets["own"]["selection"] == folded.fingerprint
    assert datasets["split2"]["counts"]["test"]["ok"] == 6
    assert datasets["own"]["order_blind_ceiling"] == 0.5 and datasets["thirds"]["order_blind_ceiling"] is None
    assert all("no split val" in sentence for sentence in said) and len(said) >= 4
    for name, folder in runs.items():
        record = record_of(folder)
        assert record["best"]["split"] == record["last"]["split"] == "test"
        scores = load_scores(folder / "scores" / "test-4x1x1@24-best.npz")
        assert list(scores.ids) == [
            f"{n:03d}" for n in (range(14, 20) if "2" in str(datasets[name]["fold"]) else range(12, 17))
        ]
        expected = [int(clip) % (3 if datasets[name]["task"] else 2) for clip in scores.ids]
        assert scores.labels.tolist() == expected
        assert scores.dataset_fingerprint == datasets[name]["selection"]
        assert scores.completeness == COMPLETENESS and record["dataset"]["completeness"] == COMPLETENESS
        assert (record["best"]["pair"] is None) == (datasets[name]["task"] is not None)
        again = evaluate_run(folder, data=folded.folder.parent, device="cpu")
        assert again["split"] == "test" and again["top1"] == record["best"]["top1"]
        assert (again["fold"], again["task"]) == (datasets[name]["fold"], datasets[name]["task"])
        assert again["completeness"] == COMPLETENESS


def test_a_fold_changed_since_is_another_dataset(folded: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    config = changed(toy_config, "train.epochs=1", "data.fold=split2")
    folder = execute_run(config, folded, 0, tmp_path / "r", device="cpu")
    path = folded.folder / "splits" / "split2.csv"
    path.write_text(path.read_text().replace("013,train", "013,test"))
    with pytest.raises(ManifestError, match="another fold 'split2'"):
        evaluate_run(folder, data=folded.folder.parent, device="cpu")
    moved = execute_run(config, load_manifest("toy", folded.folder.parent), 0, tmp_path / "r", device="cpu")
    assert moved != folder


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"label_order": "as in labels.csv"}, "labels in another order(.|\n)*as in labels.csv(.|\n)*sorted"),
        ({"version": "2"}, "another version(.|\n)*version 2(.|\n)*1"),
        ({"classes": ["right", "left"]}, "is not the dataset this run was trained on"),
    ],
)
def test_another_label_order_or_version_is_refused_by_name(
    toy_config: RunConfig, tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    toy = make_toy_dataset(tmp_path / "data")
    folder = execute_run(changed(toy_config, "train.epochs=1"), toy, 0, tmp_path / "r", device="cpu")
    write_manifest(toy.folder, toy.table, toy.info | change)
    with pytest.raises(ManifestError, match=problem):
        evaluate_run(folder, data=tmp_path / "data", device="cpu")
    # a record of a version that did not write the order down is still told apart
    record = record_of(folder)
    for key in ("label_order", "selection", "version"):
        record["dataset"].pop(key)
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(ManifestError, match="is not the dataset this run was trained on"):
        evaluate_run(folder, data=tmp_path / "data", device="cpu")
    write_manifest(toy.folder, toy.table, toy.info)
    assert evaluate_run(folder, data=tmp_path / "data", device="cpu")["split"] == "val"


def test_a_checkpoint_of_another_fold_is_refused(folded: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    base = changed(toy_config, "train.epochs=1")
    one = execute_run(base, folded, 0, tmp_path / "r", device="cpu")
    two = execute_run(changed(base, "data.fold=split2"), folded, 0, tmp_path / "r", device="cpu")
    (two / "best.pt").write_bytes((one / "best.pt").read_bytes())
    with pytest.raises(CheckpointError, match="another config and another dataset"):
        evaluate_run(two, data=folded.folder.parent, device="cpu")


def test_unknown_folds_and_tasks_are_refused(folded: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    for override in ("data.fold=split4", "data.task=halves"):
        with pytest.raises(UnknownNameError, match=override.rpartition("=")[2]):
            execute_run(changed(toy_config, override), folded, 0, tmp_path / "r", device="cpu")
    assert not (tmp_path / "r").exists()


def test_settings_without_fold_and_task_keep_their_fingerprint(toy_config: RunConfig) -> None:
    settings = toy_config.model_dump(mode="json")
    for key in ("fold", "task"):
        settings["data"].pop(key)  # as records of older versions are
    assert RunConfig.model_validate(settings).fingerprint == toy_config.fingerprint
    others = [changed(toy_config, text).fingerprint for text in ("data.fold=a", "data.fold=b", "data.task=a")]
    assert len({toy_config.fingerprint, *others}) == 4


def test_completeness_travels_with_scores_and_is_told(tmp_path: Path) -> None:
    scores = Scores(np.array(["a"]), np.array([0]), np.zeros((1, 2), np.float32), "ab", "8x1x1@224", COMPLETENESS)
    save_scores(tmp_path / "s.npz", scores)
    assert load_scores(tmp_path / "s.npz").completeness == COMPLETENESS
    np.savez(
        tmp_path / "old.npz",
        **{name: getattr(scores, name) for name in ("ids", "labels", "logits", "dataset_fingerprint", "protocol")},
    )
    assert load_scores(tmp_path / "old.npz").completeness is None
    text = incomplete_text(COMPLETENESS)
    assert text == "not the whole official dataset: train 16 of 9,537 clips (9,520 missing, 1 bad) (--allow-missing 1)"
    assert incomplete_text(None) is None and incomplete_text({"complete": True}) is None
