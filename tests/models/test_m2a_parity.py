"""Ours against numbers the released M2A and TSM code produced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from parity_tools import assert_summary_matches, read_parity

from vidrepro.models import VideoClassifier, build_mechanism, build_model
from vidrepro.models.released.checkpoints import load_official_state

WRAPAROUND = {"motion_wraparound": {"boundary": "first"}}


def network(name: str, backbone: str, mechanism: str, **options: Any) -> VideoClassifier:
    model = build_model(backbone, mechanism, frames=8, classes=174, **options)
    report = load_official_state(model, read_parity(name).state_dict, source="m2a")
    assert report.complete
    assert len(report.loaded) == len(model.state_dict())
    return model.double().eval()


@pytest.mark.parametrize("which", ["iid", "corr"])
@pytest.mark.parametrize(
    ("name", "backbone", "mechanism", "alternative"),
    [
        ("m2a_r18_none", "resnet18", "none", None),
        ("m2a_r18_motion_attn", "resnet18", "m2a", None),
        ("m2a_r18_motion_attn", "resnet18", "m2a", "motion_wraparound"),
        ("m2a_mbv2_motion", "mobilenetv2", "m2a-motion", None),
        ("m2a_mbv2_motion", "mobilenetv2", "m2a-motion", "motion_wraparound"),
    ],
)
def test_logits_are_the_released_ones(
    name: str, backbone: str, mechanism: str, alternative: str | None, which: str
) -> None:
    parity = read_parity(name)
    model = network(name, backbone, mechanism, **WRAPAROUND.get(alternative or "", {}))
    with torch.no_grad():
        logits = model(parity.input(which)).numpy()
    np.testing.assert_allclose(logits, parity.expected(which, alternative), rtol=0, atol=parity.atol)


@pytest.mark.parametrize("which", ["iid", "corr"])
@pytest.mark.parametrize(
    ("name", "mechanism", "alternative"),
    [
        ("m2a_mod_attn", "m2a-attention", None),
        ("m2a_mod_motion", "m2a-motion", None),
        ("m2a_mod_motion", "m2a-motion", "motion_wraparound"),
        ("m2a_mod_motion_attn", "m2a", None),
        ("m2a_mod_motion_attn", "m2a", "motion_wraparound"),
        ("orig_mod_tsm_shift", "tsm", None),
    ],
)
def test_module_is_the_released_one(name: str, mechanism: str, alternative: str | None, which: str) -> None:
    parity = read_parity(name)
    module = build_mechanism(mechanism, 64, 8, **WRAPAROUND.get(alternative or "", {}))
    assert load_official_state(module, parity.state_dict, source="m2a").complete
    assert sum(parameter.numel() for parameter in module.parameters()) == parity.content["params_total"]
    output = module.double()(parity.input(which))
    assert_summary_matches(output, parity.expected(which, alternative), parity.atol)


def test_m2a_repository_shifts_as_tsm_does() -> None:
    parity = read_parity("m2a_mod_tsm_shift")
    output = build_mechanism("tsm", 64, 8)(parity.input("iid"))
    assert_summary_matches(output, parity.content["expected"], parity.atol)


def test_shift_at_seven_by_seven() -> None:
    parity = read_parity("orig_mod_tsm_shift")
    small = parity.content["expected_7x7"]
    output = build_mechanism("tsm", 64, 8)(type(parity)({"input": small["input"]}).input("iid"))
    assert_summary_matches(output, small["value_f64"], parity.atol)


@pytest.mark.parametrize(
    ("name", "backbone", "mechanism", "temporal_shift"),
    [
        ("m2a_r18_none", "resnet18", "none", False),
        ("keys_only/m2a_r18_attn", "resnet18", "m2a-attention", False),
        ("keys_only/m2a_r18_motion", "resnet18", "m2a-motion", False),
        ("m2a_r18_motion_attn", "resnet18", "m2a", False),
        ("keys_only/m2a_r18_tsm", "resnet18", "none", True),
        ("keys_only/m2a_r18_motion_attn_use_tsm", "resnet18", "m2a", True),
        ("keys_only/m2a_mbv2_none", "mobilenetv2", "none", False),
        ("keys_only/m2a_mbv2_attn", "mobilenetv2", "m2a-attention", False),
        ("m2a_mbv2_motion", "mobilenetv2", "m2a-motion", False),
        ("keys_only/m2a_mbv2_motion_attn", "mobilenetv2", "m2a", False),
        ("keys_only/m2a_mbv2_tsm", "mobilenetv2", "none", True),
    ],
)
def test_released_state_dict_loads_completely(name: str, backbone: str, mechanism: str, temporal_shift: bool) -> None:
    parity = read_parity(name)
    model = build_model(backbone, mechanism, frames=8, classes=174, temporal_shift=temporal_shift)
    state = parity.state_dict
    report = load_official_state(model, state, source="m2a")
    assert report.complete
    assert len(report.loaded) == len(state) == len(model.state_dict())
    assert sum(parameter.numel() for parameter in model.parameters()) == parity.content["params_total"]
    # every value arrived somewhere: the sums over all tensors agree
    total = sum(float(tensor.double().sum()) for tensor in state.values())
    assert sum(float(tensor.double().sum()) for tensor in model.state_dict().values()) == pytest.approx(total, rel=1e-9)


def test_released_wrong_rule_is_noticed() -> None:
    """The golden comparison can fail: one option off moves the result far beyond the tolerance."""
    parity = read_parity("m2a_mod_motion_attn")
    for wrong in ({"norm": "never"}, {"skip": "attention-input"}, {"boundary": "first"}, {"attention": "none"}):
        module = build_mechanism("m2a", 64, 8, **wrong)
        load_official_state(module, parity.state_dict)
        output = module.double()(parity.input("corr"))
        with pytest.raises(AssertionError):
            assert_summary_matches(output, parity.expected("corr"), parity.atol)
