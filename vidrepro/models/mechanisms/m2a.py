"""M2A's shell: motion and attention between two 1x1 convolutions, as a gate on the input; M2A's own two blocks.

Sources: the M2A paper, section 3 ("text" below); the authors' repository gebob19/M2A, `ops/temporal_shift.py`
("released"), which printed the paper's numbers. They differ in these choices, each an option of its own:

================  =============================================  =================================================
option            ``official`` (released)                        ``paper`` (text)
================  =============================================  =================================================
boundary          zeros: the frame after the last is empty       first: the frame after the last is the first
norm              with-attention: only if attention follows      always: straight after the reduction
skip              reduced: adds the reduced features             attention-input: adds what entered the attention
position          before: on the block's input                   after_first_conv: on the first convolution's output
tdn_backward      released: TDN's backward branch takes the      fixed: it takes the backward difference, as in TDN's
                  forward branch's output for its input          own code
patch_difference  released: by a pixel where the patches do      frame: always by a frame
                  not divide the map's height
================  =============================================  =================================================

TAM without a motion block is released with neither norm nor skip (`variant_options`).

`position` is where the module goes (`vidrepro.models.insertion`); the others are inside it. What goes into the two
places of the shell, motion and attention, is looked up in `MOTIONS` and `ATTENTIONS`: another paper's block is a
module ``(N*T, c, h, w)`` to the same shape, made as ``Block(channels, frames, options)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrepro.errors import ModelError
from vidrepro.models.declared_options import POSITIONS, Option, choice, positive_integer
from vidrepro.models.mechanisms.clip_frames import split_frames
from vidrepro.models.mechanisms.motion import BOUNDARIES, FrameDifference, require_reducible
from vidrepro.models.mechanisms.patch_attention import (
    DIFFERENCES,
    PatchAttention,
    attend,
    attention_weights,
    patch_size,
)
from vidrepro.models.mechanisms.tam import TAMBlock
from vidrepro.models.mechanisms.tdn import BACKWARDS, TDNBlock
from vidrepro.models.mechanisms.tea import TEABlock
from vidrepro.models.memory_format import layout_of
from vidrepro.models.taps import AttentionTap


class FrameAttention(nn.Module):
    """Self-attention over the frames of a clip (M2A, section 3, "Attention Block").

    A token is a whole frame, flattened to ``c*h*w`` numbers; queries, keys and values are the tokens themselves: no
    projections, one head, scale ``1/sqrt(c*h*w)``, softmax over time.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.tap = AttentionTap("attention", ("N", "query", "key"), distribution="key")

    def forward(self, x: Tensor) -> Tensor:
        return attend(self._tokens(x), self.tap).reshape(x.shape)

    def weights(self, x: Tensor) -> Tensor:
        """How much each frame (row) attends to each frame: ``(N, T, T)``, rows sum to one."""
        tokens = self._tokens(x)
        return attention_weights(tokens, tokens)

    def _tokens(self, x: Tensor) -> Tensor:
        return split_frames(x, self.frames).flatten(2)

    def extra_repr(self) -> str:
        return f"frames={self.frames}"


BlockFactory = Callable[[int, int, Mapping[str, Any]], nn.Module]

# What can stand in each place of the shell: name -> (channels, frames, options) -> module.
MOTIONS: dict[str, BlockFactory] = {
    "m2a": lambda channels, frames, options: FrameDifference(frames, options["boundary"]),
    "tdn": lambda channels, frames, options: TDNBlock(channels, frames, backward=options["tdn_backward"]),
    "tea": lambda channels, frames, options: TEABlock(channels, frames),
}
ATTENTIONS: dict[str, BlockFactory] = {
    "m2a": lambda channels, frames, options: FrameAttention(frames),
    "tam": lambda channels, frames, options: TAMBlock(channels, frames),
    "patch<s>": lambda channels, frames, options: PatchAttention(
        frames,
        patch_size(options["attention"]) or 1,
        normalises=options["norm"] != "never",
        skip=options["skip"],
        difference=options["patch_difference"],
    ),
}


def is_attention(name: object) -> bool:
    """Whether it names an attention block: one of `ATTENTIONS`, with any whole number for the patch size, or none."""
    return name in ("none", "m2a", "tam") or patch_size(name) is not None


OPTIONS: dict[str, Option] = {
    "motion": choice("m2a", ("none", *MOTIONS), "the motion block"),
    "attention": Option(
        "m2a",
        is_attention,
        "none, m2a, tam, patch<s> such as patch4",
        "the attention block",
        ("none", "m2a", "tam", "patch4", "patch8"),
    ),
    "reduction": positive_integer(8, "the blocks work on 1/reduction of the channels"),
    "boundary": choice("zeros", BOUNDARIES, "what the frame difference finds after the last frame"),
    "norm": choice("with-attention", ("with-attention", "always", "never"), "layer norm of each reduced frame"),
    "skip": choice("reduced", ("reduced", "attention-input", "none"), "what is added to the attention's output"),
    "position": choice("before", POSITIONS, "where in a block of the backbone"),
    "tdn_backward": choice("released", BACKWARDS, "what the full-size branch of TDN's backward direction convolves"),
    "patch_difference": choice("released", DIFFERENCES, "the difference where patches do not divide the map"),
}

VARIANTS: dict[str, dict[str, str]] = {
    "official": {
        "boundary": "zeros",
        "norm": "with-attention",
        "skip": "reduced",
        "position": "before",
        "tdn_backward": "released",
        "patch_difference": "released",
    },
    "paper": {
        "boundary": "first",
        "norm": "always",
        "skip": "attention-input",
        "position": "after_first_conv",
        "tdn_backward": "fixed",
        "patch_difference": "frame",
    },
}


def variant_options(variant: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options a variant stands for in a shell of these blocks (``motion`` and ``attention`` of `settings`)."""
    bundle: dict[str, Any] = dict(VARIANTS[variant])
    if variant == "official" and _blocks(settings) == ("none", "tam"):
        bundle |= {"norm": "never", "skip": "none"}
    return bundle


def normal_form(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same shell with every option that does nothing in it at its default: equal networks, equal options."""
    motion, attention = _blocks(options)
    patches = patch_size(attention) is not None
    idle = {
        "boundary": motion != "m2a",
        "tdn_backward": motion != "tdn",
        "patch_difference": not patches or motion != "m2a",
        "skip": attention == "none",
    }
    return {name: OPTIONS[name].default if idle.get(name) else value for name, value in options.items()}


def _blocks(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    return tuple(settings.get(place, OPTIONS[place].default) for place in ("motion", "attention"))


def require_a_block(motion: str | None, attention: str | None) -> None:
    """Refuse the shell with nothing in it.

    Raises:
        ModelError: if both are ``none``.
    """
    if motion == attention == "none":
        raise ModelError(
            "a gate with neither motion nor attention is no mechanism",
            given="motion=none, attention=none",
            hint="use the mechanism 'none'",
        )


class GatedMotionAttention(nn.Module):
    """M2A's shell: ``(N*T, C, H, W)`` to the same shape.

    ``d = conv_down(x)``; ``m = attention(motion(norm(d))) + skip``, each part if present; ``out = x * sigmoid(
    conv_up(m)) + x``. The norm is a layer norm without weights over the flattened ``(c, h, w)`` of each frame.
    `PatchAttention` brings norms and skips of its own, and takes the motion between them.

    Args:
        channels: C.
        frames: T of every clip, fixed; 1 and odd numbers are legal.
        motion, attention: names in `MOTIONS` and `ATTENTIONS` (``patch4`` for ``patch<s>``), or ``none``.
        reduction: ``c = C // reduction`` channels between the two convolutions (rounded down, as released:
            24 -> 3 at reduction 8).
        boundary, norm, skip, tdn_backward, patch_difference: see the module's table. The skip belongs to the attention
            block and goes with it.

    Raises:
        ModelError: if fewer channels than `reduction` come in, or there is neither motion nor attention.
    """

    def __init__(
        self,
        channels: int,
        frames: int,
        *,
        motion: str = "m2a",
        attention: str = "m2a",
        reduction: int = 8,
        boundary: str = "zeros",
        norm: str = "with-attention",
        skip: str = "reduced",
        tdn_backward: str = "released",
        patch_difference: str = "released",
    ) -> None:
        super().__init__()
        require_reducible(channels, reduction)
        require_a_block(motion, attention)
        reduced = channels // reduction
        options = {
            "attention": attention,
            "boundary": boundary,
            "norm": norm,
            "skip": skip,
            "tdn_backward": tdn_backward,
            "patch_difference": patch_difference,
        }
        attention_kind = attention if attention in ATTENTIONS else "patch<s>"
        self.conv_down = nn.Conv2d(channels, reduced, 1)
        self.motion = MOTIONS[motion](reduced, frames, options) if motion != "none" else None
        self.attention = ATTENTIONS[attention_kind](reduced, frames, options) if attention != "none" else None
        self.conv_up = nn.Conv2d(reduced, channels, 1)
        self.normalises = norm == "always" or (norm == "with-attention" and self.attention is not None)
        self.skip = skip if self.attention is not None else "none"
        self.gate = AttentionTap("gate", ("N*T", "C", "H", "W"), frames=frames)

    def forward(self, x: Tensor) -> Tensor:
        # The blocks flatten frames: pixels last. The gate is to lie as x does: one pass over two layouts is slow.
        features = self._features(self.conv_down(x).contiguous()).contiguous(memory_format=layout_of(x))
        gate = self.gate(torch.sigmoid(self.conv_up(features)))
        return torch.addcmul(x, x, gate)  # x + x * gate in one pass

    def _features(self, reduced: Tensor) -> Tensor:
        if isinstance(self.attention, PatchAttention):
            over_patches: Tensor = self.attention(reduced, self.motion)
            return over_patches
        features = F.layer_norm(reduced, reduced.shape[1:]) if self.normalises else reduced
        if self.motion is not None:
            features = self.motion(features)
        if self.attention is None:
            return features
        attended = self.attention(features)
        if self.skip == "none":
            return attended
        return attended + (reduced if self.skip == "reduced" else features)

    def extra_repr(self) -> str:
        return f"normalises={self.normalises}, skip={self.skip}"
