"""Our modules and networks against a second, slow reading of the released code, in every variant that was released.

The golden files hold numbers for some variants only. The second reading of the modules is checked on those, and then
stands in for the numbers that are missing. Networks are narrow here, so that every variant takes part; at the released
size, both readings met every golden logit there is when this was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import second_reading as reading
import second_reading_networks as networks
import torch
from parity_tools import assert_summary_matches, fill, read_parity
from torch import Tensor, nn

from vidrepro.models import VideoClassifier, build_mechanism, build_model
from vidrepro.models.released.checkpoints import load_official_state, released_names
from vidrepro.models.taps import taps_of

FRAMES = 8
M2A = {
    "attn": "m2a-attention",
    "motion": "m2a-motion",
    "motion+attn": "m2a",
    "tea": "tea",
    "tdn": "tdn",
    "tam": "tam",
    "motion+tam": "m2a(attention=tam)",
    "tea+attn": "m2a(motion=tea, attention=m2a)",
    "tea+tam": "m2a(motion=tea, attention=tam)",
    "tdn+attn": "m2a(motion=tdn, attention=m2a)",
    "tdn+tam": "m2a(motion=tdn, attention=tam)",
    **{f"patch_mattn p{size}": f"m2a(motion=m2a, attention=patch{size})" for size in (2, 4, 8)},
}
AIA = {
    "C": "C",
    "ST": "ST",
    "CinST": "CinST",
    "STinC": "STinC",
    "C2ST": "C->ST",
    "ST2C": "ST->C",
    "CplusST": "C+ST",
    "CinST2STinC": "CinST->STinC",
    "STinC2CinST": "STinC->CinST",
    "STinCplusCinST": "CinST+STinC",
}
ORIGINALS: dict[str, Callable[..., Tensor]] = {
    "tea-original": reading.tea_original,
    "tdn-original": reading.tdn_original,
    "tam-original": reading.tam,
}
# what a golden module file is about -> the variant
COMPLETE = {
    "m2a_mod_attn": "attn",
    "m2a_mod_motion": "motion",
    "m2a_mod_motion_attn": "motion+attn",
    "m2a_mod_patch_mattn_p7": "patch_mattn p7",
    "m2a_mod_tam": "tam",
    "m2a_mod_tdn": "tdn",
    "orig_mod_tea_me": "tea-original",
    "aia_mod_C": "C",
    "aia_mod_ST": "ST",
    "aia_mod_CinST": "CinST",
}


def read_module(x: Tensor, variant: str, state: reading.State, frames: int = FRAMES) -> Tensor:
    """The second reading of a module on frames (N*T,C,H,W)."""
    if variant in ORIGINALS:
        return torch.cat([ORIGINALS[variant](clip, state) for clip in x.split(frames)])
    if variant in AIA:
        return torch.cat([reading.aia_unit(clip, variant, state, "") for clip in x.split(frames)])
    name, _, patch = variant.partition(" p")
    return reading.m2a(x, frames, name, state, patch=int(patch) if patch else None)


def read_network(clips: Tensor, backbone: str, variant: str, state: reading.State, **how: Any) -> Tensor:
    """The second reading of a network on clips (N,T,3,H,W)."""
    name, _, patch = variant.partition(" p")
    if backbone == "resnet50":
        return networks.aia_resnet50(clips, variant, state)
    if backbone == "resnet18":
        return networks.m2a_resnet18(clips, name, state, int(patch) if patch else None)
    if backbone == "mobilenetv2":
        return networks.m2a_mobilenetv2(clips, name, state)
    return networks.m2a_i3d_resnet18(clips, name, state, **how)


def resembling(*shape: int) -> Tensor:
    """Clips (N,T,...) whose frames resemble each other, so that no softmax over them is one-hot."""
    rng = np.random.Generator(np.random.PCG64(7))
    base = rng.normal(0, 1, size=(shape[0], 1, *shape[2:]))
    return torch.from_numpy(base + 0.1 * rng.normal(0, 1, size=shape))


def fill_released(model: nn.Module, source: str) -> dict[str, Tensor]:
    """Load values by the golden files' rule into a model, and return them by their released names."""
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    state = {theirs: fill(theirs, shapes[ours]) for ours, theirs in released_names(model, source).items()}
    report = load_official_state(model, state, source=source)
    assert report.complete
    assert len(report.loaded) == len(state) == len(shapes)
    model.double().eval()
    return {name: tensor.double() for name, tensor in state.items()}


def outputs(model: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """What a model gives in every way it may compute: without and with gradients, and with somebody listening."""
    with torch.no_grad():
        yield model(x)
    yield model(x).detach()
    handles = [tap.register_forward_hook(lambda *arguments: None) for tap in taps_of(model).values()]
    yield model(x).detach()
    for handle in handles:
        handle.remove()


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    scale = float(theirs.abs().max())
    assert scale > 0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("which", ["iid", "corr"])
@pytest.mark.parametrize("name", COMPLETE)
def test_the_reading_of_a_module_meets_the_released_numbers(name: str, which: str) -> None:
    parity = read_parity(name)
    state = {key: tensor.double() for key, tensor in parity.state_dict.items()}
    output = read_module(parity.input(which), COMPLETE[name], state)
    assert_summary_matches(output, parity.expected(which), parity.atol)


@pytest.mark.parametrize(("height", "width"), [(8, 12), (5, 3)])
@pytest.mark.parametrize("variant", [*M2A, *ORIGINALS, "C", "ST", "CinST", "STinC"])
def test_a_module_is_what_was_read(variant: str, height: int, width: int) -> None:
    """Maps that patches fit into and maps that they do not; outputs, and the input's gradient."""
    width = 16 if variant == "patch_mattn p8" and height == 8 else width
    module = build_mechanism(M2A.get(variant, variant), 16, FRAMES)
    state = fill_released(module, "aia" if variant in AIA else "m2a")
    x = resembling(2, FRAMES, 16, height, width).flatten(0, 1).requires_grad_()
    theirs = read_module(x, variant, state)
    weights = torch.sin(torch.arange(theirs.numel(), dtype=torch.float64)).view_as(theirs)
    (gradient,) = torch.autograd.grad(theirs, x, weights)
    for layout in (torch.contiguous_format, torch.channels_last):
        laid = x.detach().clone(memory_format=layout).requires_grad_()
        for ours in outputs(module, laid):
            assert_equal(ours, theirs.detach())
        assert_equal(torch.autograd.grad(module(laid), laid, weights)[0], gradient)


def batch_statistics(x: Tensor, state: reading.State, at: str) -> Tensor:
    """Batch norm of axis 1 as in training, by the statistics of this batch."""
    others = [axis for axis in range(x.ndim) if axis != 1]
    centred = x - x.mean(others, keepdim=True)
    normed = centred / torch.sqrt((centred * centred).mean(others, keepdim=True) + reading.EPS)
    shape = [1, -1] + [1] * (x.ndim - 2)
    return normed * state[f"{at}weight"].view(shape) + state[f"{at}bias"].view(shape)


@pytest.mark.parametrize("variant", [*M2A, *ORIGINALS, "C", "ST", "CinST", "STinC"])
def test_the_gradients_in_training_are_those_of_the_reading(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clip, which is then the whole batch of every norm; the gradients of the input and of every weight."""
    monkeypatch.setattr(reading, "batch_norm", batch_statistics)
    module = build_mechanism(M2A.get(variant, variant), 16, FRAMES)
    source = "aia" if variant in AIA else "m2a"
    state = fill_released(module, source)
    module.train()
    x = resembling(1, FRAMES, 16, 8, 8).flatten(0, 1).requires_grad_()
    ours_by_name = dict(module.named_parameters())
    names = {ours: theirs for ours, theirs in released_names(module, source).items() if ours in ours_by_name}
    leaves = [state[theirs].requires_grad_() for theirs in names.values()]
    theirs = read_module(x, variant, state)
    ours = module(x)
    assert_equal(ours.detach(), theirs.detach())
    weights = torch.sin(torch.arange(theirs.numel(), dtype=torch.float64)).view_as(theirs)
    expected = torch.autograd.grad(theirs, [x, *leaves], weights)
    gradients = torch.autograd.grad(ours, [x, *(ours_by_name[name] for name in names)], weights)
    for name, gradient, wanted in zip(["input", *names], gradients, expected, strict=True):
        scale = max(float(wanted.abs().max()), 1e-3)  # some are zero but for rounding, such as of a bias before a norm
        assert float((gradient - wanted).abs().max()) < 1e-10 * scale, name


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("variant", ["attn", "motion", "motion+attn", "tea+tam", "tdn+attn", "patch_mattn p2", "STinC"])
def test_a_module_with_another_number_of_frames(variant: str, frames: int) -> None:
    module = build_mechanism(M2A.get(variant, variant), 16, frames)
    state = fill_released(module, "aia" if variant in AIA else "m2a")
    x = resembling(2, frames, 16, 4, 6).flatten(0, 1)
    theirs = read_module(x, variant, state, frames)
    for ours in outputs(module, x):
        assert_equal(ours, theirs)


def network_cases() -> Iterator[Any]:
    """``backbone, our mechanism, temporal shift, released variant, side, options``."""
    for variant, spec in {"none": "none", "tsm": "tsm", **M2A}.items():
        if variant != "patch_mattn p2":
            side = 64 if variant.endswith("p8") else 48
            yield pytest.param("resnet18", spec, False, variant, side, {"width": 16}, id=f"r18-{variant}")
    yield pytest.param("resnet18", "m2a", True, "motion+attn+use_tsm", 48, {"width": 16}, id="r18-use_tsm")
    for variant in ("none", "tsm", "attn", "motion", "motion+attn"):
        spec = M2A.get(variant, variant)
        yield pytest.param("mobilenetv2", spec, False, variant, 32, {"width": 1.0}, id=f"mbv2-{variant}")
        if variant != "tsm":
            for layout in ("released", "right"):
                options = {"width": 16, "input_layout": layout}
                yield pytest.param("i3d-resnet18", spec, False, variant, 48, options, id=f"i3d-{variant}-{layout}")
    for base in ("C2D", "TSM"):
        for variant, spec in {"": "none", **AIA}.items():
            name = f"{base}_{variant}_BN" if variant else base
            yield pytest.param("resnet50", spec, base == "TSM", name, 48, {"width": 8}, id=f"r50-{base}-{variant}")


@pytest.mark.parametrize(("backbone", "spec", "shift", "variant", "side", "options"), list(network_cases()))
def test_a_network_is_what_was_read(
    backbone: str, spec: str, shift: bool, variant: str, side: int, options: dict[str, Any]
) -> None:
    model: VideoClassifier = build_model(backbone, spec, frames=FRAMES, classes=5, temporal_shift=shift, **options)
    state = fill_released(model, "aia" if backbone == "resnet50" else "m2a")
    clips = resembling(1, FRAMES, 3, side, side)
    how = {"released_layout": options["input_layout"] == "released"} if "input_layout" in options else {}
    with torch.no_grad():
        theirs = read_network(clips, backbone, variant, state, **how)
    assert_equal(model(clips).detach(), theirs)
    with torch.no_grad():
        assert_equal(model(clips), theirs)


def test_variants_with_the_same_keys_do_not_pass_for_each_other() -> None:
    """Nothing but the numbers tells these apart, so the comparison above must."""
    together = {
        ("m2a", "m2a"): ("attn", "motion", "motion+attn", "patch_mattn p2", "patch_mattn p4", "patch_mattn p8"),
        ("CinST", "aia"): ("CinST", "STinC"),
    }
    x = resembling(2, FRAMES, 16, 8, 8).flatten(0, 1)
    for (spec, source), variants in together.items():
        state = fill_released(build_mechanism(spec, 16, FRAMES), source)
        read = [read_module(x, variant, state) for variant in variants]
        for number, one in enumerate(read):
            for other in read[:number]:
                assert (one - other).abs().max() > 1e-3 * one.abs().max()
    clips = resembling(1, FRAMES, 3, 48, 48)
    model = build_model("resnet50", "CinST->STinC", frames=FRAMES, classes=5, width=8)
    state = fill_released(model, "aia")
    names = [f"{base}_{units}" for base in ("C2D", "TSM") for units in ("CinST2STinC", "STinC2CinST", "STinCplusCinST")]
    logits = [read_network(clips, "resnet50", name, state) for name in names]
    for number, one in enumerate(logits):
        for other in logits[:number]:
            assert (one - other).abs().max() > 1e-3 * one.abs().max()
