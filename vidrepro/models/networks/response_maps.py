"""Where a classifier finds its classes in a frame: class response maps, the entropy rule, and their peaks.

Source: Zhou, Li, Wang, Li 2022 ("Integrating Temporal and Spatial Attention"), section 2.1, equations 1 to 4, with what
the text leaves open taken from the code of the works it follows: S3N (Yao-DD/S3N, `sss_net.py`) and PRM
(ZhouYanzhao/PRM, `peak_stimulation.py`). B counts frames, S classes, K the classes brought together (five).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CONSTANT = 1e-5  # a map whose range is below this share of its largest value says nothing: what is left is rounding
PEAK_FILTERS = ("mean", "median", "none")


def class_response_maps(features: Tensor, weight: Tensor) -> Tensor:
    """Equation 1: every class's response at every position, ``(B, S, h, w)``.

    Args:
        features: of each frame, ``(B, C, h, w)``.
        weight: of the classifier, ``(S, C)``. Its bias would shift a whole map, which equation 4 takes back.
    """
    return torch.einsum("bchw,sc->bshw", features, weight)


def frame_probabilities(
    features: Tensor, weight: Tensor, bias: Tensor | None = None, *, resized_to: int | None = None
) -> Tensor:
    """Each frame's class probabilities, ``(B, S)``: softmax of the classifier on the pooled features.

    Args:
        features, weight: see `class_response_maps`.
        bias: of the classifier, ``(S,)``.
        resized_to: pool the maps after they were resized to this side, as S3N does; their corners and borders then
            count less, and other classes can come first. None pools the features as they are, as the text has it.
    """
    if resized_to is None:
        pooled = features.mean((2, 3))
    else:
        # the mean of a resized map is a weighted mean of the map; the weights are those of each position alone
        height, width = features.shape[2:]
        alone = torch.eye(height * width, dtype=features.dtype, device=features.device).view(-1, 1, height, width)
        share = resize_maps(alone, resized_to).mean((1, 2, 3)).view(height, width)
        pooled = (features * share).sum((2, 3))
    return F.linear(pooled, weight, bias).softmax(1)


def top_entropy(probabilities: Tensor, top: int = 5) -> Tensor:
    """Equation 2: ``-sum(p ln p)`` over the `top` largest probabilities as they are, not made to sum to 1; ``(B,)``.

    With fewer classes than `top`, all of them count.
    """
    largest = probabilities.topk(min(top, probabilities.shape[1]), dim=1).values
    return torch.special.entr(largest).sum(1)


def chosen_classes(probabilities: Tensor, delta: float, top: int = 5) -> Tensor:
    """Equation 3: which classes' maps are added up, ``(B, S)`` of ones and zeros.

    The likeliest class alone where the entropy is below `delta`, else the `top` likeliest (all of fewer classes). The
    paper leaves entropy = delta open: the likeliest ones, as in S3N.
    """
    count = min(top, probabilities.shape[1])
    order = probabilities.topk(count, dim=1).indices
    unsure = top_entropy(probabilities, top) >= delta
    taken = torch.ones_like(order, dtype=probabilities.dtype)
    taken[:, 1:] = unsure.unsqueeze(1).to(probabilities.dtype)
    return torch.zeros_like(probabilities).scatter(1, order, taken)


def resize_maps(maps: Tensor, size: int) -> Tensor:
    """Maps ``(B, K, h, w)`` bilinearly to ``(B, K, size, size)``, corners on corners (S3N's ``align_corners=True``)."""
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=True)


def normalise_maps(maps: Tensor) -> Tensor:
    """Equation 4: each map ``(..., h, w)`` stretched to [0, 1]; zeros where it is constant or not finite.

    Constant is judged against the map's largest value (`CONSTANT`), so that the rounding of a resized constant map is
    not stretched into peaks.
    """
    low = maps.amin((-2, -1), keepdim=True)
    stretch = maps.amax((-2, -1), keepdim=True) - low
    says_something = _varies(maps)
    return torch.where(says_something, (maps - low) / torch.where(says_something, stretch, 1), 0)


def response_peaks(maps: Tensor, keep: str = "mean") -> Tensor:
    """Where the maps have peaks: a mask of the same shape, True at a peak.

    A peak is the largest value of its 3x3 window; of equal ones in a window the first in reading order is it, so that
    a plateau has one peak. Stretching a map (`normalise_maps`) moves no peak.

    Args:
        maps: ``(..., h, w)``. A constant map, or one with a value that is not finite, has none.
        keep: drop peaks below the map's ``mean`` (S3N) or ``median`` (PRM's default; the lower one of two), or
            ``none`` of them.
    """
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    height, width = flat.shape[-2:]
    _, winner = F.max_pool2d(flat, 3, stride=1, padding=1, return_indices=True)
    here = torch.arange(height * width, device=maps.device).view(height, width)
    peaks = (winner == here) & _varies(flat)
    if keep == "mean":
        peaks &= flat >= flat.mean((-2, -1), keepdim=True)
    elif keep == "median":
        peaks &= flat >= flat.flatten(1).median(1).values.view(-1, 1, 1, 1)
    return peaks.view(maps.shape)


def _varies(maps: Tensor) -> Tensor:
    """Whether a map ``(..., h, w)`` is finite and more than constant: ``(..., 1, 1)``."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    stretch = high - low
    return stretch.isfinite() & (stretch > CONSTANT * torch.maximum(low.abs(), high.abs()))
