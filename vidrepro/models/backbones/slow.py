"""The slow pathway of SlowFast: 3-D ResNets of bottlenecks that keep every frame to the end; a plain network.

Source: Feichtenhofer et al. 2019, table 1, as SlowFast's `SLOW_8x8_R50` and ST-ABN's released `resnet_slow.py` build
it: the stem is 1x7x7, bottlenecks are kt x1x1, 1x3x3 (with the spatial stride), 1x1x1, with kt = 1, 1, 3, 3 in the
four stages, and nothing has a temporal stride. Without the fast pathway.
"""

from __future__ import annotations

from typing import Any

from vidrepro.models.backbones.resnet3d import ResNet3d

KERNEL_TIMES = (1, 1, 3, 3)  # temporal length of the bottlenecks' first convolutions, stage by stage


class SlowResNet(ResNet3d):
    """A slow pathway without its classifier: clips ``(N, T, 3, H, W)`` to ``(N, feature_channels)``.

    Args:
        depths: bottlenecks of each of the four stages.
        options: width, stem and checkpointing of `ResNet3d`.
    """

    def __init__(self, depths: tuple[int, int, int, int], **options: Any) -> None:
        super().__init__([[(time, 1)] * depth for time, depth in zip(KERNEL_TIMES, depths, strict=True)], **options)


def slow_resnet50(**options: Any) -> SlowResNet:
    """Slow pathway of ResNet-50: bottlenecks 3-4-6-3."""
    return SlowResNet((3, 4, 6, 3), **options)


def slow_resnet101(**options: Any) -> SlowResNet:
    """Slow pathway of ResNet-101: bottlenecks 3-4-23-3."""
    return SlowResNet((3, 4, 23, 3), **options)


def slow_micro(**options: Any) -> SlowResNet:
    """For short clips of small frames on a CPU: one bottleneck a stage, 64-128-256-512 channels, 1x3x3 stem."""
    return SlowResNet((1, 1, 1, 1), **options)
