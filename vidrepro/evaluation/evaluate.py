"""A network over a split: logits per clip, averaged over the protocol's views."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vidrepro.data.augment import normalise
from vidrepro.data.loading import ClipDataset, make_loader


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    dataset: ClipDataset,
    *,
    device: torch.device,
    batch_size: int,
    workers: int = 0,
    precision: str = "float32",
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Logits of every clip of an evaluation dataset.

    Views run as a batch; a clip's logits are the mean over its views, before any softmax (TSM's and AIA's test code).

    Args:
        model: maps (N, T, C, H, W) to (N, K); put into evaluation mode here and back into its own afterwards.
        dataset: built with ``training=False``.
        device: where the model lies.
        batch_size: views per forward pass, at least.
        workers: loader processes.
        precision: ``float32`` or ``bfloat16`` (autocast).
        progress: called with (clips done, clips in all).

    Returns:
        float32 array (clips, K), in the dataset's order.
    """
    was_training = model.training
    model.eval()
    try:
        chunks = []
        done = 0
        clips_per_batch = max(1, batch_size // dataset.config.protocol.views)
        for batch in make_loader(dataset, clips_per_batch, workers=workers, pin_memory=device.type == "cuda"):
            views = batch["clip"].to(device, non_blocking=True)  # (N, V, T, C, H, W) uint8
            count, num_views = views.shape[:2]
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = model(normalise(views.flatten(0, 1)))
            chunks.append(logits.float().view(count, num_views, -1).mean(1).cpu().numpy())
            done += count
            if progress:
                progress(done, len(dataset))
        return np.concatenate(chunks)
    finally:
        model.train(was_training)
