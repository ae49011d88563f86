"""What a network's tensors are called elsewhere, derived from its own backbone and insertions.

Seven layouts, told apart by `layout_of`:

- ``vidrepro``: our own, ``backbone.layer1.0.conv1.weight`` and ``fc.weight``.
- ``torchvision``: a plain network's, ``layer1.0.conv1.weight`` and ``fc.weight`` (``classifier.1.weight``).
- ``flat``: a plain MobileNetV2's in the older naming, ``features.1.conv.0.weight``, of tonylins/pytorch-mobilenet-v2
  (which M2A and TSM started from) and what descends from it.
- ``m2a``: the released M2A and TSM code's, ``base_model.layer1.0.conv1.0.conv_down.weight`` and ``new_fc.weight``; of
  its I3D, ``model.layer1.0.conv1.0.m2a.conv_down.weight`` and ``model.fc.weight``.
- ``aia``: the released AIA code's; its modules stand beside the layers of a bottleneck,
  ``base_model.layer1.0.eft1.C_conv.weight``, and its shift renames nothing. A plain network is the same in ``m2a``.
- ``stabn``: the released ST-ABN's, a whole network: ``backbone.att_layer4.0.conv1.weight``, ``cls_head.fc_cls.weight``.
- ``pytorchvideo``: of a plain slow pathway, ``blocks.1.res_blocks.0.branch2.conv_a.weight``, ``blocks.5.proj.weight``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import Bottleneck

from vidrepro.errors import ModelError
from vidrepro.models.backbones import slow_released
from vidrepro.models.backbones.i3d import InflatedResNet
from vidrepro.models.backbones.mobilenetv2 import MobileNetV2
from vidrepro.models.backbones.resnet import ResNet
from vidrepro.models.backbones.resnet3d import ResNet3d
from vidrepro.models.backbones.slow import SlowResNet
from vidrepro.models.classifier import VideoClassifier
from vidrepro.models.insertion import expands
from vidrepro.models.mechanisms.aia import AttentionInAttention
from vidrepro.models.mechanisms.aia_released import released_block_key
from vidrepro.models.mechanisms.released import released_key
from vidrepro.models.networks import stabn_released
from vidrepro.models.networks.stabn import STABN

# The released code wraps a convolution as a list of modules; ours names the parts.
_RELEASED_PARTS: dict[tuple[str, ...], dict[str, str]] = {
    ("mechanism", "conv"): {"mechanism": "0", "conv": "1"},
    ("mechanism", "shift", "conv"): {"mechanism": "0", "conv": "2"},
    ("shift", "conv"): {"conv": "net"},
}
_AIA_PARTS = (("shift", "conv"), ("norm", "mechanism"))

# The released MobileNetV2 lists a block's layers flat, torchvision's groups convolution, norm and activation.
# Our prefix inside a block -> theirs, by whether the block expands.
_FLAT_BLOCK = {
    True: {"conv.0.0": "conv.0", "conv.0.1": "conv.1", "conv.1.0": "conv.3", "conv.1.1": "conv.4"}
    | {"conv.2": "conv.6", "conv.3": "conv.7"},
    False: {"conv.0.0": "conv.0", "conv.0.1": "conv.1", "conv.1": "conv.3", "conv.2": "conv.4"},
}


def layout_of(keys: Iterable[str]) -> str:
    """The layout a file's keys are in (wrapper prefixes already taken off)."""
    keys = list(keys)
    if any(key.startswith(stabn_released.HEAD) for key in keys):
        return "stabn"
    if slow_released.MARK in keys:
        return "pytorchvideo"
    if any(key.startswith(("base_model.", "model.")) for key in keys):
        return "aia" if any(re.search(r"\.eft\d?\.", key) for key in keys) else "m2a"
    if any(key.startswith("backbone.") for key in keys):
        return "vidrepro"
    return "flat" if "features.1.conv.0.weight" in keys else "torchvision"


def file_names(model: VideoClassifier, layout: str) -> dict[str, str]:
    """What each tensor of this very network is called in a file: ours -> the file's.

    Raises:
        ModelError: if the layout has no name for something in the network.
    """
    if layout == "aia" and not _has_bottlenecks(model):
        raise ModelError(
            "AIA's released code has ResNets of bottlenecks only",
            given=type(model.backbone).__name__,
            allowed="e.g. resnet50",
        )
    if not _in_released_code(model, layout):
        raise ModelError(
            f"the released code of '{layout}' has no such network",
            given=f"{model.identity.get('mechanism_name', type(model).__name__)} on {type(model.backbone).__name__}",
        )
    return {key: _file_name(model, key, layout) for key in model.state_dict()}


def plain_file_names(model: VideoClassifier, layout: str) -> dict[str, str]:
    """The same for a file that holds the backbone without anything inserted: no names for mechanisms."""
    names = {}
    for key in model.state_dict():
        place, _, rest = _split(model, key)
        if not is_inserted(model, key):
            names[key] = _outer(model, f"{place}.{rest}" if place else rest, layout)
    return names


def is_head(key: str) -> bool:
    """Whether one of our names belongs to the linear layer."""
    return key.startswith("fc.")


def is_file_head(name: str) -> bool:
    """Whether a file's name belongs to the linear layer of an image or video network."""
    heads = ("fc.", "new_fc.", "classifier.", stabn_released.HEAD, slow_released.HEAD)
    return name.removeprefix("base_model.").removeprefix("model.").startswith(heads)


def is_inserted(model: VideoClassifier, key: str) -> bool:
    """Whether one of our names belongs to a mechanism rather than to the plain network.

    What a whole network has beside backbone and linear layer is its mechanism.
    """
    return _split(model, key)[1] == "mechanism" or not (key.startswith("backbone.") or is_head(key))


def _split(model: VideoClassifier, key: str) -> tuple[str, str, str]:
    """Our name as (place of an insertion, part of it, rest); place and part are empty outside insertions."""
    for place in model.insertions:
        prefix = f"backbone.{place}."
        if key.startswith(prefix):
            part, _, rest = key.removeprefix(prefix).partition(".")
            return f"backbone.{place}", part, rest
    return "", "", key


def _file_name(model: VideoClassifier, key: str, layout: str) -> str:
    if layout == "vidrepro":
        return key
    if layout == "stabn":
        return stabn_released.released_key(key)
    place, part, rest = _split(model, key)
    if not place:
        return _outer(model, rest, layout)
    parts = model.insertions[place.removeprefix("backbone.")]
    known = {"m2a": tuple(_RELEASED_PARTS), "aia": _AIA_PARTS}.get(layout, ())
    if not (_aia_has(model, place, parts) if layout == "aia" else known and _released_has(model, place, parts)):
        raise ModelError(
            f"{'the released code' if known else layout} has no network with these parts",
            given=f"{place}: {' -> '.join(parts)}",
            allowed=[" -> ".join(order) for order in known] if known else "plain networks",
        )
    released = _outer(model, f"{place}.weight", layout).removesuffix(".weight")
    if layout == "aia" and part != "mechanism":  # nothing is wrapped there
        return f"{released}.{rest}"
    if layout == "aia":
        mechanism = model.get_submodule(f"{place}.mechanism")
        assert isinstance(mechanism, AttentionInAttention)
        attribute, rest = released_block_key(mechanism, rest)
        return f"{released.rpartition('.')[0]}.{attribute}.{rest}"
    if part == "mechanism":
        rest = released_key(model.get_submodule(f"{place}.mechanism"), rest)
        if _is_i3d(model):  # its wrapper between 3-D map and frames
            rest = f"m2a.{rest}"
    return f"{released}.{_RELEASED_PARTS[parts][part]}.{rest}"


def _released_has(model: VideoClassifier, place: str, parts: tuple[str, ...]) -> bool:
    at_first_conv = place.endswith((".conv1", ".conv.0.0"))
    # The released MobileNetV2 leaves the shift out where M2A is: its numbers would not be this network's. The released
    # I3D with the shift cannot run.
    ignored = isinstance(model.backbone, MobileNetV2) and parts == ("mechanism", "shift", "conv")
    crashes = _is_i3d(model) and "shift" in parts
    return at_first_conv and parts in _RELEASED_PARTS and not ignored and not crashes


def _aia_has(model: VideoClassifier, place: str, parts: tuple[str, ...]) -> bool:
    if parts == ("shift", "conv"):
        return place.endswith(".conv1")
    is_aia = isinstance(getattr(model.get_submodule(place), "mechanism", None), AttentionInAttention)
    return parts == ("norm", "mechanism") and is_aia and place.endswith(".bn2")


def _has_bottlenecks(model: VideoClassifier) -> bool:
    return isinstance(model.backbone, ResNet) and isinstance(model.backbone.stages[0][0], Bottleneck)


def _in_released_code(model: VideoClassifier, layout: str) -> bool:
    """Whether a project's code has such a network; what is inserted into its blocks is looked at tensor by tensor."""
    if layout not in ("m2a", "aia", "pytorchvideo"):
        return layout != "stabn" or isinstance(model, STABN)
    whole = any(not key.startswith("backbone.") and not is_head(key) for key in model.state_dict())
    if layout == "pytorchvideo":
        return not whole and isinstance(model.backbone, SlowResNet)
    return not whole and not isinstance(model.backbone, ResNet3d)


def _is_i3d(model: VideoClassifier) -> bool:
    return isinstance(model.backbone, InflatedResNet)


def _outer(model: VideoClassifier, key: str, layout: str) -> str:
    """A plain network's name in a layout: ``backbone.`` and ``fc.`` replaced, MobileNetV2's blocks flattened."""
    if layout == "vidrepro":
        return key
    if layout == "pytorchvideo" and isinstance(model.backbone, SlowResNet):
        if is_head(key):
            return slow_released.HEAD + key.removeprefix("fc.")
        return slow_released.pytorchvideo_key(key.removeprefix("backbone."))
    mobilenet = isinstance(model.backbone, MobileNetV2)
    released = layout in ("m2a", "aia")
    if released and _is_i3d(model):
        return f"model.{key.removeprefix('backbone.')}"
    if is_head(key):
        head = "new_fc." if released else "classifier.1." if mobilenet else "fc."
        return head + key.removeprefix("fc.")
    name = key.removeprefix("backbone.")
    if mobilenet and (released or layout == "flat"):
        name = _flat_mobilenet(model.backbone, name)
    return f"base_model.{name}" if released else name


def _flat_mobilenet(backbone: nn.Module, name: str) -> str:
    match = re.match(r"(features\.\d+)\.(conv\..+)", name)
    if match is None:
        return name
    block, inside = match.groups()
    inverted_residual = backbone.get_submodule(block)
    assert isinstance(inverted_residual, InvertedResidual)
    for ours, theirs in _FLAT_BLOCK[expands(inverted_residual)].items():
        if inside.startswith(f"{ours}."):
            return f"{block}.{theirs}{inside.removeprefix(ours)}"
    raise ModelError(f"the released MobileNetV2 has no tensor '{name}'", given=name)
