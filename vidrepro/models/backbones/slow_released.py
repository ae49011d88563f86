"""What pytorchvideo (facebookresearch/pytorchvideo, hub ``slow_r50``) calls a slow pathway's tensors."""

from __future__ import annotations

HEAD = "blocks.5.proj."
MARK = "blocks.0.conv.weight"  # the stem: no other project here has this name

_STEM = {"conv1": "conv", "bn1": "norm"}
_BLOCK = {
    "conv1": "branch2.conv_a",
    "bn1": "branch2.norm_a",
    "conv2": "branch2.conv_b",
    "bn2": "branch2.norm_b",
    "conv3": "branch2.conv_c",
    "bn3": "branch2.norm_c",
    "downsample.0": "branch1_conv",
    "downsample.1": "branch1_norm",
}


def pytorchvideo_key(key: str) -> str:
    """The name of a tensor of the backbone: ``layer1.0.bn3.bias`` is ``blocks.1.res_blocks.0.branch2.norm_c.bias``."""
    place, _, tensor = key.rpartition(".")
    if place in _STEM:
        return f"blocks.0.{_STEM[place]}.{tensor}"
    stage, block, layer = place.split(".", 2)
    return f"blocks.{stage.removeprefix('layer')}.res_blocks.{block}.{_BLOCK[layer]}.{tensor}"
