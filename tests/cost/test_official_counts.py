"""Against counts made on the authors' released networks, component by component (official_cost.csv).

The file: the released M2A code at 8x224x224 with 174 classes, counted by fvcore, by ptflops 0.6.6 and by hand. It is
compared with the costs that are kept with the paper, each of which test_kept_costs.py counts again.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import pytest

from vidrepro.config import ModelConfig
from vidrepro.cost.costs_file import KnownCosts
from vidrepro.cost.printed_convention import rule_for_cell, rule_named
from vidrepro.experiments import load_paper
from vidrepro.experiments.schema import CostInput, CountedCost

FILE = Path(__file__).with_name("official_cost.csv")
ROWS = {row["official_model"]: row for row in csv.DictReader(FILE.open(encoding="utf-8"))}
MECHANISMS = {
    "none": "none",
    "tsm": "tsm",
    "attn": "m2a-attention",
    "motion": "m2a-motion",
    "motion_attn": "m2a",
    "motion_attn_use_tsm": "m2a",
    "tam": "tam",
    "tdn": "tdn",
    "tea": "tea",
    "motion_tam": "m2a(motion=m2a, attention=tam)",
    "tdn_attn": "m2a(motion=tdn, attention=m2a)",
    "tdn_tam": "m2a(motion=tdn, attention=tam)",
    "tea_attn": "m2a(motion=tea, attention=m2a)",
    "tea_tam": "m2a(motion=tea, attention=tam)",
    "patch_mattn_p4": "m2a(motion=m2a, attention=patch4)",
    "patch_mattn_p8": "m2a(motion=m2a, attention=patch8)",
}
BACKBONES = {"r18": "resnet18", "mbv2": "mobilenetv2", "i3d_r18": "i3d-resnet18"}
# params_total of the parity files, network by network (keys of the released checkpoints counted one by one).
PARAMETERS = {
    "m2a_r18_none": 11_265_774,
    "m2a_r18_tsm": 11_265_774,
    **dict.fromkeys(
        ("m2a_r18_attn", "m2a_r18_motion", "m2a_r18_motion_attn", "m2a_r18_motion_attn_use_tsm"), 11_376_998
    ),
    **dict.fromkeys(("m2a_r18_patch_mattn_p4", "m2a_r18_patch_mattn_p8"), 11_376_998),
    **dict.fromkeys(("m2a_r18_tam", "m2a_r18_motion_tam"), 11_406_422),
    **dict.fromkeys(("m2a_r18_tdn", "m2a_r18_tdn_attn"), 11_517_086),
    **dict.fromkeys(("m2a_r18_tea", "m2a_r18_tea_attn"), 11_393_086),
    "m2a_r18_tdn_tam": 11_546_510,
    "m2a_r18_tea_tam": 11_422_510,
    **dict.fromkeys(("m2a_mbv2_none", "m2a_mbv2_tsm"), 2_446_766),
    **dict.fromkeys(("m2a_mbv2_attn", "m2a_mbv2_motion", "m2a_mbv2_motion_attn"), 2_468_793),
    "m2a_i3d_r18_none": 33_255_534,
    **dict.fromkeys(("m2a_i3d_r18_attn", "m2a_i3d_r18_motion", "m2a_i3d_r18_motion_attn"), 33_366_758),
}
COMPONENTS = {
    "conv_macs": "conv_macs",
    "conv_bias": "conv_bias",
    "linear_macs": "linear_macs",
    "linear_bias": "linear_bias",
    "bn_elems": "batch_norm_elements",
    "relu_elems": "relu_elements",
    "pool_in_elems": "pool_input_elements",
    "bmm_macs": "matmul_macs",
    "sigmoid_elems": "sigmoid_elements",
}
ELEMENTS = {"ln_elems": "layer_norm", "softmax_elems": "softmax"}
MILLIONS_TOLERANCE = 5e-5 + 1e-9  # the file has four decimals


def network(official_model: str) -> tuple[str, str]:
    """Backbone and mechanism, from ``m2a_<backbone>_<mechanism>``."""
    short = next(name for name in BACKBONES if official_model.startswith(f"m2a_{name}_"))
    return BACKBONES[short], MECHANISMS[official_model.removeprefix(f"m2a_{short}_")]


@cache
def measured(official_model: str) -> CountedCost:
    backbone, mechanism = network(official_model)
    settings = ModelConfig(backbone=backbone, mechanism=mechanism, temporal_shift=official_model.endswith("use_tsm"))
    return CountedCost(**costs().of(settings, CostInput(frames=8, size=224, classes=174)))


@cache
def costs() -> KnownCosts:
    return KnownCosts(paper=load_paper("m2a"))


def printed_convention(official_model: str, rule: str) -> float:
    return rule_named(rule).total(measured(official_model).components) / 1e9


def hand_counted(official_model: str) -> dict[str, float]:
    pairs = (item.split("=") for item in ROWS[official_model]["hand_counted_components"].split())
    return {name: float(value.removesuffix("M")) for name, value in pairs}


def test_the_file_holds_every_network_of_the_tables() -> None:
    """And no other: each row of official_cost.csv that begins with m2a."""
    assert ROWS.keys() == PARAMETERS.keys()
    assert len(ROWS) == 16 + 5 + 4
    assert {row["backbone"].lower() for row in ROWS.values()} == set(BACKBONES.values())


@pytest.mark.parametrize("official_model", ROWS)
def test_every_hand_counted_component(official_model: str) -> None:
    report = measured(official_model)
    expected = hand_counted(official_model)
    ours = {short: report.components.get(name, 0) / 1e6 for short, name in COMPONENTS.items()}
    ours |= {short: report.elements[name] / 1e6 for short, name in ELEMENTS.items()}
    assert ours == pytest.approx({name: expected.get(name, 0.0) for name in ours}, abs=MILLIONS_TOLERANCE)


@pytest.mark.parametrize("official_model", ROWS)
def test_totals_of_fvcore_and_ptflops(official_model: str) -> None:
    row, report = ROWS[official_model], measured(official_model)
    assert report.gmacs_fvcore == pytest.approx(float(row["fvcore_G"]), abs=5e-6)
    assert printed_convention(official_model, "ptflops-0.6") == pytest.approx(float(row["ptflops_0_6_6_G"]), abs=5e-6)
    assert report.params / 1e6 == pytest.approx(float(row["params_M"]), abs=5e-5)
    assert report.params == PARAMETERS[official_model]


@pytest.mark.parametrize("official_model", ROWS)
def test_the_mechanisms_operators_are_those_fvcore_found(official_model: str) -> None:
    """What stands in the file beside the plain network: bmm, layer_norm, batch_norm, upsampling, adaptive pooling."""
    listed = ROWS[official_model]["fvcore_mechanism_ops"].split()
    expected = {name: float(value.removesuffix("M")) for name, value in (item.split("=") for item in listed)}
    short = next(name for name in BACKBONES if official_model.startswith(f"m2a_{name}_"))
    plain = measured(f"m2a_{short}_none").by_operator
    ours = {name: (macs - plain.get(name, 0)) / 1e6 for name, macs in measured(official_model).by_operator.items()}
    assert {name: macs for name, macs in ours.items() if macs} == pytest.approx(expected, abs=5e-4 + 1e-9)


@pytest.mark.parametrize("official_model", [name for name, row in ROWS.items() if row["printed_G"]])
def test_the_cell_rule_meets_the_printed_number(official_model: str) -> None:
    printed = ROWS[official_model]["printed_G"]
    rule = rule_for_cell("m2a", network(official_model)[1])
    assert rule is not None
    assert f"{printed_convention(official_model, rule.name):.2f}" == printed


@pytest.mark.parametrize("official_model", ROWS)
def test_three_counters_agree(official_model: str) -> None:
    assert measured(official_model).cross_check["disagreements"] == []


@pytest.mark.parametrize(("short", "added"), [("r18", 111_224), ("mbv2", 22_027), ("i3d_r18", 111_224)])
def test_parameters_of_the_mechanism(short: str, added: int) -> None:
    without = measured(f"m2a_{short}_none").params
    for name in ("attn", "motion", "motion_attn"):
        assert (
            measured(f"m2a_{short}_{name}").params - without
            == added
            == int(ROWS[f"m2a_{short}_{name}"]["mechanism_params"])
        )


def test_attention_products_have_their_closed_form() -> None:
    """Two products of T x T x (c h w) for each of the eight modules, c an eighth of the block's input channels."""
    inputs = [(64, 56), (64, 56), (64, 56), (128, 28), (128, 28), (256, 14), (256, 14), (512, 7)]
    closed_form = sum(2 * 8 * 8 * (channels // 8) * side * side for channels, side in inputs)
    assert measured("m2a_r18_motion_attn").components["matmul_macs"] == closed_form
