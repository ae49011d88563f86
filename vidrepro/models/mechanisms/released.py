"""What the released code calls the tensors inside one mechanism.

M2A's release (gebob19/M2A, ``ops/temporal_shift.py``) keeps a shell's block in ``modules_list.0``; with both motion and
attention that is one module, holding ``motion_mod`` and, for TAM, ``attn`` (M2A's attention has no tensors). The
stand-alone modules are named as in their own repositories, which use the same layer names.
"""

from __future__ import annotations

from torch import nn

from vidrepro.models.mechanisms.aia import AttentionInAttention
from vidrepro.models.mechanisms.aia_released import released_module_key
from vidrepro.models.mechanisms.m2a import GatedMotionAttention
from vidrepro.models.mechanisms.tam import TAMBlock
from vidrepro.models.mechanisms.tdn import TDNBlock
from vidrepro.models.mechanisms.tea import TEABlock

_DIFFERENCE = {"reduce": "conv1", "norm": "bn1", "transform": "conv2", "expand": "conv3", "expand_norm": "bn3"}
_SCALES = {
    "half_conv": "conv3_smallscale2",
    "half_norm": "bn3_smallscale2",
    "full_conv": "conv3_smallscale4",
    "full_norm": "bn3_smallscale4",
}
_LAYERS: dict[type[nn.Module], dict[str, str]] = {
    TEABlock: _DIFFERENCE,
    TDNBlock: _DIFFERENCE | _SCALES,
    TAMBlock: {"global_branch": "G", "local_branch": "L"},
}


def released_key(mechanism: nn.Module, key: str) -> str:
    """The released name of one tensor of a mechanism.

    Args:
        mechanism: a module of `build_mechanism`: a shell or a stand-alone module. Another one's names stay.
        key: our name in its state dict, e.g. ``motion.reduce.weight``.

    Returns:
        For example ``modules_list.0.motion_mod.conv1.weight``.
    """
    if isinstance(mechanism, AttentionInAttention):
        return released_module_key(mechanism, key)
    if not isinstance(mechanism, GatedMotionAttention):
        return _layer_name(mechanism, key)
    place, _, inside = key.partition(".")
    if place not in ("motion", "attention"):
        return key
    block = mechanism.get_submodule(place)
    pair = mechanism.motion is not None and mechanism.attention is not None
    part = {"motion": "motion_mod.", "attention": "attn."}[place] if pair else ""
    return f"modules_list.0.{part}{_layer_name(block, inside)}"


def _layer_name(block: nn.Module, key: str) -> str:
    layer, _, rest = key.partition(".")
    for kind, names in _LAYERS.items():
        if isinstance(block, kind):
            return f"{names[layer]}.{rest}"
    return key
