"""Mechanisms against a slow second implementation, closed forms and invariants."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidrepro.errors import ModelError, UnknownNameError
from vidrepro.models import build_mechanism, module_names
from vidrepro.models.mechanisms import resolve_mechanism
from vidrepro.models.mechanisms.m2a import FrameAttention, FrameDifference


def random_frames(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_m2a(module: torch.nn.Module, x: np.ndarray, frames: int, options: dict[str, Any]) -> np.ndarray:
    """M2A's shell, frame by frame and token by token, in NumPy."""
    weights = {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
    out = np.empty_like(x)
    for start in range(0, len(x), frames):
        clip = x[start : start + frames]
        reduced = [
            np.einsum("oc,chw->ohw", weights["conv_down.weight"][:, :, 0, 0], frame)
            + weights["conv_down.bias"][:, None, None]
            for frame in clip
        ]
        features = list(reduced)
        if options["norm"] == "always" or (options["norm"] == "with-attention" and options["attention"] != "none"):
            features = [(frame - frame.mean()) / np.sqrt(frame.var() + 1e-5) for frame in features]
        if options["motion"] == "m2a":
            last = features[0] if options["boundary"] == "first" else np.zeros_like(features[0])
            features = [b - a for a, b in zip(features, [*features[1:], last], strict=True)]
        result = features
        if options["attention"] == "m2a":
            result = []
            for query in features:
                scores = np.array([(query * key).sum() for key in features]) / np.sqrt(query.size)
                shares = np.exp(scores - scores.max())
                shares /= shares.sum()
                result.append(sum(share * value for share, value in zip(shares, features, strict=True)))
            added = {"reduced": reduced, "attention-input": features, "none": [np.zeros_like(f) for f in features]}
            result = [a + b for a, b in zip(result, added[options["skip"]], strict=True)]
        for index, (frame, inner) in enumerate(zip(clip, result, strict=True)):
            raised = np.einsum("oc,chw->ohw", weights["conv_up.weight"][:, :, 0, 0], inner)
            gate = 1 / (1 + np.exp(-(raised + weights["conv_up.bias"][:, None, None])))
            out[start + index] = frame * gate + frame
    return out


BLOCKS = [("m2a", "m2a"), ("m2a", "none"), ("none", "m2a")]


@pytest.mark.parametrize("frames", [1, 3, 4])
@pytest.mark.parametrize(("motion", "attention"), BLOCKS)
def test_shell_is_the_naive_one_for_every_option(motion: str, attention: str, frames: int) -> None:
    x = random_frames(2 * frames, 16, 3, 5)
    for boundary, norm, skip in itertools.product(
        ("zeros", "first"), ("with-attention", "always", "never"), ("reduced", "attention-input", "none")
    ):
        options = {"motion": motion, "attention": attention, "boundary": boundary, "norm": norm, "skip": skip}
        module = build_mechanism("m2a", 16, frames, **options).double()
        expected = naive_m2a(module, x.numpy(), frames, options)
        np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=0, atol=1e-12, err_msg=str(options))


def test_paper_variant_is_the_text() -> None:
    """Text, section 3: norm after the reduction, last step filled with the first frame, skip of attention's input."""
    text = {"boundary": "first", "norm": "always", "skip": "attention-input"}
    x = random_frames(8, 16, 4, 4)
    for name, (motion, attention) in zip(("m2a", "m2a-motion", "m2a-attention"), BLOCKS, strict=True):
        module = build_mechanism(name, 16, 4, variant="paper").double()
        expected = naive_m2a(module, x.numpy(), 4, {"motion": motion, "attention": attention, **text})
        np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_variant_is_a_bundle_of_options_each_settable_alone() -> None:
    text = {"boundary": "first", "norm": "always", "skip": "attention-input", "position": "after_first_conv"}
    assert resolve_mechanism("m2a", "official", text) == resolve_mechanism("m2a", "paper", {})
    for option, value in text.items():
        one = resolve_mechanism("m2a", "official", {option: value}).options
        assert {name for name, v in resolve_mechanism("m2a", "official", {}).options.items() if one[name] != v} == {
            option
        }


def test_specs_of_several_forms_mean_the_same() -> None:
    named = resolve_mechanism("m2a-motion", "official", {}).options
    assert resolve_mechanism("m2a(motion=m2a, attention=none)", "official", {}).options == named
    assert resolve_mechanism({"motion": "m2a", "attention": "none"}, "official", {}).options == named
    assert resolve_mechanism("m2a", "official", {"attention": "none"}).options == named
    assert resolve_mechanism("m2a(reduction=4)", "official", {}).options["reduction"] == 4
    assert resolve_mechanism({"motion": "none", "attention": "none"}, "official", {}).name == "none"


@pytest.mark.parametrize(("motion", "attention"), BLOCKS)
def test_the_spec_of_the_notes_builds_the_module(motion: str, attention: str) -> None:
    """The notes write every row as {motion, attention, temporal_shift, reduction}."""
    spec = {"motion": motion, "attention": attention, "temporal_shift": False, "reduction": 4}
    x = random_frames(4, 16, 3, 3)
    module = build_mechanism(spec, 16, 4).double()
    assert module.conv_down.weight.shape[0] == 16 // 4
    official = {"boundary": "zeros", "norm": "with-attention", "skip": "reduced"}
    expected = naive_m2a(module, x.numpy(), 4, {"motion": motion, "attention": attention, **official})
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=0, atol=1e-12)
    again = build_mechanism("m2a", 16, 4, motion=motion, attention=attention, reduction=4, temporal_shift=False)
    again.load_state_dict(module.state_dict())
    assert torch.equal(again.double()(x), module(x))
    assert spec["temporal_shift"] is False, "the caller's spec stays as it was"


@pytest.mark.parametrize(("motion", "attention"), [*BLOCKS, ("none", "none")])
def test_one_module_cannot_be_two(motion: str, attention: str) -> None:
    for spec, options in (
        ({"motion": motion, "attention": attention, "temporal_shift": True}, {}),
        ({"motion": motion, "attention": attention}, {"temporal_shift": True}),
    ):
        with pytest.raises(ModelError, match=r"build_model\(\.\.\., temporal_shift=True\)"):
            build_mechanism(spec, 16, 4, **options)


@pytest.mark.parametrize("spec", [None, 3, "", ("m2a",), {}, {"reduction": 8}, {"motion": "m2a"}, {"attention": "m2a"}])
def test_what_is_no_spec_is_refused(spec: Any) -> None:
    with pytest.raises(ModelError, match=r"(not understood|says what its)") as refusal:
        build_mechanism(spec, 16, 4)
    assert "motion" in str(refusal.value.allowed)


def test_single_frame_has_no_motion_but_itself() -> None:
    x = random_frames(2, 4, 3, 3)
    assert torch.equal(FrameDifference(1, "zeros")(x), -x)
    assert torch.equal(FrameDifference(1, "first")(x), torch.zeros_like(x))
    torch.testing.assert_close(FrameAttention(1)(x), x, rtol=0, atol=0)


def test_difference_of_a_steady_ramp() -> None:
    """Frames that grow by 1: every difference is 1, the last is minus the last frame, or back to the first."""
    x = torch.arange(5.0).view(5, 1, 1, 1).repeat(2, 2, 1, 1)
    assert FrameDifference(5, "zeros")(x)[:5, 0, 0, 0].tolist() == [1, 1, 1, 1, -4]
    assert FrameDifference(5, "first")(x)[:5, 0, 0, 0].tolist() == [1, 1, 1, 1, -4]
    shifted = FrameDifference(5, "zeros")(x + 2)
    wrapped = FrameDifference(5, "first")(x + 2)
    assert shifted[4, 0, 0, 0] == -6
    assert wrapped[4, 0, 0, 0] == -4


def test_attention_to_identical_frames_is_their_mean() -> None:
    x = random_frames(1, 2, 3, 3).repeat(4, 1, 1, 1)
    torch.testing.assert_close(FrameAttention(4)(x), x)


def test_attention_ignores_the_order_of_frames_and_motion_does_not() -> None:
    x = random_frames(5, 16, 3, 3)
    order = torch.tensor([3, 0, 4, 1, 2])
    attention = build_mechanism("m2a-attention", 16, 5).double()
    torch.testing.assert_close(attention(x[order]), attention(x)[order], rtol=0, atol=1e-12)
    motion = build_mechanism("m2a-motion", 16, 5).double()
    assert (motion(x[order]) - motion(x)[order]).abs().max() > 1e-3


@pytest.mark.parametrize("name", [name for name in module_names() if name != "none"])
@pytest.mark.parametrize("variant", ["official", "paper"])
def test_clips_of_a_batch_do_not_touch(name: str, variant: str) -> None:
    module = build_mechanism(name, 16, 3, variant=variant).double().eval()  # in training a batch norm joins clips
    x = random_frames(6, 16, 4, 4)
    alone = module(x[:3])
    x[3:] = 100.0
    torch.testing.assert_close(module(x)[:3], alone, rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(clips=st.integers(1, 3), frames=st.integers(1, 6), channels=st.integers(8, 40), side=st.integers(1, 4))
def test_temporal_shift_moves_what_it_says(clips: int, frames: int, channels: int, side: int) -> None:
    x = random_frames(clips * frames, channels, side, side)
    out = build_mechanism("tsm", channels, frames)(x).view(clips, frames, channels, side, side)
    before = x.view(clips, frames, channels, side, side)
    fold = channels // 8
    for t in range(frames):
        next_frame = before[:, t + 1, :fold] if t + 1 < frames else torch.zeros_like(before[:, t, :fold])
        previous = before[:, t - 1, fold : 2 * fold] if t else torch.zeros_like(before[:, t, :fold])
        assert torch.equal(out[:, t, :fold], next_frame)
        assert torch.equal(out[:, t, fold : 2 * fold], previous)
        assert torch.equal(out[:, t, 2 * fold :], before[:, t, 2 * fold :])


@pytest.mark.parametrize("name", module_names())
def test_memory_layout_changes_nothing(name: str) -> None:
    module = build_mechanism(name, 16, 4).double()
    x = random_frames(8, 16, 5, 3)
    out = module(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(out, module(x), rtol=0, atol=1e-12)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["tsm", "m2a", "m2a-motion", "m2a-attention"])
def test_gradients_are_the_numerical_ones(name: str) -> None:
    module = build_mechanism(name, 8, 3, reduction=4) if name != "tsm" else build_mechanism(name, 8, 3)
    module = module.double()
    assert torch.autograd.gradcheck(module, (random_frames(3, 8, 2, 2).requires_grad_(),))


@pytest.mark.parametrize("variant", ["official", "paper"])
def test_every_parameter_learns(variant: str) -> None:
    module = build_mechanism("m2a", 16, 4, variant=variant).double()
    module(random_frames(8, 16, 4, 4)).square().mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_reduced_channels_are_rounded_down() -> None:
    assert build_mechanism("m2a", 24, 8).conv_down.weight.shape == (3, 24, 1, 1)
    assert build_mechanism("m2a", 20, 8).conv_down.weight.shape == (2, 20, 1, 1)


@pytest.mark.parametrize(
    ("spec", "channels", "options", "says"),
    [
        ("m2a", 7, {}, "cannot be reduced by 8"),
        ("tsm", 7, {}, "temporal shift"),
        ("m2a", 16, {"motion": "none", "attention": "none"}, "neither motion nor attention"),
        ("m2a-motion", 16, {"attention": "m2a"}, "means attention=none"),
        ("m2a", 16, {"boundary": "frist"}, "did you mean 'first'"),
        ("m2a", 16, {"reduction": 0}, "at least 1"),
        ("m2a", 16, {"reduction": True}, "at least 1"),
        ("m2a", 0, {}, "channels must be a positive integer"),
        ("m2a(motion)", 16, {}, "option=value"),
        ("m2a(motion=m2a", 16, {}, "not understood"),
        ("m2a(reduction=4)", 16, {"reduction": 8}, "given twice"),
    ],
)
def test_what_cannot_be_built_is_refused(spec: str, channels: int, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says.replace("(", r"\(")):
        build_mechanism(spec, channels, 4, **options)


@pytest.mark.parametrize(
    ("spec", "options", "says"),
    [
        ("m2a-motoin", {}, "did you mean 'm2a-motion'"),
        ("m2a", {"bundary": "first"}, "did you mean 'boundary'"),
        ("tsm", {"boundary": "first"}, "unknown option of mechanism 'tsm'"),
        ("m2a", {"variant": "papper"}, "did you mean 'paper'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(spec: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UnknownNameError, match=says):
        build_mechanism(spec, 16, 4, **options)


@pytest.mark.parametrize("name", ["tsm", "m2a"])
def test_a_batch_that_is_no_whole_number_of_clips_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="not a whole number of clips of 4"):
        build_mechanism(name, 16, 4)(torch.zeros(6, 16, 2, 2))
