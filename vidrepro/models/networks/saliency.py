"""The saliency sampler: from a map of what matters to a grid that gives it more pixels.

Source: Recasens et al., ECCV 2018 (recasens/Saliency-Sampler, `saliency_sampler.py`), as S3N (Yao-DD/S3N,
`sss_net.py`) uses it for 31x31 maps and torch 0.4.1 ran it: with corners on corners, ``align_corners=True``, in both
the upsampling of the grid and the sampling. Newer defaults would move an undisturbed frame.

The released code convolves the saliency, padded by its border values, with a 61x61 Gaussian. That Gaussian is a product
of two, and the padding is known, so both convolutions are a product with one small matrix per direction: the same
numbers at a hundredth of the work, and more exact in single precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vidrepro.errors import ModelError

FWHM = 13 / 31  # of the Gaussian, as a share of the map's side


def saliency_grid(Q: Tensor, size: int | Sequence[int], *, fwhm: float = FWHM) -> Tensor:
    """Where each pixel of the resampled frame looks in the frame, ``(B, H, W, 2)``: x and y in [-1, 1].

    What lies where Q is large gets more pixels; the scale of Q does not matter, and a constant Q is the identity. The
    grid need not reach the frame's border: part of a frame can be cut off.

    Args:
        Q: saliency, ``(B, G, G')`` or ``(B, 1, G, G')``, rows first; positive.
        size: of the frame, (height, width), or the side of a square one.
        fwhm: full width at half maximum of the Gaussian, as a share of Q's sides.

    Raises:
        ModelError: for a map of another shape, or one that is not finite, negative somewhere, or zero everywhere.
    """
    maps = Q.squeeze(1) if Q.dim() == 4 and Q.shape[1] == 1 else Q
    if maps.dim() != 3:
        raise ModelError("a saliency map has another shape", given=tuple(Q.shape), allowed="(B, G, G) or (B, 1, G, G)")
    if not maps.isfinite().all() or (maps < 0).any() or (maps.amax((1, 2)) <= 0).any():
        raise ModelError("a saliency map must be finite and positive", given=f"from {maps.min():g} to {maps.max():g}")
    return upsample_grid(coarse_grid(maps, fwhm=fwhm), (size, size) if isinstance(size, int) else size)


def coarse_grid(saliency: Tensor, *, fwhm: float = FWHM) -> Tensor:
    """The grid at the saliency's own resolution, ``(B, 2, G, G')``: x, then y, in [-1, 1].

    Each position looks at the mean of all positions, weighted by their saliency and by a Gaussian of the distance; the
    padding has coordinates too, which go on beyond the frame.

    Args:
        saliency: ``(B, G, G')``, positive; nothing is checked here, and nothing waits for a device.
        fwhm: see `saliency_grid`.
    """
    height, width = map(int, saliency.shape[1:])  # tracing makes tensors of them
    rows, rows_y = _weights(height, fwhm, saliency.dtype, saliency.device)
    columns, columns_x = _weights(width, fwhm, saliency.dtype, saliency.device)
    across, across_x = torch.matmul(saliency, columns.T), torch.matmul(saliency, columns_x.T)
    total, x, y = (
        torch.matmul(part.transpose(1, 2), weights.T).transpose(1, 2)
        for part, weights in ((across, rows), (across_x, rows), (across, rows_y))
    )
    return torch.stack((x / total, y / total), 1).mul(2).sub(1).clamp(-1, 1)


def in_own_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Switches autocast off for what is inside, so that half precision does not round coordinates."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def upsample_grid(coarse: Tensor, size: Sequence[int]) -> Tensor:
    """A grid ``(B, 2, G, G')`` bilinearly at the frame's resolution, ``(B, H, W, 2)``."""
    return F.interpolate(coarse, size=tuple(size), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)


def resample(frames: Tensor, grid: Tensor) -> Tensor:
    """Frames ``(B, C, H, W)`` as the grid ``(B, H, W, 2)`` sees them: bilinear, black beyond the border."""
    return F.grid_sample(frames, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


@lru_cache(maxsize=32)
def _weights(side: int, fwhm: float, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """One direction's Gaussian on the padded map, folded back onto the map, and the same times the coordinate.

    Both ``(side, side)``. Row i, column j: the weight at output i of everything that repeats the map's value j; a
    border value stands for its padding too. Coordinates run from 0 to 1 over the map and on beyond it.
    """
    padding = max(side - 1, 1)
    with torch.inference_mode(False):  # they are kept, and training may be the next to use them
        place = torch.arange(-padding, side + padding, dtype=torch.float64)
        distance = place - torch.arange(side, dtype=torch.float64).unsqueeze(1)
        gaussian = torch.exp(-4 * math.log(2) * (distance / (fwhm * side)) ** 2)
        gaussian = gaussian * (distance.abs() <= padding)  # the kernel is 2*padding + 1 long
        repeated = place.clamp(0, side - 1).long()
        coordinate = place / padding if side > 1 else torch.full_like(place, 0.5)
        nothing = torch.zeros(side, side, dtype=torch.float64)
        plain, moment = (nothing.index_add(1, repeated, item) for item in (gaussian, gaussian * coordinate))
        return plain.to(device, dtype), moment.to(device, dtype)
