"""From a clip's frames to its class: backbone, linear layer per frame, mean over frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from vidrepro.errors import ModelError
from vidrepro.models.load_report import LoadReport
from vidrepro.models.mechanisms.clip_frames import split_frames

Insertions = dict[str, tuple[str, ...]]  # a layer that got company, by its name, and the names of its parts

HEAD_STD = 0.001


class VideoClassifier(nn.Module):
    """A backbone with average consensus over frames (TSN; the released M2A, its I3D and TSM).

    Takes normalised float clips ``(N, T, C, H, W)``, returns logits ``(N, classes)``: the mean over the frames of
    each frame's logits, with dropout on each frame's features. The linear layer starts at N(0, head_std), bias 0.
    Behind a 3-D backbone the frames are the temporal positions that are left of them.

    Args:
        backbone: frames ``(B, C, H, W)`` to ``(B, feature_channels)``; or, if it has ``takes_clips``, clips
            ``(N, T, C, H, W)`` to ``(N*T', feature_channels)`` with ``T' = backbone.frames_after(T)``. Its mechanisms
            are already inside.
        frames: T, which the mechanisms inside were made for.
        classes: number of logits.
        dropout: probability, in [0, 1).
        head_std: 0.001 in TSM and the released M2A. A backbone that starts at random then gets next to no gradient at
            first; a larger one lets it learn sooner.
        insertions: what `vidrepro.models.insertion.insert` returned.

    Attributes:
        positions: frames the backbone's features stand for: T, or T' of a 3-D backbone.
        backbone_options: all of the backbone's options as built; set by `vidrepro.models.build_model`.
        identity: backbone, mechanism and their options as resolved, and the temporal shift; set by `build_model`.
        load_report: what became of every tensor of the weights the network was built with; None without any.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        frames: int,
        classes: int,
        dropout: float,
        head_std: float = HEAD_STD,
        insertions: Insertions | None = None,
    ) -> None:
        super().__init__()
        self.frames = frames
        self.takes_clips: bool = getattr(backbone, "takes_clips", False)
        self.positions: int = backbone.frames_after(frames) if self.takes_clips else frames  # type: ignore[operator]
        self.classes = classes
        self.insertions: Insertions = dict(insertions or {})
        self.backbone_options: dict[str, Any] = {}
        self.identity: dict[str, Any] = {}
        self.load_report: LoadReport | None = None
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(backbone.feature_channels, classes)  # type: ignore[arg-type]
        nn.init.normal_(self.fc.weight, std=head_std)
        nn.init.zeros_(self.fc.bias)

    def forward(self, clips: Tensor) -> Tensor:
        self._check(clips)
        features = self.backbone(clips if self.takes_clips else clips.flatten(0, 1))
        return split_frames(self.fc(self.dropout(features)), self.positions).mean(1)

    def loss(
        self, clips: Tensor, labels: Tensor, criterion: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What training minimises, and the logits: a network with several outputs adds up the losses of all of them.

        Args:
            clips: as for `forward`.
            labels: ``(N,)``.
            criterion: loss of float32 logits ``(N, classes)`` against the labels.
        """
        logits = self(clips)
        return criterion(logits.float(), labels), logits

    def all_logits(self, clips: Tensor) -> dict[str, Tensor]:
        """Logits ``(N, classes)`` of every output by its name; a network with several outputs overrides it.

        ``total`` is the one of all of them together, which tables print.
        """
        return {"total": self(clips)}

    def prediction_of(self, logits: dict[str, Tensor]) -> Tensor:
        """What `forward` returns, from the `all_logits` of the same clips."""
        return logits["total"]

    def begin_epoch(self, epoch: int) -> None:
        """Told by training when an epoch begins or goes on, counted from 0; for what changes in its course."""

    def learned_scalars(self) -> dict[str, float]:
        """Single numbers that are learned, by name, for the record of each epoch; most networks have none."""
        return {}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Trainable parameters as the optimiser's groups; ``lr_scale`` in one multiplies its learning rate."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [{"params": trained, "weight_decay": weight_decay}]

    def _check(self, clips: Tensor) -> None:
        channels = self.backbone.in_channels
        if clips.dim() != 5 or clips.shape[1] != self.frames or clips.shape[2] != channels:
            raise ModelError(
                "the network was built for clips of another shape",
                given=tuple(clips.shape),
                allowed=f"(N, {self.frames}, {channels}, H, W): clips, frames, channels, height, width",
            )
        if not clips.is_floating_point():
            raise ModelError(
                "the network takes normalised floating-point clips", given=clips.dtype, hint="normalise the clip first"
            )
