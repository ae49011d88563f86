"""Where a mechanism goes in each backbone: read `PLACES` as a table.

Both papers that fix a place here put their module next to the first convolution of a residual block:

============  =================  ==================================================================
backbone      position           at which convolutions
============  =================  ==================================================================
ResNet        before             conv1 of every block (every second block of a stage in networks as
                                 deep as ResNet-101), on the block's input   (M2A released, TSM)
ResNet        after_first_conv   the same, on conv1's output                 (M2A, text of section 4)
MobileNetV2   before             the expansion of the ten blocks that expand and have a residual
                                 connection, on the block's input            (M2A released, TSM)
MobileNetV2   after_first_conv   the first convolution of all 17 blocks, on its output  (M2A, text)
============  =================  ==================================================================

"After the first convolution" is taken literally: on the convolution's output, before its batch norm and ReLU.

The temporal shift always stands in the row ``before``, directly in front of the convolution: with M2A there too, the
order is M2A, shift, convolution, as released. (The released MobileNetV2 ignores the shift when M2A is there; ours
shifts, as asked for.)
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual

from vidrepro.errors import ModelError
from vidrepro.models.backbones.mobilenetv2 import MobileNetV2
from vidrepro.models.backbones.resnet import ResNet
from vidrepro.models.mechanisms import ResolvedMechanism
from vidrepro.models.mechanisms.tsm import TemporalShift

DEEP_LAYER3 = 23  # blocks of ResNet-101's third stage: from here on TSM and M2A take every second block


def _resnet_first_convs(backbone: ResNet) -> list[str]:
    step = 2 if len(backbone.stages[2]) >= DEEP_LAYER3 else 1
    return [
        f"layer{number}.{index}.conv1"
        for number, stage in enumerate(backbone.stages, start=1)
        for index in range(0, len(stage), step)
    ]


def _mobilenet_residual_expansions(backbone: MobileNetV2) -> list[str]:
    return [
        f"features.{index}.conv.0.0"
        for index, block in enumerate(backbone.features)
        if isinstance(block, InvertedResidual) and block.use_res_connect and expands(block)
    ]


def _mobilenet_first_convs(backbone: MobileNetV2) -> list[str]:
    return [
        f"features.{index}.conv.0.0"
        for index, block in enumerate(backbone.features)
        if isinstance(block, InvertedResidual)
    ]


def expands(block: InvertedResidual) -> bool:
    """Whether an inverted residual begins with a 1x1 expansion: torchvision leaves it out at ratio 1."""
    return len(block.conv) == 4


PLACES: dict[tuple[type[nn.Module], str], Callable[..., list[str]]] = {
    (ResNet, "before"): _resnet_first_convs,
    (ResNet, "after_first_conv"): _resnet_first_convs,
    (MobileNetV2, "before"): _mobilenet_residual_expansions,
    (MobileNetV2, "after_first_conv"): _mobilenet_first_convs,
}


def places(backbone: nn.Module, position: str) -> list[str]:
    """Dotted names of the convolutions a module goes next to, in the order they run.

    Raises:
        ModelError: if the table has no row for this backbone and position.
    """
    rule = PLACES.get((type(backbone), position))
    if rule is None:
        raise ModelError(
            f"nobody has said where '{position}' is in {type(backbone).__name__}",
            given=position,
            allowed=[f"{kind.__name__} {name}" for kind, name in PLACES],
        )
    return rule(backbone)


Insertions = dict[str, tuple[str, ...]]


def insert(backbone: nn.Module, mechanism: ResolvedMechanism, frames: int, *, temporal_shift: bool) -> Insertions:
    """Put a mechanism, and the temporal shift, into a backbone, in place.

    A convolution with company becomes an `nn.Sequential` of named parts in running order, for example
    ``mechanism, shift, conv``, so that the network's printout and its parameter names show what runs where.

    Returns:
        The name of every such convolution with the names of its parts.
    """
    with_mechanism = set(places(backbone, mechanism.position)) if mechanism.name != "none" else set()
    with_shift = set(places(backbone, "before")) if temporal_shift else set()
    insertions: Insertions = {}
    for name in [name for name, _ in backbone.named_modules() if name in with_mechanism | with_shift]:
        parent_name, _, attribute = name.rpartition(".")
        parent = backbone.get_submodule(parent_name)
        conv = backbone.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        parts: dict[str, nn.Module] = {}
        if name in with_mechanism and mechanism.position == "before":
            parts["mechanism"] = mechanism.make(conv.in_channels, frames)
        if name in with_shift:
            parts["shift"] = TemporalShift(conv.in_channels, frames)
        parts["conv"] = conv
        if name in with_mechanism and mechanism.position == "after_first_conv":
            parts["mechanism"] = mechanism.make(conv.out_channels, frames)
        together = nn.Sequential()
        for part, module in parts.items():
            together.add_module(part, module)
        setattr(parent, attribute, together)
        insertions[name] = tuple(parts)
    return insertions
