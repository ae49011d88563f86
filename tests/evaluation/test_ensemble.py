"""Ensembles against sums written out clip by clip, and what must be refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from tests.fake_runs import change_record, write_run
from tests.fake_scores import give_scores
from vidrepro.errors import ConfigError, ResultsError, UnknownNameError
from vidrepro.evaluation.ensemble import ensemble_scores, joint_protocol
from vidrepro.evaluation.ensemble_runs import ensemble_runs
from vidrepro.evaluation.metrics import accuracies
from vidrepro.evaluation.scores import Scores, load_scores, save_scores


def made_up(seed: int, protocol: str = "8x1x1@224", clips: int = 20, classes: int = 5) -> Scores:
    """Scores in an order of clips that the seed decides; the same clips and labels whatever the seed."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(clips)
    ids = np.array([f"clip{number}" for number in range(clips)])
    logits = rng.normal(size=(clips, classes)).astype(np.float32)
    return Scores(ids[order], (np.arange(clips) % classes)[order], logits, "abcd", protocol)


def by_clip(scores: Scores) -> dict[str, np.ndarray]:
    return dict(zip(scores.ids.tolist(), scores.logits, strict=True))


@given(weights=st.lists(st.floats(0.1, 10), min_size=2, max_size=4), first=st.integers(0, 50))
def test_an_ensemble_is_the_weighted_mean_of_each_clips_scores(weights: list[float], first: int) -> None:
    members = [made_up(first + number) for number in range(len(weights))]
    tables = [by_clip(member) for member in members]
    for average in ("logits", "softmax"):
        joint = ensemble_scores(members, weights, average=average)
        assert joint.ids.tolist() == members[0].ids.tolist() and joint.averaged == average
        for clip, found in by_clip(joint).items():
            own = [table[clip] if average == "logits" else softmax(table[clip].astype(float)) for table in tables]
            expected = sum(weight * values for weight, values in zip(weights, own, strict=True)) / sum(weights)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_without_weights_all_members_count_alike_and_their_order_does_not_matter() -> None:
    members = [made_up(seed) for seed in range(3)]
    plain = ensemble_scores(members)
    weighted = ensemble_scores(members[::-1], [2, 2, 2])
    for clip, values in by_clip(plain).items():
        np.testing.assert_allclose(by_clip(weighted)[clip], values, rtol=1e-5, atol=1e-6)
    assert accuracies(plain.labels, plain.logits) == accuracies(weighted.labels, weighted.logits)


def test_an_ensemble_of_one_network_with_itself_is_that_network() -> None:
    one = made_up(0)
    np.testing.assert_allclose(ensemble_scores([one, one]).logits, one.logits, rtol=1e-6)


def test_means_of_softmaxes_are_taken_as_they_stand_and_give_no_logits() -> None:
    logits = made_up(0)
    kept = replace(made_up(1), logits=softmax(made_up(1).logits, axis=1), averaged="softmax")
    joint = by_clip(ensemble_scores([logits, kept], average="softmax"))
    for clip, values in joint.items():
        np.testing.assert_allclose(values, (softmax(by_clip(logits)[clip]) + by_clip(kept)[clip]) / 2, rtol=1e-5)
        assert values.sum() == pytest.approx(1)
    with pytest.raises(ConfigError, match="m2 keeps the mean of its views' softmaxes"):
        ensemble_scores([logits, kept], names=["m1", "m2"])


@pytest.mark.parametrize(
    ("protocols", "expected"),
    [
        (["8x3x2@224", "16x3x2@224"], "(8+16)x3x2@224"),
        (["8x1x1@48"] * 3, "(8+8+8)x1x1@48"),
        (["8x1x1@224", "16x3x2@224"], "8x1x1@224 + 16x3x2@224"),
        (["(8+16)x3x2@224", "12x3x2@224"], "(8+16)x3x2@224 + 12x3x2@224"),
    ],
)
def test_the_protocol_names_every_members_frames(protocols: list[str], expected: str) -> None:
    assert joint_protocol(protocols) == expected
    members = [made_up(number, protocol) for number, protocol in enumerate(protocols)]
    assert ensemble_scores(members).protocol == expected


def test_the_members_and_their_shares_are_kept_in_the_file(tmp_path: Path) -> None:
    first = ensemble_scores([made_up(0), made_up(1, "16x1x1@224")], [1, 3], names=["a", "b"])
    joint = ensemble_scores([first, made_up(2)], average="softmax", names=["both", "c"])
    save_scores(tmp_path / "s.npz", joint)
    loaded = load_scores(tmp_path / "s.npz")
    assert loaded.averaged == "softmax" and loaded.ensemble == joint.ensemble and loaded.ensemble is not None
    both, last = loaded.ensemble
    assert [(one["name"], one["weight"], one["protocol"]) for one in both["ensemble"]] == [
        ("a", 0.25, "8x1x1@224"),
        ("b", 0.75, "16x1x1@224"),
    ]
    assert last == {"name": "c", "weight": 0.5, "protocol": "8x1x1@224", "averaged": "logits"}


def test_members_that_do_not_belong_together_are_refused_by_what_differs() -> None:
    one, other = made_up(0), made_up(1)
    relabelled = replace(other, labels=(other.labels + (other.ids == "clip7")) % 5)
    fewer = replace(other, ids=other.ids[:-1], labels=other.labels[:-1], logits=other.logits[:-1])
    renamed = replace(other, ids=np.array([f"{clip}0" if clip == "clip3" else clip for clip in other.ids]))
    twice = replace(other, ids=np.array(["clip1" if clip == "clip2" else clip for clip in other.ids]))
    for wrong, expected in (
        (replace(other, dataset_fingerprint="ef01"), "b was scored on another dataset, fold or label set than a"),
        (made_up(1, classes=6), "another number of classes"),
        (relabelled, "b has other labels than a"),
        (relabelled, "clip 'clip7': 3"),
        (fewer, f"1 only in a .{other.ids[-1]}."),
        (renamed, r"1 only in a .clip3.; 1 only in b .clip30."),
        (twice, "b holds a clip twice"),
        (replace(other, logits=other.logits * np.nan), "b holds scores that are not finite"),
    ):
        with pytest.raises(ResultsError, match=expected):
            ensemble_scores([one, wrong], names=["a", "b"])


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -1], [1, float("nan")], [1, 2, 3]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="weights do not fit"):
        ensemble_scores([made_up(0), made_up(1)], weights)


def test_one_member_and_another_average_are_refused() -> None:
    with pytest.raises(ConfigError, match="several members"):
        ensemble_scores([made_up(0)])
    with pytest.raises(UnknownNameError, match="did you mean 'softmax'"):
        ensemble_scores([made_up(0), made_up(1)], average="sotfmax")  # type: ignore[arg-type]


# Runs


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two finished runs with scores of 40 clips, 20 and 28 of them right, 8 right in the first one only."""
    labels = np.arange(40) % 8
    right = np.zeros((2, 40), dtype=bool)
    right[0, :20] = right[1, 12:] = True
    files = [write_run(tmp_path, f"m2a/table1/{name}", 20) for name in ("none", "m2a")]
    for file, own in zip(files, right, strict=True):
        give_scores(file, labels, own)
    return [file.parent for file in files]


def test_runs_are_combined_measured_and_saved(runs: list[Path], tmp_path: Path) -> None:
    result = ensemble_runs(runs, weights=[1, 3], out=tmp_path / "out")
    assert [one["top1"] for one in result["members"]] == [50, 70] and result["top1"] == 70
    assert [one["weight"] for one in result["members"]] == [0.25, 0.75]
    saved = load_scores(Path(result["scores"]))
    assert Path(result["scores"]).parent == tmp_path / "out"
    assert accuracies(saved.labels, saved.logits)["top1"] == 70
    named = [json.loads((folder / "run.json").read_text())["id"] for folder in runs]
    assert saved.ensemble is not None and [one["name"] for one in saved.ensemble] == named
    swapped = ensemble_runs(runs, weights=[3, 1], out=tmp_path / "out")
    assert swapped["top1"] == 50 and swapped["scores"] != result["scores"]


def test_runs_without_the_scores_are_refused_with_the_command(runs: list[Path], tmp_path: Path) -> None:
    frames = json.loads((runs[0] / "run.json").read_text())["config"]["data"]["frames"]
    with pytest.raises(ResultsError, match=f"vidrepro evaluate .* --protocol {frames}x3x2@48"):
        ensemble_runs(runs, protocol=f"{frames}x3x2@48", out=tmp_path)
    with pytest.raises(ResultsError, match=f"vidrepro evaluate .* --protocol {frames}x3x2@48"):
        ensemble_runs(runs, protocol=f"({frames}+{frames})x3x2@48", out=tmp_path)
    for text in (f"({frames}+99)x3x2@48", f"({frames})x3x2@48", "99x1x1@48"):
        with pytest.raises(ConfigError, match="frames are not those of the runs"):
            ensemble_runs(runs, protocol=text, out=tmp_path)
    with pytest.raises(ConfigError, match="named twice"):
        ensemble_runs([runs[0], runs[0]], out=tmp_path)
    with pytest.raises(UnknownNameError, match="best"):
        ensemble_runs(runs, which="bset", out=tmp_path)
    change_record(runs[0] / "run.json", config={})
    with pytest.raises(ResultsError, match="record cannot be read"):
        ensemble_runs(runs, out=tmp_path)
