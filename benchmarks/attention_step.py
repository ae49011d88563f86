"""What of a three-branch training step is the attention: finding peaks, making grids, resampling, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vidrepro.cost.speed import Task

if TYPE_CHECKING:
    from torch import Tensor

    from vidrepro.models.networks.sparse_spatial import SparseSpatialNetwork


def attention_task(model: SparseSpatialNetwork, clips: Tensor) -> Task:
    """The attention of one training step alone, forward and backward, on features that are computed beforehand.

    Args:
        model: in training mode, on the clips' device.
        clips: ``(N, T, C, H, W)``.
    """
    import torch

    with torch.no_grad():
        features = model.backbone.feature_map(clips)

    def task() -> int:
        model.zero_grad(set_to_none=True)
        videos = list(model.zoomed(clips, features).values())
        torch.autograd.backward(videos, [torch.ones_like(video) for video in videos])
        if clips.device.type == "cuda":
            torch.cuda.synchronize(clips.device)
        return len(clips)

    return task
