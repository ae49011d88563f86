"""AIA's Table I and II: parameters and fvcore's MACs of every network at 8 frames of 224x224, 174 classes.

The totals are those kept with the paper, each of which test_kept_costs.py counts again.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import pytest
import torch

from vidrepro.config import ModelConfig
from vidrepro.cost.costs_file import KnownCosts
from vidrepro.cost.macs import count_with_fvcore
from vidrepro.experiments import load_paper
from vidrepro.experiments.schema import CostInput
from vidrepro.models import build_mechanism, build_model

FILE = Path(__file__).with_name("official_cost_aia.csv")  # fvcore on the authors' code
ROWS = {row["official_model"]: row for row in csv.DictReader(FILE.open(encoding="utf-8"))}
SPELLED = {"": "none", "C2ST": "C->ST", "ST2C": "ST->C", "CplusST": "C+ST", "STinCplusCinST": "CinST+STinC"}
SPELLED |= {"CinST2STinC": "CinST->STinC", "STinC2CinST": "STinC->CinST"}
PLAIN = 23_864_558
ADDED = {"none": 0, "C": 896, "ST": 2_688, **dict.fromkeys(("C->ST", "ST->C", "C+ST", "CinST", "STinC"), 3_584)}
ADDED |= dict.fromkeys(("CinST->STinC", "STinC->CinST", "CinST+STinC"), 7_168)
# of ResNet-50's stages: blocks, channels of the 3x3 convolution (a quarter of the block's output), side at 224x224
STAGES = [(3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7)]
# Table I as printed: parameters in M, FLOPs in G. CBAM3D-177's 26.39 M is one digit off ours (see comparators.py).
COMPARATORS = {
    "se3d": ("26.38", "32.94"),
    "ge3d-g": ("23.86", "32.92"),
    "ge3d-dw133": ("24.36", "33.04"),
    "ge3d-dw333": ("25.18", "33.31"),
    "s3d-g": ("25.13", "32.89"),
    "cbam3d-177": ("26.40", "32.94"),
    "cbam3d-377": ("26.40", "32.96"),
}
OUR_PARAMETERS = {"cbam3d-177": 26_397_150, "cbam3d-377": 26_400_286}  # 23,864,558 + 2,530,992 + 16 (98 or 294, + 2)


def network(official_model: str) -> tuple[str, bool]:
    """Our mechanism, and whether the shift is on, from ``aia_r50_<C2D or TSM>_<module>``."""
    base, _, module = official_model.removeprefix("aia_r50_").partition("_")
    return SPELLED.get(module, module), base == "TSM"


@cache
def costs() -> KnownCosts:
    return KnownCosts(paper=load_paper("aia"))


def macs(mechanism: str, frames: int = 8, shift: bool = False) -> int:
    """Of the whole network, by fvcore."""
    settings = ModelConfig(backbone="resnet50", mechanism=mechanism, temporal_shift=shift)
    cost = costs().of(settings, CostInput(frames=frames, size=224, classes=174))
    return sum(cost["by_operator"].values())


def parameters(mechanism: str, shift: bool = False) -> int:
    with torch.device("meta"):
        model = build_model("resnet50", mechanism, frames=8, classes=174, temporal_shift=shift)
    places = [parts for parts in model.insertions.values() if "mechanism" in parts]
    assert len(places) == (0 if mechanism == "none" else 16)
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_file_holds_the_released_networks() -> None:
    assert len(ROWS) == 22
    assert {network(name) for name in ROWS} == {(mechanism, shift) for mechanism in ADDED for shift in (False, True)}


@pytest.mark.parametrize("official_model", ROWS)
def test_released_networks(official_model: str) -> None:
    row = ROWS[official_model]
    mechanism, shift = network(official_model)
    assert parameters(mechanism, shift) == PLAIN + ADDED[mechanism] == PLAIN + int(row["mechanism_params"])
    assert macs(mechanism, shift=shift) / 1e9 == pytest.approx(float(row["fvcore_G"]), abs=5e-6)
    assert f"{macs(mechanism, shift=shift) / 1e9:.2f}" == row["printed_G"]


def test_a_networks_cost_is_the_sum_of_its_modules() -> None:
    """The plain network's, and that of each module at the size it works at: counted here, one of each stage."""
    total = macs("none")
    for blocks, channels, side in STAGES:
        module = build_mechanism("CinST", channels, 8).eval()
        total += blocks * count_with_fvcore(module, torch.zeros(8, channels, side, side)).total
    assert total == macs("CinST") == macs("CinST", shift=True)  # the shift costs nothing


@pytest.mark.parametrize("mechanism", COMPARATORS)
def test_comparators_cost_what_table_1_prints(mechanism: str) -> None:
    count = parameters(mechanism)
    assert (f"{count / 1e6:.2f}", f"{macs(mechanism) / 1e9:.2f}") == COMPARATORS[mechanism]
    assert count == OUR_PARAMETERS.get(mechanism, count)


def test_table_2_prints_the_cost_of_8_frames_times_the_frames() -> None:
    """More than 12 and 16 frames cost: however long the clip, the gate over (C, H, W) runs once."""
    at_8 = macs("CinST->STinC") / 1e9
    printed = {frames: at_8 * frames / 8 for frames in (8, 12, 16)}
    assert [f"{value:.1f}" for value in printed.values()] == ["33.1", "49.7", "66.3"]
    assert f"{printed[8] + printed[16]:.1f}" == "99.4"
    assert f"{sum(printed.values()):.1f}" == "149.2"  # printed 149.1, the sum of the rounded ones
    # 27 products with each of two pooled values and a batch norm's 2 operations, in each of two modules
    once_a_clip = sum(blocks * channels * side**2 for blocks, channels, side in STAGES) * (2 * 27 + 2) * 2 / 1e9
    for frames in (12, 16):
        assert macs("CinST->STinC", frames) / 1e9 == pytest.approx(printed[frames] - once_a_clip * (frames / 8 - 1))
    assert [f"{macs('CinST->STinC', frames) / 1e9:.2f}" for frames in (12, 16)] == ["49.65", "66.14"]
