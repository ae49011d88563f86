"""From counts of right clips to what a table shows: intervals for one run, spread for several, differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest, kendalltau, spearmanr, ttest_ind, ttest_rel

from vidrepro.evaluation.paired import CONFIDENCE


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
    with several seeds on both sides, Welch's. Else, and where seeds do not differ at all, Newcombe's interval (his
    method 10) over the clips of one run of each side, as if they were different clips.

    Raises:
        ValueError: if a side has no run.
    """
    shared = sorted(ours.keys() & others.keys())
    if len(shared) > 1:
        ours, others = ({seed: side[seed] for seed in shared} for side in (ours, others))
    a, b = ([_percent(count) for count in side.values()] for side in (ours, others))
    mean = statistics.fmean(a) - statistics.fmean(b)
    if len(shared) > 1 and len({round(first - second, 9) for first, second in zip(a, b, strict=True)}) > 1:
        interval = ttest_rel(a, b).confidence_interval(CONFIDENCE)
        return Gap(mean, float(interval.low), float(interval.high), PAIRED_SEEDS)
    if len(shared) < 2 and min(len(a), len(b)) > 1 and max(len({*a}), len({*b})) > 1:
        interval = ttest_ind(a, b, equal_var=False).confidence_interval(CONFIDENCE)
        return Gap(mean, float(interval.low), float(interval.high), SEPARATE_SEEDS)
    (low_a, high_a), (low_b, high_b) = (_one_run_interval(side) for side in (ours, others))
    below = math.hypot(statistics.fmean(a) - low_a, high_b - statistics.fmean(b))
    above = math.hypot(high_a - statistics.fmean(a), statistics.fmean(b) - low_b)
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


def _one_run_interval(side: Mapping[int, tuple[int, int]]) -> tuple[float, float]:
    """Wilson's interval of the mean accuracy over the clips of one run: more seeds are not more clips."""
    clips = min(count for _, count in side.values())
    return wilson_interval(round(clips * statistics.fmean(right / count for right, count in side.values())), clips)
