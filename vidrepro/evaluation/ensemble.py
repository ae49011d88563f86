"""Several networks on the same clips as one: the weighted mean of their scores (AIA's and TSM's test code).

AIA's Table II and TSM add up, over one network per number of frames, what each has per clip after the mean over its
views: logits, or with their ``--softmax`` the softmax of that mean. AIA weighs all alike, TSM by coefficients.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidrepro.errors import ConfigError, ResultsError, unknown_name
from vidrepro.evaluation.scores import Averaged, Scores, matching_order
from vidrepro.finite import require_finite_clips

AVERAGES: tuple[Averaged, ...] = ("logits", "softmax")
NAMED_CLIPS = 3  # of the clips that two members do not share, so many are named


def ensemble_scores(
    members: Sequence[Scores],
    weights: Sequence[float] | None = None,
    *,
    average: Averaged = "logits",
    names: Sequence[str] | None = None,
) -> Scores:
    """The weighted mean of the members' scores, clip by clip.

    Args:
        members: two or more, in any order of clips; frames, crops and clips may differ.
        weights: one for each member, positive; only their ratios matter. None weighs all alike.
        average: ``logits``, or ``softmax`` of each member's (which is taken as it stands where it is one already).
        names: what the members are called in refusals and in the result, e.g. the runs' ids.

    Returns:
        Scores in the first member's order of clips, with the members and their weights in `Scores.ensemble`.

    Raises:
        ConfigError: for fewer than two members, weights that do not fit them, or logits asked of members that keep
            softmaxes. UnknownNameError: for another average.
        ResultsError: if two members differ in dataset, fold, label set, classes, clips or labels, or one holds numbers
            that are not finite.
    """
    if average not in AVERAGES:
        raise unknown_name("average", average, AVERAGES)
    called = list(names) if names is not None else [f"member {number}" for number in range(1, len(members) + 1)]
    shares = _shares(weights, called, len(members))
    for name, scores in zip(called, members, strict=True):
        _require_usable(name, scores, average)
    first = members[0]
    mean = np.zeros(first.logits.shape, dtype=np.float64)
    for name, scores, share in zip(called, members, shares, strict=True):
        order = _order(called[0], first, name, scores)
        values = scores.probabilities if average == "softmax" else scores.logits
        mean += share * values[order]
    return Scores(
        first.ids,
        first.labels,
        mean.astype(np.float32),
        first.dataset_fingerprint,
        joint_protocol([scores.protocol for scores in members]),
        first.completeness,
        average,
        tuple(_member(*of) for of in zip(called, members, shares, strict=True)),
    )


def joint_protocol(protocols: Sequence[str]) -> str:
    """The members' protocols as one text: ``(8+16)x3x2@224`` where only frames differ, else joined by `` + ``."""
    parts = [re.fullmatch(r"(\d+)(x\d+x\d+@\d+)", text) for text in protocols]
    views = {part[2] for part in parts if part}
    if None in parts or len(views) != 1:
        return " + ".join(protocols)
    return f"({'+'.join(part[1] for part in parts if part)}){views.pop()}"


def _member(name: str, scores: Scores, share: float) -> dict[str, Any]:
    own = {"name": name, "protocol": scores.protocol, "averaged": scores.averaged, "weight": share}
    return own | ({"ensemble": list(scores.ensemble)} if scores.ensemble else {})


def _shares(weights: Sequence[float] | None, names: Sequence[str], count: int) -> list[float]:
    if count < 2:
        raise ConfigError("an ensemble needs several members", given=count, allowed="2 or more")
    if len(names) != count:
        raise ConfigError("every member needs a name", given=f"{len(names)} names", allowed=f"{count}, one a member")
    if weights is None:
        return [1 / count] * count
    if len(weights) != count or not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise ConfigError(
            "the weights do not fit the members",
            given=", ".join(f"{weight:g}" for weight in weights),
            allowed=f"{count} positive numbers, in the order of {', '.join(names)}",
        )
    return [weight / math.fsum(weights) for weight in weights]


def _require_usable(name: str, scores: Scores, average: Averaged) -> None:
    if average == "logits" and scores.averaged != "logits":
        raise ConfigError(
            f"{name} keeps the mean of its views' softmaxes, which no logits can be had from",
            given="average logits",
            allowed="softmax",
            hint="--average softmax",
        )
    require_finite_clips(f"{name} holds scores that", scores.ids, scores.logits)
    twice = [one for one, other in pairwise(np.sort(scores.ids).tolist()) if one == other]
    if twice:
        raise ResultsError(f"{name} holds a clip twice", given=twice[0], allowed="every clip once")


def _order(first_name: str, first: Scores, name: str, scores: Scores) -> NDArray[np.int64]:
    """Positions in `scores` of the first member's clips; a difference is refused by what it is."""
    for what, one, other in (
        ("dataset, fold or label set", first.dataset_fingerprint, scores.dataset_fingerprint),
        ("number of classes", first.logits.shape[1], scores.logits.shape[1]),
    ):
        if one != other:
            raise ResultsError(
                f"{name} was scored on another {what} than {first_name}", given=other, allowed=f"{one}, as {first_name}"
            )
    order = matching_order(first, scores)
    if order is None:
        raise _clips_differ(first_name, first, name, scores)
    return order


def _clips_differ(first_name: str, first: Scores, name: str, scores: Scores) -> ResultsError:
    labels, others = (dict(zip(one.ids.tolist(), one.labels.tolist(), strict=True)) for one in (first, scores))
    relabelled = [clip for clip, label in labels.items() if others.get(clip, label) != label]
    if labels.keys() == others.keys():
        clip = relabelled[0]
        return ResultsError(
            f"{name} has other labels than {first_name}",
            given=f"clip '{clip}': {others[clip]}" + (f", and {len(relabelled) - 1} more" if relabelled[1:] else ""),
            allowed=f"{labels[clip]}, as {first_name}",
        )
    parts = [
        f"{len(only)} only in {holder} ({', '.join(sorted(only)[:NAMED_CLIPS])}{', …' if only[NAMED_CLIPS:] else ''})"
        for holder, only in (
            (first_name, [clip for clip in labels if clip not in others]),
            (name, [clip for clip in others if clip not in labels]),
        )
        if only
    ]
    return ResultsError(
        f"{name} holds other clips than {first_name}",
        given=f"{len(labels):,} and {len(others):,} clips: {'; '.join(parts)}",
        allowed="the same clips: one split of one prepared dataset, for all",
    )
