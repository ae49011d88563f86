"""The leak check: does anything downstream of the generator tell an order-blind network the direction of a clip?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from vidrepro.config import RunConfig
from vidrepro.data.manifest import Manifest
from vidrepro.errors import ConfigError
from vidrepro.evaluation.ceiling import why_no_ceiling
from vidrepro.evaluation.scores import load_scores, scores_path
from vidrepro.runs.record import read_record
from vidrepro.training.execute import execute_run
from vidrepro.training.progress import Reporter, StopSignal


def check_leak(
    config: RunConfig,
    manifest: Manifest,
    results: Path,
    *,
    seed: int = 0,
    factor: int = 10,
    device: str = "auto",
    threads: int | None = None,
    reporter: Reporter | None = None,
    stop: StopSignal | None = None,
) -> dict[str, Any]:
    """Train an order-blind network `factor` times longer than usual and compare it with the dataset's ceiling.

    The network sees the very clips that training sees: encoded, decoded, sampled, cropped. Frame quality, sampling or
    augmentation that betray the direction would lift it above the ceiling, given time.

    Args:
        config: of a row without any temporal mechanism.
        manifest: a prepared dataset that states its order-blind ceiling.
        results: where the run is kept; it can be interrupted and goes on.
        seed: of the run.
        factor: how many times longer.
        device, threads, reporter, stop: see `execute_run`.

    Returns:
        Of the last epoch, in percent with Wilson 95 % intervals: the accuracy beside the ceiling, and the share of
        right directions among the clips whose pair was told (`direction_counts`) beside 50. ``leaks``: whether either
        whole interval lies above.

    Raises:
        ConfigError: if the row can see order, the dataset states no ceiling, or it does not hold under the config's
            training sampling.
    """
    ceiling = manifest.info.get("order_blind_ceiling")
    if config.model.mechanism != "none" or config.model.temporal_shift or ceiling is None:
        raise ConfigError(
            "the leak check needs an order-blind network and a dataset with an order-blind ceiling",
            given=f"{config.model.mechanism}, temporal_shift={config.model.temporal_shift}, ceiling {ceiling}",
            allowed="mechanism none without temporal shift, on the embedded dataset",
        )
    frame_counts = manifest.table.loc[manifest.table["status"] == "ok", "frames"]
    sampling = config.data
    reason = why_no_ceiling(sampling.train_sampling, sampling.frames, map(int, frame_counts), sampling.stride)
    if reason is not None:
        raise ConfigError(
            f"the order-blind ceiling does not hold under this training sampling: {reason}",
            given=f"data.train_sampling={config.data.train_sampling}, data.frames={config.data.frames}",
            allowed="uniform-jitter, or tsm-train with a number of frames that divides those of every clip",
        )
    recipe = config.train.model_copy(update={"epochs": factor * config.train.epochs})
    longer = config.model_copy(update={"train": recipe})
    folder = execute_run(longer, manifest, seed, results, device=device, threads=threads, reporter=reporter, stop=stop)
    record, _ = read_record(folder)
    last = record.last
    scores = load_scores(scores_path(folder, "val", record.protocol, "last", sampling.eval_average))
    right, told = direction_counts(scores.labels, scores.logits.argmax(1), manifest.info["reversal_pairs"])
    direction = _wilson(right, told)
    low, high = _wilson(last.top1_correct, last.clips)
    return {
        "run": record.id,
        "epochs": recipe.epochs,
        "train_top1": record.history[-1]["train_top1"],
        "top1": last.top1,
        "pair": last.pair,
        "interval": [low, high],
        "clips": last.clips,
        "ceiling": 100 * ceiling,
        "direction": 100 * right / told if told else None,
        "direction_interval": direction,
        "direction_clips": told,
        "leaks": low > 100 * ceiling or direction[0] > 50,
    }


def direction_counts(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], reversal_pairs: Sequence[Sequence[int]]
) -> tuple[int, int]:
    """How often the direction was told among the clips whose pair was.

    The sharper half of the check: a network that does not know every pair can lie below the ceiling and still know
    directions. Without a leak this is a coin's throw, whatever the network knows.

    Args:
        labels: true classes, shape (N,).
        predicted: predicted ones, shape (N,).
        reversal_pairs: classes that are each other's time reversal.

    Returns:
        Clips of paired classes predicted as the right class, and as the right class or its reversal.
    """
    other = {one: two for pair in reversal_pairs for one, two in (pair, (pair[1], pair[0]))}
    reversed_labels = np.array([other.get(int(label), -1) for label in labels], dtype=np.int64)
    paired = reversed_labels >= 0
    right = int((paired & (predicted == labels)).sum())
    return right, right + int((paired & (predicted == reversed_labels)).sum())


def _wilson(successes: int, trials: int) -> list[float]:
    """Wilson 95 % interval in percent; all of it where there are no trials."""
    if not trials:
        return [0.0, 100.0]
    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return [100 * float(interval.low), 100 * float(interval.high)]
