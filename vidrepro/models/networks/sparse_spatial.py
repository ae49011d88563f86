"""T-CNN + spatial: sparse spatial attention around T-CNN, with three branches through one network.

Source: Zhou, Li, Wang, Li 2022 ("Integrating Temporal and Spatial Attention"), section 2. The pieces are importable:
`response_maps` (what the classifier sees where), `sparse_attention` (two sets of peaks, Q), `saliency` (resampling).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidrepro.errors import ModelError
from vidrepro.models.backbones.tcnn import TCNN
from vidrepro.models.classifier import HEAD_STD, VideoClassifier
from vidrepro.models.networks.saliency import coarse_grid, in_own_precision, resample, upsample_grid
from vidrepro.models.networks.sparse_attention import Attention, SparseAttention
from vidrepro.models.networks.sparse_options import BRANCHES

TOTAL = "total"


@dataclass(frozen=True)
class Zoom(Attention):
    """What the attention found in N clips, and made of them: as `Attention`, with ``(N, T)`` for its B frames.

    Attributes:
        grid_dis, grid_com: where each pixel looks, x and y in [-1, 1], ``(N, T, H, W, 2)``.
        video_dis, video_com: the resampled clips, ``(N, T, C, H, W)``.
    """

    grid_dis: Tensor
    grid_com: Tensor
    video_dis: Tensor
    video_com: Tensor


class SparseSpatialNetwork(VideoClassifier):
    """Original, discriminative and complementary video through one T-CNN: clips ``(N, T, 3, H, W)`` to logits.

    The classifier's own weights say where in each frame its likeliest classes respond; the peaks of that map, divided
    in two sets, become two saliency maps, and the frame is resampled by each. The logits are F_total, from the features
    of all active branches joined; training adds up the losses of every active branch and of F_total (equation 8).

    Without the branch O (``C+D``) the original is still looked at, for the maps, without gradient: its linear layer
    then stays as it was loaded, so that such a network should start from a trained T-CNN. A single branch's F_total is
    its own prediction: ``O`` is a plain T-CNN.

    Args:
        backbone: the T-CNN.
        frames, classes, dropout, head_std: see `VideoClassifier`; dropout acts on each branch's pooled features.
        options: `vidrepro.models.networks.sparse_options`.

    Attributes:
        branches: the active ones, of `BRANCHES`.
        attention: the part that looks for peaks; beta1 and beta2 are its only weights.
    """

    backbone: TCNN

    def __init__(
        self,
        backbone: TCNN,
        *,
        frames: int,
        classes: int,
        dropout: float,
        head_std: float = HEAD_STD,
        branches: str = "O+C+D",
        share_fc: bool = False,
        buffers: bool = False,
        joint_pass: bool = False,
        prediction: str = "total",
        beta_lr_scale: float = 1e-4,
        warmup_all_peaks_epochs: int = 0,
        **attention_options: Any,
    ) -> None:
        super().__init__(backbone, frames=frames, classes=classes, dropout=dropout, head_std=head_std)
        self.branches = tuple(branch for branch in BRANCHES if branch in branches.split("+"))
        self.joint_pass, self.prediction = joint_pass, prediction
        self.beta_lr_scale, self.warmup_all_peaks_epochs = beta_lr_scale, warmup_all_peaks_epochs
        channels = backbone.feature_channels

        def linear(inputs: int) -> nn.Linear:
            layer = nn.Linear(inputs, classes)
            nn.init.normal_(layer.weight, std=head_std)
            nn.init.zeros_(layer.bias)
            return layer

        self.fc_dis = linear(channels) if "D" in self.branches and not share_fc else None
        self.fc_com = linear(channels) if "C" in self.branches and not share_fc else None
        self.fc_total = linear(channels * len(self.branches)) if len(self.branches) > 1 else None
        self.buffer_dis = _buffer(channels) if buffers and "D" in self.branches else None
        self.buffer_com = _buffer(channels) if buffers and "C" in self.branches else None
        self.attention = SparseAttention(frames=frames, map_frames=backbone.map_frames(frames), **attention_options)

    def forward(self, clips: Tensor) -> Tensor:
        return self.prediction_of(self.all_logits(clips))

    def all_logits(self, clips: Tensor) -> dict[str, Tensor]:
        """Logits ``(N, classes)`` of each active branch, ``O``, ``D``, ``C``, and of all together, ``total``."""
        vectors = self._vectors(clips)
        return {
            **{branch: self._head(branch)(vector) for branch, vector in vectors.items()},
            TOTAL: self._total(vectors),
        }

    def prediction_of(self, logits: dict[str, Tensor]) -> Tensor:
        """F_total; or the mean of all predictions' softmaxes (``prediction``)."""
        return logits[TOTAL] if self.prediction == TOTAL else _mean_softmax(logits)

    def loss(
        self, clips: Tensor, labels: Tensor, criterion: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Equation 8: the losses of all active branches and of F_total, equally weighted; and the prediction."""
        logits = self.all_logits(clips)
        terms = [criterion(logits[branch].float(), labels) for branch in self.branches]
        if self.fc_total is not None:
            terms.append(criterion(logits[TOTAL].float(), labels))
        return torch.stack(terms).sum(), self.prediction_of(logits)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Beta1 and beta2 apart: their own rate, no decay."""
        betas = [self.attention.beta1, self.attention.beta2]
        groups = super().parameter_groups(weight_decay)
        for group in groups:
            group["params"] = [item for item in group["params"] if not any(item is beta for beta in betas)]
        return [*groups, {"params": betas, "weight_decay": 0.0, "lr_scale": self.beta_lr_scale}]

    def learned_scalars(self) -> dict[str, float]:
        """Both widths, as the attention uses them."""
        return self.attention.betas()

    def begin_epoch(self, epoch: int) -> None:
        """In the first epochs every peak may be in both sets (``warmup_all_peaks_epochs``)."""
        self.attention.all_peaks = epoch < self.warmup_all_peaks_epochs

    @torch.no_grad()
    def zoom(self, clips: Tensor) -> Zoom:
        """What the attention sees in the clips and makes of them, whichever branches are active; without gradient.

        In training mode the peaks are divided at random, in evaluation mode by ``eval_split``.
        """
        self._check(clips)
        found = self._attend(self.backbone.feature_map(clips))
        grids = [self._grid(saliency, clips) for saliency in found.saliencies().values()]
        videos = [_resampled(clips, grid) for grid in grids]
        by_frame = [item.unflatten(0, clips.shape[:2]) for item in (*vars(found).values(), *grids)]
        return Zoom(*by_frame, *videos)

    def zoomed(self, clips: Tensor, features: Tensor) -> dict[str, Tensor]:
        """The resampled video of each active branch but the original: all that the attention adds to three passes.

        Args:
            clips: ``(N, T, C, H, W)``.
            features: the backbone's feature map of them.
        """
        found = self._attend(features, self.branches)
        return {
            branch: _resampled(clips, self._grid(saliency, clips)) for branch, saliency in found.saliencies().items()
        }

    def _vectors(self, clips: Tensor) -> dict[str, Tensor]:
        """Each active branch's pooled features behind dropout, ``(N, C)``, in the order of `BRANCHES`."""
        self._check(clips)
        zoomed = [branch for branch in self.branches if branch != "O"]
        with nullcontext() if "O" in self.branches else torch.no_grad():
            seen = self.backbone.feature_map(clips)
        maps = {"O": seen} if "O" in self.branches else {}
        if zoomed:
            videos = self.zoomed(clips, seen)
            maps |= dict(zip(videos, self._maps(list(videos.values())), strict=True))
        buffers = {"D": self.buffer_dis, "C": self.buffer_com}
        for branch in zoomed:
            buffer = buffers[branch]
            maps[branch] = maps[branch] if buffer is None else buffer(maps[branch])
        return {branch: self.dropout(item.mean((2, 3, 4))) for branch, item in maps.items()}

    def _maps(self, videos: list[Tensor]) -> list[Tensor]:
        if self.joint_pass:
            return list(self.backbone.feature_map(torch.cat(videos)).chunk(len(videos)))
        return [self.backbone.feature_map(video) for video in videos]

    def _attend(self, features: Tensor, branches: Sequence[str] = BRANCHES) -> Attention:
        frames = features.detach().transpose(1, 2).flatten(0, 1)
        found: Attention = self.attention(frames, self.fc.weight, self.fc.bias, branches)
        return found

    def _grid(self, saliency: Tensor, clips: Tensor) -> Tensor:
        with in_own_precision(clips.device):
            return upsample_grid(coarse_grid(saliency), clips.shape[-2:])

    def _total(self, vectors: dict[str, Tensor]) -> Tensor:
        """F_total ``(N, classes)``; a single branch's is its own prediction."""
        if self.fc_total is None:
            ((branch, vector),) = vectors.items()
            return self._head(branch)(vector)
        return self.fc_total(torch.cat(list(vectors.values()), 1))

    def _head(self, branch: str) -> nn.Linear:
        own = {"D": self.fc_dis, "C": self.fc_com}.get(branch)
        return self.fc if own is None else own

    def _check(self, clips: Tensor) -> None:
        super()._check(clips)
        if torch.compiler.is_compiling() or clips.device.type == "meta":
            return  # neither can ask for values
        if not clips.isfinite().all():
            raise ModelError(
                "the clips hold numbers that are not finite",
                given=f"{int((~clips.isfinite()).sum())} of {clips.numel()}",
                hint="check the decoding and the normalisation of the clips",
            )


def _resampled(clips: Tensor, grid: Tensor) -> Tensor:
    """Every frame ``(N, T, C, H, W)`` as its grid ``(N*T, H, W, 2)`` sees it, never below single precision."""
    with in_own_precision(clips.device):
        frames = clips.flatten(0, 1).to(grid.dtype)
        return resample(frames, grid).to(clips.dtype).unflatten(0, clips.shape[:2])


def _mean_softmax(logits: dict[str, Tensor]) -> Tensor:
    """The logarithm of the mean of all predictions' softmaxes, ``(N, classes)``; finite however sure they are."""
    alike = torch.stack([item.float().log_softmax(1) for item in logits.values()])
    return alike.logsumexp(0) - math.log(len(alike))


def _buffer(channels: int) -> nn.Sequential:
    """S3N's layers between the features of a resampled frame and its classifier; each frame on its own."""
    conv = nn.Conv3d(channels, channels, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm3d(channels), nn.ReLU(inplace=True))
