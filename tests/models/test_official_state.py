"""Importing released state dicts: only a complete fit is accepted, and a refusal changes nothing."""

from __future__ import annotations

import pytest
import torch
from parity_tools import read_parity

from vidrepro.errors import CheckpointError, ModelError, UnknownNameError
from vidrepro.models import VideoClassifier, build_mechanism, build_model
from vidrepro.models.released.checkpoints import load_official_state


@pytest.fixture(scope="module")
def released() -> dict[str, torch.Tensor]:
    return read_parity("keys_only/m2a_mbv2_motion_attn").state_dict


@pytest.fixture
def model() -> VideoClassifier:
    return build_model("mobilenetv2", "m2a", frames=8, classes=174)


def copy_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_unchanged(model: torch.nn.Module, before: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_every_layer_gets_its_own_tensor(released: dict[str, torch.Tensor], model: VideoClassifier) -> None:
    load_official_state(model, released)
    ours = model.state_dict()
    for ours_name, released_name in (
        ("backbone.features.0.0.weight", "base_model.features.0.0.weight"),
        ("backbone.features.1.conv.0.0.weight", "base_model.features.1.conv.0.weight"),
        ("backbone.features.1.conv.1.weight", "base_model.features.1.conv.3.weight"),
        ("backbone.features.1.conv.2.bias", "base_model.features.1.conv.4.bias"),
        ("backbone.features.3.conv.0.0.mechanism.conv_up.bias", "base_model.features.3.conv.0.0.conv_up.bias"),
        ("backbone.features.3.conv.0.0.conv.weight", "base_model.features.3.conv.0.1.weight"),
        ("backbone.features.3.conv.0.1.running_var", "base_model.features.3.conv.1.running_var"),
        ("backbone.features.4.conv.0.0.weight", "base_model.features.4.conv.0.weight"),
        ("backbone.features.4.conv.1.0.weight", "base_model.features.4.conv.3.weight"),
        ("backbone.features.4.conv.1.1.bias", "base_model.features.4.conv.4.bias"),
        ("backbone.features.4.conv.2.weight", "base_model.features.4.conv.6.weight"),
        ("backbone.features.4.conv.3.running_mean", "base_model.features.4.conv.7.running_mean"),
        ("backbone.features.18.1.weight", "base_model.features.18.1.weight"),
        ("fc.weight", "new_fc.weight"),
    ):
        assert torch.equal(ours[ours_name], released[released_name]), ours_name


def test_data_parallel_prefix_is_taken_off(released: dict[str, torch.Tensor], model: VideoClassifier) -> None:
    report = load_official_state(model, {f"module.{name}": tensor for name, tensor in released.items()})
    assert report.complete


@pytest.mark.parametrize("fault", ["missing", "unexpected", "wrong_shape"])
def test_an_incomplete_fit_is_refused_and_reported(
    released: dict[str, torch.Tensor], model: VideoClassifier, fault: str
) -> None:
    state = dict(released)
    name = "base_model.features.3.conv.0.0.conv_down.weight"
    ours = "backbone.features.3.conv.0.0.mechanism.conv_down.weight"
    if fault == "missing":
        del state[name]
    elif fault == "unexpected":
        state["base_model.features.99.weight"] = torch.zeros(1)
    else:
        state[name] = torch.zeros(3, 32, 1, 1)
    before = copy_of(model)
    with pytest.raises(CheckpointError, match="this is not a gebob19/M2A state dict of this network"):
        load_official_state(model, state)
    assert_unchanged(model, before)
    report = load_official_state(model, state, strict=False)
    assert not report.complete
    expected = {
        "missing": [ours],
        "unexpected": ["base_model.features.99.weight"],
        "wrong_shape": [f"{ours}: (3, 32, 1, 1) in the file, (3, 24, 1, 1) in the network"],
    }
    for kind in ("missing", "unexpected", "wrong_shape"):
        assert getattr(report, kind) == (expected[kind] if kind == fault else [])
    assert len(report.loaded) == 354 - (fault != "unexpected")


@pytest.mark.parametrize(
    ("backbone", "mechanism", "shift"),
    [("mobilenetv2", "none", False), ("mobilenetv2", "none", True), ("resnet18", "m2a", False)],
)
def test_another_network_is_refused(
    released: dict[str, torch.Tensor], backbone: str, mechanism: str, shift: bool
) -> None:
    other = build_model(backbone, mechanism, frames=8, classes=174, temporal_shift=shift)
    before = copy_of(other)
    with pytest.raises(CheckpointError, match="of this network"):
        load_official_state(other, released)
    assert_unchanged(other, before)


def test_plain_and_shifted_networks_are_told_apart() -> None:
    shifted = read_parity("keys_only/m2a_r18_tsm").state_dict
    plain = build_model("resnet18", "none", frames=8, classes=174)
    with pytest.raises(CheckpointError, match=r"conv1\.net\.weight"):
        load_official_state(plain, shifted)


@pytest.mark.parametrize("options", [{"variant": "paper"}, {"temporal_shift": True}])
def test_networks_the_released_code_cannot_build_are_refused(
    released: dict[str, torch.Tensor], options: dict[str, object]
) -> None:
    """The text's position exists in no released file; the released MobileNetV2 never shifts where M2A is."""
    with pytest.raises(ModelError, match="released code has no network"):
        load_official_state(build_model("mobilenetv2", "m2a", frames=8, classes=174, **options), released)  # type: ignore[arg-type]


def test_nothing_that_fits_is_refused_even_when_lenient(model: VideoClassifier) -> None:
    with pytest.raises(CheckpointError):
        load_official_state(model, {"conv1.weight": torch.zeros(1)}, strict=False)


def test_unknown_source_and_values_that_are_no_tensors_are_refused(model: VideoClassifier) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'm2a'"):
        load_official_state(model, {}, source="m2")
    with pytest.raises(CheckpointError, match="'epoch': int"):
        load_official_state(model, {"epoch": 3})  # type: ignore[dict-item]


def test_a_module_alone_takes_the_released_names() -> None:
    state = read_parity("keys_only/m2a_mod_tea").state_dict
    module = build_mechanism("tea", 64, 8)
    assert load_official_state(module, state, source="m2a").complete
    loaded = sorted(tensor.double().sum().item() for tensor in module.state_dict().values())
    assert loaded == sorted(tensor.double().sum().item() for tensor in state.values())


def test_a_part_of_a_module_is_refused() -> None:
    module = build_mechanism("m2a", 64, 8)
    before = copy_of(module)
    with pytest.raises(CheckpointError, match="3 missing"):
        load_official_state(module, {"conv_down.weight": torch.zeros(8, 64, 1, 1)}, source="m2a")
    assert_unchanged(module, before)
