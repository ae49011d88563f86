"""Released ST-ABN and pytorchvideo's slow pathway: their keys, and their numbers in double precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from parity_tools import ParityFile, read_parity
from typer.testing import CliRunner

from vidrepro.cli.app import app
from vidrepro.errors import CheckpointError, ModelError
from vidrepro.models import VideoClassifier, build_mechanism, build_model
from vidrepro.models.released.checkpoints import load_official_state
from vidrepro.models.released.importing import fitting_mechanisms, import_checkpoint

KEY_LISTS = {
    "stabn_r50_64_scaled": "slow-r50",
    "keys_only/stabn_r50_64": "slow-r50",
    "keys_only/stabn_r50_224_scaled": "slow-r50",
    "keys_only/stabn_r101_64_scaled": "slow-r101",
}
INVERSIONS = {"spatial_inverted": "spatial", "temporal_inverted": "temporal", "both_inverted": ("spatial", "temporal")}


def clips_of(parity: ParityFile) -> torch.Tensor:
    assert parity.content["input"]["layout"].startswith("(batch, rgb, frame, h, w)")
    return parity.input("iid").transpose(1, 2)


def assert_matches(values: torch.Tensor, summary: dict[str, Any]) -> None:
    """64 values and the statistics, at the file's ``suggested_atol_f64``."""
    atol = 1e-6 * max(1, summary["absmax"])
    flat = values.numpy().ravel()
    assert flat.size == np.prod(summary["shape"])
    np.testing.assert_allclose(flat[summary["flat_index"]], summary["values"], rtol=0, atol=atol)
    statistics = [flat.mean(), flat.std(), np.abs(flat).max()]
    np.testing.assert_allclose(statistics, [summary[name] for name in ("mean", "std", "absmax")], rtol=0, atol=atol)


def dead_tensors(parity: ParityFile) -> dict[str, torch.Tensor]:
    return {f"{prefix}0.conv.weight": torch.ones(2) for prefix in parity.content["dead_keys_left_out"]["prefixes"]}


def test_slow_pathway_gives_pytorchvideos_logits() -> None:
    parity = read_parity("pv_slow_r50_64_scaled")
    model = build_model("slow-r50", "none", frames=8, classes=400)
    report = load_official_state(model, parity.state_dict, source="pytorchvideo")
    assert report.complete
    assert len(report.loaded) == len(parity.content["keys"])
    assert sum(parameter.numel() for parameter in model.parameters()) == parity.content["params_total"]
    with torch.no_grad():
        logits = model.double().eval()(clips_of(parity))
    assert_matches(logits, parity.content["expected_f64"]["logits"])


class Released(NamedTuple):
    model: VideoClassifier
    clips: torch.Tensor
    state: dict[str, torch.Tensor]
    content: dict[str, Any]


@pytest.fixture(scope="module")
def released() -> Released:
    """The network with the file's weights, its features computed once (they are the same under every inversion)."""
    parity = read_parity("stabn_r50_64_scaled")
    model = build_model("slow-r50", "st-abn", frames=32, classes=174)
    state = parity.state_dict
    assert load_official_state(model, state, source="stabn").complete
    model.double().eval()
    clips = clips_of(parity)
    with torch.no_grad():
        features = model.backbone.third_stage_map(clips)  # type: ignore[operator]
        attentions = model.branch(features)  # type: ignore[operator]
    model.backbone.third_stage_map = lambda clips: features  # type: ignore[assignment]
    model.branch.forward = lambda features: attentions  # type: ignore[union-attr, method-assign]
    return Released(model, clips, state, parity.content)


def test_logits_and_attentions_are_the_released_ones(released: Released) -> None:
    with torch.no_grad():
        logits, attention = released.model(released.clips, return_attention=True)
    expected = released.content["expected_f64"]
    assert_matches(logits, expected["perception_logits"])
    assert_matches(attention["attention_logits"], expected["attention_logits"])
    assert_matches(attention["spatial"], expected["Ms"])
    np.testing.assert_allclose(attention["temporal"].numpy(), expected["Mt"], rtol=0, atol=1e-6)
    assert attention["spatial"].shape == (2, 32, 4, 4)
    assert attention["temporal"].shape == (2, 32)


@pytest.mark.parametrize("name", INVERSIONS)
def test_inverted_logits_are_the_released_ones(released: Released, name: str) -> None:
    with torch.no_grad():
        logits = released.model(released.clips, invert=INVERSIONS[name])
    assert_matches(logits, released.content["expected_inverted_f64"][name]["perception_logits"])


@pytest.mark.parametrize("name", KEY_LISTS)
def test_released_keys_load_completely_and_the_dead_ones_are_told(name: str) -> None:
    parity = read_parity(name)
    live = {key: torch.zeros(shape) for key, shape in parity.content["keys"]}
    dead = dead_tensors(parity)
    model = build_model(KEY_LISTS[name], "st-abn", frames=32, classes=174)
    report = load_official_state(model, {f"module.{key}": value for key, value in (live | dead).items()}, "stabn")
    assert report.complete
    assert len(report.loaded) == len(live) == len(model.state_dict())
    assert sorted(report.unused) == sorted(dead)
    assert f"{len(dead)} that the released code never uses" in str(report)
    assert sum(parameter.numel() for parameter in model.parameters()) == parity.content["params_live"]


def test_every_tensor_of_the_branch_gets_its_own(released: Released) -> None:
    """The names say what is what: those of the specification's table, written down by hand."""
    ours = released.model.state_dict()
    for name, released_name in (
        ("backbone.layer3.5.conv2.weight", "backbone.layer3.5.conv2.weight"),
        ("branch.residual.2.bn3.bias", "backbone.att_layer4.2.bn3.bias"),
        ("branch.residual_norm.running_mean", "backbone.bn_att.running_mean"),
        ("branch.map_norm.bias", "backbone.bn_att2.bias"),
        ("branch.spatial_norm.bias", "backbone.bn_att3.bias"),
        ("branch.temporal_norm.bias", "backbone.t_bn_att.bias"),
        ("branch.frame_fc1.bias", "backbone.fc1.bias"),
        ("branch.frame_fc2.bias", "backbone.fc2.bias"),
        ("branch.classifier.bias", "necks.att_head.fc.bias"),
        ("mixer.norm.bias", "backbone.bn_att4.bias"),
        ("fc.bias", "cls_head.fc_cls.bias"),
    ):
        assert torch.equal(ours[name].float(), released.state[released_name]), name


@pytest.mark.parametrize("fault", ["missing", "unexpected", "other head"])
def test_what_is_not_this_network_is_refused(fault: str) -> None:
    state = {key: torch.zeros(shape) for key, shape in read_parity("stabn_r50_64_scaled").content["keys"]}
    if fault == "missing":
        del state["backbone.t_att_conv2.weight"]
    elif fault == "unexpected":
        state["necks.aux_head.fc.weight"] = torch.zeros(1)  # TPN has more necks than ST-ABN leaves unused
    model = build_model(
        "slow-r50", "st-abn", frames=32, classes=174, att_head="gap3d" if fault == "other head" else "fc"
    )
    text = {
        "missing": r"1 missing \(branch.frame_conv.weight\)",
        "unexpected": r"1 unexpected \(necks.aux_head.fc.weight\)",
        "other head": r"2 unexpected \(necks.att_head.fc",
    }[fault]
    with pytest.raises(CheckpointError, match=text):
        load_official_state(model, state, "stabn")


def test_a_source_is_asked_only_for_what_it_has() -> None:
    stabn = build_model("slow-micro", "st-abn", frames=4, classes=3)
    plain = build_model("slow-micro", "none", frames=4, classes=3)
    for model, source in ((plain, "stabn"), (stabn, "pytorchvideo"), (stabn, "m2a"), (plain, "m2a")):
        with pytest.raises(ModelError, match="has no such network"):
            load_official_state(model, {"fc.weight": torch.zeros(3)}, source)
    with pytest.raises(ModelError, match="has no such module"):
        load_official_state(build_mechanism("tea", 64, 8), {"a": torch.zeros(1)}, "stabn")


@pytest.fixture
def narrow_file(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A training checkpoint as the released code writes it, of a narrow network: T = 4, 5 classes."""
    from vidrepro.models.networks.stabn_released import released_key

    torch.manual_seed(0)
    model = build_model("slow-micro", "st-abn", frames=4, classes=5, width=8)
    live = {f"module.{released_key(key)}": value for key, value in model.state_dict().items()}
    dead = {"module.necks.level_fusion_op.fusion.weight": torch.ones(3)}
    path = tmp_path / "epoch_150.pth"
    torch.save({"meta": {"epoch": 150}, "state_dict": live | dead}, path)
    return path, model.state_dict()


def test_import_command_writes_what_build_model_loads(
    narrow_file: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    path, state = narrow_file
    out = tmp_path / "ours.pt"
    arguments = ["import-checkpoint", str(path), "--source", "stabn", "--backbone", "slow-micro", "--set", "width=8"]
    result = CliRunner().invoke(app, [*arguments, "--mechanism", "st-abn", "--frames", "4", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "unused: 1" in result.output
    for weights in (out, path):  # the released file may also be given as it is
        model = build_model("slow-micro", "st-abn", frames=4, classes=5, width=8, weights=weights, checkpointing=True)
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        assert model.load_report is not None
        assert not model.load_report.missing


def test_import_says_which_frames_and_mechanism(narrow_file: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, _ = narrow_file
    with pytest.raises(CheckpointError, match=r"another number of frames(.|\n)*--frames 4"):
        import_checkpoint(path, backbone="slow-micro", mechanism="st-abn", source="stabn", options={"width": 8})
    with pytest.raises(CheckpointError, match="the mechanism has to be said"):
        import_checkpoint(path, backbone="slow-micro", mechanism=None, source="stabn", frames=4)


def test_keys_tell_the_network() -> None:
    keys = {key: torch.empty(shape, device="meta") for key, shape in read_parity("stabn_r50_64_scaled").content["keys"]}
    dead = dead_tensors(read_parity("stabn_r50_64_scaled"))
    assert fitting_mechanisms(keys | dead, "slow-r50", 32, 174, "stabn") == ["st-abn"]
    assert fitting_mechanisms(keys, "slow-r101", 32, 174, "stabn") == []
    slow = {
        key: torch.empty(shape, device="meta") for key, shape in read_parity("pv_slow_r50_64_scaled").content["keys"]
    }
    assert fitting_mechanisms(slow, "slow-r50", 8, 400, "pytorchvideo") == ["none"]
