"""TEA's, TDN's, TAM's and the patch attention's blocks against a slow second implementation in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vidrepro.errors import ModelError
from vidrepro.models import build_mechanism
from vidrepro.models.mechanisms.m2a import GatedMotionAttention
from vidrepro.models.mechanisms.patch_attention import PatchAttention, attend, patch_size

Weights = dict[str, np.ndarray]


def random_frames(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_random_state(module: nn.Module) -> nn.Module:
    """Double precision, eval mode, and batch norms that do something."""
    generator = torch.Generator().manual_seed(7)
    for name, tensor in module.double().state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif name.endswith(("norm.bias", "running_mean")):
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return module.eval()


def arrays(module: nn.Module) -> Weights:
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def normed(weights: Weights, layer: str, x: np.ndarray) -> np.ndarray:
    """Batch norm in eval mode of ``(c, h, w)`` or ``(c,)``."""
    scale = weights[f"{layer}.weight"] / np.sqrt(weights[f"{layer}.running_var"] + 1e-5)
    shift = weights[f"{layer}.bias"] - scale * weights[f"{layer}.running_mean"]
    spread = (slice(None), *(None,) * (x.ndim - 1))
    return x * scale[spread] + shift[spread]


def convolved(kernel: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Zero-padded convolution of ``(c, h, w)``; a kernel of one input channel is depthwise."""
    outputs, inputs, size, _ = kernel.shape
    height, width = x.shape[1:]
    reach = size // 2
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    out = np.zeros((outputs, height, width))
    for o in range(outputs):
        sources = [o] if inputs == 1 and outputs > 1 else range(inputs)
        for row in range(height):
            for column in range(width):
                window = padded[sources, row : row + size, column : column + size]
                out[o, row, column] = (kernel[o] * window).sum()
    return out


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def layer_norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def naive_tea_original(weights: Weights, clip: np.ndarray) -> np.ndarray:
    features = [normed(weights, "norm", convolved(weights["reduce.weight"], frame)) for frame in clip]
    out = []
    for t, frame in enumerate(clip):
        difference = np.zeros_like(features[0])
        if t + 1 < len(clip):
            difference = convolved(weights["transform.weight"], features[t + 1]) - features[t]
        pooled = difference.mean((1, 2), keepdims=True)
        gate = sigmoid(normed(weights, "expand_norm", convolved(weights["expand.weight"], pooled))) - 0.5
        out.append(frame + frame * gate)
    return np.stack(out)


def naive_tdn_gate(weights: Weights, clip: np.ndarray, backward_slip: bool) -> np.ndarray:
    """TDN's gate; `backward_slip`: the backward full-size branch convolves the forward one's output (M2A)."""
    features = [normed(weights, "norm", convolved(weights["reduce.weight"], frame)) for frame in clip]
    transformed = [convolved(weights["transform.weight"], feature) for feature in features]
    height, width = clip.shape[2:]
    out = []
    for t in range(len(clip)):
        zero = np.zeros_like(features[0])
        forward = transformed[t + 1] - features[t] if t + 1 < len(clip) else zero
        backward = transformed[t - 1] - features[t] if t else zero

        def full(x: np.ndarray) -> np.ndarray:
            return normed(weights, "full_norm", convolved(weights["full_conv.weight"], x))

        full_forward = full(forward)
        fulls = {"forward": full_forward, "backward": full(full_forward if backward_slip else backward)}
        gates = []
        for direction, difference in (("forward", forward), ("backward", backward)):
            pooled = np.zeros((len(difference), height // 2, width // 2))
            for row in range(height // 2):
                for column in range(width // 2):
                    window = difference[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                    pooled[:, row, column] = window.mean((1, 2))
            half = normed(weights, "half_norm", convolved(weights["half_conv.weight"], pooled))
            rows = [row * half.shape[1] // height for row in range(height)]  # nearest pixel
            columns = [column * half.shape[2] // width for column in range(width)]
            mean = (difference + half[:, rows][:, :, columns] + fulls[direction]) / 3
            gates.append(sigmoid(normed(weights, "expand_norm", convolved(weights["expand.weight"], mean))) - 0.5)
        out.append((gates[0] + gates[1]) / 2)
    return np.stack(out)


def naive_tam(weights: Weights, clip: np.ndarray) -> np.ndarray:
    frames, channels = clip.shape[:2]
    means = clip.mean((2, 3))  # (T, C)
    hidden = np.zeros((frames, weights["local_branch.0.weight"].shape[0]))
    for t in range(frames):
        for tap in range(3):
            if 0 <= t + tap - 1 < frames:
                hidden[t] += weights["local_branch.0.weight"][:, :, tap] @ means[t + tap - 1]
        hidden[t] = np.maximum(normed(weights, "local_branch.1", hidden[t]), 0)
    gates = [sigmoid(weights["local_branch.3.weight"][:, :, 0] @ h) for h in hidden]
    out = np.zeros_like(clip)
    for channel in range(channels):
        inner = normed(weights, "global_branch.1", weights["global_branch.0.weight"] @ means[:, channel])
        kernel = softmax(weights["global_branch.3.weight"] @ np.maximum(inner, 0))
        for t in range(frames):
            for tap in range(3):
                source = t + tap - 1
                if 0 <= source < frames:
                    out[t, channel] += kernel[tap] * gates[source][channel] * clip[source, channel]
    return out


def naive_attention(tokens: list[np.ndarray]) -> list[np.ndarray]:
    out = []
    for query in tokens:
        shares = softmax(np.array([(query * key).sum() for key in tokens]) / np.sqrt(query.size))
        out.append(sum(share * value for share, value in zip(shares, tokens, strict=True)))
    return out


def naive_patches(
    clip: np.ndarray, size: int, *, motion: bool, boundary: str = "zeros", skip: str = "reduced", norm: bool = True
) -> np.ndarray:
    """Attention over time within each patch, then over the patches of each frame, on ``(T, c, h, w)``."""

    def maybe_normed(token: np.ndarray) -> np.ndarray:
        return layer_norm(token) if norm else token

    frames, _, height, width = clip.shape
    corners = [(row, column) for row in range(0, height, size) for column in range(0, width, size)]
    over_time = np.empty_like(clip)
    for row, column in corners:
        here = (slice(None), slice(row, row + size), slice(column, column + size))
        tokens = [maybe_normed(clip[t][here]) for t in range(frames)]
        if motion:
            beyond = tokens[0] if boundary == "first" else np.zeros_like(tokens[0])
            tokens = [after - now for now, after in zip(tokens, [*tokens[1:], beyond], strict=True)]
        for t, attended in enumerate(naive_attention(tokens)):
            added = {"reduced": clip[t][here], "attention-input": tokens[t], "none": 0}[skip]
            over_time[t][here] = attended + added
    out = np.empty_like(clip)
    for t in range(frames):
        places = [(slice(None), slice(r, r + size), slice(c, c + size)) for r, c in corners]
        for place, attended in zip(
            places, naive_attention([maybe_normed(over_time[t][p]) for p in places]), strict=True
        ):
            out[t][place] = attended + over_time[t][place]
    return out


def naive_pixels(clip: np.ndarray, *, motion: bool, by: str, boundary: str, skip: str) -> np.ndarray:
    """Attention among all pixels of a clip ``(T, c, h, w)``; the difference goes by a ``pixel`` or by a ``frame``."""
    frames, _, height, width = clip.shape
    sites = [(t, r, c) for t in range(frames) for r in range(height) for c in range(width)]
    normalised = {site: layer_norm(clip[site[0], :, site[1], site[2]]) for site in sites}
    tokens = []
    for index, site in enumerate(sites):
        further = index + (1 if by == "pixel" else height * width)
        if further < len(sites):
            after = normalised[sites[further]]
        elif boundary == "first":
            after = normalised[sites[further - len(sites)]]
        else:
            after = np.zeros_like(normalised[site])
        tokens.append(after - normalised[site] if motion else normalised[site])
    out = np.empty_like(clip)
    for site, token, attended in zip(sites, tokens, naive_attention(tokens), strict=True):
        t, r, c = site
        out[t, :, r, c] = attended + {"reduced": clip[t, :, r, c], "attention-input": token, "none": 0}[skip]
    return out


def assert_clip_by_clip(module: nn.Module, x: torch.Tensor, frames: int, naive: Any) -> None:
    clips = x.numpy().reshape(-1, frames, *x.shape[1:])
    expected = np.concatenate([naive(clip) for clip in clips])
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("frames", [1, 3])
def test_tea_original(frames: int) -> None:
    module = with_random_state(build_mechanism("tea-original", 8, frames, reduction=2))
    x = random_frames(2 * frames, 8, 4, 5)
    assert_clip_by_clip(module, x, frames, lambda clip: naive_tea_original(arrays(module), clip))


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7)])
@pytest.mark.parametrize("frames", [1, 3])
def test_tdn_original(frames: int, height: int, width: int) -> None:
    module = with_random_state(build_mechanism("tdn-original", 8, frames, reduction=2))
    x = random_frames(2 * frames, 8, height, width)
    assert_clip_by_clip(module, x, frames, lambda clip: clip * (1 + naive_tdn_gate(arrays(module), clip, False)))


@pytest.mark.parametrize("backward", ["released", "fixed"])
def test_tdn_block_at_an_odd_size(backward: str) -> None:
    shell = build_mechanism("tdn", 16, 3, tdn_backward=backward)
    assert isinstance(shell, GatedMotionAttention)
    block = with_random_state(shell.motion)
    x = random_frames(6, 2, 5, 5)
    assert_clip_by_clip(block, x, 3, lambda clip: naive_tdn_gate(arrays(block), clip, backward == "released"))


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_tam_original(frames: int) -> None:
    module = with_random_state(build_mechanism("tam-original", 8, frames))
    x = random_frames(2 * frames, 8, 3, 4)
    assert_clip_by_clip(module, x, frames, lambda clip: naive_tam(arrays(module), clip))


@pytest.mark.parametrize("motion", ["m2a", "none"])
@pytest.mark.parametrize("options", [{}, {"boundary": "first"}, {"skip": "attention-input"}, {"norm": "never"}])
def test_patch_attention_on_maps_of_whole_patches(motion: str, options: dict[str, Any]) -> None:
    shell = build_mechanism("m2a", 24, 3, motion=motion, attention="patch2", **options).double()
    x = random_frames(6, 3, 4, 6)
    naive = {"boundary": "zeros", "skip": "reduced"} | {k: v for k, v in options.items() if k != "norm"}
    norm = options.get("norm") != "never"
    assert_clip_by_clip(
        lambda y: shell.attention(y, shell.motion),
        x,
        3,
        lambda clip: naive_patches(clip, 2, motion=motion == "m2a", norm=norm, **naive),
    )


@pytest.mark.parametrize("boundary", ["zeros", "first"])
@pytest.mark.parametrize(("difference", "by"), [("released", "pixel"), ("frame", "frame")])
@pytest.mark.parametrize("skip", ["reduced", "attention-input", "none"])
def test_patch_attention_where_the_height_is_no_multiple(boundary: str, difference: str, by: str, skip: str) -> None:
    """The release looks at the height alone: 3x4 maps go pixel by pixel, and so would a width that fits."""
    shell = build_mechanism(
        "m2a(attention=patch2)", 24, 2, boundary=boundary, patch_difference=difference, skip=skip
    ).double()
    assert_clip_by_clip(
        lambda y: shell.attention(y, shell.motion),
        random_frames(4, 3, 3, 4),
        2,
        lambda clip: naive_pixels(clip, motion=True, by=by, boundary=boundary, skip=skip),
    )


def test_pixel_attention_without_motion_has_no_difference() -> None:
    shell = build_mechanism("m2a(motion=none, attention=patch2)", 24, 2).double()
    assert_clip_by_clip(
        lambda y: shell.attention(y, shell.motion),
        random_frames(2, 3, 3, 3),
        2,
        lambda clip: naive_pixels(clip, motion=False, by="pixel", boundary="zeros", skip="reduced"),
    )


def test_a_width_of_broken_patches_is_refused() -> None:
    with pytest.raises(ModelError, match="4x6 does not divide into patches of 4x4"):
        PatchAttention(2, 4)(torch.zeros(2, 3, 4, 6))


@pytest.mark.parametrize("learning", [True, False])
def test_attention_in_pieces_is_attention(learning: bool) -> None:
    """Above 1024 tokens the rows are worked off in pieces, or fused where a gradient is wanted."""
    tokens = random_frames(1, 1030, 4)
    scores = tokens[0] @ tokens[0].T / 2
    expected = scores.softmax(1) @ tokens[0]
    out = attend(tokens.requires_grad_(learning))
    torch.testing.assert_close(out[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("attention", ["m2a", "tam"])
@pytest.mark.parametrize("motion", ["m2a", "tea", "tdn"])
def test_a_pair_is_norm_motion_attention_and_the_reduced_features(motion: str, attention: str) -> None:
    shell = build_mechanism("m2a", 16, 3, motion=motion, attention=attention).double().eval()
    x = random_frames(6, 16, 4, 4)
    reduced = shell.conv_down(x)
    normalised = (reduced - reduced.mean((1, 2, 3), keepdim=True)) / torch.sqrt(
        reduced.var((1, 2, 3), keepdim=True, correction=0) + 1e-5
    )
    inner = shell.attention(shell.motion(normalised)) + reduced
    expected = x * torch.sigmoid(shell.conv_up(inner)) + x
    torch.testing.assert_close(shell(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "block"), [("tea", "motion"), ("tdn", "motion"), ("tam", "attention")])
def test_a_rival_alone_has_neither_norm_nor_skip_as_released(name: str, block: str) -> None:
    shell = build_mechanism(name, 16, 3).double().eval()
    x = random_frames(6, 16, 4, 4)
    expected = x * torch.sigmoid(shell.conv_up(shell.get_submodule(block)(shell.conv_down(x)))) + x
    torch.testing.assert_close(shell(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("patch1", 1), ("patch14", 14), ("patch0", None), ("patch", None), ("patch-2", None), ("patch2.0", None)),
        *(("Patch4", None), (4, None), (None, None)),
    ],
)
def test_patch_sizes(name: object, size: int | None) -> None:
    assert patch_size(name) == size
