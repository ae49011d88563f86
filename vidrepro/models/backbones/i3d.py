"""ResNet-18 inflated to three dimensions (I3D, Carreira & Zisserman 2017), with temporal strides; a plain network.

Source: IBM's action-recognition-pytorch as the released M2A code runs it (gebob19/M2A, `archs/i3d_resnet.py`).
Every 3x3 convolution is 3x3x3; the last three stages halve time as well as height and width, so 8 frames become
8, 4, 2, 1. The stem (3x7x7) and its pooling (1x3x3) keep every frame.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from vidrepro.models.backbones.resnet import STEMS
from vidrepro.models.declared_options import Option, choice, positive_integer

INFLATIONS = ("divide", "released")
INPUT_LAYOUTS = ("right", "released")
TIME = 3  # temporal length of the kernels

OPTIONS: dict[str, Option] = {
    "width": positive_integer(64, "channels of the first stage; each further stage doubles them"),
    "stem": choice(
        "imagenet", STEMS, "imagenet: 3x7x7 stride 2 + max pooling; small: 3x3x3 stride 1; small2: stride 2"
    ),
    "inflation": choice(
        "divide", INFLATIONS, "2-D weights are repeated over time and divided by its length; released: not divided"
    ),
    "input_layout": choice(
        "right", INPUT_LAYOUTS, "released: clips viewed as (N, C, T, H, W), which mixes colours and time; for parity"
    ),
}


class InflatedBlock(nn.Module):
    """A basic block of 3x3x3 convolutions: ``(N, C, T, H, W)`` to ``(N, planes, ceil(T/s), ceil(H/s), ceil(W/s))``.

    Args:
        channels: C.
        planes: channels of both convolutions.
        stride: s, of the first convolution and the skip path, in all three dimensions.
    """

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, planes, TIME, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, TIME, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or channels != planes:
            self.downsample = nn.Sequential(
                nn.Conv3d(channels, planes, 1, stride=stride, bias=False), nn.BatchNorm3d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class InflatedResNet(nn.Module):
    """A 3-D ResNet without its classifier: clips ``(N, T, 3, H, W)`` to ``(N*T', feature_channels)``.

    T' = T/8 rounded up; 1 is legal everywhere. Names are those of torchvision's 2-D ResNet, from which the weights are
    inflated (`vidrepro.models.weights`).

    Args:
        depths: basic blocks of each of the four stages; the first keeps time and resolution, the others halve both.
        width: channels of the first stage.
        stem: see `vidrepro.models.backbones.resnet.ResNet`; the kernels are 3 frames long, no frame is skipped.
        inflation: how 2-D weights become these, ``divide`` or ``released``; read when weights are loaded.
        input_layout: ``right``, or ``released``: the clip's memory taken as ``(N, 3, T, H, W)`` although it is
            ``(N, T, 3, H, W)``, as the released I3DWrapper does. Only for comparing with released numbers.

    Attributes:
        takes_clips: True: it is given clips, where a 2-D backbone is given frames.
    """

    takes_clips = True

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        *,
        width: int = 64,
        stem: Literal["imagenet", "small", "small2"] = "imagenet",
        inflation: Literal["divide", "released"] = "divide",
        input_layout: Literal["right", "released"] = "right",
    ) -> None:
        super().__init__()
        self.in_channels = 3
        self.inflation = inflation
        self.input_layout = input_layout
        side, stride = (7, 2) if stem == "imagenet" else (3, 2 if stem == "small2" else 1)
        self.conv1 = nn.Conv3d(
            3, width, (TIME, side, side), stride=(1, stride, stride), padding=(1, side // 2, side // 2), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if stem == "imagenet" else nn.Identity()
        channels = width
        for stage, depth in enumerate(depths):
            planes = width * 2**stage
            blocks = [InflatedBlock(channels, planes, stride=1 if stage == 0 else 2)]
            blocks += [InflatedBlock(planes, planes, stride=1) for _ in range(depth - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            channels = planes
        self.feature_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def stages(self) -> list[nn.Sequential]:
        """The four stages, in order."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]  # type: ignore[list-item]

    def frames_of(self, conv: str, frames: int) -> tuple[int, int]:
        """Temporal length of what a block's first convolution takes and of what it returns, for clips of `frames`.

        Args:
            conv: its name, ``layer<stage>.<block>.conv1``, or that of any other layer of the block.
        """
        stage, block = int(conv[len("layer")]), int(conv.split(".")[1])
        after = self.frames_after(frames, stage)
        return (after if block or stage == 1 else self.frames_after(frames, stage - 1)), after

    def frames_after(self, frames: int, stage: int = 4) -> int:
        """T' after a stage: halved, rounded up, by every stage but the first."""
        return -(-frames // 2 ** (stage - 1))

    def feature_map(self, clips: Tensor) -> Tensor:
        """The last stage's output, ``(N, feature_channels, T', h, w)``."""
        if self.input_layout == "released":
            frames, colours = clips.shape[1:3]
            x = clips.reshape(clips.shape[0], colours, frames, *clips.shape[3:])
        else:
            x = clips.transpose(1, 2)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, clips: Tensor) -> Tensor:
        return self.feature_map(clips).mean((3, 4)).transpose(1, 2).flatten(0, 1)


def i3d_resnet18(**options: Any) -> InflatedResNet:
    """The inflated ResNet-18: basic blocks 2-2-2-2."""
    return InflatedResNet((2, 2, 2, 2), **options)
