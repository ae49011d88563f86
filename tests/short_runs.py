"""Runs that are really trained, for a moment: one epoch on clips of 24x24."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidrepro.config import resolve
from vidrepro.data.manifest import load_manifest
from vidrepro.training.execute import execute_run

SIDE = 24
MICRO = {"backbone": "micro", "backbone_options": {"width": 8, "stem": "small2"}}
TCNN = {"backbone": "tcnn", "backbone_options": {"width": 1, "spatial_strides": "2,2,2,1,2,1,1", "stem_pool": False}}


def train_shortly(
    results: Path,
    data: Path,
    dataset: str,
    model: dict[str, Any],
    *,
    learning_rate: float = 0.05,
    recipe: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Train a network on a prepared dataset and return the run's folder.

    Args:
        results, data: folders.
        dataset: its name.
        model: e.g. ``MICRO | {"mechanism": "m2a"}``.
        learning_rate: at its peak.
        recipe: further settings of the section ``train``.
        settings: of the section ``data``, in place of 4 frames of `SIDE`.
    """
    clips = {"frames": 4, "train_size": SIDE, "eval_short_side": 28, "eval_size": SIDE, **settings}
    train = {"epochs": 1, "batch_size": 4, "learning_rate": learning_rate, **(recipe or {})}
    config = resolve([("test", {"dataset": dataset, "model": model, "data": clips, "train": train})])
    return execute_run(config, load_manifest(dataset, data), 0, results, device="cpu", threads=1, cache="never")


def toy_ablation(data: Path, results: Path, *more: object) -> list[object]:
    """The words of an ablation of two rows on the dataset ``toy``, an epoch each."""
    network = ["model.backbone=micro", "model.backbone_options.width=8", "model.backbone_options.stem=small2"]
    clips = ["data.frames=4", "data.train_size=24", "data.eval_short_side=28", "data.eval_size=24"]
    recipe = ["train.epochs=1", "train.batch_size=4", "train.learning_rate=0.05"]
    settings = [word for text in (*network, *clips, *recipe) for word in ("--set", text)]
    folders = ["--data", data, "--results", results, "--dataset", "toy", "--preset", "tiny"]
    return ["ablate", "m2a", "--rows", "none,m2a", *folders, *settings, *more]
