"""Evaluate a finished run again: another protocol, split or checkpoint, on the dataset it was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from vidrepro.config import Protocol, RunConfig
from vidrepro.data.cache import open_cache
from vidrepro.data.loading import ClipDataset
from vidrepro.data.manifest import load_manifest, require_files
from vidrepro.devices import choose_device
from vidrepro.errors import CheckpointError, ConfigError, ManifestError, ResultsError, unknown_name
from vidrepro.evaluation.evaluate import evaluate
from vidrepro.evaluation.metrics import accuracies
from vidrepro.evaluation.scores import Scores, save_scores, scores_path
from vidrepro.models import build_from_config
from vidrepro.runs.checkpoint import load_checkpoint, load_network
from vidrepro.runs.folder import BEST_CHECKPOINT, LAST_CHECKPOINT, RUN_FILE

CHECKPOINTS = {"best": BEST_CHECKPOINT, "last": LAST_CHECKPOINT}


def evaluate_run(
    folder: Path,
    *,
    data: Path,
    protocol: str | None = None,
    split: str = "val",
    which: str = "best",
    device: str = "auto",
    workers: int = 0,
) -> dict[str, Any]:
    """Score a run's checkpoint on a split of its own dataset.

    Args:
        folder: the run's.
        data: folder of prepared datasets.
        protocol: ``frames×crops×clips@size``; None for the run's own.
        split: ``train``, ``val`` or ``test``.
        which: ``best`` or ``last`` checkpoint.
        device: see `choose_device`.
        workers: loader processes.

    Returns:
        The accuracies of `accuracies`, with run, split, protocol, checkpoint, bad clips excluded, and the score file.

    Raises:
        UnknownNameError: for another split or checkpoint.
        ConfigError: for a protocol the network cannot run.
        ManifestError: if the prepared dataset is not the one the run was trained on.
        CheckpointError: if the checkpoint is missing, unsafe, or of another architecture.
    """
    if which not in CHECKPOINTS:
        raise unknown_name("checkpoint", which, CHECKPOINTS)
    record, trained = _read_record(folder)
    config = _with_protocol(trained, protocol)
    manifest = load_manifest(config.dataset, data)
    require_files(manifest, splits=[split])
    if manifest.fingerprint != record["dataset"]["fingerprint"]:
        raise ManifestError(
            f"'{manifest.name}' as prepared here is not the dataset this run was trained on",
            given=f"fingerprint {manifest.fingerprint}",
            allowed=record["dataset"]["fingerprint"],
            hint="prepare it with the settings in the run's record (vidrepro show RUN)",
            where=manifest.folder,
        )
    path = folder / CHECKPOINTS[which]
    content = load_checkpoint(path)
    identity = {"config": trained.fingerprint, "dataset": manifest.fingerprint, "seed": record["seed"]}
    model = build_from_config(config.model, frames=config.data.frames, classes=len(manifest.classes), pretrained=False)
    load_network(model, content["model"], path)
    if other := [key for key, own in identity.items() if content.get(key) != own]:
        raise CheckpointError(
            f"the checkpoint belongs to a run with another {' and another '.join(other)}",
            given={key: content.get(key) for key in other},
            allowed=str({key: identity[key] for key in other}),
            where=path,
        )
    where = choose_device(device)
    dataset = ClipDataset(manifest, split, config.data, seed=0, training=False, cache=open_cache(manifest, "auto"))
    logits = evaluate(
        model.to(where),
        dataset,
        device=where,
        batch_size=2 * config.train.batch_size,
        workers=workers,
        precision=config.train.precision,
    )
    named = str(config.data.protocol)
    target = scores_path(folder, split, named, which)
    save_scores(target, Scores(np.asarray(dataset.ids), dataset.labels, logits, manifest.fingerprint, named))
    return {
        **accuracies(dataset.labels, logits, manifest.info.get("reversal_pairs", [])),
        "run": record["id"],
        "split": split,
        "protocol": named,
        "checkpoint": which,
        "bad": manifest.counts().get(split, {}).get("bad", 0),
        "scores": str(target),
    }


def _read_record(folder: Path) -> tuple[dict[str, Any], RunConfig]:
    path = folder / RUN_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _ = record["id"], record["seed"], record["dataset"]["fingerprint"]  # what is read of it
        return record, RunConfig.model_validate(record["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(
            "the run's record cannot be read",
            given=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            hint="put the versioned run.json back, or delete the folder and run again",
            where=path,
        ) from error


def _with_protocol(config: RunConfig, text: str | None) -> RunConfig:
    if text is None:
        return config
    wanted = Protocol.parse(text)
    if wanted.frames != config.data.frames:
        raise ConfigError(
            "this run's network takes another number of frames",
            given=f"{wanted.frames} in {text}",
            allowed=str(config.data.frames),
        )
    if wanted.crops not in (1, 3) or wanted.clips not in (1, 2):
        raise ConfigError(f"protocol '{text}' is not available", given=text, allowed="1 or 3 crops, 1 or 2 clips")
    side = max(wanted.size, config.data.eval_short_side)  # TSM's --full_res: a 256 crop of frames resized to 256
    data = config.data.model_copy(
        update={
            "eval_crops": wanted.crops,
            "eval_clips": wanted.clips,
            "eval_size": wanted.size,
            "eval_short_side": side,
        }
    )
    return config.model_copy(update={"data": data})
