"""Per-clip scores of one run: the file between evaluation and everything that compares or combines runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidrepro.errors import ResultsError
from vidrepro.files import BAD_ARCHIVE, atomic_file
from vidrepro.finite import require_finite_clips

_AGAIN = "make them again: vidrepro evaluate RUN"
Averaged = Literal["logits", "softmax"]


@dataclass(frozen=True)
class Scores:
    """Scores of N clips over K classes, bound to the dataset and protocol they were measured on.

    `averaged` says what `logits` is the mean of: over a clip's views, and of an ensemble over its members too. With
    ``softmax`` it holds probabilities.
    """

    ids: NDArray[np.str_]  # (N,)
    labels: NDArray[np.int64]  # (N,)
    logits: NDArray[np.float32]  # (N, K)
    dataset_fingerprint: str  # under the fold and the task: `Manifest.selection_fingerprint`
    protocol: str
    completeness: dict[str, Any] | None = None  # of an official dataset: clips expected, there, missing and bad
    averaged: Averaged = "logits"
    ensemble: tuple[dict[str, Any], ...] | None = None  # of an ensemble: its members, each with its weight

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Of each class, (N, K): the softmax of mean logits, or the mean of softmaxes as it stands."""
        values = self.logits.astype(np.float64)
        if self.averaged == "softmax":
            return values
        shifted = np.exp(values - values.max(1, keepdims=True))
        return np.asarray(shifted / shifted.sum(1, keepdims=True))


def matching_order(first: Scores, other: Scores) -> NDArray[np.int64] | None:
    """Positions in `other` of the clips of `first`; None unless both hold the same clips with the same labels."""
    if len(first.ids) != len(other.ids):
        return None
    order, back = np.argsort(other.ids, kind="stable"), np.argsort(np.argsort(first.ids, kind="stable"))
    positions = order[back]
    same = np.array_equal(other.ids[positions], first.ids) and np.array_equal(other.labels[positions], first.labels)
    return positions if same else None


def incomplete_text(completeness: Mapping[str, Any] | None) -> str | None:
    """What of the official dataset was not there, in a sentence; None where all of it was, or it is no official one.

    Args:
        completeness: as dataset.json, run records and score files have it.
    """
    if not completeness or completeness.get("complete"):
        return None
    parts = []
    for split, count in completeness.get("splits", {}).items():
        wanted = count.get("listed") if count.get("expected") is None else count["expected"]
        lacking = ", ".join(f"{count[kind]:,} {kind}" for kind in ("missing", "bad") if count.get(kind))
        parts.append(f"{split} {count.get('ok', 0):,} of {wanted:,} clips" + (f" ({lacking})" if lacking else ""))
    if (completeness.get("classes") or {}).get("problems"):
        parts.append("another class list")
    return f"not the whole official dataset: {'; '.join(parts)} (--allow-missing {completeness['allow_missing']:g})"


def scores_path(
    run_folder: Path, split: str, protocol: str, checkpoint: str, averaged: Averaged | str = "logits"
) -> Path:
    """Where a run keeps its scores: ``scores/val-8x1x1@224-best.npz``, or ``…-best-softmax.npz`` if so averaged."""
    suffix = "" if averaged == "logits" else f"-{averaged}"
    return run_folder / "scores" / f"{split}-{protocol}-{checkpoint}{suffix}.npz"


def save_scores(path: Path, scores: Scores) -> None:
    """Write scores as a whole or not at all.

    Raises:
        ResultsError: if they are not finite, or the file cannot be written.
    """
    require_finite_clips("the scores to be saved", scores.ids, scores.logits, where=path)
    with atomic_file(path) as file:
        np.savez_compressed(
            file,
            ids=scores.ids,
            labels=scores.labels,
            logits=scores.logits,
            dataset_fingerprint=np.array(scores.dataset_fingerprint),
            protocol=np.array(scores.protocol),
            completeness=np.array(json.dumps(scores.completeness)),
            averaged=np.array(scores.averaged),
            ensemble=np.array(json.dumps(scores.ensemble)),
        )


def load_scores(path: Path) -> Scores:
    """Read scores; a pickle inside is refused.

    Raises:
        ResultsError: if the file is missing, damaged, or not a score file, or scores in it are not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            scores = Scores(
                file["ids"],
                file["labels"],
                file["logits"],
                str(file["dataset_fingerprint"]),
                str(file["protocol"]),
                json.loads(str(file["completeness"])) if "completeness" in file else None,  # older files have none
                _averaged(str(file["averaged"])) if "averaged" in file else "logits",
                _members(str(file["ensemble"])) if "ensemble" in file else None,
            )
        _check_shapes(scores)
    except BAD_ARCHIVE as error:
        # NumPy takes what is no archive for a pickle, and would advise to load it unsafely
        reason = "the file is no score file, or damaged" if "allow_pickle" in str(error) else error
        raise ResultsError(f"cannot read scores: {reason}", hint=_AGAIN, where=path) from error
    require_finite_clips("saved scores", scores.ids, scores.logits, hint=_AGAIN, where=path)
    return scores


def _check_shapes(scores: Scores) -> None:
    ids, labels, logits = scores.ids, scores.labels, scores.logits
    shapes = f"{ids.shape} ids, {labels.shape} labels, {logits.shape} scores"
    if logits.ndim != 2 or logits.dtype.kind != "f" or not 0 < len(logits) == ids.size == labels.size:
        raise ValueError(f"they do not fit each other: {shapes}")
    if labels.dtype.kind not in "iu" or not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(f"a label is no class of {logits.shape[1]}")


def _averaged(text: str) -> Averaged:
    if text == "logits":
        return "logits"
    if text == "softmax":
        return "softmax"
    raise ValueError(f"scores averaged as '{text}' are unknown")


def _members(text: str) -> tuple[dict[str, Any], ...] | None:
    members = json.loads(text)
    return None if members is None else tuple(members)
