"""From counts of right clips to what a table shows: intervals for one run, spread for several, differences."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

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
