"""Carry out one run from start to run.json, once: finished runs are left alone, interrupted ones go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vidrepro.config import RunConfig
from vidrepro.data.cache import open_cache
from vidrepro.data.manifest import Manifest
from vidrepro.devices import choose_device, keep_freed_memory
from vidrepro.locks import ProcessLock
from vidrepro.models import check_config
from vidrepro.models.mechanisms import external_sources
from vidrepro.runs.folder import (
    LAST_CHECKPOINT,
    LOCK_FILE,
    PROGRESS_FILE,
    environment,
    make_run_folder,
    run_id,
    runs_folder,
    start_weights,
)
from vidrepro.runs.record import SCHEMA, BackboneFacts, DatasetFacts, RunRecord, is_finished, write_record
from vidrepro.training.loop import Trainer
from vidrepro.training.progress import Reporter, StopSignal

LOCK_SECONDS = 10.0  # a training process whose parent was killed needs a moment to notice and to save


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
    say: Callable[[str], None] | None = None,
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
        say: told in a sentence what became of start weights, why there is no cache, or that there is no split val.

    Returns:
        The run's folder; its run.json is complete.

    Raises:
        BusyError: if another process works on the run.
        VidreproError: see `Trainer`.
        Interrupted: when asked to stop; the same call goes on later.
    """
    selection = manifest.selection_fingerprint(fold=config.data.fold, task=config.data.task)
    name = run_id(config, selection, seed)
    folder = runs_folder(results) / name
    if is_finished(folder):
        return folder
    if threads:
        torch.set_num_threads(threads)
    where = choose_device(device)
    if where.type == "cpu":
        keep_freed_memory()
    check_config(config.model)  # before the cache and the folder are made for a run that cannot be
    start = start_weights(results, config.model.weights, selection, seed)
    frames = open_cache(manifest, cache, say=say)
    trainer = Trainer(
        config,
        manifest,
        seed,
        folder,
        device=where,
        workers=workers,
        cache=frames,
        reporter=reporter,
        stop=stop,
        start=start,
    )
    if trainer.model.load_report and say:
        say(f"start weights {start or config.model.weights}: {trainer.model.load_report}")
    if trainer.eval_split != "val" and say:
        say(f"'{manifest.name}' has no split val: the best epoch is chosen on '{trainer.eval_split}', as its papers do")
    make_run_folder(results, name)
    with ProcessLock(folder / LOCK_FILE).held("another process is working on this run", seconds=LOCK_SECONDS):
        if is_finished(folder):
            return folder
        if restart:
            (folder / LAST_CHECKPOINT).unlink(missing_ok=True)
        trainer.restore()
        trainer.run()
        write_record(folder, _record(trainer, name, provenance, threads))
        (folder / PROGRESS_FILE).unlink(missing_ok=True)
    return folder


def _frame_counts(manifest: Manifest) -> list[int]:
    """The lengths of the usable clips: with the sampling rule they decide whether the order-blind ceiling holds."""
    table = manifest.table
    return sorted({int(frames) for frames in table.loc[table["status"] == "ok", "frames"]})


def _record(trainer: Trainer, name: str, provenance: dict[str, Any] | None, threads: int | None) -> RunRecord:
    config, manifest, state = trainer.config, trainer.manifest, trainer.state
    info = manifest.info
    fold, task = config.data.fold, config.data.task
    return RunRecord(
        schema=SCHEMA,
        id=name,
        state="finished",
        config=config.model_dump(mode="json"),
        config_fingerprint=config.fingerprint,
        seed=trainer.seed,
        preset=(provenance or {}).get("preset"),
        paper_setting=provenance,
        dataset=DatasetFacts(
            name=manifest.name,
            fingerprint=manifest.fingerprint,
            selection=trainer.selection,
            fold=fold or info.get("fold"),
            task=task,
            version=info.get("version"),
            label_order=info.get("label_order") if task is None else None,
            preset=info.get("preset"),
            classes=manifest.num_classes(task),
            order_blind_ceiling=info.get("order_blind_ceiling") if fold is None and task is None else None,
            counts=manifest.counts(fold),
            frame_counts=_frame_counts(manifest),
            completeness=info.get("completeness"),
        ),
        protocol=str(config.data.protocol),
        backbone=BackboneFacts(
            name=config.model.backbone,
            options=trainer.model.backbone_options,
            parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
            input_size=config.data.train_size,
            frames=config.data.frames,
            weights=config.model.weights,
            weights_report=asdict(trainer.model.load_report) if trainer.model.load_report else None,
        ),
        own_mechanism=external_sources(config.model.mechanism),
        effective_batch=config.train.effective_batch,
        effective_learning_rate=config.train.effective_learning_rate,
        best=state.best,
        last=state.last,
        history=state.history,
        seconds=round(state.seconds, 1),
        environment=environment(str(trainer.device), threads or torch.get_num_threads(), state.versions),
    )
