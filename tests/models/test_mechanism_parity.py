"""Every mechanism, alone and in ResNet-18, against numbers the papers' released code produced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from parity_tools import assert_summary_matches, read_parity

from vidrepro.models import build_mechanism, build_model
from vidrepro.models.released.checkpoints import load_official_state

ALTERNATIVES: dict[str, dict[str, Any]] = {
    "motion_wraparound": {"boundary": "first"},
    "tdn_backward_fixed": {"tdn_backward": "fixed"},
}

# what M2A's release calls a network or module -> our spec
RELEASED = {
    "none": "none",
    "attn": "m2a-attention",
    "motion": "m2a-motion",
    "motion_attn": "m2a",
    "motion_attn_use_tsm": "m2a(temporal_shift=true)",
    "tsm": "tsm",
    "tea": "tea",
    "tdn": "tdn",
    "tam": "tam",
    "motion_tam": "m2a(attention=tam)",
    "tea_attn": "m2a(motion=tea, attention=m2a)",
    "tea_tam": "m2a(motion=tea, attention=tam)",
    "tdn_attn": "m2a(motion=tdn, attention=m2a)",
    "tdn_tam": "m2a(motion=tdn, attention=tam)",
    "patch_mattn_p2": "m2a(motion=m2a, attention=patch2)",
    "patch_mattn_p4": "m2a(motion=m2a, attention=patch4)",
    "patch_mattn_p7": "m2a(motion=m2a, attention=patch7)",
    "patch_mattn_p8": "m2a(motion=m2a, attention=patch8)",
}
ORIGINALS = {"orig_mod_tea_me": "tea-original", "orig_mod_tdn_mse": "tdn-original", "orig_mod_tam": "tam-original"}
COMPLETE_MODULES = [
    ("m2a_mod_attn", None),
    ("m2a_mod_motion", None),
    ("m2a_mod_motion", "motion_wraparound"),
    ("m2a_mod_motion_attn", None),
    ("m2a_mod_motion_attn", "motion_wraparound"),
    ("m2a_mod_patch_mattn_p7", None),
    ("m2a_mod_patch_mattn_p7", "motion_wraparound"),
    ("m2a_mod_tam", None),
    ("m2a_mod_tdn", None),
    ("m2a_mod_tdn", "tdn_backward_fixed"),
    ("orig_mod_tea_me", None),
]


def spec_of(name: str) -> str:
    name = name.removeprefix("keys_only/")
    return ORIGINALS[name] if name in ORIGINALS else RELEASED[name.removeprefix("m2a_mod_")]


def module_of(name: str, **options: Any) -> torch.nn.Module:
    parity = read_parity(name)
    module = build_mechanism(spec_of(name), 64, 8, **options)
    report = load_official_state(module, parity.state_dict)
    assert report.complete
    assert len(report.loaded) == len(module.state_dict())
    assert sum(parameter.numel() for parameter in module.parameters()) == parity.content["params_total"]
    return module.double().eval()


@pytest.mark.parametrize("which", ["iid", "corr"])
@pytest.mark.parametrize(("name", "alternative"), COMPLETE_MODULES)
def test_module_is_the_released_one(name: str, alternative: str | None, which: str) -> None:
    parity = read_parity(name)
    with torch.no_grad():
        output = module_of(name, **ALTERNATIVES.get(alternative or "", {}))(parity.input(which))
    assert_summary_matches(output, parity.expected(which, alternative), parity.atol)


def test_tea_original_at_seven_by_seven() -> None:
    parity = read_parity("orig_mod_tea_me")
    small = parity.content["expected_7x7"]
    with torch.no_grad():
        output = module_of("orig_mod_tea_me")(type(parity)({"input": small["input"]}).input("iid"))
    assert_summary_matches(output, small["value_f64"], parity.atol)


@pytest.mark.parametrize("which", ["iid", "corr"])
def test_released_wrong_rule_is_noticed(which: str) -> None:
    """The golden comparison can fail: one option off, or one layer's tensor in another's place."""
    for name, wrong in (
        ("m2a_mod_tdn", {"tdn_backward": "fixed"}),
        ("m2a_mod_tam", {"norm": "always"}),
        ("m2a_mod_tam", {"skip": "reduced"}),
        ("m2a_mod_patch_mattn_p7", {"skip": "none"}),
        ("m2a_mod_patch_mattn_p7", {"norm": "never"}),
    ):
        parity = read_parity(name)
        with torch.no_grad(), pytest.raises(AssertionError):
            assert_summary_matches(module_of(name, **wrong)(parity.input(which)), parity.expected(which), parity.atol)


@pytest.mark.parametrize(
    "name",
    [
        *("m2a_mod_motion_tam", "m2a_mod_patch_mattn_p2", "m2a_mod_patch_mattn_p4", "m2a_mod_tdn_attn"),
        *("m2a_mod_tdn_tam", "m2a_mod_tea", "m2a_mod_tea_attn", "m2a_mod_tea_tam", "orig_mod_tam", "orig_mod_tdn_mse"),
    ],
)
def test_released_module_loads_completely(name: str) -> None:
    module_of(f"keys_only/{name}")


@pytest.mark.parametrize("which", ["iid", "corr"])
def test_resnet18_with_tea_gives_the_released_logits(which: str) -> None:
    parity = read_parity("m2a_r18_tea")
    model = build_model("resnet18", "tea", frames=8, classes=174)
    assert load_official_state(model, parity.state_dict).complete
    with torch.no_grad():
        logits = model.double().eval()(parity.input(which)).numpy()
    np.testing.assert_allclose(logits, parity.expected(which), rtol=0, atol=parity.atol)


@pytest.mark.parametrize(
    "name",
    [
        *("attn", "motion", "motion_attn_use_tsm", "tsm", "tam", "tdn", "motion_tam", "tea_attn", "tea_tam"),
        *("tdn_attn", "tdn_tam", "patch_mattn_p4", "patch_mattn_p8", "motion_tam_224", "tdn_tam_224", "tea_tam_224"),
        *("patch_mattn_p4_224", "patch_mattn_p8_224"),
    ],
)
def test_released_resnet18_loads_completely(name: str) -> None:
    parity = read_parity(f"keys_only/m2a_r18_{name}")
    model = build_model("resnet18", RELEASED[name.removesuffix("_224")], frames=8, classes=174)
    state = parity.state_dict
    report = load_official_state(model, state)
    assert report.complete
    assert len(report.loaded) == len(state) == len(model.state_dict())
    assert sum(parameter.numel() for parameter in model.parameters()) == parity.content["params_total"]
