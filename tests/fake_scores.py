"""Score files beside made-up run records, for tests of what compares runs: 10 clips of each of the 8 tiny classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.fake_runs import write_run
from vidrepro.data.synthetic.presets import PRESETS
from vidrepro.evaluation.scores import Scores, save_scores, scores_path

CLASSES = PRESETS["tiny"].classes
LABELS = np.repeat(np.arange(8), 10)


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


def right(**by_class: int) -> np.ndarray:
    """So many of the 10 clips of each class right (``c1=3``), of the others 5."""
    counts = [by_class.get(f"c{label}", 5) for label in range(8)]
    return np.concatenate([np.arange(10) < count for count in counts])


def made(results: Path, experiment: str, correct: np.ndarray, **more: Any) -> Path:
    """A run's record (``run.json``) with exactly the clips of `LABELS` right that are marked so, and its scores."""
    file = write_run(results, experiment, int(correct.sum()), clips=80, pair_correct=None, **more)
    give_scores(file, LABELS, correct)
    return file
