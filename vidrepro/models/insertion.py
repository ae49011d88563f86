"""Where a mechanism goes in each backbone: read `PLACES` as a table.

M2A and TSM put their module next to the first convolution of a residual block, AIA behind its last but one norm:

============  =================  ==================================================================
backbone      position           at which convolutions
============  =================  ==================================================================
ResNet        before             conv1 of every block (every second block of a stage in networks as
                                 deep as ResNet-101), on the block's input   (M2A released, TSM)
ResNet        after_first_conv   the same, on conv1's output                 (M2A, text of section 4)
MobileNetV2   before             the expansion of the ten blocks that expand and have a residual
                                 connection, on the block's input            (M2A released, TSM)
MobileNetV2   after_first_conv   the first convolution of all 17 blocks, on its output  (M2A, text)
I3D-ResNet18  before             conv1 of every block, on the block's input, each of the T' frames
                                 left there                                  (M2A released)
I3D-ResNet18  after_first_conv   the same, on conv1's output                           (M2A, text)
all           before_second_conv on the input of every block's second convolution (the depthwise one of
                                 MobileNetV2), after norm and ReLU: where TEA, TDN's long-term module and
                                 TAM stand in the bottlenecks of their own networks
ResNet        after_inner_norm   bn2 of every bottleneck, on its output, before the ReLU (AIA); bn1 of every
                                 basic block (our choice). Every second block of a stage of 23 or more
MobileNetV2   after_inner_norm   the norm of the depthwise convolution of all 17 blocks, on its output,
                                 before the ReLU6 (our choice)
I3D-ResNet18  after_inner_norm   bn1 of every block, each of the T' frames left there (our choice)
all           after_last_norm    of the same blocks, on the last norm's output, before the skip path is added:
                                 where SE-ResNet has its module
============  =================  ==================================================================

"After the first convolution" is taken literally: on the convolution's output, before its batch norm and ReLU.

The temporal shift always stands in the row ``before``, directly in front of the convolution: with M2A there too, the
order is M2A, shift, convolution, as released. (The released MobileNetV2 ignores the shift when M2A is there; ours
shifts, as asked for. The released I3D cannot run with the shift.)
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import Bottleneck

from vidrepro.errors import ModelError
from vidrepro.mechanism_spec import is_external
from vidrepro.models.backbones.i3d import InflatedResNet
from vidrepro.models.backbones.mobilenetv2 import MobileNetV2
from vidrepro.models.backbones.resnet import ResNet
from vidrepro.models.classifier import Insertions
from vidrepro.models.mechanisms import ResolvedMechanism, external_faults
from vidrepro.models.mechanisms.tsm import TemporalShift

DEEP_LAYER3 = 23  # blocks of ResNet-101's third stage: from here on TSM and M2A take every second block


def _resnet_first_convs(backbone: ResNet | InflatedResNet) -> list[str]:
    step = 2 if len(backbone.stages[2]) >= DEEP_LAYER3 else 1
    return [
        f"layer{number}.{index}.conv1"
        for number, stage in enumerate(backbone.stages, start=1)
        for index in range(0, len(stage), step)
    ]


def _resnet_second_convs(backbone: ResNet | InflatedResNet) -> list[str]:
    return [name.removesuffix("conv1") + "conv2" for name in _resnet_first_convs(backbone)]


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


def _mobilenet_depthwise_convs(backbone: MobileNetV2) -> list[str]:
    return [
        f"features.{index}.conv.1.0"
        for index, block in enumerate(backbone.features)
        if isinstance(block, InvertedResidual) and expands(block)
    ]


def _resnet_norms(backbone: ResNet | InflatedResNet, from_last: int) -> list[str]:
    """The last norm of every block (0 from the last) or the one before it (1), in running order."""
    return [
        f"layer{number}.{index}.bn{(3 if isinstance(stage[index], Bottleneck) else 2) - from_last}"
        for number, stage in enumerate(backbone.stages, start=1)
        for index in range(0, len(stage), 2 if len(stage) >= DEEP_LAYER3 else 1)  # AIA decides stage by stage
    ]


def _resnet_inner_norms(backbone: ResNet | InflatedResNet) -> list[str]:
    return _resnet_norms(backbone, 1)


def _resnet_last_norms(backbone: ResNet | InflatedResNet) -> list[str]:
    return _resnet_norms(backbone, 0)


def _mobilenet_depthwise_norms(backbone: MobileNetV2) -> list[str]:
    return [
        f"features.{index}.conv.{1 if expands(block) else 0}.1"
        for index, block in enumerate(backbone.features)
        if isinstance(block, InvertedResidual)
    ]


def _mobilenet_last_norms(backbone: MobileNetV2) -> list[str]:
    return [
        f"features.{index}.conv.{len(block.conv) - 1}"
        for index, block in enumerate(backbone.features)
        if isinstance(block, InvertedResidual)
    ]


def expands(block: InvertedResidual) -> bool:
    """Whether an inverted residual begins with a 1x1 expansion: torchvision leaves it out at ratio 1."""
    return len(block.conv) == 4


PLACES: dict[tuple[type[nn.Module], str], Callable[..., list[str]]] = {
    (ResNet, "before"): _resnet_first_convs,
    (ResNet, "after_first_conv"): _resnet_first_convs,
    (InflatedResNet, "before"): _resnet_first_convs,
    (InflatedResNet, "after_first_conv"): _resnet_first_convs,
    (MobileNetV2, "before"): _mobilenet_residual_expansions,
    (MobileNetV2, "after_first_conv"): _mobilenet_first_convs,
    (ResNet, "before_second_conv"): _resnet_second_convs,
    (InflatedResNet, "before_second_conv"): _resnet_second_convs,
    (MobileNetV2, "before_second_conv"): _mobilenet_depthwise_convs,
    (ResNet, "after_inner_norm"): _resnet_inner_norms,
    (InflatedResNet, "after_inner_norm"): _resnet_inner_norms,
    (MobileNetV2, "after_inner_norm"): _mobilenet_depthwise_norms,
    (ResNet, "after_last_norm"): _resnet_last_norms,
    (InflatedResNet, "after_last_norm"): _resnet_last_norms,
    (MobileNetV2, "after_last_norm"): _mobilenet_last_norms,
}
_BEHIND = ("after_first_conv", "after_inner_norm", "after_last_norm")  # the layer's output, where others take its input
_LAYERS_3D = (nn.Conv3d, nn.BatchNorm3d)


def places(backbone: nn.Module, position: str) -> list[str]:
    """Dotted names of the convolutions or norms a module goes next to, in the order they run.

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


class OwnSequential(nn.Sequential):
    """Parts in running order of which ``mechanism`` is of a user's own class: a fault in it is told as theirs.

    Args:
        own: the class's name; None where the mechanism is one of ours.
    """

    def __init__(self, own: str | None) -> None:
        super().__init__()
        self.own = own

    def forward(self, x: Tensor) -> Tensor:
        for name, part in self.named_children():
            x = self.run(name, part, x)
        return x

    def run(self, name: str, part: nn.Module, x: Tensor) -> Tensor:
        """One part."""
        return external_faults.call(self.own, part, x) if self.own and name == "mechanism" else part(x)


class FramewiseSequential(OwnSequential):
    """Parts in running order on a 3-D map ``(N, C, T', H, W)``: a 3-D convolution or norm takes it as it is, every
    other part gets its frames, ``(N*T', C, H, W)``, and returns as many.
    """

    def run(self, name: str, part: nn.Module, x: Tensor) -> Tensor:
        if isinstance(part, _LAYERS_3D):
            return part(x)
        clips, frames = x.shape[0], x.shape[2]
        maps = super().run(name, part, x.transpose(1, 2).flatten(0, 1))
        return maps.unflatten(0, (clips, frames)).transpose(1, 2)


def insert(backbone: nn.Module, mechanism: ResolvedMechanism, frames: int, *, temporal_shift: bool) -> Insertions:
    """Put a mechanism, and the temporal shift, into a backbone, in place.

    A convolution or norm with company becomes an `nn.Sequential` of named parts in running order, for example
    ``mechanism, shift, conv`` or ``norm, mechanism``, so that the network's printout and its parameter names show what
    runs where.

    Returns:
        The name of every such layer with the names of its parts.
    """
    with_mechanism = set(places(backbone, mechanism.position)) if mechanism.name != "none" else set()
    with_shift = set(places(backbone, "before")) if temporal_shift else set()
    own = mechanism.name if is_external(mechanism.name) else None
    insertions: Insertions = {}
    for name in [name for name, _ in backbone.named_modules() if name in with_mechanism | with_shift]:
        parent_name, _, attribute = name.rpartition(".")
        layer = backbone.get_submodule(name)
        is_3d = isinstance(layer, _LAYERS_3D)
        frames_in, frames_out = backbone.frames_of(name, frames) if is_3d else (frames, frames)  # type: ignore[operator]
        parts: dict[str, nn.Module] = {}
        kind, channels_in, channels_out = _describe(layer)
        behind = mechanism.position in _BEHIND
        if name in with_mechanism and not behind:
            there = frames_in if mechanism.position == "before" else frames_out
            parts["mechanism"] = mechanism.make(channels_in, there)
        if name in with_shift:
            parts["shift"] = TemporalShift(channels_in, frames_in)
        parts[kind] = layer
        if name in with_mechanism and behind:
            parts["mechanism"] = mechanism.make(channels_out, frames_out)
        together = FramewiseSequential(own) if is_3d else OwnSequential(own) if own else nn.Sequential()
        for part, module in parts.items():
            together.add_module(part, module)
        setattr(backbone.get_submodule(parent_name), attribute, together)
        insertions[name] = tuple(parts)
    return insertions


def _describe(layer: nn.Module) -> tuple[str, int, int]:
    """What a layer is called among its parts, and its input and output channels."""
    if isinstance(layer, nn.Conv2d | nn.Conv3d):
        return "conv", layer.in_channels, layer.out_channels
    assert isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d)
    return "norm", layer.num_features, layer.num_features
