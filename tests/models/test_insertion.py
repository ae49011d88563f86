"""Where mechanisms land, spelled out."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from vidrepro.errors import ModelError
from vidrepro.models import build_model
from vidrepro.models.backbones.resnet import ResNet
from vidrepro.models.insertion import places

RESNET18 = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3, 4) for block in (0, 1)]
MOBILENET_RELEASED = [f"features.{index}.conv.0.0" for index in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)]
MOBILENET_TEXT = [f"features.{index}.conv.0.0" for index in range(1, 18)]


@pytest.mark.parametrize(
    ("backbone", "variant", "expected"),
    [
        ("resnet18", "official", RESNET18),
        ("resnet18", "paper", RESNET18),
        ("micro", "official", [f"layer{stage}.0.conv1" for stage in (1, 2, 3, 4)]),
        ("mobilenetv2", "official", MOBILENET_RELEASED),
        ("mobilenetv2", "paper", MOBILENET_TEXT),
    ],
)
def test_places(backbone: str, variant: str, expected: list[str]) -> None:
    model = build_model(backbone, "m2a", frames=4, classes=3, variant=variant)
    order = ("mechanism", "conv") if variant == "official" else ("conv", "mechanism")
    assert model.insertions == dict.fromkeys(expected, order)
    for place in expected:
        together = model.backbone.get_submodule(place)
        assert tuple(name for name, _ in together.named_children()) == order


def test_resnet50_has_one_in_each_of_its_16_bottlenecks() -> None:
    model = build_model("resnet50", "m2a", frames=4, classes=3, width=8)
    assert list(model.insertions) == [
        f"layer{stage}.{block}.conv1" for stage, depth in ((1, 3), (2, 4), (3, 6), (4, 3)) for block in range(depth)
    ]


def test_very_deep_resnets_take_every_second_block() -> None:
    deep = ResNet(BasicBlock, (3, 4, 23, 3), width=8)
    found = places(deep, "before")
    assert found[:4] == ["layer1.0.conv1", "layer1.2.conv1", "layer2.0.conv1", "layer2.2.conv1"]
    assert len(found) == 2 + 2 + 12 + 2


@pytest.mark.parametrize(("backbone", "shifted"), [("resnet18", RESNET18), ("mobilenetv2", MOBILENET_RELEASED)])
def test_with_the_temporal_shift_the_mechanism_runs_first(backbone: str, shifted: list[str]) -> None:
    model = build_model(backbone, "m2a", frames=4, classes=3, temporal_shift=True)
    assert model.insertions == dict.fromkeys(shifted, ("mechanism", "shift", "conv"))
    alone = build_model(backbone, "none", frames=4, classes=3, temporal_shift=True)
    assert alone.insertions == dict.fromkeys(shifted, ("shift", "conv"))


def test_the_texts_position_keeps_the_shift_in_front() -> None:
    model = build_model("mobilenetv2", "m2a", frames=4, classes=3, variant="paper", temporal_shift=True)
    for place in MOBILENET_TEXT:
        shifted = ("shift",) if place in MOBILENET_RELEASED else ()
        assert model.insertions[place] == (*shifted, "conv", "mechanism")


@pytest.mark.parametrize(("position", "channels"), [("before", 64), ("after_first_conv", 128)])
def test_mechanism_is_as_wide_as_what_it_sees(position: str, channels: int) -> None:
    model = build_model("resnet18", "m2a", frames=4, classes=3, position=position)
    mechanism = model.backbone.get_submodule("layer2.0.conv1.mechanism")
    seen = []
    mechanism.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].shape, output.shape)))
    model(torch.zeros(1, 4, 3, 32, 32))
    assert [shape[1] for shape in seen[0]] == [channels, channels]


def test_an_untouched_backbone_stays_plain() -> None:
    model = build_model("resnet18", "none", frames=4, classes=3)
    assert model.insertions == {}
    assert isinstance(model.backbone.get_submodule("layer1.0.conv1"), nn.Conv2d)


def test_a_position_nobody_knows_is_refused() -> None:
    with pytest.raises(ModelError, match="after_second_conv"):
        places(ResNet(BasicBlock, (1, 1, 1, 1), width=8), "after_second_conv")
