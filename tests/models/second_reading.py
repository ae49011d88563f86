"""A second reading of what the released M2A and AIA code computes: plain functions of a released state dict.

Written from the description of both papers' released code alone, before looking at the package's own modules, and as
slowly as it reads: one clip, one frame, one token after another. `state` is always a state dict under the released
names, `at` the place (a key prefix with its dot) of the piece in it. Everything is in inference mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]
EPS = 1e-5


def batch_norm(x: Tensor, state: State, at: str) -> Tensor:
    """Inference batch norm of axis 1 with the statistics under ``at``."""
    shape = [1, -1] + [1] * (x.ndim - 2)
    mean, variance = state[f"{at}running_mean"].view(shape), state[f"{at}running_var"].view(shape)
    return (x - mean) / torch.sqrt(variance + EPS) * state[f"{at}weight"].view(shape) + state[f"{at}bias"].view(shape)


def layer_norm(token: Tensor) -> Tensor:
    """Mean 0 and variance 1 over everything in ``token``; no weights."""
    centred = token - token.sum() / token.numel()
    return centred / torch.sqrt((centred * centred).sum() / token.numel() + EPS)


def differences(tokens: list[Tensor]) -> list[Tensor]:
    """Next minus this; after the last one come zeros."""
    shifted = [*tokens[1:], torch.zeros_like(tokens[-1])]
    return [after - token for after, token in zip(shifted, tokens, strict=True)]


def attend(tokens: list[Tensor]) -> list[Tensor]:
    """Every token's softmax-weighted sum of all tokens, by scaled dot products of the tokens themselves."""
    rows = torch.stack([token.flatten() for token in tokens])
    scale = 1 / math.sqrt(rows.shape[1])
    attended = []
    for query in rows:
        scores = (rows * query).sum(1) * scale
        weights = torch.exp(scores - scores.max())
        weights = weights / weights.sum()
        attended.append((weights[:, None] * rows).sum(0).view_as(tokens[0]))
    return attended


def tsm_shift(clip: Tensor) -> Tensor:
    """One clip (T,C,H,W): the first eighth of the channels from the next frame, the second from the one before."""
    eighth = clip.shape[1] // 8
    shifted = clip.clone()
    for t in range(len(clip)):
        shifted[t, :eighth] = clip[t + 1, :eighth] if t + 1 < len(clip) else 0
        shifted[t, eighth : 2 * eighth] = clip[t - 1, eighth : 2 * eighth] if t > 0 else 0
    return shifted


# --- M2A's blocks: a clip (T,c,h,w) in, the same shape out ---------------------------------------------------------


def patch_attention(clip: Tensor, size: int) -> Tensor:
    """S+T patch attention with motion; where patches do not fit, attention over all positions of all frames."""
    frames, channels, height, width = clip.shape
    if height % size:
        tokens = [clip[t, :, y, x] for t in range(frames) for y in range(height) for x in range(width)]
        attended = attend(differences([layer_norm(token) for token in tokens]))
        mixed = torch.stack([token + change for token, change in zip(tokens, attended, strict=True)])
        return mixed.view(frames, height, width, channels).permute(0, 3, 1, 2)
    clip = clip.clone()
    corners = [(y, x) for y in range(0, height, size) for x in range(0, width, size)]
    places = [(slice(None), slice(y, y + size), slice(x, x + size)) for y, x in corners]
    for place in places:
        tokens = [frame[place] for frame in clip]
        attended = attend(differences([layer_norm(token) for token in tokens]))
        for t in range(frames):
            clip[t][place] += attended[t]
    for t in range(frames):
        attended = attend([layer_norm(clip[t][place]) for place in places])
        for place, change in zip(places, attended, strict=True):
            clip[t][place] += change
    return clip


def tea_block(clip: Tensor, state: State, at: str) -> Tensor:
    """1x1 conv and BN, depthwise conv of the next frame minus this (zeros at the end), 1x1 conv and BN."""
    f = batch_norm(F.conv2d(clip, state[f"{at}conv1.weight"]), state, f"{at}bn1.")
    c = F.conv2d(f, state[f"{at}conv2.weight"], padding=1, groups=f.shape[1])
    change = [c[t + 1] - f[t] for t in range(len(f) - 1)] + [torch.zeros_like(f[0])]
    return torch.stack(change)


def tea_in_shell(clip: Tensor, state: State, at: str) -> Tensor:
    """TEA as M2A's release has it: no pooling, no gate of its own."""
    return batch_norm(F.conv2d(tea_block(clip, state, at), state[f"{at}conv3.weight"]), state, f"{at}bn3.")


def tea_original(clip: Tensor, state: State, at: str = "") -> Tensor:
    """TEA's motion excitation: global pooling, a sigmoid gate less a half, on top of the input."""
    pooled = tea_block(clip, state, at).mean((2, 3), keepdim=True)
    gate = torch.sigmoid(batch_norm(F.conv2d(pooled, state[f"{at}conv3.weight"]), state, f"{at}bn3."))
    return clip + clip * (gate - 0.5)


def halve(x: Tensor) -> Tensor:
    """2x2 average pooling; an odd last row or column is left out."""
    height, width = x.shape[2] // 2, x.shape[3] // 2
    x = x[:, :, : 2 * height, : 2 * width]
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def nearest(x: Tensor, height: int, width: int) -> Tensor:
    """Nearest-neighbour enlargement to ``height`` x ``width``."""
    rows = [y * x.shape[2] // height for y in range(height)]
    columns = [z * x.shape[3] // width for z in range(width)]
    return x[:, :, rows][:, :, :, columns]


def tdn_gate(clip: Tensor, state: State, at: str, released_backward: bool) -> Tensor:
    """TDN's two-way gate; ``released_backward``: the backward full-size branch reads the forward one's output."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight = state[f"{at}conv3{name}.weight"]
        return batch_norm(F.conv2d(x, weight, padding=weight.shape[-1] // 2), state, f"{at}bn3{name}.")

    f = batch_norm(F.conv2d(clip, state[f"{at}conv1.weight"]), state, f"{at}bn1.")
    c = F.conv2d(f, state[f"{at}conv2.weight"], padding=1, groups=f.shape[1])
    nothing = torch.zeros_like(f[0])
    forward = torch.stack([c[t + 1] - f[t] for t in range(len(f) - 1)] + [nothing])
    backward = torch.stack([nothing] + [c[t] - f[t + 1] for t in range(len(f) - 1)])
    full = {"forward": conv(forward, "_smallscale4")}
    full["backward"] = conv(full["forward"] if released_backward else backward, "_smallscale4")
    gates = []
    for name, change in (("forward", forward), ("backward", backward)):
        small = nearest(conv(halve(change), "_smallscale2"), change.shape[2], change.shape[3])
        gates.append(torch.sigmoid(conv((change + small + full[name]) / 3, "")) - 0.5)
    return (gates[0] + gates[1]) / 2


def tdn_in_shell(clip: Tensor, state: State, at: str) -> Tensor:
    """TDN as M2A's release has it: the gate itself is the result."""
    return tdn_gate(clip, state, at, released_backward=True)


def tdn_original(clip: Tensor, state: State, at: str = "") -> Tensor:
    """TDN's long-term module as TDN's own release has it."""
    return clip + clip * tdn_gate(clip, state, at, released_backward=False)


def tam(clip: Tensor, state: State, at: str = "") -> Tensor:
    """TAM: a local gate per channel and frame, then a temporal kernel of three taps per channel."""
    frames = len(clip)
    pooled = clip.mean((2, 3)).T  # (c,T)
    hidden = torch.relu(batch_norm(pooled @ state[f"{at}G.0.weight"].T, state, f"{at}G.1."))
    scores = hidden @ state[f"{at}G.3.weight"].T
    scores = torch.exp(scores - scores.amax(1, keepdim=True))
    kernel = scores / scores.sum(1, keepdim=True)
    local = F.conv1d(pooled[None], state[f"{at}L.0.weight"], padding=1)
    local = F.conv1d(torch.relu(batch_norm(local, state, f"{at}L.1.")), state[f"{at}L.3.weight"])
    gate = torch.sigmoid(local)[0]
    gated = torch.stack([clip[t] * gate[:, t, None, None] for t in range(frames)])
    out = torch.zeros_like(clip)
    for t in range(frames):
        for tap in range(3):
            if 0 <= t + tap - 1 < frames:
                out[t] += kernel[:, tap, None, None] * gated[t + tap - 1]
    return out


def m2a_block(clip: Tensor, variant: str, state: State, at: str, patch: int | None) -> Tensor:
    """What stands between the two 1x1 convolutions, for a released variant name such as ``tdn+attn``."""
    if variant == "patch_mattn":
        assert patch is not None
        return patch_attention(clip, patch)
    motion, _, attention = variant.partition("+")
    if not attention and motion in ("attn", "tam"):
        motion, attention = "", motion
    alone = f"{at}modules_list.0."
    if variant == "tam":
        return tam(clip, state, alone)
    pair = bool(motion and attention)
    features = torch.stack([layer_norm(frame) for frame in clip]) if attention else clip
    if motion == "motion":
        features = torch.stack(differences(list(features)))
    elif motion == "tea":
        features = tea_in_shell(features, state, f"{alone}motion_mod." if pair else alone)
    elif motion == "tdn":
        features = tdn_in_shell(features, state, f"{alone}motion_mod." if pair else alone)
    if attention == "attn":
        features = torch.stack(attend(list(features)))
    elif attention == "tam":
        features = tam(features, state, f"{alone}attn.")
    return features + clip if attention else features


def m2a(x: Tensor, frames: int, variant: str, state: State, at: str = "", patch: int | None = None) -> Tensor:
    """The whole M2A module on frames (N*T,C,H,W)."""
    clips = []
    for clip in x.split(frames):
        down = F.conv2d(clip, state[f"{at}conv_down.weight"], state[f"{at}conv_down.bias"])
        block = m2a_block(down, variant, state, at, patch)
        gate = torch.sigmoid(F.conv2d(block, state[f"{at}conv_up.weight"], state[f"{at}conv_up.bias"]))
        clips.append(clip * gate + clip)
    return torch.cat(clips)


# --- AIA's units ---------------------------------------------------------------------------------------------------

# the pooled axis, then the conv's volume, as places in (T,C,H,W)
AXES = {"C": (1, (0, 2, 3)), "T": (0, (1, 2, 3)), "H": (2, (0, 1, 3)), "W": (3, (0, 2, 1))}


def aia_gate(clip: Tensor, axis: str, state: State, at: str) -> Tensor:
    """The gate of one axis for a clip (T,C,H,W), with length 1 on that axis."""
    pooled, volume = AXES[axis]
    moved = clip.permute(pooled, *volume)
    stack = torch.stack([moved.max(0).values, moved.mean(0)])
    weight = state[f"{at}{axis}_conv.weight"]
    logits = batch_norm(F.conv3d(stack[None], weight, padding=1), state, f"{at}{axis}_bn.")
    gate = torch.sigmoid(logits)[0]  # (1, *volume)
    back = [0] * 4
    for here, there in enumerate((pooled, *volume)):
        back[there] = here
    return gate.permute(back)


def aia_unit(clip: Tensor, unit: str, state: State, at: str) -> Tensor:
    """C, ST, CinST or STinC on a clip (T,C,H,W)."""

    def channel(y: Tensor) -> Tensor:
        return aia_gate(y, "C", state, at)

    def space_time(y: Tensor) -> Tensor:
        return (aia_gate(y, "T", state, at) + aia_gate(y, "H", state, at) + aia_gate(y, "W", state, at)) / 3

    gates: dict[str, Callable[[], Tensor]] = {
        "C": lambda: channel(clip),
        "ST": lambda: space_time(clip),
        "CinST": lambda: space_time(clip * channel(clip)),
        "STinC": lambda: channel(clip * space_time(clip)),
    }
    return clip * gates[unit]()


def aia(x: Tensor, frames: int, variant: str, state: State, at: str) -> Tensor:
    """A released composition such as ``CinST2STinC`` or ``CplusST`` on frames (N*T,C,H,W); ``at`` ends with ``eft``."""
    clips = []
    for clip in x.split(frames):
        if "plus" in variant:
            first, second = variant.split("plus")
            parts = [aia_unit(clip, unit, state, f"{at}{i}.") for i, unit in ((1, first), (2, second))]
            clips.append(0.5 * parts[0] + 0.5 * parts[1])
        elif "2" in variant:
            first, second = variant.split("2")
            clips.append(aia_unit(aia_unit(clip, first, state, f"{at}1."), second, state, f"{at}2."))
        else:
            clips.append(aia_unit(clip, variant, state, f"{at}."))
    return torch.cat(clips)
