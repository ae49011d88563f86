"""ST-ABN, the spatio-temporal attention branch network (Mitsuhara et al. 2021, arXiv 2110.15574)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from vidrepro.errors import ModelError, unknown_name
from vidrepro.models.backbones.resnet3d import start_convolutions
from vidrepro.models.backbones.slow import SlowResNet
from vidrepro.models.classifier import HEAD_STD, VideoClassifier
from vidrepro.models.networks.stabn_parts import AttentionBranch, AttentionMixer
from vidrepro.models.taps import AttentionTap

ATTENTIONS = ("spatial", "temporal")


class STABN(VideoClassifier):
    """A slow pathway divided behind its third stage, with the ST attention branch and the mechanism in between.

    Clips ``(N, T, C, H, W)`` to logits ``(N, classes)``, those of the perception branch: the last stage, the mean over
    all positions, dropout, linear layer. The attention branch has classes of its own; training adds up both losses
    (eq. 4). No gradient is stopped: the perception loss reaches the branch through its attentions.

    Args:
        backbone: the slow pathway; a stage like its last one, with stride 1, begins the attention branch.
        frames: T. The temporal attention has weights for exactly this many.
        classes: K.
        dropout: probability, in both branches.
        head_std: see `VideoClassifier`; of both branches' linear layers.
        mixer_norm, mixer_relu, branch_options: `vidrepro.models.networks.stabn_parts.OPTIONS`.
    """

    backbone: SlowResNet

    def __init__(
        self,
        backbone: SlowResNet,
        *,
        frames: int,
        classes: int,
        dropout: float,
        head_std: float = HEAD_STD,
        mixer_norm: bool = True,
        mixer_relu: bool = True,
        **branch_options: Any,
    ) -> None:
        super().__init__(backbone, frames=frames, classes=classes, dropout=dropout, head_std=head_std)
        residual = backbone.new_stage(4, stride=1)
        start_convolutions(residual)
        self.branch = AttentionBranch(
            residual,
            backbone.feature_channels,
            frames=frames,
            classes=classes,
            dropout=dropout,
            head_std=head_std,
            **branch_options,
        )
        self.mixer = AttentionMixer(backbone.channels_after(3), mixer_norm=mixer_norm, mixer_relu=mixer_relu)
        self.spatial_tap = AttentionTap("spatial", ("N", "T", "H", "W"))
        self.temporal_tap = AttentionTap("temporal", ("N", "T"))

    def forward(  # type: ignore[override]
        self,
        clips: Tensor,
        *,
        return_attention: bool = False,
        invert: str | Collection[str] = (),
        override: Mapping[str, Tensor | float] | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Logits, or logits and attentions.

        Args:
            clips: normalised, ``(N, T, C, H, W)``.
            return_attention: return a pair: the logits, and ``attention_logits`` ``(N, K)`` of the attention branch,
                ``spatial`` ``(N, T, h, w)`` and ``temporal`` ``(N, T)`` as they were applied to the features.
            invert: ``spatial``, ``temporal`` or both: 1 - M takes the place of M (eq. 5).
            override: what takes an attention's place, before it is inverted: a number, or a tensor that can be
                expanded to its shape.

        Raises:
            ModelError: for clips or attentions of another shape.
            UnknownNameError: for an attention that is neither spatial nor temporal.
        """
        self._check(clips)
        inverted = [invert] if isinstance(invert, str) else list(invert)
        for name in (*inverted, *(override or {})):
            if name not in ATTENTIONS:
                raise unknown_name("attention", str(name), ATTENTIONS)
        features = self.backbone.third_stage_map(clips)
        attention_logits, spatial, temporal = self.branch(features)
        applied = {}
        for name, tap, attention in (
            ("spatial", self.spatial_tap, spatial),
            ("temporal", self.temporal_tap, temporal),
        ):
            if override is not None and name in override:
                attention = _in_place_of(attention, override[name], name)
            applied[name] = tap(1 - attention if name in inverted else attention)
        mixed = self.mixer(features, **applied)
        logits = self.fc(self.dropout(self.backbone.stages[3](mixed).mean((2, 3, 4))))
        return (logits, {"attention_logits": attention_logits, **applied}) if return_attention else logits

    def all_logits(self, clips: Tensor) -> dict[str, Tensor]:
        """``total`` of the perception branch, the network's prediction, and ``attention`` of the attention branch."""
        logits, attention = self(clips, return_attention=True)
        return {"total": logits, "attention": attention["attention_logits"]}

    def loss(
        self, clips: Tensor, labels: Tensor, criterion: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """L_att + L_per, equally weighted (eq. 4 and the released code), and the perception branch's logits."""
        logits, attention = self(clips, return_attention=True)
        of_branch = criterion(attention["attention_logits"].float(), labels)
        return of_branch + criterion(logits.float(), labels), logits


def _in_place_of(attention: Tensor, given: Tensor | float, name: str) -> Tensor:
    given = torch.as_tensor(given, dtype=attention.dtype, device=attention.device)
    try:
        return given.expand(attention.shape)
    except RuntimeError as error:
        raise ModelError(
            f"the {name} attention to be used has another shape",
            given=tuple(given.shape),
            allowed=f"a number, or {tuple(attention.shape)}",
        ) from error
