"""ST-ABN's attention branch and attention mechanism (Mitsuhara et al. 2021, sections 3.1 and 3.2), and their options.

Variant ``official`` is the authors' released code (machine-perception-robotics-group/ST-ABN_PyTorch), ``paper`` the
text taken at its word: it names no batch norm, and no ReLU but the one behind the linear layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vidrepro.models.declared_options import Option, choice, switch

OPTIONS: dict[str, Option] = {
    "att_head": choice(
        "fc", ("fc", "gap3d"), "the attention branch's classes: a linear layer on K maps x T frames; gap3d: their mean"
    ),
    "branch_norm": switch(True, "batch norm behind the attention branch's residual layer and its convolutions"),
    "map_relu": switch(True, "ReLU on the K maps that both attentions and the branch's classes are made from"),
    "temporal_kernel": choice("3x3x3", ("3x3x3", "1x3x3"), "of the convolution in front of the temporal attention"),
    "temporal_relu": switch(True, "ReLU behind the two convolutions of the temporal attention"),
    "temporal_layers": choice(
        "two", ("two", "one"), "linear layers behind them: linear, ReLU, linear (SENet), or linear, ReLU"
    ),
    "mixer_norm": switch(True, "batch norm behind the convolution that mixes the attended features"),
    "mixer_relu": switch(True, "ReLU behind it"),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "official": {},
    "paper": {
        "att_head": "gap3d",
        "branch_norm": False,
        "map_relu": False,
        "temporal_kernel": "1x3x3",
        "temporal_relu": False,
        "temporal_layers": "one",
        "mixer_norm": False,
        "mixer_relu": False,
    },
}


def variant_options(variant: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options a variant stands for."""
    return VARIANTS[variant]


class AttentionBranch(nn.Module):
    """The ST attention branch: features ``(N, C, T, h, w)`` to class logits ``(N, K)`` and both attentions.

    From K maps per frame: one map per frame (``spatial``, a convolution and a sigmoid), one weight per frame
    (``temporal``, all frames mixed), and the branch's own class logits.

    Args:
        residual: the copy of the last stage with stride 1: C channels to `channels`.
        channels: what it returns.
        frames: T: the temporal attention and the released head have weights for this many.
        classes: K.
        dropout: probability; on the class scores averaged over each frame.
        head_std: standard deviation of the released head's start.
        options: `OPTIONS`, without those of the mixer.
    """

    def __init__(
        self,
        residual: nn.Module,
        channels: int,
        *,
        frames: int,
        classes: int,
        dropout: float,
        head_std: float,
        att_head: Literal["fc", "gap3d"],
        branch_norm: bool,
        map_relu: bool,
        temporal_kernel: Literal["3x3x3", "1x3x3"],
        temporal_relu: bool,
        temporal_layers: Literal["two", "one"],
    ) -> None:
        super().__init__()
        time = int(temporal_kernel[0])
        self.residual = residual
        self.residual_norm = _norm(channels, branch_norm)
        self.map_conv = nn.Conv3d(channels, classes, 1, bias=False)
        self.map_norm = _norm(classes, branch_norm)
        self.map_relu = nn.ReLU(inplace=True) if map_relu else nn.Identity()

        self.class_conv = nn.Conv3d(classes, classes, 1, bias=False)
        self.class_dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(classes * frames, classes) if att_head == "fc" else None
        if self.classifier is not None:
            nn.init.normal_(self.classifier.weight, std=head_std)
            nn.init.zeros_(self.classifier.bias)

        self.spatial_conv = nn.Conv3d(classes, 1, 1, bias=False)
        self.spatial_norm = _norm(1, branch_norm)

        self.temporal_conv = nn.Conv3d(classes, 1, (time, 3, 3), padding=(time // 2, 1, 1), bias=False)
        self.temporal_norm = _norm(1, branch_norm)
        self.temporal_relu = nn.ReLU() if temporal_relu else nn.Identity()
        self.frame_conv = nn.Conv2d(frames, frames, 1, bias=False)
        self.frame_fc1 = nn.Linear(frames, frames)
        self.frame_relu = nn.ReLU()
        self.frame_fc2 = nn.Linear(frames, frames) if temporal_layers == "two" else nn.Identity()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the logits ``(N, K)``, Ms ``(N, T, h, w)`` and Mt ``(N, T)``, both attentions within (0, 1)."""
        maps = self.map_conv(self.residual_norm(self.residual(features)))
        maps = self.map_relu(self.map_norm(maps))
        return self._classify(maps), self._spatial(maps), self._temporal(maps)

    def _classify(self, maps: Tensor) -> Tensor:
        scores = self.class_dropout(self.class_conv(maps).mean((3, 4)))  # (N, K, T)
        return scores.mean(2) if self.classifier is None else self.classifier(scores.flatten(1))

    def _spatial(self, maps: Tensor) -> Tensor:
        return torch.sigmoid(self.spatial_norm(self.spatial_conv(maps))).squeeze(1)

    def _temporal(self, maps: Tensor) -> Tensor:
        frames = self.temporal_relu(self.temporal_norm(self.temporal_conv(maps))).squeeze(1)  # (N, T, h, w)
        weights = self.temporal_relu(self.frame_conv(frames)).mean((2, 3))
        return torch.sigmoid(self.frame_fc2(self.frame_relu(self.frame_fc1(weights))))


class AttentionMixer(nn.Module):
    """The attention mechanism, eq. 1-3: ``(N, C, T, h, w)`` to the same shape, from features and both attentions.

    Args:
        channels: C.
        mixer_norm, mixer_relu: what stands behind the convolution from 2C to C channels.
    """

    def __init__(self, channels: int, *, mixer_norm: bool, mixer_relu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2 * channels, channels, 1, bias=False)
        self.norm = _norm(channels, mixer_norm)
        self.relu = nn.ReLU(inplace=True) if mixer_relu else nn.Identity()

    def forward(self, features: Tensor, spatial: Tensor, temporal: Tensor) -> Tensor:
        """Args: `features`; Ms ``(N, T, h, w)``; Mt ``(N, T)``."""
        attended = torch.cat([(1 + spatial[:, None]) * features, temporal[:, None, :, None, None] * features], 1)
        return self.relu(self.norm(self.conv(attended)))  # type: ignore[no-any-return]


def _norm(channels: int, present: bool) -> nn.Module:
    return nn.BatchNorm3d(channels) if present else nn.Identity()
