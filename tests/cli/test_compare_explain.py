"""``compare``, ``explain gradcam`` and ``show DATASET --figures`` on runs that were really trained, for a moment."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.command_line import invoke, plain
from tests.fake_runs import write_run
from tests.short_runs import MICRO, train_shortly
from vidrepro.cli.app import app
from vidrepro.data.manifest import Manifest
from vidrepro.errors import VidreproError
from vidrepro.evaluation.scores import load_scores


@pytest.fixture(scope="module")
def results(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a run of ``none`` and one of ``m2a``, an epoch each."""
    folder = tmp_path_factory.mktemp("results")
    for mechanism in ("none", "m2a"):
        train_shortly(folder, toy_data, "toy", MICRO | {"mechanism": mechanism})
    return folder


def run_id(results: Path, mechanism: str) -> str:
    return next(path.parent.name for path in results.glob(f"runs/*_{mechanism}_*/run.json"))


def test_compare_agrees_with_the_score_files(results: Path, toy_data: Path, tmp_path: Path) -> None:
    ids = [run_id(results, name) for name in ("m2a", "none")]
    words = ["compare", *ids, "--per-class", "--results", results, "--data", toy_data, "--out", tmp_path, "--json"]
    record = json.loads(invoke(*words))
    right = []
    for name in ids:
        scores = load_scores(next((results / "runs" / name / "scores").glob("val-*-best.npz")))
        right.append(scores.logits.argmax(1) == scores.labels)
    assert record["overall"]["difference"] == pytest.approx(100 * (right[0].mean() - right[1].mean()))
    assert record["overall"]["clips"] == 8 and record["a"]["runs"] == [ids[0]]
    assert [entry["class"][:6] for entry in record["classes"]] == ["Moving"] * 2
    for entry in record["classes"]:
        of_class = scores.labels == entry["label"]
        assert entry["a"] == pytest.approx(100 * right[0][of_class].mean())
    files = {Path(path).suffix: Path(path) for path in record["files"]}
    assert set(files) == {".md", ".csv", ".png"} and all(path.parent == tmp_path for path in files.values())
    with files[".csv"].open() as file:
        assert next(csv.DictReader(file))["class"] == "all clips"
    assert "McNemar" in files[".md"].read_text()
    text = invoke("compare", *ids, "--results", results, "--data", toy_data)
    assert "McNemar" in text and "Moving" not in text and not (results / "compare").exists()


def test_compare_shows_chosen_classes_of_any_number_of_runs(results: Path, toy_data: Path, tmp_path: Path) -> None:
    ids = [run_id(results, name) for name in ("none", "m2a")]
    words = ["compare", *ids, "--per-class", "--results", results, "--data", toy_data, "--out", tmp_path]
    record = json.loads(invoke(*words, "--classes", "right to left", "--json"))
    assert record["shown"] == [1] and [one["runs"] for one in record["networks"]] == [[name] for name in ids]
    scores = load_scores(next((results / "runs" / ids[1] / "scores").glob("val-*-best.npz")))
    right = (scores.logits.argmax(1) == scores.labels)[scores.labels == 1].mean()
    assert record["classes"][1]["networks"][1]["mean"] == pytest.approx(100 * right)
    assert {Path(path).suffix for path in record["files"]} == {".md", ".csv", ".png"}
    text = invoke("compare", *ids, "--per-class", "--classes", "0,1", "--results", results, "--data", toy_data)
    assert text.count("Moving") == 2 and "all clips" in text


def test_options_without_effect_and_runs_without_scores_are_refused(
    results: Path, toy_data: Path, tmp_path: Path
) -> None:
    ids = [run_id(results, name) for name in ("m2a", "none")]
    for words, expected in (
        (["--top", 3], "--per-class"),
        (["--format", "png"], "--per-class"),
        (["--format", "pgn"], "png"),
        (["--split", "train"], "vidrepro evaluate .* --split train"),
        (["--checkpoint", "bset"], "best"),
        (["--classes", "1"], "--per-class"),
        (["--classes", "1", "--top", 1, "--per-class"], "both choose"),
        ([ids[0]], "--per-class"),
    ):
        done = CliRunner().invoke(app, ["compare", *ids, "--results", str(results), *map(str, words)])
        assert done.exit_code != 0
        assert re.search(expected, f"{done.exception} {plain(done.output)}", re.DOTALL), words
    write_run(tmp_path, "m2a/table1/m2a", 700)  # as committed: a record alone
    write_run(tmp_path, "m2a/table1/none", 300)
    with pytest.raises(VidreproError, match="keeps no scores of single clips"):
        invoke("compare", "m2a/table1/m2a", "m2a/table1/none", "--results", tmp_path)


def test_gradcam_writes_a_picture_and_its_values_for_each_clip(results: Path, toy_data: Path, tmp_path: Path) -> None:
    ids = [run_id(results, name) for name in ("none", "m2a")]
    where = ["--results", results, "--data", toy_data, "--out", tmp_path]
    words = ["explain", "gradcam", ids[0], "016", "017", "--run", ids[1], *where, "--device", "cpu"]
    records = json.loads(invoke(*words, "--json"))
    assert [record["clip"] for record in records] == ["016", "017"]
    for record in records:
        assert [one["run"] for one in record["networks"]] == ids
        assert Image.open(record["picture"]).format == "PNG"
        with np.load(record["arrays"], allow_pickle=False) as file:
            assert file["runs"].tolist() == ids and file["positions"].tolist() == [1, 3, 5, 7]
            for number, one in enumerate(record["networks"]):
                scores = load_scores(next((results / "runs" / ids[number] / "scores").glob("val-*-best.npz")))
                position = scores.ids.tolist().index(record["clip"])
                # What is explained is what was scored: the run's own evaluation view.
                assert np.allclose(file[f"logits_{number}"], scores.logits[position], atol=1e-5)
                assert file[f"heat_{number}"].shape == (4, 24, 24) and file[f"maps_{number}"].shape[0] == 4
                assert one["right"] == (scores.logits[position].argmax() == scores.labels[position])
    truth = json.loads(invoke(*words, "--class", "true", "--layer", "layer3", "--json"))
    assert all(one["class_explained"] == one["true"] for record in truth for one in record["networks"])
    assert {Path(record["picture"]).name for record in truth} == {f"toy_{n}_layer3_true.png" for n in ("016", "017")}


def test_gradcam_refuses_before_anything_is_written(results: Path, toy_data: Path, tmp_path: Path) -> None:
    name = run_id(results, "m2a")
    where = ["--results", results, "--data", toy_data, "--out", tmp_path / "out"]
    for words, expected in (
        (["016", "999"], "no usable clip '999'"),
        (["000"], "--split train"),
        (["016", "--layer", "layr2"], "did you mean 'layer2'"),
        (["016", "--class", "ture"], "true"),
        (["016", "--run", "nothing"], "unknown run"),
    ):
        with pytest.raises(VidreproError, match=expected):
            invoke("explain", "gradcam", name, *words, *where)
    assert not (tmp_path / "out").exists()


def test_show_draws_a_prepared_dataset(toy: Manifest, toy_data: Path, tmp_path: Path) -> None:
    text = invoke("show", "toy", "--data", toy_data, "--results", tmp_path)
    assert "016" in text and "--figures" in text  # a validation clip of the first class
    assert list(tmp_path.iterdir()) == []
    words = ["show", "toy", "--figures", "--classes", "right to left", "--clips", 2, "--data", toy_data]
    content = json.loads(invoke(*words, "--results", tmp_path, "--json"))
    assert content["classes"][0]["example"] == "016" and content["classes"][1]["example"] == "017"
    assert [Path(path).name for path in content["figures"]] == ["clips.png", "classes.png", "lengths.png"]
    assert all(Path(path).parent == tmp_path / "figures" / "toy" for path in content["figures"])
    assert Image.open(content["figures"][0]).height == 2 * 68 - 4
    none_there = CliRunner().invoke(app, ["show", "toy", "--figures", "--classes", "figure3", "--data", str(toy_data)])
    assert none_there.exit_code == 2 and "Poking something so it" in plain(none_there.output)
    for words in (["toy", "--clips", 2], ["m2a", "--figures"]):
        assert CliRunner().invoke(app, ["show", *map(str, words), "--data", str(toy_data)]).exit_code == 2
