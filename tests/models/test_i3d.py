"""The inflated ResNet-18 against released numbers, its 2-D original, and the shapes its strides promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from parity_tools import read_parity
from torch import nn

from vidrepro.config import RunConfig
from vidrepro.data.manifest import Manifest
from vidrepro.errors import CheckpointError, ModelError
from vidrepro.models import VideoClassifier, build_model
from vidrepro.models.memory_format import to_channels_last
from vidrepro.models.released.checkpoints import load_official_state
from vidrepro.training.loop import Trainer

FIRST_CONVS = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3, 4) for block in (0, 1)]
SMALL: dict[str, Any] = {"width": 8, "stem": "small2"}


def narrow(mechanism: str = "none", frames: int = 8, **options: Any) -> VideoClassifier:
    torch.manual_seed(0)
    return build_model("i3d-resnet18", mechanism, frames=frames, classes=5, **{**SMALL, **options})


def released(mechanism: str, **options: Any) -> VideoClassifier:
    model = build_model("i3d-resnet18", mechanism, frames=8, classes=174, **options)
    parity = read_parity("m2a_i3d_r18_motion")
    assert load_official_state(model, parity.state_dict, source="m2a").complete
    assert sum(parameter.numel() for parameter in model.parameters()) == parity.content["params_total"]
    return model.double().eval()


def logits(model: VideoClassifier, clips: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return model(clips).numpy()


@pytest.mark.parametrize("alternative", [None, "motion_wraparound"])
def test_logits_are_the_released_ones_in_the_released_layout(alternative: str | None) -> None:
    parity = read_parity("m2a_i3d_r18_motion")
    options = {"boundary": "first"} if alternative else {}
    model = released("m2a-motion", input_layout="released", **options)
    for which in ("iid", "corr"):
        np.testing.assert_allclose(
            logits(model, parity.input(which)), parity.expected(which, alternative), rtol=0, atol=parity.atol
        )


def test_logits_are_the_released_ones_for_clips_in_their_right_order() -> None:
    """The file has these in single precision only."""
    parity = read_parity("m2a_i3d_r18_motion")
    model = released("m2a-motion")
    for which, name in (("iid", ""), ("corr", "_corr")):
        expected = parity.content[f"expected_logits{name}_channel_first"]
        atol = parity.content["suggested_atol_fp32"]
        np.testing.assert_allclose(logits(model, parity.input(which)), expected, rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("name", "mechanism"),
    [("none", "none"), ("attn", "m2a-attention"), ("motion_attn", "m2a"), ("motion", "m2a-motion")],
)
def test_released_state_dict_loads_completely(name: str, mechanism: str) -> None:
    parity = read_parity(f"{'' if name == 'motion' else 'keys_only/'}m2a_i3d_r18_{name}")
    model = build_model("i3d-resnet18", mechanism, frames=8, classes=174)
    state = parity.state_dict
    report = load_official_state(model, {f"module.{key}": tensor for key, tensor in state.items()}, source="m2a")
    assert report.complete
    assert len(report.loaded) == len(state) == len(model.state_dict())
    assert sum(parameter.numel() for parameter in model.parameters()) == parity.content["params_total"]
    ours = model.state_dict()
    conv = "conv1" if mechanism == "none" else "conv1.conv"
    theirs = "conv1" if mechanism == "none" else "conv1.1"
    assert torch.equal(ours[f"backbone.layer3.0.{conv}.weight"], state[f"model.layer3.0.{theirs}.weight"])
    assert torch.equal(ours["fc.bias"], state["model.fc.bias"])


def test_the_released_i3d_has_no_temporal_shift() -> None:
    state = read_parity("m2a_i3d_r18_motion").state_dict
    for mechanism in ("m2a-motion", "none"):
        with pytest.raises(ModelError, match="released code has no network"):
            load_official_state(
                build_model("i3d-resnet18", mechanism, frames=8, classes=174, temporal_shift=True), state
            )


@pytest.mark.parametrize("layout", ["right", "released"])
def test_input_layout(layout: str) -> None:
    model = narrow(frames=4, input_layout=layout)
    seen: list[torch.Tensor] = []
    model.backbone.get_submodule("conv1").register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    clips = torch.randn(2, 4, 3, 16, 16)
    model.eval()(clips)
    for clip in range(2):
        for frame in range(4):
            for colour in range(3):
                flat = 4 * colour + frame  # place of this plane in a clip's memory, read as (colour, frame)
                expected = clips[clip, frame, colour] if layout == "right" else clips[clip].flatten(0, 1)[flat]
                assert torch.equal(seen[0][clip, colour, frame], expected)


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8, 9, 16])
@pytest.mark.parametrize("position", ["before", "after_first_conv", "before_second_conv"])
def test_mechanisms_get_the_frames_that_are_left(position: str, frames: int) -> None:
    """Strides of 2 leave ceil(T/2) frames; the mechanism is made for exactly what it is given."""
    model = narrow("m2a", frames, position=position)
    seen: dict[str, tuple[int, ...]] = {}
    for name, module in model.backbone.named_modules():
        if name.endswith(".mechanism"):
            module.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: inputs[0].shape}))
    model(torch.randn(2, frames, 3, 32, 32))
    left = [frames, -(-frames // 2), -(-frames // 4), -(-frames // 8)]
    conv = "conv2" if position == "before_second_conv" else "conv1"
    for stage, there in enumerate(left, start=1):
        for block in (0, 1):
            entering = position == "before" and block == 0 and stage > 1
            expected = left[stage - 2] if entering else there
            name = f"layer{stage}.{block}.{conv}.mechanism"
            assert seen[name][0] == 2 * expected, name
            assert model.backbone.get_submodule(name).motion.frames == expected
    assert len(seen) == 8


@pytest.mark.parametrize(("frames", "positions"), [(1, 1), (8, 1), (9, 2), (16, 2), (17, 3)])
def test_logits_are_the_mean_over_the_positions_left(frames: int, positions: int) -> None:
    model = narrow(frames=frames).double().eval()
    clips = torch.randn(2, frames, 3, 16, 16, dtype=torch.float64)
    maps = model.backbone.feature_map(clips)
    assert maps.shape == (2, 64, positions, 1, 1)
    expected = torch.stack([model.fc(maps[:, :, place, 0, 0]) for place in range(positions)]).mean(0)
    torch.testing.assert_close(model(clips), expected, rtol=0, atol=1e-12)


def test_insertions_and_their_order() -> None:
    assert narrow("m2a").insertions == dict.fromkeys(FIRST_CONVS, ("mechanism", "conv"))
    assert narrow("m2a", variant="paper").insertions == dict.fromkeys(FIRST_CONVS, ("conv", "mechanism"))
    assert narrow("tsm").insertions == dict.fromkeys(FIRST_CONVS, ("shift", "conv"))
    both = narrow("m2a", temporal_shift=True)
    assert both.insertions == dict.fromkeys(FIRST_CONVS, ("mechanism", "shift", "conv"))


def test_parts_in_front_of_a_3d_convolution_see_frames() -> None:
    """The shift, written out on the 3-D map: 1/8 of the channels from the next frame, 1/8 from the previous."""
    model = narrow("tsm", frames=4).double()
    together = model.backbone.get_submodule("layer1.0.conv1")
    x = torch.randn(2, 8, 4, 6, 6, dtype=torch.float64)
    shifted = x.clone()
    shifted[:, 0, :-1], shifted[:, 0, -1] = x[:, 0, 1:], 0
    shifted[:, 1, 1:], shifted[:, 1, 0] = x[:, 1, :-1], 0
    torch.testing.assert_close(together(x), together.conv(shifted), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 2), ("small", 8), ("small2", 4)])
def test_stem_and_width(stem: str, side: int) -> None:
    model = build_model("i3d-resnet18", frames=8, classes=5, width=8, stem=stem)
    assert model.backbone.feature_map(torch.zeros(1, 8, 3, 64, 64)).shape == (1, 64, 1, side, side)


def two_d_file(folder: Path, mechanism: str = "none") -> tuple[nn.Module, Path]:
    """A narrow 2-D ResNet-18 whose batch norms have seen something, and a file with its weights."""
    torch.manual_seed(1)
    flat = build_model("resnet18", mechanism, frames=8, classes=5, **SMALL)
    for module in flat.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    path = folder / "flat.pt"
    torch.save(flat.state_dict(), path)
    return flat.backbone, path


def test_inflated_network_is_the_2d_one_on_a_static_clip(tmp_path: Path) -> None:
    """Away from the clip's ends: position 7 of the last stage sees frames 2 to 110 of 112."""
    flat, path = two_d_file(tmp_path)
    model = narrow(frames=112, weights=path)
    assert model.load_report is not None
    assert len(model.load_report.inflated) == 20  # stem, 16 in blocks, 3 on skip paths
    frame = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        maps = model.double().eval().backbone.feature_map(frame[:, None].expand(-1, 112, -1, -1, -1))
        expected = flat.double().eval().feature_map(frame)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(maps[:, :, 7], expected, rtol=0, atol=3e-6)  # a third of a float32 weight is rounded
    assert (maps[:, :, 0] - expected).abs().max() > 1e-3  # the zeros before the first frame do show


@pytest.mark.parametrize(("rule", "inside"), [("divide", 1.0), ("released", 3.0)])
def test_inflation_rules_on_one_convolution(tmp_path: Path, rule: str, inside: float) -> None:
    flat, path = two_d_file(tmp_path)
    stem = narrow(frames=5, weights=path, inflation=rule).backbone.conv1
    frame = torch.randn(1, 3, 16, 16)
    out = stem(frame[:, :, None].expand(-1, -1, 5, -1, -1))
    expected = flat.conv1(frame)
    for time, share in enumerate((2 / 3, 1, 1, 1, 2 / 3)):  # at the ends one of three taps meets the padding
        torch.testing.assert_close(out[:, :, time], inside * share * expected, rtol=0, atol=1e-5)


def test_a_2d_network_inflates_with_its_mechanism(tmp_path: Path) -> None:
    _, path = two_d_file(tmp_path, "m2a")
    model = narrow("m2a", weights=path)
    assert model.load_report is not None
    assert model.load_report.complete
    plain = narrow("none", weights=two_d_file(tmp_path)[1])
    assert "20 inflated over time" in str(plain.load_report)


def test_a_file_of_another_width_is_refused(tmp_path: Path) -> None:
    _, path = two_d_file(tmp_path)
    with pytest.raises(CheckpointError, match="belong to another network"):
        narrow(weights=path, width=16)
    with pytest.raises(CheckpointError, match="belong to another network"):
        build_model("resnet18", frames=8, classes=5, weights=_three_d_file(tmp_path), **SMALL)


def _three_d_file(folder: Path) -> Path:
    path = folder / "solid.pt"
    torch.save(narrow().state_dict(), path)
    return path


def test_imagenet_weights_are_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    theirs = torchvision.models.resnet18().state_dict()
    (tmp_path / "checkpoints").mkdir()
    torch.save(theirs, tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    model = build_model("i3d-resnet18", "m2a", frames=8, classes=7, weights="imagenet", inflation="released")
    ours = model.state_dict()
    for time in range(3):
        assert torch.equal(ours["backbone.layer2.0.conv2.weight"][:, :, time], theirs["layer2.0.conv2.weight"])
    assert torch.equal(ours["backbone.bn1.running_var"], theirs["bn1.running_var"])
    with pytest.raises(ModelError, match="width=64"):
        build_model("i3d-resnet18", frames=8, classes=7, weights="imagenet", width=32)


def test_channels_last_changes_the_layout_and_not_the_network() -> None:
    model = narrow("m2a", frames=4).double().eval()
    clips = torch.randn(2, 4, 3, 16, 16, dtype=torch.float64)
    before = model(clips)
    to_channels_last(model)
    conv = model.backbone.get_submodule("layer2.1.conv2")
    assert conv.weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(model(clips), before, rtol=0, atol=1e-12)


def test_a_training_run_with_channels_last(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    settings = toy_config.model_dump()
    settings["model"] |= {"backbone": "i3d-resnet18", "temporal_shift": True}
    settings["train"] |= {"epochs": 1, "channels_last": True}
    trainer = Trainer(RunConfig.model_validate(settings), toy, 0, tmp_path, device=torch.device("cpu"))
    before = {name: parameter.clone() for name, parameter in trainer.model.named_parameters()}
    state = trainer.run()
    assert state.last is not None
    assert np.isfinite(state.history[0]["loss"])
    assert all(not torch.equal(before[name], parameter) for name, parameter in trainer.model.named_parameters())
