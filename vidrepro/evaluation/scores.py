"""Per-clip scores of one run: the file between evaluation and everything that compares or combines runs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidrepro.errors import ResultsError
from vidrepro.files import atomic_path


@dataclass(frozen=True)
class Scores:
    """Scores of N clips over K classes, bound to the dataset and protocol they were measured on."""

    ids: NDArray[np.str_]  # (N,)
    labels: NDArray[np.int64]  # (N,)
    logits: NDArray[np.float32]  # (N, K), mean over views
    dataset_fingerprint: str  # under the fold and the task: `Manifest.selection_fingerprint`
    protocol: str
    completeness: dict[str, Any] | None = None  # of an official dataset: clips expected, there, missing and bad


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


def scores_path(run_folder: Path, split: str, protocol: str, checkpoint: str) -> Path:
    """Where a run keeps its scores, e.g. ``scores/val-8x1x1@224-best.npz``."""
    return run_folder / "scores" / f"{split}-{protocol}-{checkpoint}.npz"


def save_scores(path: Path, scores: Scores) -> None:
    """Write scores as a whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            ids=scores.ids,
            labels=scores.labels,
            logits=scores.logits,
            dataset_fingerprint=np.array(scores.dataset_fingerprint),
            protocol=np.array(scores.protocol),
            completeness=np.array(json.dumps(scores.completeness)),
        )


def load_scores(path: Path) -> Scores:
    """Read scores; a pickle inside is refused.

    Raises:
        ResultsError: if the file is missing, damaged, or not a score file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return Scores(
                file["ids"],
                file["labels"],
                file["logits"],
                str(file["dataset_fingerprint"]),
                str(file["protocol"]),
                json.loads(str(file["completeness"])) if "completeness" in file else None,  # older files have none
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ResultsError(
            f"cannot read scores: {error}", given=path, hint="make them again: vidrepro evaluate RUN", where=path
        ) from error
