"""M2A and its ablations: motion and attention between two 1x1 convolutions, as a gate on the input.

Sources: the M2A paper, section 3 ("text" below); the authors' repository gebob19/M2A, `ops/temporal_shift.py`
("released"), which printed the paper's numbers. They differ in four choices, each an option of its own:

========  ===========================================  ==================================================
option    ``official`` (released)                      ``paper`` (text)
========  ===========================================  ==================================================
boundary  zeros: the frame after the last is empty     first: the frame after the last is the first
norm      with-attention: only if attention follows    always: straight after the reduction
skip      reduced: adds the reduced features           attention-input: adds what entered the attention
position  before: on the block's input                 after_first_conv: on the first convolution's output
========  ===========================================  ==================================================

`position` is where the module goes (`vidrepro.models.insertion`); the others are inside it. What goes into the two
places of the shell, motion and attention, is looked up in `MOTIONS` and `ATTENTIONS`: another paper's block is a
module ``(N*T, c, h, w)`` to the same shape, made as ``Block(channels, frames, options)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrepro.errors import ModelError
from vidrepro.models.mechanisms.frames import split_frames
from vidrepro.models.options import Option, choice, positive_integer


class FrameDifference(nn.Module):
    """Motion as the next frame minus this one: ``m_t = x_{t+1} - x_t`` (M2A, section 3, "Motion Block").

    Args:
        boundary: what follows the last frame: ``zeros`` (released: ``m_{T-1} = -x_{T-1}``) or ``first`` (text: the
            clip's first frame). With T = 1 the result is ``-x`` or 0.
    """

    def __init__(self, frames: int, boundary: str) -> None:
        super().__init__()
        self.frames = frames
        self.boundary = boundary

    def forward(self, x: Tensor) -> Tensor:
        clips = split_frames(x, self.frames)
        first = clips[:, :1]
        after_last = first if self.boundary == "first" else torch.zeros_like(first)
        return (torch.cat([clips[:, 1:], after_last], dim=1) - clips).flatten(0, 1)

    def extra_repr(self) -> str:
        return f"frames={self.frames}, boundary={self.boundary}"


class FrameAttention(nn.Module):
    """Self-attention over the frames of a clip (M2A, section 3, "Attention Block").

    A token is a whole frame, flattened to ``c*h*w`` numbers; queries, keys and values are the tokens themselves: no
    projections, one head, scale ``1/sqrt(c*h*w)``, softmax over time.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        # Written out rather than as F.scaled_dot_product_attention: with T tokens there is no matrix worth fusing
        # away, and MAC counters see both products.
        tokens = split_frames(x, self.frames).flatten(2)
        scores = torch.bmm(tokens * (1 / math.sqrt(tokens.shape[2])), tokens.transpose(1, 2))
        return torch.bmm(scores.softmax(dim=2), tokens).reshape(x.shape)

    def extra_repr(self) -> str:
        return f"frames={self.frames}"


BlockFactory = Callable[[int, int, Mapping[str, Any]], nn.Module]

# What can stand in each place of the shell: name -> (channels, frames, options) -> module.
MOTIONS: dict[str, BlockFactory] = {
    "m2a": lambda channels, frames, options: FrameDifference(frames, options["boundary"]),
}
ATTENTIONS: dict[str, BlockFactory] = {
    "m2a": lambda channels, frames, options: FrameAttention(frames),
}

OPTIONS: dict[str, Option] = {
    "motion": choice("m2a", ("none", *MOTIONS), "the motion block"),
    "attention": choice("m2a", ("none", *ATTENTIONS), "the attention block"),
    "reduction": positive_integer(8, "the blocks work on 1/reduction of the channels"),
    "boundary": choice("zeros", ("zeros", "first"), "what the frame difference finds after the last frame"),
    "norm": choice("with-attention", ("with-attention", "always", "never"), "layer norm of each reduced frame"),
    "skip": choice("reduced", ("reduced", "attention-input", "none"), "what is added to the attention's output"),
    "position": choice("before", ("before", "after_first_conv"), "where in a block of the backbone"),
}

VARIANTS: dict[str, dict[str, str]] = {
    "official": {"boundary": "zeros", "norm": "with-attention", "skip": "reduced", "position": "before"},
    "paper": {"boundary": "first", "norm": "always", "skip": "attention-input", "position": "after_first_conv"},
}


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

    Args:
        channels: C.
        frames: T of every clip, fixed; 1 and odd numbers are legal.
        motion, attention: names in `MOTIONS` and `ATTENTIONS`, or ``none``.
        reduction: ``c = C // reduction`` channels between the two convolutions (rounded down, as released:
            24 -> 3 at reduction 8).
        boundary, norm, skip: see the module's table. The skip belongs to the attention block and goes with it.

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
    ) -> None:
        super().__init__()
        if channels < reduction:
            raise ModelError(
                f"{channels} channels cannot be reduced by {reduction}",
                given=channels,
                allowed=f"at least {reduction} channels",
                hint="make the backbone wider (its option 'width') or the option 'reduction' smaller",
            )
        require_a_block(motion, attention)
        reduced = channels // reduction
        options = {"boundary": boundary, "norm": norm, "skip": skip}
        self.conv_down = nn.Conv2d(channels, reduced, 1)
        self.motion = MOTIONS[motion](reduced, frames, options) if motion != "none" else None
        self.attention = ATTENTIONS[attention](reduced, frames, options) if attention != "none" else None
        self.conv_up = nn.Conv2d(reduced, channels, 1)
        self.normalises = norm == "always" or (norm == "with-attention" and self.attention is not None)
        self.skip = skip if self.attention is not None else "none"

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.conv_up(self._features(self.conv_down(x))))
        # x * gate + x; forward and backward take fewest full-width passes this way (torch.addcmul's most).
        return x * (gate + 1)

    def _features(self, reduced: Tensor) -> Tensor:
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
