"""AIA's released networks: their numbers are met, every one of them loads, and nothing else passes for one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity_tools import assert_summary_matches, read_parity
from torch import Tensor

from vidrepro.errors import CheckpointError, ModelError
from vidrepro.models import VideoClassifier, build_mechanism, build_model
from vidrepro.models.released.checkpoints import load_official_state, released_names
from vidrepro.models.released.importing import fitting_mechanisms, import_checkpoint
from vidrepro.models.released.naming import layout_of

# The released networks' names -> ours, and the golden file with their keys: C2D and TSM have the same ones, CinST and
# STinC too, and two modules in parallel have those of a cascade.
RELEASED = {
    "": ("none", "aia_r50_C2D"),
    "C": ("C", "aia_r50_C2D_C"),
    "ST": ("ST", "aia_r50_TSM_ST"),
    "C2ST": ("C->ST", "aia_r50_C2D_CplusST"),
    "ST2C": ("ST->C", "keys_only/aia_r50_C2D_ST2C"),
    "CplusST": ("C+ST", "aia_r50_C2D_CplusST"),
    "CinST": ("CinST", "keys_only/aia_r50_C2D_CinST"),
    "STinC": ("STinC", "keys_only/aia_r50_C2D_CinST"),
    "CinST2STinC": ("CinST->STinC", "keys_only/aia_r50_C2D_CinST2STinC"),
    "STinC2CinST": ("STinC->CinST", "keys_only/aia_r50_C2D_CinST2STinC"),
    "STinCplusCinST": ("CinST+STinC", "keys_only/aia_r50_C2D_CinST2STinC"),
}


def build(mechanism: str, shift: bool = False, **options: Any) -> VideoClassifier:
    return build_model("resnet50", mechanism, frames=8, classes=174, temporal_shift=shift, **options)


@cache
def keys(file: str) -> dict[str, Tensor]:
    """The released names and shapes, without values."""
    return {name: torch.empty(shape, device="meta") for name, shape in read_parity(file).content["keys"]}


@pytest.mark.parametrize(
    ("name", "mechanism"),
    [("C2D", "none"), ("C2D_C", "C"), ("C2D_CplusST", "C+ST"), ("TSM_ST", "ST")],
)
def test_released_logits_are_met(name: str, mechanism: str) -> None:
    """One clip of each input, in one batch: in eval mode clips do not touch, and this network is slow in double."""
    parity = read_parity(f"aia_r50_{name}")
    model = build(mechanism, shift=name.startswith("TSM"))
    assert load_official_state(model, parity.state_dict, source="aia").complete
    assert sum(parameter.numel() for parameter in model.parameters()) == parity.content["params_total"]
    clips = torch.stack([parity.input("iid")[0], parity.input("corr")[1]])
    with torch.no_grad():
        logits = model.double().eval()(clips).numpy()
    expected = [parity.expected("iid")[0], parity.expected("corr")[1]]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=parity.atol)


@pytest.mark.parametrize("shift", [False, True], ids=["C2D", "TSM"])
@pytest.mark.parametrize("name", RELEASED)
def test_every_released_network_loads_completely(name: str, shift: bool) -> None:
    mechanism, file = RELEASED[name]
    with torch.device("meta"):
        model = build(mechanism, shift)
    report = load_official_state(model, keys(file), source="aia")
    assert report.complete
    assert len(report.loaded) == len(keys(file)) == len(model.state_dict())
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == read_parity(file).content["params_total"]


@pytest.mark.parametrize(
    ("mechanism", "ours", "theirs"),
    [
        ("none", "conv1.conv.weight", "conv1.weight"),
        ("C", "bn2.norm.running_var", "bn2.running_var"),
        ("C", "bn2.mechanism.body.gates0.C_conv.weight", "eft.C_conv.weight"),
        ("STinC", "bn2.mechanism.body.gates0.W_conv.weight", "eft.W_conv.weight"),
        ("STinC", "bn2.mechanism.body.gates1.C_bn.bias", "eft.C_bn.bias"),
        ("ST->C", "bn2.mechanism.body.1.gates0.C_bn.bias", "eft2.C_bn.bias"),
        ("CinST->STinC", "bn2.mechanism.body.0.gates1.H_conv.weight", "eft1.H_conv.weight"),
        ("CinST->STinC", "bn2.mechanism.body.1.gates1.C_conv.weight", "eft2.C_conv.weight"),
        ("STinC->CinST", "bn2.mechanism.body.0.gates1.C_conv.weight", "eft1.C_conv.weight"),
        # in parallel eft1 is C beside ST, and STinC beside CinST, however we write it
        ("C+ST", "bn2.mechanism.body.branches.0.gates0.C_conv.weight", "eft1.C_conv.weight"),
        ("ST+C", "bn2.mechanism.body.branches.1.gates0.C_conv.weight", "eft1.C_conv.weight"),
        ("CinST+STinC", "bn2.mechanism.body.branches.0.gates0.C_conv.weight", "eft2.C_conv.weight"),
        ("CinST+STinC", "bn2.mechanism.body.branches.1.gates1.C_conv.weight", "eft1.C_conv.weight"),
        ("STinC+CinST", "bn2.mechanism.body.branches.0.gates1.C_conv.weight", "eft1.C_conv.weight"),
    ],
)
def test_released_names(mechanism: str, ours: str, theirs: str) -> None:
    with torch.device("meta"):
        names = released_names(build(mechanism, shift=True), "aia")
    assert names[f"backbone.layer2.3.{ours}"] == f"base_model.layer2.3.{theirs}"
    assert names["fc.bias"] == "new_fc.bias"


@pytest.mark.parametrize(
    ("backbone", "mechanism", "options", "says"),
    [
        ("resnet50", "CinSTinC", {}, "nothing like this 'CinSTinC'"),
        ("resnet50", "C->CinST", {}, "nothing like this"),
        ("resnet50", "C+ST+CinST", {}, "nothing like this"),
        ("resnet50", "C", {"variant": "paper"}, "pool_order=mean_max"),
        ("resnet50", "C", {"position": "before"}, "no network with these parts"),
        ("resnet50", "C", {"position": "after_last_norm"}, "no network with these parts"),
        ("resnet50", "se3d", {"position": "after_inner_norm"}, "no network with these parts"),
        ("resnet50", "m2a", {}, "no network with these parts"),
        ("resnet18", "none", {}, "bottlenecks only"),
        ("mobilenetv2", "CinST", {}, "bottlenecks only"),
    ],
)
def test_networks_that_were_not_released(backbone: str, mechanism: str, options: dict[str, Any], says: str) -> None:
    with torch.device("meta"):
        model = build_model(backbone, mechanism, frames=8, classes=174, **options)
    with pytest.raises(ModelError, match=says):
        released_names(model, "aia")


def test_each_source_has_its_own_modules() -> None:
    with torch.device("meta"):
        with pytest.raises(ModelError, match="no network with these parts"):
            released_names(build("CinST"), "m2a")
        with pytest.raises(ModelError, match="has no such module"):
            released_names(build_mechanism("CinST", 8, 8), "m2a")
        with pytest.raises(ModelError, match="has no such module"):
            released_names(build_mechanism("m2a", 16, 8), "aia")
        with pytest.raises(ModelError, match="one module alone"):
            released_names(build_mechanism("C->ST", 8, 8), "aia")


@pytest.mark.parametrize("which", ["iid", "corr"])
@pytest.mark.parametrize("spec", ["C", "ST", "CinST"])
def test_one_released_module(spec: str, which: str) -> None:
    parity = read_parity(f"aia_mod_{spec}")
    module = build_mechanism(spec, 32, 8)
    assert load_official_state(module, parity.state_dict, source="aia").complete
    assert_summary_matches(module.double().eval()(parity.input(which)), parity.expected(which), parity.atol)
    if spec == "CinST":  # the keys are those of STinC too, the numbers are not
        other = build_mechanism("STinC", 32, 8)
        assert load_official_state(other, parity.state_dict, source="aia").complete
        with pytest.raises(AssertionError):
            assert_summary_matches(other.double().eval()(parity.input(which)), parity.expected(which), parity.atol)


def test_the_mechanisms_a_files_keys_fit() -> None:
    both = ["CinST", "CinST --temporal-shift", "STinC", "STinC --temporal-shift"]
    assert fitting_mechanisms(keys(RELEASED["CinST"][1]), "resnet50", 8, 174, "aia") == both
    module = read_parity("keys_only/aia_mod_STinC").state_dict
    assert fitting_mechanisms(module, "none", 8, None, "aia", channels=1) == ["CinST", "STinC"]


def test_an_imported_file_is_for_the_mechanism_it_was_imported_for(tmp_path: Path) -> None:
    """On a narrow network, whose released names are written from the network itself."""
    options = {"width": 8}
    written = build_model("resnet50", "CinST", frames=8, classes=3, temporal_shift=True, backbone_options=options)
    names = released_names(written, "aia")
    state = {f"module.{names[key]}": tensor for key, tensor in written.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "released.pth")
    imported = import_checkpoint(
        tmp_path / "released.pth",
        source="aia",
        backbone="resnet50",
        mechanism="CinST",
        temporal_shift=True,
        options=options,
    )
    assert imported.report.complete
    assert imported.record["project"] == "haoyanbin918/Attention-in-Attention"
    imported.write(tmp_path / "ours.pt")
    asked: dict[str, Any] = {"frames": 8, "classes": 3, "weights": tmp_path / "ours.pt", **options}
    model = build_model("resnet50", "CinST", temporal_shift=True, **asked)
    assert model.load_report is not None and model.load_report.complete
    assert all(torch.equal(tensor, written.state_dict()[key]) for key, tensor in model.state_dict().items())
    for mechanism, shift in (("STinC", True), ("CinST", False)):
        with pytest.raises(CheckpointError, match="imported for another"):
            build_model("resnet50", mechanism, temporal_shift=shift, **asked)
    torch.save(read_parity("aia_mod_C").state_dict, tmp_path / "module.pth")
    alone = import_checkpoint(tmp_path / "module.pth", backbone="none", mechanism="C", source="aia")
    assert alone.report.complete


def test_a_released_file_is_recognised_as_weights(tmp_path: Path) -> None:
    """Given directly, as ``weights``: by the keys; into a plain network it does not fit."""
    written = build_model("resnet50", "C->ST", frames=8, classes=3, width=8)
    names = released_names(written, "aia")
    assert layout_of(names.values()) == "aia"
    assert layout_of(keys(RELEASED[""][1])) == "m2a", "a plain network: the two are the same"
    torch.save({names[key]: tensor for key, tensor in written.state_dict().items()}, tmp_path / "released.pth")
    asked: dict[str, Any] = {"frames": 8, "classes": 3, "weights": tmp_path / "released.pth", "width": 8}
    report = build_model("resnet50", "C->ST", **asked).load_report
    assert report is not None and report.complete
    for other in ("none", "C", "m2a"):
        with pytest.raises(CheckpointError):
            build_model("resnet50", other, **asked)
