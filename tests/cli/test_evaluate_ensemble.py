"""``evaluate`` and ``ensemble`` on runs that were really trained, for a moment, with 4 and with 2 frames."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.command_line import invoke, plain
from tests.short_runs import MICRO, train_shortly
from vidrepro.cli.app import app
from vidrepro.cost.network_cost import measure_model
from vidrepro.errors import ConfigError, ResultsError
from vidrepro.evaluation.rerun import load_trained
from vidrepro.evaluation.scores import load_scores

M2A = MICRO | {"mechanism": "m2a"}


@pytest.fixture(scope="module")
def runs(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A results folder, and the ids of its runs with 4 and with 2 frames."""
    results = tmp_path_factory.mktemp("results")
    return results, [train_shortly(results, toy_data, "toy", M2A, frames=frames).name for frames in (4, 2)]


def test_runs_of_several_lengths_are_evaluated_under_six_views_and_combined(
    runs: tuple[Path, list[str]], toy_data: Path, tmp_path: Path
) -> None:
    results, names = runs
    costs = []
    for frames, name in zip((4, 2), names, strict=True):
        words = ["evaluate", name, "--protocol", f"{frames}x3x2@24", "--results", results, "--data", toy_data]
        record = json.loads(invoke(*words, "--device", "cpu", "--json"))
        assert (record["views"], record["averaged"]) == (6, "logits")
        model = load_trained(results / "runs" / name, data=toy_data).model
        assert record["gmacs_per_view"] == measure_model(model, frames=frames, size=24).gmacs_conv_linear > 0
        costs.append((record["gmacs_per_view"], 6))
    text = invoke(*words, "--device", "cpu")
    assert re.search(r"cost: [\d.e-]+ GMACs a view \(conv \+ linear\) x 6 views, mean of the views' logits", text)

    joint = ["ensemble", *names, "--results", results]
    record = json.loads(invoke(*joint, "--protocol", "(4+2)x3x2@24", "--weights", "1,3", "--out", tmp_path, "--json"))
    assert record["protocol"] == "(4+2)x3x2@24" and record["clips"] == 8
    assert [(one["gmacs_per_view"], one["views"]) for one in record["members"]] == costs
    saved = load_scores(Path(record["scores"]))
    members = [
        load_scores(results / "runs" / name / "scores" / f"val-{frames}x3x2@24-best.npz")
        for frames, name in zip((4, 2), names, strict=True)
    ]
    np.testing.assert_allclose(saved.logits, members[0].logits / 4 + 3 * members[1].logits / 4, rtol=1e-5, atol=1e-7)
    assert record["top1"] == 100 * (saved.logits.argmax(1) == saved.labels).mean()
    text = invoke(*joint)
    assert "(4+2)x1x1@24" in text and "mean of the runs' logits" in text and all(name in text for name in names)
    assert text.count("GMACs a view x 1)") == 2
    assert len(list((results / "ensembles").glob("*.npz"))) == 1


def test_softmaxes_are_kept_apart_from_logits(runs: tuple[Path, list[str]], toy_data: Path) -> None:
    results, names = runs
    own = results / "runs" / names[0] / "scores" / "val-4x1x1@24-best.npz"
    before = own.read_bytes()
    words = ["evaluate", names[0], "--average", "softmax", "--results", results, "--data", toy_data, "--device", "cpu"]
    record = json.loads(invoke(*words, "--json"))
    scores = load_scores(Path(record["scores"]))
    assert scores.averaged == record["averaged"] == "softmax" and own.read_bytes() == before
    np.testing.assert_allclose(scores.logits, load_scores(own).probabilities, rtol=1e-5)


def test_runs_that_average_softmaxes_are_found_and_combined_as_such(
    runs: tuple[Path, list[str]], toy_data: Path, tmp_path: Path
) -> None:
    results, names = runs
    views = {"train_sampling": "strided", "eval_sampling": "strided", "eval_clips": 3, "eval_average": "softmax"}
    kept = train_shortly(results, toy_data, "toy", M2A, **views)
    assert load_scores(kept / "scores" / "val-4x1x3@24-best-softmax.npz").averaged == "softmax"
    joint = ["ensemble", names[0], kept.name, "--results", results, "--out", tmp_path]
    record = json.loads(invoke(*joint, "--json"))
    assert record["averaged"] == "softmax" and record["protocol"] == "4x1x1@24 + 4x1x3@24"
    with pytest.raises(ConfigError, match="--average softmax"):
        invoke(*joint, "--average", "logits")
    where = ["--protocol", "4x1x2@24", "--results", results, "--data", toy_data]
    for name in (names[0], kept.name):
        invoke("evaluate", name, *where, "--device", "cpu")
    compared = ["compare", names[0], kept.name, *where]
    assert json.loads(invoke(*compared, "--json"))["overall"]["clips"] == 8


def test_what_a_run_cannot_be_evaluated_or_combined_under_is_refused(
    runs: tuple[Path, list[str]], toy_data: Path
) -> None:
    results, names = runs
    where = ["--results", results, "--data", toy_data, "--device", "cpu"]
    for words, expected in (
        (["--protocol", "8x1x1@24"], "another number of frames"),
        (["--protocol", "4x2x1@24"], "eval_crops"),
        (["--protocol", "4x3x10@24"], "eval_clips 10 cannot be had by tsm-val, which takes 1 or 2"),
        (["--average", "sotfmax"], "eval_average"),
    ):
        with pytest.raises(ConfigError, match=expected):
            invoke("evaluate", names[0], *words, *where)
    with pytest.raises(ResultsError, match=f"vidrepro evaluate {names[0]} .* --split train"):
        invoke("ensemble", *names, "--split", "train", "--results", results)
    with pytest.raises(ConfigError, match="several members"):
        invoke("ensemble", names[0], "--results", results)
    done = CliRunner().invoke(app, ["ensemble", *names, "--weights", "1;2", "--results", str(results)])
    assert done.exit_code == 2 and "numbers with commas" in plain(done.output)
