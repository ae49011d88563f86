"""T-CNN: a (2+1)-D residual network with dilations over time, found by architecture search; a plain network.

Source: Zhou, Li, Wang, Li 2022, table 1 ("Integrating Temporal and Spatial Attention"), whose rows are pairs of a
spatial 1x3x3 and a temporal 3x1x1 convolution with a skip connection (Zhou et al., ACML 2021, section 3.2 and figure
1a, where the network comes from). Neither paper prints strides, so there are several readings, `PRESETS`; what each
costs against the printed 15.78 G is told by ``vidrepro show tcnn --differences``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vidrepro.models.declared_options import Option, choice, is_positive_integer, positive_integer

STAGES = 7
CHANNELS = (1, 2, 3, 5, 7, 9, 16)  # times the width: 32, 64, 96, 160, 224, 288, 512 in table 1
Stacks = tuple[tuple[int, ...], ...]

NET_A: Stacks = ((), (), (), (4, 4, 4, 1, 4), (2, 4), (2, 2, 1), (2,))  # table 1 of 2022
NET_B: Stacks = ((), (), (), (4, 4, 4, 1, 1, 4), (2, 4, 4), (2, 2, 2, 1), (2,))  # table 3 of 2021
ALL_FRAMES = (1,) * STAGES
DENSENAS = (2, 2, 2, 2, 1, 2, 1)  # spatial strides of the search space the network descends from


@dataclass(frozen=True)
class Reading:
    """What the papers leave open about the layout.

    Attributes:
        spatial_strides: of the first pair of each stage, over height and width.
        stem_pool: a 1x3x3 max pooling of stride 2 behind stage 1.
        temporal_strides: of the first pair of each stage, over time.
        temporal_stride_in: which convolution of the pair has it, ``spatial`` or ``temporal``.
        stacks: per stage, the dilation of each pair behind the first.
    """

    spatial_strides: tuple[int, ...]
    stem_pool: bool = False
    temporal_strides: tuple[int, ...] = ALL_FRAMES
    temporal_stride_in: str = "spatial"
    stacks: Stacks = NET_A


PRESETS: dict[str, Reading] = {
    "P": Reading((2, 2, 2, 1, 2, 1, 1), stem_pool=True),
    "Q": Reading((2, 2, 1, 2, 2, 1, 1), stem_pool=True),
    "R": Reading((4, 2, 1, 2, 2, 1, 1)),
    "RN": Reading((2, 1, 2, 2, 2, 1, 1), stem_pool=True),
    "D16": Reading(DENSENAS),
    "D16B": Reading(DENSENAS, stacks=NET_B),
    "D8": Reading(DENSENAS, temporal_strides=(2, 1, 1, 1, 1, 1, 1)),
    "DL-s": Reading(DENSENAS, temporal_strides=(1, 1, 1, 1, 2, 1, 1)),
    "DL-t": Reading(DENSENAS, temporal_strides=(1, 1, 1, 1, 2, 1, 1), temporal_stride_in="temporal"),
    "DB-s": Reading(DENSENAS, temporal_strides=(1, 1, 1, 1, 2, 2, 1), stacks=NET_B),
}


def parse_strides(value: str | Sequence[int]) -> tuple[int, ...]:
    """``2,2,2,1,2,1,1`` or a sequence as seven strides.

    Raises:
        ValueError: for another number of them, or one below 1.
    """
    strides = tuple(map(int, value.split(","))) if isinstance(value, str) else tuple(value)
    if len(strides) != STAGES or not all(map(is_positive_integer, strides)):
        raise ValueError(value)
    return strides


def parse_stacks(value: str | Sequence[Sequence[int]]) -> Stacks:
    """``-/-/-/4,4,4,1,4/2,4/2,2,1/2`` or nested sequences as each stage's dilations; ``-`` is a first pair alone.

    Raises:
        ValueError: for another number of stages, or a dilation below 1.
    """
    if isinstance(value, str):
        stages = [[] if part.strip() == "-" else list(map(int, part.split(","))) for part in value.split("/")]
    else:
        stages = [list(dilations) for dilations in value]
    if len(stages) != STAGES or not all(is_positive_integer(dilation) for stage in stages for dilation in stage):
        raise ValueError(value)
    return tuple(map(tuple, stages))


def _is_one(parse: Any) -> Any:
    def accepts(value: Any) -> bool:
        try:
            return value is None or bool(parse(value))
        except (ValueError, TypeError):
            return False

    return accepts


_SEVEN = "seven integers of at least 1, one per stage, e.g. 2,2,2,1,2,1,1; or null for the preset's"

OPTIONS: dict[str, Option] = {
    "preset": choice("P", tuple(PRESETS), "the reading of what the paper leaves open; the options below change it"),
    "width": positive_integer(32, "channels of stage 1; the others keep table 1's proportions"),
    "spatial_strides": Option(
        None, _is_one(parse_strides), _SEVEN, "of each stage's first pair, over height and width"
    ),
    "temporal_strides": Option(None, _is_one(parse_strides), _SEVEN, "of each stage's first pair, over time"),
    "temporal_stride_in": Option(
        None,
        lambda value: value in (None, "spatial", "temporal"),
        "spatial, temporal, or null for the preset's",
        "which convolution of a pair has the stride over time",
        ("spatial", "temporal"),
    ),
    "stem_pool": Option(
        None,
        lambda value: value is None or isinstance(value, bool),
        "True, False, or null for the preset's",
        "max pooling 1x3x3 of stride 2 behind stage 1",
    ),
    "stacks": Option(
        None,
        _is_one(parse_stacks),
        "seven stages separated by /, each its pairs' dilations or -, e.g. -/-/-/4,4,4,1,4/2,4/2,2,1/2; or null",
        "dilations of the pairs behind each stage's first",
    ),
    "activation": choice(
        "after-addition",
        ("after-addition", "before-addition"),
        "where a pair's last ReLU is: behind the skip's addition, or before it as table 1 literally has it",
    ),
}


class Pair(nn.Module):
    """Spatial 1x3x3, then dilated temporal 3x1x1: ``(N, C, T, H, W)`` to ``(N, channels_out, T/ts, H/s, W/s)``.

    Args:
        channels_in: C.
        channels_out: of both convolutions.
        stride: s, of the spatial convolution and the skip path.
        dilation: of the temporal convolution, whose padding is the same, so that every frame stays.
        temporal_stride: ts, lengths rounded up.
        temporal_stride_in: which convolution has it.
        skip: whether the input is added (by a 1x1x1 convolution where shapes differ); stage 1 has none.
        activation: where the last ReLU is, see `OPTIONS`.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        temporal_stride: int = 1,
        temporal_stride_in: str = "spatial",
        skip: bool = True,
        activation: str = "after-addition",
    ) -> None:
        super().__init__()
        early, late = (temporal_stride, 1) if temporal_stride_in == "spatial" else (1, temporal_stride)
        self.spatial = nn.Conv3d(channels_in, channels_out, (1, 3, 3), (early, stride, stride), (0, 1, 1), bias=False)
        self.spatial_norm = nn.BatchNorm3d(channels_out)
        self.temporal = nn.Conv3d(
            channels_out, channels_out, (3, 1, 1), (late, 1, 1), (dilation, 0, 0), dilation=(dilation, 1, 1), bias=False
        )
        self.temporal_norm = nn.BatchNorm3d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.has_skip = skip
        self.activation = activation
        self.shortcut = None
        if skip and (channels_in != channels_out or stride != 1 or temporal_stride != 1):
            strides = (temporal_stride, stride, stride)
            self.shortcut = nn.Sequential(
                nn.Conv3d(channels_in, channels_out, 1, strides, bias=False), nn.BatchNorm3d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.spatial_norm(self.spatial(x)))
        out = self.temporal_norm(self.temporal(out))
        if not self.has_skip:
            return self.relu(out)
        skipped = x if self.shortcut is None else self.shortcut(x)
        if self.activation == "before-addition":
            return self.relu(out) + skipped
        return self.relu(out + skipped)


class TCNN(nn.Module):
    """T-CNN without its classifier: clips ``(N, T, 3, H, W)`` to ``(N, feature_channels)``, pooled over time and space.

    At the default options and 16x224x224 the last stage's map is ``(N, 512, 16, 7, 7)``: every frame has its own.

    Args:
        preset: a name of `PRESETS`; each argument below that is not None replaces a choice of it.
        width: channels of stage 1, 32 in the paper.
        spatial_strides: of each stage's first pair, a sequence or a text (`parse_strides`).
        temporal_strides: likewise over time; all 1 keep every frame.
        temporal_stride_in: ``spatial`` or ``temporal``: the convolution of the pair that has it.
        stem_pool: max pooling behind stage 1.
        stacks: each stage's further pairs by their dilations, nested sequences or a text (`parse_stacks`).
        activation: where a pair's last ReLU is, see `OPTIONS`.

    Attributes:
        takes_clips: True: it is given clips, where a 2-D backbone is given frames.
        reading: the layout as built.
    """

    takes_clips = True

    def __init__(
        self,
        *,
        preset: str = "P",
        width: int = 32,
        spatial_strides: str | Sequence[int] | None = None,
        temporal_strides: str | Sequence[int] | None = None,
        temporal_stride_in: str | None = None,
        stem_pool: bool | None = None,
        stacks: str | Sequence[Sequence[int]] | None = None,
        activation: str = "after-addition",
    ) -> None:
        super().__init__()
        known = PRESETS[preset]
        self.reading = Reading(
            spatial_strides=known.spatial_strides if spatial_strides is None else parse_strides(spatial_strides),
            stem_pool=known.stem_pool if stem_pool is None else stem_pool,
            temporal_strides=known.temporal_strides if temporal_strides is None else parse_strides(temporal_strides),
            temporal_stride_in=temporal_stride_in or known.temporal_stride_in,
            stacks=known.stacks if stacks is None else parse_stacks(stacks),
        )
        self.in_channels = 3
        channels = self.in_channels
        self.stages = nn.ModuleList()
        for index, multiple in enumerate(CHANNELS):
            out = multiple * width
            head = Pair(
                channels,
                out,
                stride=self.reading.spatial_strides[index],
                temporal_stride=self.reading.temporal_strides[index],
                temporal_stride_in=self.reading.temporal_stride_in,
                skip=index > 0,
                activation=activation,
            )
            further = [
                Pair(out, out, dilation=dilation, activation=activation) for dilation in self.reading.stacks[index]
            ]
            self.stages.append(nn.Sequential(head, *further))
            channels = out
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if self.reading.stem_pool else nn.Identity()
        self.feature_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def frames_after(self, frames: int) -> int:
        """Feature vectors a clip of any length becomes: one, time is pooled here."""
        return 1

    def map_frames(self, frames: int) -> int:
        """T' of the feature map of a clip of `frames`: T, unless the reading has strides over time."""
        for stride in self.reading.temporal_strides:
            frames = -(-frames // stride)
        return frames

    def feature_map(self, clips: Tensor) -> Tensor:
        """The last stage's output, ``(N, feature_channels, T', h, w)``."""
        x = clips.transpose(1, 2)
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index == 0:
                x = self.pool(x)
        return x

    def forward(self, clips: Tensor) -> Tensor:
        return self.feature_map(clips).mean((2, 3, 4))
