"""The leak check: does anything downstream of the generator tell an order-blind network the direction of a clip?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from vidrepro.config import RunConfig
from vidrepro.data.manifest import Manifest
from vidrepro.errors import ConfigError
from vidrepro.evaluation.ceiling import why_no_ceiling
from vidrepro.runs.folder import RUN_FILE
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
        Accuracy in the last epoch (percent) with its Wilson 95 % interval, the ceiling, and ``leaks``: whether the
        whole interval lies above it.

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
    reason = why_no_ceiling(config.data.train_sampling, config.data.frames, map(int, frame_counts))
    if reason is not None:
        raise ConfigError(
            f"the order-blind ceiling does not hold under this training sampling: {reason}",
            given=f"data.train_sampling={config.data.train_sampling}, data.frames={config.data.frames}",
            allowed="uniform-jitter, or tsm-train with a number of frames that divides those of every clip",
        )
    recipe = config.train.model_copy(update={"epochs": factor * config.train.epochs})
    longer = config.model_copy(update={"train": recipe})
    folder = execute_run(longer, manifest, seed, results, device=device, threads=threads, reporter=reporter, stop=stop)
    record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    last = record["last"]
    interval = binomtest(last["top1_correct"], last["clips"]).proportion_ci(method="wilson")
    return {
        "run": record["id"],
        "epochs": recipe.epochs,
        "train_top1": record["history"][-1]["train_top1"],
        "top1": last["top1"],
        "pair": last["pair"],
        "interval": [100 * interval.low, 100 * interval.high],
        "clips": last["clips"],
        "ceiling": 100 * ceiling,
        "leaks": bool(interval.low > ceiling),
    }
