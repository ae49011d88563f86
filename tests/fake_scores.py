"""Score files beside made-up run records, for tests of what compares runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vidrepro.evaluation.scores import Scores, save_scores, scores_path


def give_scores(
    file: Path,
    labels: np.ndarray,
    right: np.ndarray,
    *,
    classes: int = 8,
    ids: list[str] | None = None,
    fingerprint: str | None = None,
    protocol: str | None = None,
) -> Path:
    """Write scores beside a record (``run.json``) in which exactly the clips marked `right` are right."""
    record = json.loads(file.read_text(encoding="utf-8"))
    predicted = np.where(right, labels, (labels + 1) % classes)
    logits = np.eye(classes, dtype=np.float32)[predicted]
    names = np.array([f"clip{number:04d}" for number in range(len(labels))] if ids is None else ids)
    named = protocol or record["protocol"]
    path = scores_path(file.parent, "val", named, "best")
    path.parent.mkdir(exist_ok=True)
    save_scores(path, Scores(names, labels, logits, fingerprint or record["dataset"]["fingerprint"], named))
    return path
