"""Accuracies against counting by hand; score files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidrepro.errors import ResultsError
from vidrepro.evaluation.metrics import accuracies
from vidrepro.evaluation.scores import Scores, load_scores, save_scores


def test_hand_counted() -> None:
    labels = np.array([0, 0, 1, 2, 3, 3])
    predicted = np.array([0, 1, 1, 3, 3, 0])
    logits = np.eye(4, dtype=np.float32)[predicted]
    result = accuracies(labels, logits, [[0, 1], [2, 3]])
    assert result["clips"] == 6 and result["top1_correct"] == 3 and result["top1"] == 50
    assert result["mean_class"] == pytest.approx(100 * (1 / 2 + 1 + 0 + 1 / 2) / 4)
    assert result["pair_correct"] == 5 and result["pair"] == pytest.approx(500 / 6)
    assert accuracies(labels, logits)["pair"] is None


@given(st.integers(2, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_top_accuracies_equal_counting(classes: int, clips: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, logits = rng.integers(0, classes, clips), rng.normal(size=(clips, classes)).astype(np.float32)
    rank = (logits > logits[np.arange(clips), labels][:, None]).sum(1)  # how many classes score higher
    result = accuracies(labels, logits)
    assert result["top1"] == pytest.approx(100 * np.mean(rank < 1))
    assert result["top5"] == pytest.approx(100 * np.mean(rank < 5))


def test_scores_round_trip_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scores" / "val.npz"
    scores = Scores(np.array(["a", "b"]), np.array([1, 0]), np.zeros((2, 3), np.float32), "abcd", "8x1x1@48")
    save_scores(path, scores)
    loaded = load_scores(path)
    assert loaded.ids.tolist() == ["a", "b"] and loaded.protocol == "8x1x1@48"
    assert np.array_equal(loaded.logits, scores.logits) and np.array_equal(loaded.labels, scores.labels)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ResultsError, match="cannot read scores"):
        load_scores(path)
    path.write_bytes(b"no archive at all")
    with pytest.raises(ResultsError, match="no score file") as caught:
        load_scores(path)
    assert "pickle" not in str(caught.value)  # no advice to load it unsafely
    with pytest.raises(ResultsError):
        load_scores(tmp_path / "none.npz")
