"""One run, from a resolved config and a prepared dataset to run.json: trains, evaluates, resumes bit for bit on CPU."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vidrepro.config import RunConfig
from vidrepro.data.augment import normalise
from vidrepro.data.cache import FrameCache
from vidrepro.data.loading import ClipDataset, make_loader
from vidrepro.data.manifest import Manifest
from vidrepro.errors import CheckpointError, ConfigError, TrainingError
from vidrepro.evaluation.evaluate import OUTPUT, evaluate_outputs
from vidrepro.evaluation.metrics import accuracies, cross_entropy
from vidrepro.evaluation.scores import Scores, save_scores, scores_path
from vidrepro.models import build_from_config
from vidrepro.models.memory_format import to_channels_last
from vidrepro.runs import checkpoint
from vidrepro.runs.folder import BEST_CHECKPOINT, LAST_CHECKPOINT, code_version
from vidrepro.training import optimisation
from vidrepro.training.clock import Clock
from vidrepro.training.finite_state import DIVERGED, FiniteState
from vidrepro.training.progress import Progress, Reporter, StopSignal

SAVE_EVERY_SECONDS = 60.0  # a killed run loses at most this much
FINITE_CHECK_INTERVAL = {"cpu": 1}  # steps; elsewhere reading the loss waits for the device, so it is read less often
FINITE_CHECK_DEFAULT = 10
_RESTART = "start afresh with --restart, or choose another --results folder"


class Interrupted(KeyboardInterrupt):
    """Training stopped on request, at a step boundary, with its checkpoint written."""


@dataclass
class State:
    """Where a run is, and what it has measured; saved in every checkpoint."""

    epoch: int = 0  # epochs completed and evaluated
    batch: int = 0  # batches done in the current epoch
    loss_sum: float = 0.0
    correct: int = 0
    clips: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)  # of the code that has worked on the run
    best: dict[str, Any] | None = None
    last: dict[str, Any] | None = None


class Trainer:
    """Trains one run.

    Args:
        config: the resolved settings.
        manifest: the prepared dataset; its splits ``train`` and ``val`` are used (``test`` where it has no ``val``),
            under the config's fold and task.
        seed: of the initial weights, the order of clips and every augmentation.
        folder: of the run; checkpoints and scores go there.
        device: where to train.
        workers: loader processes; results do not depend on them.
        cache: decoded frames shared by all runs, or None to decode clips each time.
        reporter: told about progress at every step.
        stop: asked after every step; training then saves and raises `Interrupted`.
        start: the file with the start weights, where the config names a run in place of one.
    """

    def __init__(
        self,
        config: RunConfig,
        manifest: Manifest,
        seed: int,
        folder: Path,
        *,
        device: torch.device,
        workers: int = 0,
        cache: FrameCache | None = None,
        reporter: Reporter | None = None,
        stop: StopSignal | None = None,
        start: Path | None = None,
    ) -> None:
        self.config, self.manifest, self.seed, self.folder = config, manifest, seed, folder
        self.device, self.workers, self.reporter, self.stop = device, workers, reporter, stop
        torch.manual_seed(seed)
        fold, task = config.data.fold, config.data.task
        self.selection = manifest.selection_fingerprint(fold=fold, task=task)
        self.eval_split = manifest.eval_split(fold)
        network = config.model.model_copy(update={"weights": str(start)}) if start else config.model
        self.model = build_from_config(network, frames=config.data.frames, classes=manifest.num_classes(task))
        self.model.to(device)
        if config.train.channels_last:
            to_channels_last(self.model)
        self.train_set, self.val_set = (
            ClipDataset(manifest, split, config.data, seed=seed, training=training, cache=cache)
            for split, training in (("train", True), (self.eval_split, False))
        )
        self.loader = make_loader(
            self.train_set,
            config.train.batch_size,
            workers=workers,
            shuffle=True,
            drop_last=True,
            seed=seed,
            pin_memory=device.type == "cuda",
        )
        self.batches = len(self.loader)
        if self.batches < config.train.accumulation:
            raise ConfigError(
                "the training split is smaller than one optimiser step",
                given=f"{len(self.train_set)} clips for {config.train.effective_batch} a step",
                hint="lower train.batch_size or train.accumulation with --set",
            )
        self._train_mode()
        self._finite = FiniteState(self.model, folder)
        self.optimizer = optimisation.build_optimizer(self.model, config.train)
        self.loss_function = nn.CrossEntropyLoss()
        self.state = State()
        self._counted_until = time.monotonic()
        self._progress: Progress | None = None
        self._evaluation_seconds = 0.0  # of the last one
        self._rate_share = 1.0  # of the scheduled learning rate, in this epoch

    def restore(self) -> bool:
        """Go on where ``last.pt`` stopped; False when there is none.

        Raises:
            CheckpointError: if it belongs to another config, dataset, seed or architecture.
        """
        path = self.folder / LAST_CHECKPOINT
        if not path.exists():
            return False
        content = checkpoint.load_checkpoint(path)
        for key, own in self._identity().items():
            if (given := content.get(key)) != own:
                problem = f"the checkpoint was made with another {key}"
                raise CheckpointError(problem, given=given, allowed=str(own), hint=_RESTART, where=path)
        try:
            checkpoint.load_network(self.model, content["model"], path)
            self.optimizer.load_state_dict(content["optimizer"])
            self.state = State(**content["state"])
            checkpoint.set_random_state(content["random"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"the checkpoint is not whole: {type(error).__name__}: {error}", hint=_RESTART, where=path
            ) from error
        self._finite.require("values in it", self.optimizer, error=CheckpointError, hint=_RESTART, where=path)
        return True

    def run(self) -> State:
        """Train to the last epoch.

        Returns:
            The final state, with history, best and last measurements.

        Raises:
            Interrupted: when asked to stop; the checkpoint is written.
            TrainingError, NotFiniteError: if loss, weights or scores are not finite; what was saved before is kept.
        """
        self._counted_until = time.monotonic()
        if self.state.versions[-1:] != [code_version()]:
            self.state.versions.append(code_version())
        while self.state.epoch < self.config.train.epochs:
            self._train_epoch()
            self._finish_epoch()
            self._save_last()
            if self.stop and self.state.epoch < self.config.train.epochs:
                raise Interrupted
        return self.state

    def _identity(self) -> dict[str, Any]:
        return {
            "config": self.config.fingerprint,
            "dataset": self.selection,
            "seed": self.seed,
        }

    def _train_mode(self) -> None:
        self.model.train()
        if self.config.train.frozen_batch_norm == "all-but-first":
            optimisation.freeze_batch_norm(self.model)

    def _train_epoch(self) -> None:
        recipe, state = self.config.train, self.state
        self.loader.set_epoch(state.epoch, state.batch)
        self.model.begin_epoch(state.epoch)
        losses = [record["val_loss"] for record in state.history if "val_loss" in record]
        self._rate_share = optimisation.plateau_share(recipe, losses)
        clock = Clock()
        pending = torch.zeros((), device=self.device)  # losses not read from the device yet
        pending_correct = torch.zeros((), dtype=torch.int64, device=self.device)
        check_every = FINITE_CHECK_INTERVAL.get(self.device.type, FINITE_CHECK_DEFAULT)
        for batch in clock.waiting(self.loader):
            loss, correct = self._forward_backward(batch)
            pending += loss
            pending_correct += correct
            state.batch += 1
            state.clips += len(batch["label"])
            at_step = state.batch % recipe.accumulation == 0
            if at_step:
                self._step()
            stopping, due = bool(self.stop), clock.since_save() > SAVE_EVERY_SECONDS
            if state.batch % check_every == 0 or state.batch == self.batches or stopping or due:
                self._read_losses(pending, pending_correct)
                self._report(clock)
            # Gradients of a half-finished accumulation are not saved, so only a step's end can be continued from.
            if at_step and (stopping or due):
                self._finite.require(f"after batch {state.batch} of epoch {state.epoch + 1} values", self.optimizer)
                clock.saved()
                self._save_last()
                if stopping:
                    raise Interrupted
        self.optimizer.zero_grad(set_to_none=True)  # leftovers of the accumulation (M2A's main.py drops them too)
        self._finite.require(f"after epoch {state.epoch + 1} values", self.optimizer)

    def _forward_backward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        recipe = self.config.train
        clips = batch["clip"].to(self.device, non_blocking=True)
        labels = batch["label"].to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            loss, logits = self.model.loss(normalise(clips), labels, self.loss_function)
        (loss / recipe.accumulation).backward()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    def _step(self) -> None:
        recipe, state = self.config.train, self.state
        rate = optimisation.learning_rate(recipe, state.epoch + (state.batch - 1) / self.batches)
        optimisation.set_learning_rate(self.optimizer, rate * self._rate_share)
        if recipe.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _read_losses(self, pending: torch.Tensor, pending_correct: torch.Tensor) -> None:
        state = self.state
        value = float(pending)
        if not np.isfinite(value):
            problem = f"the loss is no longer finite in epoch {state.epoch + 1}, batch {state.batch}"
            raise TrainingError(problem, given=value, hint=DIVERGED, where=self.folder)
        state.loss_sum += value
        state.correct += int(pending_correct)
        pending.zero_()
        pending_correct.zero_()

    def _finish_epoch(self) -> None:
        recipe, state = self.config.train, self.state
        record: dict[str, Any] = {
            "epoch": state.epoch + 1,
            "loss": state.loss_sum / max(state.batch, 1),
            "train_top1": 100.0 * state.correct / max(state.clips, 1),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            **self.model.learned_scalars(),
        }
        final = state.epoch + 1 == recipe.epochs
        if final or (state.epoch + 1) % recipe.evaluate_every == 0:
            measured, scores = self._evaluate(state.epoch + 1)
            loss = cross_entropy(scores.labels, scores.logits, scores.averaged)
            record |= {"val_loss": loss, "val_top1": measured["top1"], "val_pair": measured["pair"]}
            state.last = measured
            if state.best is None or measured["top1"] > state.best["top1"]:
                state.best = measured
                self._save_scores(scores, "best")
                checkpoint.save_checkpoint(
                    self.folder / BEST_CHECKPOINT,
                    {**self._identity(), "epoch": state.epoch + 1, "model": self.model.state_dict()},
                )
            if final:
                self._save_scores(scores, "last")
        state.history.append(record)
        state.epoch, state.batch = state.epoch + 1, 0
        state.loss_sum, state.correct, state.clips = 0.0, 0, 0

    def _evaluate(self, epoch: int) -> tuple[dict[str, Any], Scores]:
        started = time.monotonic()
        outputs = evaluate_outputs(
            self.model,
            self.val_set,
            device=self.device,
            batch_size=2 * self.config.train.batch_size,
            workers=self.workers,
            precision=self.config.train.precision,
            progress=self._report_evaluation,
            source=f"{self.folder.name} after epoch {epoch}",
        )
        self._evaluation_seconds = time.monotonic() - started
        self._train_mode()
        labels, logits = self.val_set.labels, outputs.pop(OUTPUT)
        scores = Scores(
            np.asarray(self.val_set.ids),
            labels,
            logits,
            self.selection,
            str(self.config.data.protocol),
            self.manifest.info.get("completeness"),
            self.config.data.eval_average,
        )
        pairs = self.manifest.reversal_pairs(self.config.data.task)
        measured = {"epoch": epoch, "split": self.eval_split, **accuracies(labels, logits, pairs)}
        if outputs:  # of a network with several predictions
            measured["outputs"] = {name: accuracies(labels, one, pairs) for name, one in outputs.items()}
        return measured, scores

    def _save_scores(self, scores: Scores, which: str) -> None:
        save_scores(scores_path(self.folder, self.eval_split, scores.protocol, which, scores.averaged), scores)

    def _report(self, clock: Clock) -> None:
        if self.reporter is None:
            return
        recipe, state = self.config.train, self.state
        speed = clock.batches / max(clock.elapsed, 1e-9)
        batches_left = (recipe.epochs - state.epoch) * self.batches - state.batch
        evaluations_left = -(-(recipe.epochs - state.epoch) // recipe.evaluate_every)
        self._progress = Progress(
            epoch=state.epoch + 1,
            epochs=recipe.epochs,
            batch=state.batch,
            batches=self.batches,
            loss=state.loss_sum / max(state.batch, 1),
            accuracy=state.best["top1"] if state.best else None,
            clips_per_second=speed * recipe.batch_size,
            data_seconds=clock.waited / max(clock.batches, 1),
            compute_seconds=(clock.elapsed - clock.waited) / max(clock.batches, 1),
            remaining_seconds=batches_left / max(speed, 1e-9) + evaluations_left * self._evaluation_seconds,
        )
        self.reporter.update(self._progress)

    def _report_evaluation(self, done: int, clips: int) -> None:
        if self.reporter is not None and self._progress is not None:
            self.reporter.update(replace(self._progress, phase=self.eval_split, batch=done, batches=clips))

    def _save_last(self) -> None:
        now = time.monotonic()
        self.state.seconds += now - self._counted_until
        self._counted_until = now
        checkpoint.save_checkpoint(
            self.folder / LAST_CHECKPOINT,
            {
                **self._identity(),
                "state": asdict(self.state),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "random": checkpoint.random_state(),
            },
        )
