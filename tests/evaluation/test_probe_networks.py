"""The probe on the project's own mechanisms: their taps tell the truth, and a probe leaves nothing behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vidrepro.errors import ModelError
from vidrepro.evaluation.probe import HOWS, probing, time_axis
from vidrepro.models import build_model
from vidrepro.models.classifier import VideoClassifier
from vidrepro.models.taps import taps_of

FRAMES, CLIPS, SIDE = 4, 3, 32
# Mechanism: the kinds of attention it has
MECHANISMS = {
    "m2a": {"gate", "attention"},
    "m2a(motion=tdn, attention=tam)": {"gate", "motion", "attention"},
    "m2a(attention=patch4)": {"gate", "attention"},
    "tea": {"gate"},
    "se3d": {"channel"},
    "ge3d-g": {"channel"},
    "ge3d-dw333": {"gate"},
    "cbam3d-177": {"channel", "spatial"},
    "CinST->STinC": {"C", "T", "H", "W"},
    "st-abn": {"spatial", "temporal"},
}


def network(mechanism: str) -> VideoClassifier:
    torch.manual_seed(0)
    backbone, width = ("slow-r50", 4) if mechanism == "st-abn" else ("micro", 8)
    options = {"width": width, "stem": "small2"}
    model = build_model(backbone, mechanism, frames=FRAMES, classes=5, backbone_options=options, head_std=0.5)
    for module in model.modules():  # statistics of a trained network, so that gates are not all alike
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(clips(seed=1))
    return model.eval()


def clips(seed: int = 0) -> Tensor:
    return torch.randn(CLIPS, FRAMES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_taps_tell_the_truth_about_what_comes_through(mechanism: str) -> None:
    model = network(mechanism)
    plain = model(clips()).detach()
    seen: dict[str, Tensor] = {}
    for name, tap in taps_of(model).items():
        tap.register_forward_hook(lambda _m, _i, output, name=name: seen.update({name: output.detach()}))
    assert torch.allclose(model(clips()), plain, atol=1e-5)  # listening changes nothing, whatever path is taken
    assert {tap.what for tap in taps_of(model).values()} == MECHANISMS[mechanism] and seen
    for name in seen:
        tap = taps_of(model)[name]
        sizes = dict(zip(tap.axes, seen[name].shape, strict=True))
        assert sizes.get("N", CLIPS) % CLIPS == 0 and sizes.get("T", FRAMES) == FRAMES, name
        assert sizes.get("N*T", CLIPS * FRAMES) % (CLIPS * FRAMES) == 0 and tap.frames in (None, FRAMES), name
        assert sizes.get("1", 1) == 1, name
        assert seen[name].min() >= 0 and seen[name].max() <= 1, name
        if tap.distribution is not None:
            sums = seen[name].sum(tap.axes.index(tap.distribution))
            assert torch.allclose(sums, torch.ones_like(sums), atol=1e-5), name


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_probe_reaches_every_tap_and_leaves_nothing_behind(mechanism: str, how: str) -> None:
    model = network(mechanism)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        plain = model(clips())
        if how == "shuffle" and not any(time_axis(tap.axes) for tap in taps_of(model).values()):
            with pytest.raises(ModelError, match="has an axis of time"), probing(model, "all", how):
                pass
            return
        with probing(model, "all", how) as probe:
            replaced = model(clips())
        assert any(probe.calls.values()) and set(probe.moved) == {name for name, calls in probe.calls.items() if calls}
        if (mechanism, how) == ("se3d", "shuffle"):
            # Its gate is the clip's, told once per frame: the same row several times in one matrix product. A BLAS
            # may round equal rows differently by their place in a block (two of 384 gates by an ulp, as observed).
            assert max(probe.moved.values()) <= torch.finfo(torch.float32).eps
            assert torch.allclose(replaced, plain, atol=1e-6)
        else:
            assert max(probe.moved.values()) > 1e-4 and not torch.allclose(replaced, plain, atol=1e-5)
        assert torch.equal(model(clips()), plain)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("what", "own"), [("spatial", ("spatial",)), ("temporal", ("temporal",)), ("both", ("spatial", "temporal"))]
)
def test_inverting_st_abn_is_what_its_own_flags_do(what: str, own: tuple[str, ...]) -> None:
    model = network("st-abn")
    with torch.no_grad():
        expected = model(clips(), invert=own)
        with probing(model, what, "invert") as probe:
            found = model(clips())
        assert torch.equal(found, expected) and not torch.allclose(found, model(clips()), atol=1e-5)
    assert probe.selection.name == ("all" if what == "both" else what)
