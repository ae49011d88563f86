"""Evaluate a finished run again: another protocol, split or checkpoint, on the dataset it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from vidrepro.config import DataConfig, Protocol, RunConfig
from vidrepro.data.cache import open_cache
from vidrepro.data.loading import ClipDataset
from vidrepro.data.manifest import Manifest, load_manifest
from vidrepro.data.verify_files import require_files
from vidrepro.devices import choose_device
from vidrepro.errors import CheckpointError, ConfigError, ManifestError
from vidrepro.evaluation.evaluate import evaluate
from vidrepro.evaluation.metrics import accuracies
from vidrepro.evaluation.scores import Scores, save_scores, scores_path
from vidrepro.models import build_from_config
from vidrepro.models.classifier import VideoClassifier
from vidrepro.runs.checkpoint import load_checkpoint, load_network
from vidrepro.runs.folder import CHECKPOINTS, require_checkpoint_name
from vidrepro.runs.record import DatasetFacts, RunRecord, read_record


@dataclass(frozen=True)
class Trained:
    """A finished run's network, on the CPU, and what belongs to it.

    `selection` is the dataset's fingerprint under the run's fold and task.
    """

    record: RunRecord
    config: RunConfig
    manifest: Manifest
    model: VideoClassifier
    selection: str


def evaluate_run(
    folder: Path,
    *,
    data: Path,
    protocol: str | None = None,
    average: str | None = None,
    split: str | None = None,
    which: str = "best",
    device: str = "auto",
    workers: int = 0,
) -> dict[str, Any]:
    """Score a run's checkpoint on a split of its own dataset.

    Args:
        folder: the run's.
        data: folder of prepared datasets.
        protocol: ``frames×crops×clips@size``; None for the run's own.
        average: what the mean over a clip's views is taken of, ``logits`` or ``softmax``; None for the run's own.
        split: ``train``, ``val`` or ``test``; None for the one training was evaluated on.
        which: ``best`` or ``last`` checkpoint.
        device: see `choose_device`.
        workers: loader processes.

    Returns:
        The accuracies of `accuracies`, with run, split, fold, task, protocol, views and what is averaged over them,
        checkpoint, bad clips excluded, the dataset's completeness, and the score file.

    Raises:
        UnknownNameError: for another split or checkpoint.
        ConfigError: for a protocol the network cannot run.
        ManifestError: if the prepared dataset is not the one the run was trained on.
        CheckpointError: if the checkpoint is missing, unsafe, or of another architecture.
    """
    trained = load_trained(folder, data=data, which=which)
    trained = replace(trained, config=with_protocol(trained.config, protocol, average))
    config, manifest = trained.config, trained.manifest
    fold, task = config.data.fold, config.data.task
    split = split or manifest.eval_split(fold)
    scores = score_clips(trained, split, device=device, workers=workers)
    target = scores_path(folder, split, scores.protocol, which, scores.averaged)
    save_scores(target, scores)
    return {
        **accuracies(scores.labels, scores.logits, manifest.reversal_pairs(task)),
        "run": trained.record.id,
        "split": split,
        "protocol": scores.protocol,
        "views": config.data.protocol.views,
        "averaged": scores.averaged,
        "checkpoint": which,
        "fold": fold or manifest.info.get("fold"),
        "task": task,
        "bad": manifest.counts(fold).get(split, {}).get("bad", 0),
        "completeness": scores.completeness,
        "scores": str(target),
    }


def score_clips(
    trained: Trained,
    split: str,
    *,
    device: str,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """The scores of a network, as it is now, on every clip of a split, under the protocol of `Trained.config`.

    Args:
        trained: its model is moved to the device.
        split: of its dataset.
        device: see `choose_device`.
        workers: loader processes.
        progress: called with (clips done, clips in all).

    Raises:
        ManifestError: if the dataset's files are not there.
        ResultsError: if scores are not finite.
    """
    config, manifest = trained.config, trained.manifest
    require_files(manifest, splits=[split] if config.data.fold is None else None)
    where = choose_device(device)
    dataset = ClipDataset(manifest, split, config.data, seed=0, training=False, cache=open_cache(manifest, "auto"))
    logits = evaluate(
        trained.model.to(where),
        dataset,
        device=where,
        batch_size=2 * config.train.batch_size,
        workers=workers,
        precision=config.train.precision,
        progress=progress,
        source=trained.record.id,
    )
    return Scores(
        np.asarray(dataset.ids),
        dataset.labels,
        logits,
        trained.selection,
        str(config.data.protocol),
        manifest.info.get("completeness"),
        config.data.eval_average,
    )


def load_trained(folder: Path, *, data: Path, which: str = "best") -> Trained:
    """The network a run trained, with what it was trained on.

    Args:
        folder: the run's.
        data: folder of prepared datasets.
        which: ``best`` or ``last`` checkpoint.

    Raises:
        UnknownNameError: for another checkpoint.
        ManifestError: if the prepared dataset is not the one the run was trained on.
        CheckpointError: if the checkpoint is missing, unsafe, or of another architecture or run.
    """
    require_checkpoint_name(which)
    record, config = read_record(folder)
    path = folder / CHECKPOINTS[which]
    if not path.is_file():
        raise CheckpointError(
            f"the run's {which} checkpoint is not here: results are versioned without them",
            given=record.id,
            hint="copy it from where the run was trained, or train it again under another --results folder",
            where=path,
        )
    manifest = load_manifest(config.dataset, data)
    selection = manifest.selection_fingerprint(fold=config.data.fold, task=config.data.task)
    _require_same_dataset(manifest, record.dataset, config, selection)
    content = load_checkpoint(path)
    identity = {"config": config.fingerprint, "dataset": selection, "seed": record.seed}
    classes = manifest.num_classes(config.data.task)
    model = build_from_config(config.model, frames=config.data.frames, classes=classes, pretrained=False)
    load_network(model, content["model"], path)
    if other := [key for key, own in identity.items() if content.get(key) != own]:
        raise CheckpointError(
            f"the checkpoint belongs to a run with another {' and another '.join(other)}",
            given={key: content.get(key) for key in other},
            allowed=str({key: identity[key] for key in other}),
            where=path,
        )
    return Trained(record, config, manifest, model, selection)


def _require_same_dataset(manifest: Manifest, trained: DatasetFacts, config: RunConfig, selection: str) -> None:
    """Refuse a prepared dataset that is not the run's, by the first thing that tells them apart."""
    fold, task = config.data.fold, config.data.task
    here = [
        ("version", "is another version than the dataset this run was trained on", manifest.info["version"]),
        ("fingerprint", "is not the dataset this run was trained on", manifest.fingerprint),
        ("selection", f"has another fold '{fold}' or task '{task}' than this run was trained on", selection),
    ]
    if task is None:
        order = "has its labels in another order than the dataset this run was trained on"
        here.insert(0, ("label_order", order, manifest.info["label_order"]))
    for key, difference, value in here:
        if getattr(trained, key) not in (None, value):  # older records have no label order and no selection
            raise ManifestError(
                f"'{manifest.name}' as prepared here {difference}",
                given=f"{key.replace('_', ' ')} {value}",
                allowed=str(getattr(trained, key)),
                hint="prepare it with the settings in the run's record (vidrepro show RUN)",
                where=manifest.folder,
            )


def with_protocol(config: RunConfig, text: str | None, average: str | None = None) -> RunConfig:
    """The run's settings with another protocol or another average over views.

    Raises:
        ConfigError: if the network or the run's sampling rule cannot have it.
    """
    changes: dict[str, Any] = {} if average is None else {"eval_average": average}
    if text is not None:
        wanted = Protocol.parse(text)
        if wanted.frames != config.data.frames:
            raise ConfigError(
                "this run's network takes another number of frames",
                given=f"{wanted.frames} in {text}",
                allowed=str(config.data.frames),
            )
        changes |= {"eval_crops": wanted.crops, "eval_clips": wanted.clips, "eval_size": wanted.size}
        # TSM's --full_res: a 256 crop of frames resized to 256
        changes["eval_short_side"] = max(wanted.size, config.data.eval_short_side)
    try:
        data = DataConfig.model_validate(config.data.model_dump() | changes)
    except ValidationError as error:
        faults = "; ".join(
            ": ".join([*map(str, fault["loc"]), fault["msg"].removeprefix("Value error, ")]) for fault in error.errors()
        )
        raise ConfigError(
            f"this run cannot be evaluated so: {faults}",
            given=" ".join(word for word in (text, average) if word),
        ) from error
    return config.model_copy(update={"data": data})
