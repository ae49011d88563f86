"""A network over a split: scores per clip, averaged over the protocol's views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vidrepro.data.augment import normalise
from vidrepro.data.loading import ClipDataset, make_loader
from vidrepro.finite import require_finite_clips
from vidrepro.models import VideoClassifier

_NOT_FINITE_HINT = "the network has diverged, or overflows on these clips: train with a lower train.learning_rate"
OUTPUT = ""  # the network's own prediction among `evaluate_outputs`


def evaluate(
    model: nn.Module,
    dataset: ClipDataset,
    *,
    device: torch.device,
    batch_size: int,
    workers: int = 0,
    precision: str = "float32",
    progress: Callable[[int, int], None] | None = None,
    source: str = "the network",
) -> NDArray[np.float32]:
    """Scores of every clip of an evaluation dataset.

    Views run as a batch. A clip's scores are the mean over its views of their logits, before any softmax (TSM's and
    AIA's test code), or of their softmaxes where the dataset's `DataConfig.eval_average` says so (T-CNN).

    Args:
        model: maps (N, T, C, H, W) to (N, K); put into evaluation mode here and back into its own afterwards.
        dataset: built with ``training=False``.
        device: where the model lies.
        batch_size: views per forward pass, at most: as many whole clips as fit, and a clip with more views in parts.
        workers: loader processes.
        precision: ``float32`` or ``bfloat16`` (autocast).
        progress: called with (clips done, clips in all).
        source: whose scores they are, for refusals.

    Returns:
        float32 array (clips, K), in the dataset's order.

    Raises:
        ResultsError: if the scores of a clip are not finite, naming the first such clips.
    """
    with _in_evaluation(model):
        scores = _scores(
            lambda clips: {OUTPUT: model(clips)}, dataset, device, batch_size, workers, precision, progress, source
        )
    return scores[OUTPUT]


def evaluate_outputs(
    model: VideoClassifier,
    dataset: ClipDataset,
    *,
    device: torch.device,
    batch_size: int,
    workers: int = 0,
    precision: str = "float32",
    progress: Callable[[int, int], None] | None = None,
    source: str = "the network",
) -> dict[str, NDArray[np.float32]]:
    """The same for every output of a network that has several, in one pass.

    Args:
        model, dataset, device, batch_size, workers, precision, progress, source: see `evaluate`.

    Returns:
        The network's prediction, which `evaluate` returns, as `OUTPUT`; and, of a network with several outputs, each
        by its name in `VideoClassifier.all_logits`.
    """

    def outputs(clips: Tensor) -> dict[str, Tensor]:
        logits = model.all_logits(clips)
        return {OUTPUT: model.prediction_of(logits), **(logits if len(logits) > 1 else {})}

    with _in_evaluation(model):
        return _scores(outputs, dataset, device, batch_size, workers, precision, progress, source)


@contextmanager
def _in_evaluation(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.inference_mode()
def _scores(
    network: Callable[[Tensor], dict[str, Tensor]],
    dataset: ClipDataset,
    device: torch.device,
    batch_size: int,
    workers: int,
    precision: str,
    progress: Callable[[int, int], None] | None,
    source: str,
) -> dict[str, NDArray[np.float32]]:
    chunks: dict[str, list[NDArray[np.float32]]] = {}
    done, ids = 0, dataset.ids
    clips_per_batch = max(1, batch_size // dataset.config.protocol.views)
    for batch in make_loader(dataset, clips_per_batch, workers=workers, pin_memory=device.type == "cuda"):
        clips: Tensor = batch["clip"]  # (N, V, T, C, H, W) uint8
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            views = [
                network(normalise(part.to(device, non_blocking=True))) for part in clips.flatten(0, 1).split(batch_size)
            ]
        for name in views[0]:
            logits = torch.cat([view[name] for view in views]).float().unflatten(0, clips.shape[:2])
            mean = logits.mean(1).cpu().numpy()  # not finite if one of them is not
            of_output = f"output '{name}' of {source}" if name else source
            of_batch = ids[done : done + len(clips)]
            require_finite_clips(f"the scores by {of_output}", of_batch, mean, hint=_NOT_FINITE_HINT)
            if dataset.config.eval_average == "softmax":
                mean = logits.softmax(-1).mean(1).cpu().numpy()
            chunks.setdefault(name, []).append(mean)
        done += len(clips)
        if progress:
            progress(done, len(dataset))
    return {name: np.concatenate(parts) for name, parts in chunks.items()}
