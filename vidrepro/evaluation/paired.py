"""Two sets of runs on the same clips: difference of accuracies, overall and in each class, with bootstrap intervals.

Everything here takes tables of right and wrong: bool arrays (S, N), one row for each of S seeds, one column for each
of N clips, the clips in the same order on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.stats import binomtest

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 0

Correct = NDArray[np.bool_]  # (S, N)


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of A minus accuracy of B in percentage points, both as means over seeds, with a 95 % interval."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    clips: int


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of two runs on the same clips.

    Attributes:
        only_a, only_b: clips that one of them alone gets right.
        p: two-sided; of equal chances among those clips.
    """

    only_a: int
    only_b: int
    p: float


def paired_difference(
    a: Correct, b: Correct, rng: Generator, *, same_seeds: bool, resamples: int = RESAMPLES
) -> PairedDifference:
    """The difference with its percentile bootstrap interval.

    A resample draws N clips with replacement, the same ones for both sides. Where a side has several runs it also draws
    as many of them with replacement, the same seeds for both sides if they have the same ones.

    Args:
        a, b: right or wrong, shapes (S_A, N) and (S_B, N), N >= 1; with `same_seeds` seed by seed in the same order.
        rng: two draws a resample, three with different seeds.
        same_seeds: whether row s of both is the same seed.
        resamples: how many.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not a.size or not b.size:
        raise ValueError(f"tables of the same clips expected, given shapes {a.shape} and {b.shape}")
    if same_seeds and len(a) != len(b):
        raise ValueError(f"the same seeds on both sides expected, given {len(a)} and {len(b)}")
    clips = a.shape[1]
    # Clips with the same outcome in all runs are interchangeable: drawing how often each outcome occurs is the same
    # as drawing clips, and there are few outcomes however many clips there are.
    outcomes, counts = np.unique(np.vstack([a, b]), axis=1, return_counts=True)
    drawn = rng.multinomial(clips, counts / clips, size=resamples)  # (R, outcomes)
    right = drawn @ outcomes.T / clips  # (R, S_A + S_B): accuracy of each run on the drawn clips
    weights_a = _drawn_shares(len(a), resamples, rng)
    weights_b = weights_a if same_seeds else _drawn_shares(len(b), resamples, rng)
    differences = (right[:, : len(a)] * weights_a).sum(1) - (right[:, len(a) :] * weights_b).sum(1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(differences, (tail, 1 - tail))
    return PairedDifference(
        a=100 * float(a.mean()),
        b=100 * float(b.mean()),
        difference=100 * float(a.mean() - b.mean()),
        low=100 * float(low),
        high=100 * float(high),
        clips=clips,
    )


def class_differences(
    a: Correct,
    b: Correct,
    labels: NDArray[np.int64],
    *,
    same_seeds: bool,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> dict[int, PairedDifference]:
    """`paired_difference` within each class that has clips, by label.

    Each class has a generator of its own, so its interval does not depend on which other classes there are.
    """
    return {
        int(label): paired_difference(
            a[:, labels == label],
            b[:, labels == label],
            np.random.default_rng([seed, int(label)]),
            same_seeds=same_seeds,
            resamples=resamples,
        )
        for label in np.unique(labels)
    }


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> McNemar:
    """McNemar's exact test of one run against another, each right or wrong, shape (N,)."""
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, p)


def _drawn_shares(runs: int, resamples: int, rng: Generator) -> NDArray[np.float64]:
    """Share of each run in a resample of runs, shape (R, runs)."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), size=resamples) / runs
