"""What ST-ABN's released code (machine-perception-robotics-group/ST-ABN_PyTorch) calls its tensors.

It is built on decisionforce/TPN and still makes that project's neck, whose tensors are in every checkpoint although
nothing is computed from them.
"""

from __future__ import annotations

from collections.abc import Iterable

HEAD = "cls_head.fc_cls."  # the perception branch's linear layer; no other project here has this name
FRAMES_FROM = "backbone.fc1.weight"  # (T, T)

_MODULES = {  # our module's name -> theirs; all else of the backbone is named alike
    "branch.residual": "backbone.att_layer4",
    "branch.residual_norm": "backbone.bn_att",
    "branch.map_conv": "backbone.att_conv",
    "branch.map_norm": "backbone.bn_att2",
    "branch.class_conv": "backbone.att_conv2",
    "branch.classifier": "necks.att_head.fc",
    "branch.spatial_conv": "backbone.att_conv3",
    "branch.spatial_norm": "backbone.bn_att3",
    "branch.temporal_conv": "backbone.t_att_conv",
    "branch.temporal_norm": "backbone.t_bn_att",
    "branch.frame_conv": "backbone.t_att_conv2",
    "branch.frame_fc1": "backbone.fc1",
    "branch.frame_fc2": "backbone.fc2",
    "mixer.conv": "backbone.t_att_conv3",
    "mixer.norm": "backbone.bn_att4",
    "fc": "cls_head.fc_cls",
}
_DEAD = tuple(
    f"necks.{module}."
    for module in (
        "level_fusion_op",
        "level_fusion_op2",
        "spatial_modulation",
        "temporal_modulation_ops",
        "downsampling_ops",
        "pyramid_fusion_op",
        "att_head.convs",
    )
)


def released_key(key: str) -> str:
    """The released name of a tensor of ours: ``branch.residual_norm.bias`` is ``backbone.bn_att.bias``."""
    for ours, theirs in _MODULES.items():
        if key.startswith(f"{ours}."):
            return theirs + key.removeprefix(ours)
    return key


def dead_keys(names: Iterable[str]) -> list[str]:
    """Those of a released checkpoint's names that belong to what its code makes and never uses."""
    return [name for name in names if name.startswith(_DEAD)]
