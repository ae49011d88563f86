"""Plain networks by name. Adding one: its file, and one line in `BACKBONES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision.models import (
    MobileNet_V2_Weights,
    ResNet18_Weights,
    ResNet50_Weights,
    ResNet101_Weights,
    WeightsEnum,
)

from vidrepro.errors import unknown_name
from vidrepro.models.backbones import i3d, inflated, mobilenetv2, slow, tcnn
from vidrepro.models.backbones.resnet import micro, resnet18, resnet50, resnet_options
from vidrepro.models.backbones.resnet3d import options_3d
from vidrepro.models.declared_options import Option, complete


@dataclass(frozen=True)
class BackboneEntry:
    """How a backbone is made, what it can be told, and torchvision's weights for it at the default options.

    Attributes:
        make: the network, from all its options.
        options: what can be set.
        imagenet: the weights; inflated over time where the network has a temporal dimension.
        beside_weights: options that decide no tensor's shape: the weights fit whatever they are.
        mechanisms: the only ones it can be built with, where that is not every module that goes into a block.
    """

    make: Callable[..., nn.Module]
    options: Mapping[str, Option]
    imagenet: WeightsEnum | None = None
    beside_weights: frozenset[str] = frozenset()
    mechanisms: tuple[str, ...] | None = None


def _slow(
    make: Callable[..., nn.Module], options: Mapping[str, Option], imagenet: WeightsEnum | None = None
) -> BackboneEntry:
    return BackboneEntry(make, options, imagenet, frozenset({"checkpointing"}), ("none", "st-abn"))


def _inflated(
    make: Callable[..., nn.Module],
    options: Mapping[str, Option],
    imagenet: WeightsEnum | None = ResNet50_Weights.IMAGENET1K_V1,
) -> BackboneEntry:
    return BackboneEntry(make, options, imagenet, frozenset({"checkpointing", "last_stride"}), ("none",))


BACKBONES: dict[str, BackboneEntry] = {
    "c3d-micro": _inflated(inflated.c3d_micro, options_3d(width=16, stem="small2"), None),
    "c3d-resnet50": _inflated(inflated.c3d_resnet50, inflated.C3D_OPTIONS),
    "i3d-resnet18": BackboneEntry(
        i3d.i3d_resnet18, i3d.OPTIONS, ResNet18_Weights.IMAGENET1K_V1, frozenset({"inflation", "input_layout"})
    ),
    "i3d-resnet50": _inflated(inflated.i3d_resnet50, inflated.I3D_OPTIONS),
    "micro": BackboneEntry(micro, resnet_options(width=16, stem="small")),
    "mobilenetv2": BackboneEntry(mobilenetv2.MobileNetV2, mobilenetv2.OPTIONS, MobileNet_V2_Weights.IMAGENET1K_V1),
    "resnet18": BackboneEntry(resnet18, resnet_options(), ResNet18_Weights.IMAGENET1K_V1),
    "resnet50": BackboneEntry(resnet50, resnet_options(), ResNet50_Weights.IMAGENET1K_V1),
    "slow-micro": _slow(slow.slow_micro, options_3d(width=16, stem="small2")),
    "slow-r101": _slow(slow.slow_resnet101, options_3d(), ResNet101_Weights.IMAGENET1K_V1),
    "slow-r50": _slow(slow.slow_resnet50, options_3d(), ResNet50_Weights.IMAGENET1K_V1),
    "tcnn": BackboneEntry(tcnn.TCNN, tcnn.OPTIONS, mechanisms=("none", "sparse-spatial")),
}


def backbone_entry(name: str) -> BackboneEntry:
    """Look a backbone up.

    Raises:
        UnknownNameError: with the closest names.
    """
    if not isinstance(name, str) or name not in BACKBONES:
        raise unknown_name("backbone", str(name), BACKBONES)
    return BACKBONES[name]


def build_backbone(name: str, options: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """A backbone with random weights, and all its options as used.

    Raises:
        UnknownNameError: for an unknown backbone or option.
        ModelError: for a value an option does not take.
    """
    resolved = resolve_backbone(name, options)
    return backbone_entry(name).make(**resolved), resolved


def resolve_backbone(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All the options of a backbone, each as given or its default.

    Raises:
        UnknownNameError: for an unknown backbone or option.
        ModelError: for a value an option does not take.
    """
    return complete(f"backbone '{name}'", backbone_entry(name).options, options)
