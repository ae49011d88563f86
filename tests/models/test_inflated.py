"""I3D and C3D of ResNet-50: what they cost, inflation of a still clip, and that they see the order of frames."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import WeightsEnum

from vidrepro.cost.network_cost import CostReport, measure_model
from vidrepro.cost.torch_counter import counting_with_torch
from vidrepro.errors import ModelError
from vidrepro.models import VideoClassifier, build_model
from vidrepro.models.released.naming import file_names

NETWORKS = ("i3d-resnet50", "c3d-resnet50")
NARROW: dict[str, Any] = {"width": 4, "stem": "small2"}


def cost(backbone: str, frames: int, size: int, classes: int, **options: Any) -> CostReport:
    with torch.device("meta"):
        model = build_model(backbone, frames=frames, classes=classes, **options)
    return measure_model(model, frames=frames, size=size)


def test_i3d_costs_what_is_published() -> None:
    """pytorchvideo's model zoo: 28.04 M and 37.53 G for 8 frames of 256x256, five per batch norm's element added."""
    found = cost("i3d-resnet50", 8, 256, 400)
    assert f"{found.params / 1e6:.2f}" == "28.04"
    assert f"{found.gmacs_conv_linear + 5 * found.components['batch_norm_elements'] / 1e9:.2f}" == "37.53"
    assert found.cross_check.agrees


def test_without_the_last_stages_stride_i3d_costs_aias_153_g() -> None:
    """AIA's Table II, 32 frames of 224x224: 14x14 at the end, as in Space-Time Region Graphs. Else it were 114 G.

    Eight frames are counted, times four: nothing but the linear layer is done once a clip.
    """
    found = cost("i3d-resnet50", 8, 224, 174, last_stride=1)
    assert f"{4 * found.gmacs_fvcore:.1f}" == "153.0"
    assert found.params == 27_580_398
    assert conv_macs("i3d-resnet50", 32, last_stride=1) == 152_470_814_720
    assert conv_macs("i3d-resnet50", 32) == 113_627_365_376


def conv_macs(backbone: str, frames: int, **options: Any) -> int:
    """Of a clip of 224x224."""
    with torch.device("meta"):
        model = build_model(backbone, frames=frames, classes=174, **options).eval()
    with torch.no_grad(), counting_with_torch() as count:
        model(torch.empty(1, frames, 3, 224, 224, device="meta"))
    return count[0].conv


def parameters(backbone: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_model(backbone, frames=8, classes=174).parameters())


def test_c3d_is_resnet50_with_its_3x3_convolutions_three_times_as_long() -> None:
    """Two more taps in each of the 16, by hand: 9 weights c² at s² positions a frame, c s = 64 x 56 in every stage."""
    weights = 2 * 9 * (3 * 64**2 + 4 * 128**2 + 6 * 256**2 + 3 * 512**2)
    assert parameters("c3d-resnet50") == parameters("resnet50") + weights == 46_499_054
    macs = conv_macs("c3d-resnet50", 8)
    assert macs == conv_macs("resnet50", 8) + 16 * 8 * 2 * 9 * (64 * 56) ** 2
    assert f"{macs / 1e9:.2f}" == "62.29"


def narrow(backbone: str, frames: int, **options: Any) -> VideoClassifier:
    torch.manual_seed(0)
    return build_model(backbone, frames=frames, classes=5, **{**NARROW, **options})


@pytest.mark.parametrize(("backbone", "frames"), [("i3d-resnet50", 44), ("c3d-resnet50", 33)])
def test_inflated_weights_give_the_2d_maps_inside_a_still_clip(backbone: str, frames: int, tmp_path: Path) -> None:
    """As many frames as the kernels reach from the middle (16 of C3D; 5 and 2 x 6 and a pair of I3D) see no padding."""
    torch.manual_seed(1)
    flat = build_model("resnet50", frames=1, classes=5, **NARROW).backbone.double().eval()
    for module in flat.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    torch.save(flat.state_dict(), tmp_path / "flat.pth")
    model = narrow(backbone, frames, weights=tmp_path / "flat.pth")
    assert model.load_report is not None
    assert len(model.load_report.inflated) == 53  # all the convolutions of a ResNet-50
    frame = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = flat.feature_map(frame)  # type: ignore[operator]
        maps = model.backbone.double().eval().feature_map(frame[:, None].expand(-1, frames, -1, -1, -1))  # type: ignore[operator]
    assert maps.shape[2] == (frames // 2 if backbone == "i3d-resnet50" else frames)
    torch.testing.assert_close(maps[:, :, maps.shape[2] // 2], expected, rtol=1e-4, atol=1e-5)  # weights are float32
    assert not torch.allclose(maps[:, :, 0], expected, rtol=1e-2)  # the ends do see it


@cache
def torchvision_state() -> dict[str, torch.Tensor]:
    return torchvision.models.resnet50().state_dict()


@pytest.mark.parametrize("backbone", NETWORKS)
def test_imagenet_weights(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every convolution is torchvision's, repeated over time and divided; strides decide no shape, widths do."""
    state = torchvision_state()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **options: state)
    options: dict[str, Any] = {"last_stride": 1} if backbone == "i3d-resnet50" else {}
    model = build_model(backbone, frames=8, classes=7, weights="imagenet", **options)
    assert model.load_report is not None
    assert (len(model.load_report.inflated), model.load_report.missing) == (53, ["fc.weight", "fc.bias"])
    for name in ("conv1", "layer3.2.conv1", "layer4.1.conv2"):
        kernel, theirs = model.backbone.get_submodule(name).weight, state[f"{name}.weight"]
        torch.testing.assert_close(kernel.sum(2), theirs)  # type: ignore[operator]
    with pytest.raises(ModelError, match="width=64"):
        build_model(backbone, frames=8, classes=7, weights="imagenet", width=32)


@pytest.mark.parametrize("backbone", NETWORKS)
@pytest.mark.parametrize("frames", [1, 3, 8])
def test_every_number_of_frames_is_legal_and_every_parameter_is_used(backbone: str, frames: int) -> None:
    model = narrow(backbone, frames)
    logits = model(torch.randn(2, frames, 3, 32, 32))
    assert logits.shape == (2, 5)
    logits.sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("backbone", [*NETWORKS, "c3d-micro"])
def test_logits_are_a_clips_own_and_know_the_order_of_its_frames(backbone: str) -> None:
    """A clip alone, among others, and reversed; every frame counts."""
    model = narrow(backbone, 8, head_std=1.0).double().eval()
    clips = torch.randn(3, 8, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        together, alone = model(clips), model(clips[1:2])
        torch.testing.assert_close(together[1:2], alone, rtol=1e-9, atol=1e-12)
        assert not torch.allclose(model(clips[1:2].flip(1)), alone, rtol=1e-3)
        for frame in range(8):
            other = clips[1:2].clone()
            other[0, frame] += 1
            assert not torch.allclose(model(other), alone, rtol=1e-9, atol=0), frame


@pytest.mark.parametrize("backbone", NETWORKS)
def test_they_take_no_mechanism_and_no_released_names(backbone: str) -> None:
    with pytest.raises(ModelError, match=f"backbone '{backbone}' takes no 'CinST'"):
        build_model(backbone, "CinST", frames=8, classes=5)
    with pytest.raises(ModelError, match="has no temporal shift"):
        build_model(backbone, frames=8, classes=5, temporal_shift=True)
    with torch.device("meta"):
        model = build_model(backbone, frames=8, classes=5)
    for layout in ("m2a", "aia", "pytorchvideo", "stabn"):
        with pytest.raises(ModelError, match="released code"):
            file_names(model, layout)


@pytest.mark.parametrize("stride", [0, 3, True, "1"])
def test_a_last_stride_that_is_none_is_refused(stride: object) -> None:
    with pytest.raises(ModelError, match="option 'last_stride'"):
        build_model("i3d-resnet50", frames=8, classes=5, last_stride=stride)
