"""Sparse attention: a frame's response peaks, divided in two sets, each turned into a saliency map.

Source: Zhou, Li, Wang, Li 2022 ("Integrating Temporal and Spatial Attention"), section 2.2, equations 5 to 7; scales,
the constant floor and the rule at test time from S3N (Yao-DD/S3N, `sss_net.py`, `demo/cub_s3n.yml`), whose code the
text leaves out. B counts frames, G is the side of the sampler's maps (31).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vidrepro.models.networks.response_maps import (
    chosen_classes,
    frame_probabilities,
    normalise_maps,
    resize_maps,
    response_peaks,
    top_entropy,
)
from vidrepro.models.networks.saliency import in_own_precision
from vidrepro.models.taps import AttentionTap

BETA_RANGE = (1e-3, 1.0)
SMALLEST_RESPONSE = 0.05  # where no filter keeps peaks away from 0: equation 6 divides by the response


@dataclass(frozen=True)
class Attention:
    """What the attention found in B frames, and made of it.

    Attributes:
        maps: normalised response maps, ``(B, G, G)`` (``(B, h, w)`` if peaks are looked for at the features' size).
        entropy: of each frame's likeliest classes, ``(B,)``.
        probabilities: of every class, ``(B, S)``.
        discriminative, complementary: masks of `maps`' shape: the peaks in each set.
        saliency_dis, saliency_com: Q of each set, ``(B, G, G)``; these alone carry a gradient, to beta1 and beta2. None
            where the set was not asked for.
    """

    maps: Tensor
    entropy: Tensor
    probabilities: Tensor
    discriminative: Tensor
    complementary: Tensor
    saliency_dis: Tensor | None
    saliency_com: Tensor | None

    def saliencies(self) -> dict[str, Tensor]:
        """Q of each set that was asked for, by its branch: ``D``, ``C``."""
        both = {"D": self.saliency_dis, "C": self.saliency_com}
        return {branch: saliency for branch, saliency in both.items() if saliency is not None}


def split_peaks(maps: Tensor, peaks: Tensor, draws: Tensor | float) -> tuple[Tensor, Tensor]:
    """Equation 5: the peaks whose response reaches their draw (discriminative), and the others (complementary).

    Args:
        maps: normalised, ``(B, h, w)``.
        peaks: their mask.
        draws: phi of each position, ``(B, h, w)`` or one for all; only those of peaks count.
    """
    reached = maps >= draws
    return peaks & reached, peaks & ~reached


def extreme_peaks(maps: Tensor, peaks: Tensor) -> tuple[Tensor, Tensor]:
    """S3N's rule at test time: the largest peak alone, and the smallest alone, the first of equal ones.

    A single peak is both. Arguments and result as for `split_peaks`.
    """

    here = torch.arange(peaks.shape[1] * peaks.shape[2], device=peaks.device)

    def only(position: Tensor) -> Tensor:
        return (here == position).view_as(peaks) & peaks

    largest = maps.masked_fill(~peaks, -torch.inf).flatten(1).argmax(1, keepdim=True)
    smallest = maps.masked_fill(~peaks, torch.inf).flatten(1).argmin(1, keepdim=True)
    return only(largest), only(smallest)


def gaussian_saliency(
    maps: Tensor,
    peaks: Tensor,
    beta: Tensor | float,
    *,
    size: int,
    inverse: bool = False,
    base: float = 0.09,
    most: int | None = None,
) -> Tensor:
    """Equations 6 and 7: Q, ``(B, size, size)``, the sum of a Gaussian around each peak on a constant floor.

    A peak of response R adds ``R * exp(-d²/(2σ²))`` with ``σ = beta * sqrt(R) * size``, d in positions of Q. In the
    paper's writing, ``exp(-d²/(R*β²))``, its β is ``sqrt(2) * size * beta``.

    Args:
        maps: normalised, ``(B, h, w)``.
        peaks: their mask. Where h or w is not `size`, corners lie on corners.
        beta: the Gaussians' width as a share of `size`.
        size: of Q.
        inverse: weigh a peak by 1/R in place of R, as the complementary set is.
        base: the floor. Not in the paper; without one the sampler divides zero by zero far from every peak.
        most: peaks a map can have, where that is known; no map has more than a quarter of its positions, rounded up.
    """
    height, width = map(int, maps.shape[1:])  # tracing makes tensors of them
    per_frame = peaks.flatten(1)
    if most is None:
        # as many places per frame as the fullest one needs; on a device, as it can need: asking would wait for it
        most = -(-height // 2) * -(-width // 2)
        if maps.device.type == "cpu" and not torch.compiler.is_compiling():
            most = min(most, max(int(per_frame.sum(1).max()), 1))
    response, position = maps.masked_fill(~peaks, -1).flatten(1).topk(most, dim=1)
    there = response >= 0
    response = torch.where(there, response, 1)
    weight = torch.where(there, 1 / response if inverse else response, 0)
    rate = -0.5 / (response * (beta * size) ** 2)
    along = torch.arange(size, dtype=maps.dtype, device=maps.device)
    down = along - _place(position // width, height, size, maps.dtype)
    right = along - _place(position % width, width, size, maps.dtype)
    vertical = torch.exp(rate.unsqueeze(2) * down**2) * weight.unsqueeze(2)  # (B, peaks, size)
    horizontal = torch.exp(rate.unsqueeze(2) * right**2)
    return base + torch.matmul(vertical.transpose(1, 2), horizontal)


def _place(index: Tensor, count: int, size: int, dtype: torch.dtype) -> Tensor:
    """Positions of a map's rows or columns on a grid of another size, ``(B, peaks, 1)``."""
    scaled = (
        index.to(dtype) * ((size - 1) / (count - 1))
        if count > 1
        else torch.full_like(index, 0.5, dtype=dtype) * (size - 1)
    )
    return scaled.unsqueeze(2)


class SparseAttention(nn.Module):
    """From the features of frames to the saliency maps of the discriminative and the complementary video.

    Args:
        frames: T.
        map_frames: T', frames of a clip's feature map: T or fewer, each then stands for several.
        delta: entropy from which on the likeliest classes' maps are added up; not in the paper, 0.2 in S3N.
        top: how many.
        probabilities: ``features``: softmax of the pooled features (the text); ``resized-maps``: S3N's.
        peak_map: look for peaks on the ``grid`` of 31x31 (S3N) or at the ``features``' own size.
        peak_filter: see `response_peaks`.
        eval_split: at test time, ``maxmin`` (`extreme_peaks`), ``threshold`` (phi = 0.5) or ``random`` (draws of
            `eval_seed`, the same for every clip).
        eval_seed: see there.
        beta1, beta2: start values for the discriminative and the complementary set; learned.
        base: floor of the saliency.
        grid: G, the maps' side.
    """

    def __init__(
        self,
        *,
        frames: int,
        map_frames: int,
        delta: float = 0.2,
        top: int = 5,
        probabilities: str = "features",
        peak_map: str = "grid",
        peak_filter: str = "mean",
        eval_split: str = "maxmin",
        eval_seed: int = 0,
        beta1: float = 0.09,
        beta2: float = 0.3,
        base: float = 0.09,
        grid: int = 31,
    ) -> None:
        super().__init__()
        self.sources = [frame * map_frames // frames for frame in range(frames)]
        self.frames, self.map_frames = frames, map_frames
        self.delta, self.top, self.base, self.grid = delta, top, base, grid
        self.probabilities, self.peak_map, self.peak_filter = probabilities, peak_map, peak_filter
        self.eval_split, self.eval_seed = eval_split, eval_seed
        self.all_peaks = False  # both sets have every peak, as in S3N's first epochs of training
        self.beta1 = nn.Parameter(torch.tensor(float(beta1)))
        self.beta2 = nn.Parameter(torch.tensor(float(beta2)))
        self.tap = AttentionTap("response", ("N*T", "H", "W"), frames=frames)

    def forward(
        self, features: Tensor, weight: Tensor, bias: Tensor | None = None, branches: Sequence[str] = ("D", "C")
    ) -> Attention:
        """Look at B frames, in single precision at least.

        Args:
            features: ``(N*T', C, h, w)``.
            weight, bias: of the classifier, ``(S, C)`` and ``(S,)``.
            branches: whose saliency is formed.
        """
        with torch.no_grad(), in_own_precision(features.device):
            dtype = torch.promote_types(features.dtype, torch.float32)
            weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
            maps, probabilities, entropy = (
                self._every_frame(item) for item in self._responses(features.to(dtype), weight, bias)
            )
            maps = self.tap(maps)
            peaks = response_peaks(maps, self.peak_filter)
            if self.peak_filter != "mean":
                maps = torch.where(peaks, maps.clamp(min=SMALLEST_RESPONSE), maps)
            discriminative, complementary = self._split(maps, peaks)
        with in_own_precision(features.device):
            beta1, beta2 = (_held(beta.to(dtype)) for beta in (self.beta1, self.beta2))
            saliency = partial(gaussian_saliency, maps, size=self.grid, base=self.base, most=self._most_peaks)
            return Attention(
                maps,
                entropy,
                probabilities,
                discriminative,
                complementary,
                saliency(discriminative, beta1) if "D" in branches else None,
                saliency(complementary, beta2, inverse=True) if "C" in branches else None,
            )

    def betas(self) -> dict[str, float]:
        """Beta1 and beta2 as they are used: held within `BETA_RANGE`."""
        return {name: float(_held(getattr(self, name).detach())) for name in ("beta1", "beta2")}

    @property
    def _most_peaks(self) -> int | None:
        return 1 if self.eval_split == "maxmin" and not self.training else None

    def _responses(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        resized = self.grid if self.probabilities == "resized-maps" else None
        probabilities = frame_probabilities(features, weight, bias, resized_to=resized)
        # the sum of some classes' maps is the map of the sum of their weights: no other class's map is formed
        direction = torch.matmul(chosen_classes(probabilities, self.delta, self.top), weight)
        maps = torch.matmul(direction.unsqueeze(1), features.flatten(2)).unflatten(2, features.shape[2:])
        if self.peak_map == "grid":
            maps = resize_maps(maps, self.grid)
        return normalise_maps(maps.squeeze(1)), probabilities, top_entropy(probabilities, self.top)

    def _every_frame(self, of_map_frames: Tensor) -> Tensor:
        """``(N*T', ...)`` to ``(N*T, ...)``: frame t has what the feature map's frame floor(t*T'/T) has."""
        if self.map_frames == self.frames:
            return of_map_frames
        return of_map_frames.unflatten(0, (-1, self.map_frames))[:, self.sources].flatten(0, 1)

    def _split(self, maps: Tensor, peaks: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            return (peaks, peaks) if self.all_peaks else split_peaks(maps, peaks, torch.rand_like(maps))
        if self.eval_split == "maxmin":
            return extreme_peaks(maps, peaks)
        if self.eval_split == "threshold":
            return split_peaks(maps, peaks, 0.5)
        generator = torch.Generator().manual_seed(self.eval_seed)
        draws = torch.rand((self.frames, *maps.shape[1:]), generator=generator, dtype=torch.float32).to(maps)
        return split_peaks(maps, peaks, draws.repeat(len(maps) // self.frames, 1, 1))


def _held(beta: Tensor) -> Tensor:
    """Beta within `BETA_RANGE`; the gradient passes, so that one pushed out of the range finds back."""
    return beta + (beta.clamp(*BETA_RANGE) - beta).detach()
