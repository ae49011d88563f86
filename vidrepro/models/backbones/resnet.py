"""ResNets of torchvision's blocks, with a base width and a stem to choose; plain networks."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from vidrepro.models.declared_options import Option, choice, positive_integer

STEMS = ("imagenet", "small", "small2")


def resnet_options(width: int = 64, stem: str = "imagenet") -> dict[str, Option]:
    """The options of a ResNet, with these defaults."""
    return {
        "width": positive_integer(width, "channels of the first stage; each further stage doubles them"),
        "stem": choice(stem, STEMS, "imagenet: 7x7 stride 2 + max pooling; small: 3x3 stride 1; small2: 3x3 stride 2"),
    }


class ResNet(nn.Module):
    """A 2-D ResNet without its classifier: ``(B, 3, H, W)`` to ``(B, feature_channels)``.

    Blocks, names and initialisation are torchvision's, so that its weights fit key by key at the default width and
    stem (He et al. 2016; stride in a bottleneck's 3x3 convolution).

    Args:
        block: torchvision's `BasicBlock` or `Bottleneck`.
        depths: blocks of each of the four stages; the first keeps the resolution, the others halve it.
        width: channels of the first stage (before a bottleneck's expansion by 4).
        stem: ``imagenet`` is a 7x7 convolution of stride 2 with 3x3 max pooling of stride 2, made for 224x224;
            ``small`` and ``small2`` are a 3x3 convolution of stride 1 or 2 without pooling, for frames of 32-112.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        *,
        width: int = 64,
        stem: Literal["imagenet", "small", "small2"] = "imagenet",
    ) -> None:
        super().__init__()
        self.in_channels = 3
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, width, 3, stride=2 if stem == "small2" else 1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        channels = width
        for stage, depth in enumerate(depths):
            planes = width * 2**stage
            blocks = [_block(block, channels, planes, stride=1 if stage == 0 else 2)]
            channels = planes * block.expansion
            blocks += [_block(block, channels, planes, stride=1) for _ in range(depth - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.feature_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def stages(self) -> list[nn.Sequential]:
        """The four stages, in order."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]  # type: ignore[list-item]

    def feature_map(self, x: Tensor) -> Tensor:
        """The last stage's output, ``(B, feature_channels, h, w)``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.avgpool(self.feature_map(x)).flatten(1)


def _block(
    block: type[BasicBlock] | type[Bottleneck], channels: int, planes: int, stride: int
) -> BasicBlock | Bottleneck:
    out_channels = planes * block.expansion
    downsample = None
    if stride != 1 or channels != out_channels:
        downsample = nn.Sequential(
            nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
        )
    return block(channels, planes, stride, downsample)


def resnet18(**options: Any) -> ResNet:
    """ResNet-18: basic blocks 2-2-2-2."""
    return ResNet(BasicBlock, (2, 2, 2, 2), **options)


def resnet50(**options: Any) -> ResNet:
    """ResNet-50: bottlenecks 3-4-6-3."""
    return ResNet(Bottleneck, (3, 4, 6, 3), **options)


def micro(**options: Any) -> ResNet:
    """The demo's network: one basic block a stage, 16-32-64-128 channels, 3x3 stem; for frames of 32-64 pixels."""
    return ResNet(BasicBlock, (1, 1, 1, 1), **options)
