"""Carry out one run from start to run.json, once: finished runs are left alone, interrupted ones go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import filelock
import torch

from vidrepro.config import RunConfig
from vidrepro.data.cache import open_cache
from vidrepro.data.manifest import Manifest
from vidrepro.errors import CheckpointError, ConfigError, ResultsError
from vidrepro.files import atomic_write_json, file_digest
from vidrepro.training.allocator import keep_freed_memory
from vidrepro.training.loop import Trainer
from vidrepro.training.progress import Reporter, StopSignal
from vidrepro.training.run import LAST_CHECKPOINT, PROGRESS_FILE, RUN_FILE, environment, make_run_folder, run_id

SCHEMA = 1
LOCK_SECONDS = 10.0  # a training process whose parent was killed needs a moment to notice and to save


def choose_device(name: str) -> torch.device:
    """``auto`` → the first GPU if there is one, else the CPU.

    Raises:
        ConfigError: if the name is not a device, or this machine lacks it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in {"cpu", "cuda"} or (device.type == "cuda" and not torch.cuda.is_available()):
            raise RuntimeError
    except RuntimeError as error:
        raise ConfigError(
            f"device '{name}' is not available here",
            given=name,
            allowed=["auto", "cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))],
            hint="vidrepro doctor lists the devices found",
        ) from error
    return device


def is_finished(folder: Path) -> bool:
    """Whether a run's folder holds its final record."""
    try:
        return json.loads((folder / RUN_FILE).read_text(encoding="utf-8")).get("state") == "finished"
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise ResultsError(
            "the run's record cannot be read", given=str(error), hint="delete it to run again", where=folder / RUN_FILE
        ) from error


def execute_run(
    config: RunConfig,
    manifest: Manifest,
    seed: int,
    results: Path,
    *,
    provenance: dict[str, Any] | None = None,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 0,
    cache: str = "auto",
    restart: bool = False,
    reporter: Reporter | None = None,
    stop: StopSignal | None = None,
) -> Path:
    """Train and evaluate one run, or go on with it, or find it finished.

    Args:
        config: the resolved settings.
        manifest: the prepared dataset the config names.
        seed: of weights, order and augmentation.
        results: folder under which ``runs/<id>/`` is made.
        provenance: what asked for the run (paper, preset, overrides); written down, not part of the identity.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        threads: of torch; None leaves its default.
        workers: loader processes.
        cache: ``auto``, ``always`` or ``never`` keep decoded frames in one memory-mapped file.
        restart: forget an interrupted attempt. A finished run is never repeated; delete its folder for that.
        reporter: told about progress.
        stop: asked whether to stop.

    Returns:
        The run's folder; its run.json is complete.

    Raises:
        VidreproError: see `Trainer`; also if another process holds the run.
        Interrupted: when asked to stop; the same call goes on later.
    """
    folder = make_run_folder(results, run_id(config, manifest.fingerprint, seed))
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except filelock.Timeout as error:
        raise ResultsError(
            "another process is working on this run", given=folder.name, hint="wait for it, or stop it", where=folder
        ) from error
    with lock:
        if is_finished(folder):
            _require_same_weights(folder, config)
            return folder
        if restart:
            (folder / LAST_CHECKPOINT).unlink(missing_ok=True)
        if threads:
            torch.set_num_threads(threads)
        where = choose_device(device)
        if where.type == "cpu":
            keep_freed_memory()
        trainer = Trainer(
            config,
            manifest,
            seed,
            folder,
            device=where,
            workers=workers,
            cache=open_cache(manifest, cache),
            reporter=reporter,
            stop=stop,
        )
        trainer.restore()
        trainer.run()
        atomic_write_json(folder / RUN_FILE, _record(trainer, folder.name, provenance, threads))
        (folder / PROGRESS_FILE).unlink(missing_ok=True)
    return folder


def _require_same_weights(folder: Path, config: RunConfig) -> None:
    """A run is identified by the path of its start weights; another file under that path would be another run."""
    record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    recorded, digest = record["backbone"]["weights_digest"], _weights_digest(config)
    if digest is not None and digest != recorded:
        raise CheckpointError(
            "the finished run of these settings started from other weights of the same file name",
            given=f"{config.model.weights}, digest {digest[:12]}",
            allowed=f"digest {str(recorded)[:12]}",
            hint="give the new weights another name, or delete the run's folder",
            where=folder,
        )


def _weights_digest(config: RunConfig) -> str | None:
    weights = config.model.weights
    return file_digest(Path(weights)) if weights and Path(weights).is_file() else None


def _record(trainer: Trainer, name: str, provenance: dict[str, Any] | None, threads: int | None) -> dict[str, Any]:
    config, manifest, state = trainer.config, trainer.manifest, trainer.state
    info = manifest.info
    return {
        "schema": SCHEMA,
        "id": name,
        "state": "finished",
        "config": config.model_dump(mode="json"),
        "config_fingerprint": config.fingerprint,
        "seed": trainer.seed,
        "preset": (provenance or {}).get("preset"),
        "paper_setting": provenance,
        "dataset": {
            "name": manifest.name,
            "fingerprint": manifest.fingerprint,
            "version": info.get("version"),
            "preset": info.get("preset"),
            "classes": len(manifest.classes),
            "order_blind_ceiling": info.get("order_blind_ceiling"),
            "counts": manifest.counts(),
        },
        "protocol": str(config.data.protocol),
        "backbone": {
            "name": config.model.backbone,
            "options": trainer.model.backbone_options,
            "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
            "input_size": config.data.train_size,
            "frames": config.data.frames,
            "weights": config.model.weights,
            "weights_digest": _weights_digest(config),
            "weights_report": str(trainer.model.load_report) if trainer.model.load_report else None,
        },
        "effective_batch": config.train.effective_batch,
        "effective_learning_rate": config.train.effective_learning_rate,
        "best": state.best,
        "last": state.last,
        "history": state.history,
        "seconds": round(state.seconds, 1),
        "environment": environment(str(trainer.device), threads or torch.get_num_threads()),
    }
