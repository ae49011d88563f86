from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidrepro.report.statistics import Accuracy, accuracy, difference, wilson_interval

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


def by_hand(correct: int, clips: int) -> tuple[float, float]:
    """Wilson 1927, written out."""
    share = correct / clips
    centre = share + Z * Z / (2 * clips)
    half = Z * math.sqrt(share * (1 - share) / clips + Z * Z / (4 * clips * clips))
    return 100 * (centre - half) / (1 + Z * Z / clips), 100 * (centre + half) / (1 + Z * Z / clips)


@pytest.mark.parametrize(
    ("correct", "clips", "low", "high"),
    [(81, 263, 25.53, 36.62), (15, 148, 6.24, 16.05), (0, 20, 0.0, 16.11), (1, 29, 0.61, 17.18)],
)
def test_wilson_interval_of_published_cases(correct: int, clips: int, low: float, high: float) -> None:
    """The four examples of Newcombe 1998, table I, method 3."""
    assert wilson_interval(correct, clips) == pytest.approx((low, high), abs=0.0051)


@given(st.integers(1, 5000).flatmap(lambda clips: st.tuples(st.integers(0, clips), st.just(clips))))
def test_wilson_interval_is_the_closed_form(counts: tuple[int, int]) -> None:
    correct, clips = counts
    low, high = wilson_interval(correct, clips)
    assert (low, high) == pytest.approx(by_hand(correct, clips), abs=1e-6)
    assert -1e-9 <= low <= 100 * correct / clips + 1e-9
    assert 100 * correct / clips - 1e-9 <= high <= 100 + 1e-9


def test_one_run_has_an_interval_and_several_a_spread() -> None:
    single = accuracy([44], [100])
    assert (single.mean, single.count, single.sd) == (44, 1, None)
    assert (single.low, single.high) == pytest.approx(by_hand(44, 100))
    several = accuracy([60, 64, 71], [100, 100, 100])
    assert several == Accuracy(65.0, 3, sd=pytest.approx(math.sqrt((25 + 1 + 36) / 2)))  # type: ignore[arg-type]


def test_nothing_has_no_accuracy() -> None:
    with pytest.raises(ValueError):
        accuracy([], [])
    with pytest.raises(ValueError):
        wilson_interval(5, 4)


def test_a_difference_pairs_the_seeds() -> None:
    gain = difference({0: 60.0, 1: 70.0}, {1: 40.0, 0: 50.0})
    assert gain.mean == pytest.approx(20.0)
    assert gain.sd == pytest.approx(math.sqrt(200))  # of +10 and +30
    assert difference({0: 60.0, 2: 70.0}, {0: 50.0, 1: 40.0}).sd is None
    assert difference({0: 60.0}, {0: 50.5}).mean == pytest.approx(9.5)
