"""From counts of right clips to what a table shows: intervals for one run, spread for several, differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest, kendalltau, spearmanr, ttest_ind, ttest_rel

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Accuracy:
    """An accuracy in percent over one or several runs.

    Attributes:
        mean: over the runs.
        low, high: Wilson 95 % interval over clips; of a single run only.
        sd: sample standard deviation over runs; of several only.
        count: number of runs.
    """

    mean: float
    count: int
    low: float | None = None
    high: float | None = None
    sd: float | None = None


@dataclass(frozen=True)
class Difference:
    """A difference of accuracies in percentage points; `sd` over the seeds both have, where there are several."""

    mean: float
    sd: float | None = None


@dataclass(frozen=True)
class Gap:
    """One row's accuracy minus another's in percentage points, with its 95 % interval and where that comes from."""

    mean: float
    low: float
    high: float
    how: str


@dataclass(frozen=True)
class RankCorrelation:
    """How alike two columns order their rows: 1 the same order, -1 the reverse; None where one column is constant."""

    spearman: float | None
    kendall: float | None
    count: int


def wilson_interval(correct: int, clips: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share, in percent.

    Raises:
        ValueError: if `correct` is not between 0 and `clips`, or `clips` is 0.
    """
    interval = binomtest(correct, clips).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return 100 * float(interval.low), 100 * float(interval.high)


def accuracy(correct: Sequence[int], clips: Sequence[int]) -> Accuracy:
    """Accuracy over runs, given the clips counted right and the clips in all of each.

    Raises:
        ValueError: if there is no run.
    """
    shares = [100 * right / total for right, total in zip(correct, clips, strict=True)]
    mean = statistics.fmean(shares)
    if len(shares) == 1:
        low, high = wilson_interval(correct[0], clips[0])
        return Accuracy(mean, 1, low=low, high=high)
    return Accuracy(mean, len(shares), sd=statistics.stdev(shares))


def difference(ours: Mapping[int, float], baseline: Mapping[int, float]) -> Difference:
    """Mean accuracy of one row over another's, each given as seed -> percent.

    Where both have the same several seeds, the spread is that of the seed-by-seed differences.
    """
    mean = statistics.fmean(ours.values()) - statistics.fmean(baseline.values())
    if len(ours) > 1 and ours.keys() == baseline.keys():
        return Difference(mean, statistics.stdev(ours[seed] - baseline[seed] for seed in ours))
    return Difference(mean)


PAIRED_SEEDS = "paired over seeds, t"
SEPARATE_SEEDS = "Welch's t over seeds"
CLIPS = "Newcombe's, over clips"


def gap(ours: Mapping[int, tuple[int, int]], others: Mapping[int, tuple[int, int]]) -> Gap:
    """Accuracy of `ours` minus that of `others`, each given as seed -> (clips right, clips).

    Over the seeds both have, where there are at least two: Student's t interval of the seed-by-seed differences. Else,
    with several seeds on both sides, Welch's; else Newcombe's interval (his method 10) of the clips of one run each,
    or of all runs of a side together, as if the clips of both sides were different ones.

    Raises:
        ValueError: if a side has no run.
    """
    shared = sorted(ours.keys() & others.keys())
    if len(shared) > 1:
        pairs = [(_percent(ours[seed]), _percent(others[seed])) for seed in shared]
        mean = statistics.fmean(a - b for a, b in pairs)
        if len({round(a - b, 9) for a, b in pairs}) == 1:
            return Gap(mean, mean, mean, PAIRED_SEEDS)
        interval = ttest_rel(*zip(*pairs, strict=True)).confidence_interval(CONFIDENCE)
        return Gap(mean, float(interval.low), float(interval.high), PAIRED_SEEDS)
    a, b = ([_percent(count) for count in side.values()] for side in (ours, others))
    mean = statistics.fmean(a) - statistics.fmean(b)
    if len(a) > 1 and len(b) > 1 and len({*a}) + len({*b}) > 2:
        interval = ttest_ind(a, b, equal_var=False).confidence_interval(CONFIDENCE)
        return Gap(mean, float(interval.low), float(interval.high), SEPARATE_SEEDS)
    (low_a, high_a), (low_b, high_b) = (_pooled_interval(side) for side in (ours, others))
    share_a, share_b = statistics.fmean(a), statistics.fmean(b)
    below = math.hypot(share_a - low_a, high_b - share_b)
    above = math.hypot(high_a - share_a, share_b - low_b)
    return Gap(mean, mean - below, mean + above, CLIPS)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation:
    """Spearman's rho and Kendall's tau-b of two columns, ties allowed.

    Raises:
        ValueError: for columns of different lengths, or fewer than two rows.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"two columns of the same two or more rows expected, given {len(first)} and {len(second)}")
    if len(set(first)) == 1 or len(set(second)) == 1:
        return RankCorrelation(None, None, len(first))
    return RankCorrelation(
        float(spearmanr(first, second).statistic), float(kendalltau(first, second).statistic), len(first)
    )


def _percent(count: tuple[int, int]) -> float:
    return 100 * count[0] / count[1]


def _pooled_interval(side: Mapping[int, tuple[int, int]]) -> tuple[float, float]:
    return wilson_interval(sum(right for right, _ in side.values()), sum(clips for _, clips in side.values()))
