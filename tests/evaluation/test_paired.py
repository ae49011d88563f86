"""The bootstrap against scipy's, against closed forms, and on tables small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vidrepro.evaluation.paired import class_differences, mcnemar, paired_difference


def table(runs: int, clips: int, share: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(runs, clips)) < share


def interval(a: np.ndarray, b: np.ndarray, **more: object) -> tuple[float, float]:
    found = paired_difference(a, b, np.random.default_rng(3), same_seeds=len(a) == len(b), **more)
    return found.low, found.high


def test_differences_are_counted() -> None:
    a = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)  # 75 % and 50 %
    b = np.array([[1, 0, 0, 0]], bool)  # 25 %
    found = paired_difference(a, b, np.random.default_rng(0), same_seeds=False, resamples=100)
    assert (found.a, found.b, found.difference, found.clips) == (62.5, 25.0, 37.5, 4)


def test_single_runs_agree_with_scipy_and_with_the_normal_approximation() -> None:
    a, b = table(1, 400, 0.8, 1), table(1, 400, 0.6, 2)
    low, high = interval(a, b)
    theirs = stats.bootstrap(
        (100.0 * (a[0].astype(float) - b[0]),), np.mean, n_resamples=10_000, method="percentile", rng=5
    ).confidence_interval
    assert low == pytest.approx(theirs.low, abs=0.5) and high == pytest.approx(theirs.high, abs=0.5)
    difference = a[0].astype(float) - b[0]
    half = 1.96 * 100 * difference.std() / np.sqrt(400)
    centre = 100 * difference.mean()
    assert (low, high) == (pytest.approx(centre - half, abs=0.5), pytest.approx(centre + half, abs=0.5))


def test_pairing_clips_matters() -> None:
    """Two runs that fail on the same clips differ less by chance than two that fail independently."""
    a = table(1, 400, 0.7, 1)
    b = a.copy()
    b[0, np.flatnonzero(a[0])[:20]] = False
    independent = np.random.default_rng(9).permutation(b[0])[None]
    (low, high), (wide_low, wide_high) = interval(a, b), interval(a, independent)
    assert high - low < 0.5 * (wide_high - wide_low)
    assert low > 0


def test_spread_between_seeds_widens_the_interval() -> None:
    clips = 4000
    rng = np.random.default_rng(0)
    calm = rng.uniform(size=(3, clips)) < np.array([[0.7], [0.7], [0.7]])
    moved = rng.uniform(size=(3, clips)) < np.array([[0.5], [0.7], [0.9]])
    flat = np.ones((3, clips), bool)
    widths = [np.diff(interval(side, flat))[0] for side in (calm, moved)]
    assert widths[1] > 5 * widths[0]
    # Three seeds drawn with replacement: far more spread than the 4,000 clips leave.
    assert widths[1] == pytest.approx(40, abs=6)  # all three the worst to all three the best, 1 in 27 each


def test_the_same_seeds_are_drawn_together() -> None:
    """Where both sides move with the seed alike, drawing seeds together leaves nothing of it in the difference."""
    clips = 3000
    rng = np.random.default_rng(0)
    b = rng.uniform(size=(3, clips)) < np.array([[0.4], [0.6], [0.8]])
    a = b | (rng.uniform(size=(3, clips)) < 0.05)
    together = paired_difference(a, b, np.random.default_rng(1), same_seeds=True)
    apart = paired_difference(a, b, np.random.default_rng(1), same_seeds=False)
    assert together.high - together.low < 4
    assert apart.high - apart.low > 30
    assert together.difference == apart.difference


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(300):
        a, b = rng.uniform(size=(1, 200)) < 0.7, rng.uniform(size=(1, 200)) < 0.55
        found = paired_difference(a, b, rng, same_seeds=True, resamples=500)
        covered += found.low <= 15 <= found.high
    assert 0.91 <= covered / 300 <= 0.985


def test_exchanging_the_sides_turns_the_difference() -> None:
    a, b = table(2, 300, 0.8, 1), table(2, 300, 0.6, 2)
    one, two = (paired_difference(x, y, np.random.default_rng(0), same_seeds=True) for x, y in ((a, b), (b, a)))
    assert one.difference == -two.difference
    assert (one.low, one.high) == (pytest.approx(-two.high, abs=1), pytest.approx(-two.low, abs=1))


def test_classes_are_independent_of_one_another_and_sum_to_the_whole() -> None:
    labels = np.repeat([0, 3, 5], [40, 10, 50])
    a, b = table(1, 100, 0.8, 1), table(1, 100, 0.6, 2)
    found = class_differences(a, b, labels, same_seeds=True)
    assert list(found) == [0, 3, 5] and [one.clips for one in found.values()] == [40, 10, 50]
    whole = sum(one.difference * one.clips for one in found.values()) / 100
    assert whole == pytest.approx(100 * (a.mean() - b.mean()))
    alone = class_differences(a[:, labels == 3], b[:, labels == 3], labels[labels == 3], same_seeds=True)
    assert alone[3] == found[3]


def test_mcnemar_is_the_sign_test_of_the_clips_that_differ() -> None:
    a = np.array([1] * 9 + [0] * 1 + [1] * 5, bool)
    b = np.array([0] * 9 + [1] * 1 + [1] * 5, bool)
    found = mcnemar(a, b)
    assert (found.only_a, found.only_b) == (9, 1)
    assert found.p == pytest.approx(2 * (1 + 10) / 2**10)  # 1 or 0 of 10 coins, on both sides
    assert mcnemar(a, a).p == 1.0


def test_tables_of_other_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="same clips"):
        paired_difference(table(1, 5, 0.5, 0), table(1, 6, 0.5, 0), np.random.default_rng(0), same_seeds=True)
    with pytest.raises(ValueError, match="same seeds"):
        paired_difference(table(1, 5, 0.5, 0), table(2, 5, 0.5, 0), np.random.default_rng(0), same_seeds=True)
