"""Attention over time, then over space, between the patches of a clip: "S+T Patch" of M2A's Table IV.

Sources: M2A, section 4, after TimeSformer's divided attention (Bertasius et al. 2021); released as
``SpatialPatchMotionAttention`` in gebob19/M2A, ``ops/temporal_shift.py``. Queries, keys and values are the tokens.
"""

from __future__ import annotations

import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrepro.errors import ModelError
from vidrepro.models.mechanisms.clip_frames import split_frames
from vidrepro.models.mechanisms.motion import FrameDifference, next_minus_this
from vidrepro.models.taps import AttentionTap

DIFFERENCES = ("released", "frame")
MANY_TOKENS = 1024  # attention among more is worked off in pieces: every pixel of 8 frames of 28x28 is 6272 tokens


def patch_size(name: object) -> int | None:
    """The s of ``patch<s>``; None for another name."""
    match = re.fullmatch(r"patch([1-9]\d*)", name) if isinstance(name, str) else None
    return int(match[1]) if match else None


def attention_weights(queries: Tensor, keys: Tensor) -> Tensor:
    """``softmax(q k' / sqrt(width))`` of ``(B, Q, width)`` and ``(B, K, width)``: ``(B, Q, K)``, rows sum to one."""
    scores = torch.bmm(queries, keys.transpose(1, 2)) / math.sqrt(queries.shape[2])
    return scores.softmax(dim=2)


def attend(tokens: Tensor, tap: AttentionTap | None = None, grid: tuple[int, ...] = ()) -> Tensor:
    """Self-attention without projections: ``(B, L, width)`` to the same shape.

    Args:
        tap: sees the attention matrices, ``(B, L, L)``; many tokens cost their square in memory while it is in use.
        grid: ``(rows, columns)`` where B runs over clips and the places of each: the tap sees ``(N, *grid, L, L)``.
    """
    if tokens.shape[1] <= MANY_TOKENS or (tap is not None and tap.in_use):
        # Written out rather than as F.scaled_dot_product_attention: nothing worth fusing away, and MAC counters see
        # both products.
        weights = attention_weights(tokens, tokens)
        if tap is not None:
            weights = tap(weights.unflatten(0, (-1, *grid))).flatten(0, len(grid))
        return torch.bmm(weights, tokens)
    if torch.is_grad_enabled() and tokens.requires_grad:
        return F.scaled_dot_product_attention(tokens, tokens, tokens)  # keeps no L x L matrix for the backward pass
    pieces = tokens.split(MANY_TOKENS, dim=1)
    return torch.cat([torch.bmm(attention_weights(piece, tokens), tokens) for piece in pieces], dim=1)


class PatchAttention(nn.Module):
    """Two attentions with skips, on maps cut into ``size x size`` patches: ``(N*T, c, h, w)`` to the same shape.

    ``x1 = attention over time(motion(norm(x))) + x``, each patch position attending over its T frames;
    ``x2 = attention over space(norm(x1)) + x1``, the patches of a frame attending to each other. The norm is a layer
    norm without weights over each token, i.e. patch.

    Where the height is no multiple of `size` (the release looks at the height alone), ``x + attention`` of all T*h*w
    pixels of the clip at once, with the norm over c.

    Args:
        frames: T.
        size: s, in pixels of the map.
        normalises: whether tokens are normalised.
        skip: what the attention over time is added to: ``reduced`` the block's input, ``attention-input`` what went
            into the attention, ``none``.
        difference: of the pixel attention with M2A's motion: ``released``: along the flattened (t h w) axis, the next
            **pixel** minus this one; ``frame``: the next frame minus this one.
    """

    def __init__(
        self, frames: int, size: int, *, normalises: bool = True, skip: str = "reduced", difference: str = "released"
    ) -> None:
        super().__init__()
        self.frames = frames
        self.size = size
        self.normalises = normalises
        self.skip = skip
        self.difference = difference
        self.over_pixels = AttentionTap("attention", ("N", "query", "key"), distribution="key")
        self.over_time = AttentionTap("attention", ("N", "H", "W", "query", "key"), distribution="key")
        self.over_space = AttentionTap("attention", ("N*T", "query", "key"), frames=frames, distribution="key")

    def forward(self, x: Tensor, motion: nn.Module | None = None) -> Tensor:
        """Attend.

        Args:
            motion: the shell's motion block, applied to the normalised frames; None for none.

        Raises:
            ModelError: for a map whose height is a multiple of the patch size while its width is not.
        """
        height, width = x.shape[2:]
        if height % self.size:
            return self._over_pixels(x, motion)
        if width % self.size:
            raise ModelError(
                f"a map of {height}x{width} does not divide into patches of {self.size}x{self.size}",
                given=tuple(x.shape),
                allowed="a width that is a multiple of the patch size too, as square inputs give",
            )
        attended_to = self._from_patches(self._normalise(self._to_patches(x)), x)
        if motion is not None:
            attended_to = motion(attended_to)
        over_time = self._to_patches(attended_to).flatten(0, 1)  # (N*P, T, width)
        grid = (height // self.size, width // self.size)
        x = self._from_patches(attend(over_time, self.over_time, grid), x) + self._added(x, attended_to)
        over_space = self._to_patches(x).transpose(1, 2).flatten(0, 1)  # (N*T, P, width)
        attended = attend(self._normalise(over_space), self.over_space) + over_space
        return self._from_patches(split_frames(attended, self.frames).transpose(1, 2), x)

    def _over_pixels(self, x: Tensor, motion: nn.Module | None) -> Tensor:
        tokens = self._normalise(_to_pixels(x, self.frames))
        if isinstance(motion, FrameDifference) and self.difference == "released":
            tokens = next_minus_this(tokens, motion.boundary)
        elif motion is not None:
            tokens = _to_pixels(motion(_from_pixels(tokens, x)), self.frames)
        return _from_pixels(attend(tokens, self.over_pixels), x) + self._added(x, _from_pixels(tokens, x))

    def _normalise(self, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens, tokens.shape[-1:]) if self.normalises else tokens

    def _added(self, x: Tensor, attended_to: Tensor) -> Tensor | float:
        choices: dict[str, Tensor | float] = {"reduced": x, "attention-input": attended_to, "none": 0.0}
        return choices[self.skip]

    def _to_patches(self, x: Tensor) -> Tensor:
        """``(N*T, c, h, w)`` to ``(N, P, T, s*s*c)``, P patches from left to right, top to bottom."""
        size, channels = self.size, x.shape[1]
        rows, columns = x.shape[2] // size, x.shape[3] // size
        cut = x.reshape(-1, self.frames, channels, rows, size, columns, size).permute(0, 3, 5, 1, 4, 6, 2)
        return cut.reshape(cut.shape[0], rows * columns, self.frames, size * size * channels)

    def _from_patches(self, tokens: Tensor, like: Tensor) -> Tensor:
        """The inverse; tokens may come as ``(N*P, T, s*s*c)`` too."""
        size, channels = self.size, like.shape[1]
        rows, columns = like.shape[2] // size, like.shape[3] // size
        cut = tokens.reshape(-1, rows, columns, self.frames, size, size, channels)
        return cut.permute(0, 3, 6, 1, 4, 2, 5).reshape(like.shape)

    def extra_repr(self) -> str:
        return f"frames={self.frames}, size={self.size}, normalises={self.normalises}, skip={self.skip}"


def _to_pixels(x: Tensor, frames: int) -> Tensor:
    """``(N*T, c, h, w)`` to ``(N, T*h*w, c)``."""
    return split_frames(x, frames).permute(0, 1, 3, 4, 2).flatten(1, 3)


def _from_pixels(tokens: Tensor, like: Tensor) -> Tensor:
    count, channels, height, width = like.shape
    return tokens.reshape(count, height, width, channels).permute(0, 3, 1, 2)
