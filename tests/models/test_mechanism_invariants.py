"""What holds for every mechanism, whatever its weights."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from vidrepro.models import build_mechanism, build_model
from vidrepro.models.mechanisms.m2a import FrameAttention, FrameDifference
from vidrepro.models.mechanisms.motion import TransformedDifference
from vidrepro.models.mechanisms.patch_attention import PatchAttention, attention_weights
from vidrepro.models.mechanisms.tam import TAMBlock

PAIRS = [
    f"m2a(motion={motion}, attention={attention})"
    for motion, attention in product(("none", "m2a", "tdn", "tea"), ("none", "m2a", "tam", "patch2", "patch3"))
    if (motion, attention) != ("none", "none")
]
EVERY = [*PAIRS, "tsm", "tea-original", "tdn-original", "tam-original"]
CHANNELS = 32


def random_frames(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(spec: str, frames: int, *, channels: int = CHANNELS, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_mechanism(spec, channels, frames, **options).double()


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("spec", EVERY)
@pytest.mark.parametrize("frames", [1, 5])
def test_any_number_of_frames_and_any_order_of_clips(spec: str, variant: str, frames: int) -> None:
    module = build(spec, frames, variant=variant).eval()
    x = random_frames(3, frames, CHANNELS, 6, 6)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        out = module(x.flatten(0, 1)).view(x.shape)
        reordered = module(x[order].flatten(0, 1)).view(x.shape)
    assert torch.isfinite(out).all()
    torch.testing.assert_close(reordered, out[order], rtol=0, atol=1e-12)


def test_a_static_clip_has_no_motion_but_where_the_boundary_says_so() -> None:
    still = random_frames(1, 3, 4, 4).repeat(5, 1, 1, 1)
    assert not FrameDifference(5, "first")(still).any()
    zeros = FrameDifference(5, "zeros")(still)
    assert not zeros[:4].any()
    assert torch.equal(zeros[4], -still[4])


@pytest.mark.parametrize("spec", ["tea", "tdn"])
def test_a_static_clip_has_no_transformed_difference_once_the_transform_is_the_identity(spec: str) -> None:
    block = build(spec, 4).motion
    assert isinstance(block, TransformedDifference)
    with torch.no_grad():
        block.transform.weight.zero_()[:, :, 1, 1] = 1
    features = block.eval().features(random_frames(1, CHANNELS // 8, 5, 5).repeat(8, 1, 1, 1))
    assert not block.forward_difference(*features).any()
    assert not block.backward_difference(*features).any()


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("difference", ["released", "frame"])
def test_a_static_clip_gives_the_patch_attention_nothing(size: int, difference: str) -> None:
    still = random_frames(1, 3, 4, 4).repeat(3, 1, 1, 1)
    block = PatchAttention(3, size, skip="attention-input", difference=difference)
    assert not block(still, FrameDifference(3, "first")).any()
    assert block(still, FrameDifference(3, "zeros")).any()


def test_a_static_clip_by_pixels_has_no_motion_by_frames_alone() -> None:
    """3x3 maps and patches of 2: the release's difference is between neighbouring pixels, which do differ."""
    still = random_frames(1, 3, 3, 3).repeat(2, 1, 1, 1)
    motion = FrameDifference(2, "first")
    assert not PatchAttention(2, 2, skip="attention-input", difference="frame")(still, motion).any()
    assert PatchAttention(2, 2, skip="attention-input", difference="released")(still, motion).any()


def test_attention_rows_sum_to_one() -> None:
    x = 3 * random_frames(10, 4, 3, 3)
    rows = FrameAttention(5).weights(x)
    assert rows.shape == (2, 5, 5)
    torch.testing.assert_close(rows.sum(2), torch.ones(2, 5, dtype=torch.float64))
    tokens = random_frames(2, 7, 3)
    weights = attention_weights(tokens[:, :4], tokens)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 4, dtype=torch.float64))
    assert (weights > 0).all()
    kernels = TAMBlock(4, 5).double().temporal_kernels(x)
    assert kernels.shape == (8, 3)
    torch.testing.assert_close(kernels.sum(1), torch.ones(8, dtype=torch.float64))


def test_tdn_of_its_own_authors_cannot_tell_forwards_from_backwards() -> None:
    """Its two directions swap when time runs backwards; the slip in M2A's release breaks that symmetry."""
    x = random_frames(4, CHANNELS, 5, 5)
    for spec, options in (("tdn-original", {}), ("tdn", {"tdn_backward": "fixed"})):
        module = build(spec, 4, **options).eval()
        torch.testing.assert_close(module(x.flip(0)).flip(0), module(x), rtol=0, atol=1e-12)
    released = build("tdn", 4).eval()
    assert (released(x.flip(0)).flip(0) - released(x)).abs().max() > 1e-4


def not_learning(module: nn.Module, frames: int) -> set[str]:
    """The parameters that a loss with random weights on every output has no gradient for."""
    out = module(random_frames(2 * frames, CHANNELS, 6, 6))
    (out * random_frames(*out.shape, seed=1)).sum().backward()
    return {name for name, parameter in module.named_parameters() if not parameter.grad.abs().max() > 1e-9}


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("spec", [spec for spec in EVERY if spec != "tsm"])
def test_every_parameter_has_a_gradient(spec: str, variant: str) -> None:
    assert not_learning(build(spec, 4, variant=variant).eval(), 4) == set()


@pytest.mark.parametrize(
    ("spec", "options", "cancelled"),
    [
        # a batch norm takes its batch's mean off, and with it every constant added before
        ("tea", {}, {"conv_down.bias"}),
        ("tdn", {}, {"conv_down.bias", "motion.half_norm.bias"}),
        ("tdn", {"tdn_backward": "fixed"}, {"conv_down.bias", "motion.half_norm.bias", "motion.full_norm.bias"}),
        ("tdn-original", {}, {"half_norm.bias", "full_norm.bias"}),
        # and so does a difference of frames that goes round
        ("m2a-motion", {"boundary": "first"}, {"conv_down.bias"}),
        ("m2a", {}, set()),
        ("m2a-motion", {}, set()),
        ("tam", {}, set()),
    ],
)
def test_what_cannot_learn_in_training(spec: str, options: dict[str, Any], cancelled: set[str]) -> None:
    assert not_learning(build(spec, 4, **options), 4) == cancelled


def test_a_single_frame_has_no_neighbour_to_learn_from() -> None:
    module = build("tea-original", 1)
    everything = {name for name, _ in module.named_parameters()}
    assert everything - not_learning(module, 1) == {"expand_norm.bias"}


GRADCHECKED = [
    *("m2a(reduction=4)", "m2a-motion(reduction=4)", "m2a-attention(reduction=4)"),
    *("tea(reduction=4)", "tdn(reduction=4)", "tdn(reduction=4, tdn_backward=fixed)", "tam(reduction=4)"),
    *("m2a(reduction=4, attention=patch2)", "m2a(reduction=4, attention=patch3)", "m2a(reduction=4, attention=tam)"),
    *("tea-original(reduction=4)", "tdn-original(reduction=4)", "tam-original", "tsm"),
]


@pytest.mark.parametrize("spec", GRADCHECKED)
def test_gradients_are_the_numerical_ones(spec: str) -> None:
    module = build(spec, 3, channels=8).eval()
    x = random_frames(3, 8, 2, 2).requires_grad_()
    parameters = list(module.parameters())
    assert torch.autograd.gradcheck(lambda inputs, *_: module(inputs), (x, *parameters))


def test_gradients_of_the_shell_have_gradients() -> None:
    module = build("m2a(reduction=4)", 2, channels=8)
    assert torch.autograd.gradgradcheck(module, (random_frames(2, 8, 2, 2).requires_grad_(),))


@pytest.mark.parametrize("spec", EVERY)
def test_bfloat16_is_close(spec: str) -> None:
    """8 bits of mantissa: the error over the spread of the outputs stays within a few of its steps of 1/256."""
    module = build(spec, 4).eval()
    base = random_frames(2, 1, CHANNELS, 6, 6)
    x = (base + 0.3 * random_frames(2, 4, CHANNELS, 6, 6, seed=1)).flatten(0, 1)
    with torch.no_grad():
        exact = module(x)
        half = module.bfloat16()(x.bfloat16()).double()
    assert half.isfinite().all()
    assert ((half - exact).square().mean().sqrt() / exact.std()).item() < 0.02


def test_bfloat16_logits_under_autocast() -> None:
    torch.manual_seed(0)
    model = build_model("micro", "m2a", frames=4, classes=5, head_std=0.1).eval()
    clips = torch.randn(2, 4, 3, 32, 32)
    with torch.no_grad():
        exact = model(clips)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(clips).float()
    assert not torch.equal(half, exact)
    torch.testing.assert_close(half, exact, rtol=0.05, atol=0.05 * exact.abs().max().item())
