"""3-D ResNets of bottlenecks whose temporal kernels are given block by block; no convolution has a temporal stride.

What `vidrepro.models.backbones.slow` and `vidrepro.models.backbones.inflated` are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vidrepro.models.backbones.resnet import STEMS
from vidrepro.models.declared_options import Option, choice, positive_integer, switch

EXPANSION = 4
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def options_3d(width: int = 64, stem: str = "imagenet", stem_time: int = 1) -> dict[str, Option]:
    """The options of a 3-D ResNet of bottlenecks, with these defaults; `stem_time` as its stem's kernel has it."""
    imagenet, small = f"{stem_time}x7x7", f"{stem_time}x3x3"
    return {
        "width": positive_integer(width, "inner channels of the first stage; each further stage doubles them"),
        "stem": choice(
            stem,
            STEMS,
            f"imagenet: {imagenet} stride 2 + max pooling; small: {small} stride 1; small2: {small} stride 2",
        ),
        "checkpointing": switch(False, "keep only each bottleneck's input for backward and compute the rest again"),
    }


class Bottleneck3d(nn.Module):
    """``(N, C, T, H, W)`` to ``(N, 4*planes, T, ceil(H/s), ceil(W/s))``.

    Args:
        channels: C.
        planes: channels of the first two convolutions.
        times: temporal lengths of the first two convolutions, 1x1 and 3x3 over height and width, padded with zero
            frames; 1 sees one frame at a time.
        stride: s, of the second convolution and the skip path, over height and width.
        checkpointing: in training, keep the input alone and run the block once more in backward. Outputs, gradients
            and batch-norm statistics are those without it.
    """

    def __init__(self, channels: int, planes: int, *, times: tuple[int, int], stride: int, checkpointing: bool) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        out = planes * EXPANSION
        first, second = times
        self.conv1 = nn.Conv3d(channels, planes, (first, 1, 1), padding=(first // 2, 0, 0), bias=False)
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, (second, 3, 3), (1, stride, stride), (second // 2, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3 = nn.Conv3d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv3d(channels, out, 1, (1, stride, stride), bias=False), nn.BatchNorm3d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return self._compute(x)
        # Nothing in here is random, so no generator's state has to be kept.
        return checkpoint(  # type: ignore[no-any-return]
            self._compute, x, use_reentrant=False, preserve_rng_state=False, context_fn=self._contexts
        )

    def _compute(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_set_aside(self)


@contextmanager
def _statistics_set_aside(module: nn.Module) -> Iterator[None]:
    """Batch norms inside update copies of their statistics, which are then dropped: they have counted this batch."""
    norms = [part for part in module.modules() if isinstance(part, BATCH_NORMS)]
    own = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers(recurse=False)]
    for norm, name, buffer in own:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in own:
            setattr(norm, name, buffer)


class ResNet3d(nn.Module):
    """A 3-D ResNet of bottlenecks without its classifier: clips ``(N, T, 3, H, W)`` to ``(N, feature_channels)``.

    Names are those of torchvision's 2-D ResNet, from which the weights are inflated (`vidrepro.models.weights`).

    Args:
        times: of each of the four stages, of each of its bottlenecks, the temporal lengths of its first two
            convolutions. The first stage keeps the resolution, the others halve it.
        stem_time: temporal length of the stem's convolution.
        time_pool: frames of which the largest value is taken behind the first stage, 1: none. A last window may be
            shorter, so that every number of frames is legal.
        last_stride: over height and width, of the last stage.
        width: inner channels of the first stage; a stage's output has four times as many.
        stem: see `vidrepro.models.backbones.resnet.ResNet`.
        checkpointing: of every bottleneck, see `Bottleneck3d`.

    Attributes:
        takes_clips: True: it is given clips, where a 2-D backbone is given frames.
    """

    takes_clips = True

    def __init__(
        self,
        times: Sequence[Sequence[tuple[int, int]]],
        *,
        stem_time: int = 1,
        time_pool: int = 1,
        last_stride: int = 2,
        width: int = 64,
        stem: Literal["imagenet", "small", "small2"] = "imagenet",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = 3
        self.times, self.width, self.checkpointing = times, width, checkpointing
        side, stride = (7, 2) if stem == "imagenet" else (3, 2 if stem == "small2" else 1)
        kernel, padding = (stem_time, side, side), (stem_time // 2, side // 2, side // 2)
        self.conv1 = nn.Conv3d(3, width, kernel, (1, stride, stride), padding, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if stem == "imagenet" else nn.Identity()
        self.time_pool = nn.MaxPool3d((time_pool, 1, 1), ceil_mode=True) if time_pool > 1 else None
        for number, shrinking in enumerate((1, 2, 2, last_stride), start=1):
            self.add_module(f"layer{number}", self.new_stage(number, stride=shrinking))
        self.feature_channels = self.channels_after(4)
        start_convolutions(self)

    @property
    def stages(self) -> list[nn.Sequential]:
        """The four stages, in order."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]  # type: ignore[list-item]

    def channels_after(self, stage: int) -> int:
        """Channels of a stage's output, 1 to 4."""
        return self.width * 2 ** (stage - 1) * EXPANSION

    def new_stage(self, stage: int, *, stride: int) -> nn.Sequential:
        """A stage of this network's shape with tensors of its own: its bottlenecks, the first with this stride."""
        channels = self.width if stage == 1 else self.channels_after(stage - 1)
        blocks = [
            Bottleneck3d(
                channels if index == 0 else self.channels_after(stage),
                self.width * 2 ** (stage - 1),
                times=times,
                stride=stride if index == 0 else 1,
                checkpointing=self.checkpointing,
            )
            for index, times in enumerate(self.times[stage - 1])
        ]
        return nn.Sequential(*blocks)

    def frames_after(self, frames: int) -> int:
        """Temporal positions of what `forward` returns: 1, it takes the mean over all of them itself."""
        return 1

    def third_stage_map(self, clips: Tensor) -> Tensor:
        """The third stage's output, ``(N, channels_after(3), T', h, w)``: ST-ABN's feature extractor ends here."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(clips.transpose(1, 2)))))
        first, second, third, _ = self.stages
        x = first(x)
        if self.time_pool is not None:
            x = self.time_pool(x)
        return third(second(x))  # type: ignore[no-any-return]

    def feature_map(self, clips: Tensor) -> Tensor:
        """The last stage's output, ``(N, feature_channels, T', h, w)``; T' is T, or what a pooling of time leaves."""
        return self.stages[3](self.third_stage_map(clips))  # type: ignore[no-any-return]

    def forward(self, clips: Tensor) -> Tensor:
        return self.feature_map(clips).mean((2, 3, 4))


def start_convolutions(module: nn.Module) -> None:
    """Draw the 3-D convolutions inside anew as torchvision's ResNets do (He et al. 2015, fan-out)."""
    for part in module.modules():
        if isinstance(part, nn.Conv3d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
