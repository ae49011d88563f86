"""Backbones against torchvision's own networks, and the sizes their options promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision

from vidrepro.models.backbones import build_backbone


@pytest.mark.parametrize(
    ("name", "reference", "classifier"),
    [
        ("resnet18", torchvision.models.resnet18, "fc."),
        ("resnet50", torchvision.models.resnet50, "fc."),
        ("mobilenetv2", torchvision.models.mobilenet_v2, "classifier."),
    ],
)
def test_default_is_torchvisions_network(name: str, reference: Any, classifier: str) -> None:
    theirs = reference().double().eval()
    ours, _ = build_backbone(name, {})
    state = {key: value for key, value in theirs.state_dict().items() if not key.startswith(classifier)}
    ours.load_state_dict(state)  # strict: the same names and shapes, all of them
    last = theirs.fc if classifier == "fc." else theirs.classifier[1]
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(last(ours.double().eval()(x)), theirs(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "stem", "channels", "side"),
    [
        ("resnet18", "imagenet", 512, 2),
        ("resnet18", "small", 512, 8),
        ("resnet18", "small2", 512, 4),
        ("mobilenetv2", "imagenet", 1280, 2),
        ("mobilenetv2", "small", 1280, 4),
        ("micro", "small", 128, 8),
        ("micro", "small2", 128, 4),
        ("micro", "imagenet", 128, 2),
    ],
)
def test_stem_decides_the_resolution(name: str, stem: str, channels: int, side: int) -> None:
    backbone, options = build_backbone(name, {"stem": stem})
    assert options["stem"] == stem
    assert backbone.eval().feature_map(torch.zeros(1, 3, 64, 64)).shape == (1, channels, side, side)
    assert backbone(torch.zeros(1, 3, 64, 64)).shape == (1, backbone.feature_channels)


def test_width_decides_the_channels() -> None:
    micro, options = build_backbone("micro", {})
    assert options == {"width": 16, "stem": "small"}
    assert [stage[0].conv1.out_channels for stage in micro.stages] == [16, 32, 64, 128]
    assert [len(stage) for stage in micro.stages] == [1, 1, 1, 1]
    assert [stage[0].conv1.stride for stage in micro.stages] == [(1, 1), (2, 2), (2, 2), (2, 2)]
    assert build_backbone("resnet50", {"width": 16})[0].feature_channels == 16 * 8 * 4
    narrow, _ = build_backbone("mobilenetv2", {"width": 0.5})
    assert narrow.features[0][0].out_channels == 16
    assert narrow.feature_channels == 1280  # torchvision never narrows the last layer


def test_convolutions_start_with_torchvisions_variance() -> None:
    torch.manual_seed(0)
    backbone, _ = build_backbone("resnet18", {})
    weight = backbone.get_submodule("layer4.1.conv2").weight
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
