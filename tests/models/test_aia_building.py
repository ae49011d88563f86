"""AIA's compositions as mechanisms: how they are named, what they mean, and where in a network they stand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from vidrepro.config import ModelConfig
from vidrepro.errors import ModelError, UnknownNameError
from vidrepro.models import VideoClassifier, build_mechanism, build_model, mechanism_names, takes_option
from vidrepro.models.backbones.resnet import ResNet
from vidrepro.models.insertion import places
from vidrepro.models.mechanisms import parse_spec, resolve_mechanism
from vidrepro.models.released.naming import file_names
from vidrepro.models.weights import load_file

OFFICIAL = {"pool_order": "max_mean", "position": "after_inner_norm"}


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("CinST→STinC", "CinST->STinC", {}),
        (" CinST  ->STinC ", "CinST->STinC", {}),
        ("((C)) + ST", "C+ST", {}),
        ("(C->ST)+C", "(C->ST)+C", {}),
        ("C in ST in C", "CinSTinC", {}),
        ("C→ST (pool_order=mean_max)", "C->ST", {"pool_order": "mean_max"}),
        ("CinST(position=before, pool_order=max_mean)", "CinST", {"position": "before"}),
        ("(C+ST)()", "C+ST", {}),
    ],
)
def test_equal_notations_are_one_mechanism(text: str, name: str, options: dict[str, str]) -> None:
    resolved = resolve_mechanism(text, "official", {})
    assert (resolved.name, resolved.options) == (name, {**OFFICIAL, **options})
    written = {f"{key}={value}" for key, value in parse_spec(text)[1].items()}
    in_config = ModelConfig(backbone="resnet50", mechanism=text).mechanism
    assert in_config.partition("(p")[0] == name
    assert all(option in in_config for option in written)


@pytest.mark.parametrize("text", ["none", "m2a(motion=m2a, attention=none)", "C->(", "m2a → tea", "se3d", "Cin ST x"])
def test_other_texts_stay_as_they_are_in_a_config(text: str) -> None:
    assert ModelConfig(backbone="resnet50", mechanism=text).mechanism == text


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("CinX", 4, "a unit"),
        ("C->", 4, "a unit"),
        ("CinST->STin", 12, "a unit"),
        ("m2a+C", 1, "a unit"),
        ("C+(ST", 6, "')'"),
        ("Cin(ST)", 4, "a unit"),
    ],
)
def test_a_wrong_composition_is_refused_with_its_position(text: str, position: int, expected: str) -> None:
    for refused in (lambda: build_mechanism(text, 8, 4), lambda: build_model("micro", text, frames=4, classes=2)):
        with pytest.raises(ModelError, match=f"position {position}\n") as refusal:
            refused()
        assert expected in str(refusal.value)


@pytest.mark.parametrize(("text", "near"), [("nonne", "none"), ("m2a-motoin", "m2a-motion"), ("se3", "se3d")])
def test_names_are_still_names(text: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean '{near}'"):
        parse_spec(text)
    assert parse_spec("none") == ("none", {})


def test_names_and_options() -> None:
    table = ["C", "ST", "C->ST", "ST->C", "C+ST", "CinST", "STinC", "CinST->STinC", "STinC->CinST", "CinST+STinC"]
    comparators = ["se3d", "ge3d-g", "ge3d-dw133", "ge3d-dw333", "s3d-g", "cbam3d-177", "cbam3d-377"]
    assert {*table, *comparators} <= set(mechanism_names())
    assert takes_option("C→C", "pool_order") and not takes_option("C→C", "reduction")
    assert resolve_mechanism("C->C", "paper", {}).options["pool_order"] == "mean_max"
    with pytest.raises(ModelError, match="does not take"):
        build_mechanism("C", 8, 4, pool_order="min_max")


@pytest.mark.parametrize("spec", ["C", "CinST->STinC", "C+ST"])
def test_the_texts_order_of_pools_is_the_released_one_with_weights_swapped(spec: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 4, 5, 5)
    released, text = (build_mechanism(spec, 4, 3, variant=variant).eval() for variant in ("official", "paper"))
    state = released.state_dict()
    text.load_state_dict(state)
    assert (text(x) - released(x)).abs().max() > 1e-3
    text.load_state_dict({key: value.flip(1) if "conv" in key else value for key, value in state.items()})
    torch.testing.assert_close(text(x), released(x))


MOBILE_INNER = ["features.1.conv.0.1", *(f"features.{index}.conv.1.1" for index in range(2, 18))]
MOBILE_LAST = ["features.1.conv.2", *(f"features.{index}.conv.3" for index in range(2, 18))]


def resnet_places(norm: str, depths: tuple[int, ...]) -> list[str]:
    return [f"layer{stage}.{block}.{norm}" for stage, depth in enumerate(depths, 1) for block in range(depth)]


@pytest.mark.parametrize(
    ("backbone", "width", "mechanism", "expected", "before"),
    [
        ("resnet50", 8, "CinST", resnet_places("bn2", (3, 4, 6, 3)), "layer1.0.conv2"),
        ("resnet50", 8, "s3d-g", resnet_places("bn2", (3, 4, 6, 3)), "layer1.0.conv2"),
        ("resnet50", 8, "se3d", resnet_places("bn3", (3, 4, 6, 3)), "layer1.0.conv3"),
        ("resnet18", 8, "CinST", resnet_places("bn1", (2, 2, 2, 2)), "layer1.0.conv1"),
        ("resnet18", 8, "ge3d-g", resnet_places("bn2", (2, 2, 2, 2)), "layer1.0.conv2"),
        ("mobilenetv2", 0.35, "CinST", MOBILE_INNER, "features.2.conv.1.0"),
        ("mobilenetv2", 0.35, "ge3d-dw333", MOBILE_LAST, "features.2.conv.2"),
        ("i3d-resnet18", 8, "CinST", resnet_places("bn1", (2, 2, 2, 2)), "layer1.0.conv1"),
        ("i3d-resnet18", 8, "cbam3d-377", resnet_places("bn2", (2, 2, 2, 2)), "layer1.0.conv2"),
    ],
)
def test_places(backbone: str, width: float, mechanism: str, expected: list[str], before: str) -> None:
    """Behind the norm: what the module gets is the norm's output, not yet rectified."""
    model = build_model(backbone, mechanism, frames=4, classes=3, width=width).eval()
    assert model.insertions == dict.fromkeys(expected, ("norm", "mechanism"))
    place = expected[1] if backbone == "mobilenetv2" else expected[0]
    seen: dict[str, torch.Tensor] = {}
    conv, together = model.backbone.get_submodule(before), model.backbone.get_submodule(place)
    conv.register_forward_hook(lambda module, inputs, output: seen.update(conv=output.clone()))
    together.mechanism.register_forward_hook(  # type: ignore[union-attr]
        lambda module, inputs, output: seen.update(given=inputs[0].clone(), gated=output.clone())
    )
    together.register_forward_hook(lambda module, inputs, output: seen.update(left=output.clone()))
    model(torch.randn(2, 4, 3, 32, 32))
    expected_input = together.norm(seen["conv"])  # type: ignore[operator]
    left = seen["left"]
    if backbone == "i3d-resnet18":  # a 3-D map: the module gets its frames
        expected_input, left = (volume.transpose(1, 2).flatten(0, 1) for volume in (expected_input, left))
    torch.testing.assert_close(seen["given"], expected_input)
    assert seen["given"].min() < 0
    torch.testing.assert_close(left, seen["gated"])


@pytest.mark.parametrize("frames", [1, 3, 8, 9])
def test_the_i3ds_modules_are_made_for_the_frames_that_are_left(frames: int) -> None:
    model = build_model("i3d-resnet18", "CinST", frames=frames, classes=3, width=8)
    made = [model.backbone.get_submodule(f"{place}.mechanism").frames for place in model.insertions]
    assert made == [-(-frames // 2**stage) for stage in range(4) for _ in range(2)]
    assert model(torch.randn(2, frames, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(("block", "norm"), [(BasicBlock, 1), (Bottleneck, 2)])
def test_every_second_block_of_a_stage_of_23(block: Any, norm: int) -> None:
    """Of that stage alone, where the temporal shift then takes every second block of all stages."""
    found = places(ResNet(block, (3, 4, 23, 3), width=8), "after_inner_norm")
    by_stage = [[name for name in found if name.startswith(f"layer{stage}.")] for stage in (1, 2, 3, 4)]
    assert [len(names) for names in by_stage] == [3, 4, 12, 3]
    assert by_stage[2] == [f"layer3.{number}.bn{norm}" for number in range(0, 23, 2)]
    assert places(ResNet(block, (3, 4, 23, 3), width=8), "after_last_norm")[0] == f"layer1.0.bn{norm + 1}"


def test_the_temporal_shift_stays_in_front_of_the_first_convolution() -> None:
    model = build_model("resnet50", "CinST->STinC", frames=4, classes=3, temporal_shift=True, width=8)
    blocks = [place.removesuffix(".bn2") for place in resnet_places("bn2", (3, 4, 6, 3))]
    expected = {f"{block}.conv1": ("shift", "conv") for block in blocks}
    assert model.insertions == expected | {f"{block}.bn2": ("norm", "mechanism") for block in blocks}
    in_spec = build_model("resnet50", "CinST→STinC (temporal_shift=true)", frames=4, classes=3, width=8)
    assert in_spec.insertions == model.insertions
    both = build_model("resnet18", "C", frames=4, classes=3, temporal_shift=True, width=8)
    assert both.insertions["layer1.0.conv1"] == ("shift", "conv")
    assert both.insertions["layer1.0.bn1"] == ("norm", "mechanism")


@pytest.mark.parametrize(
    ("backbone", "width", "mechanism", "layout"),
    [
        ("resnet50", 8, "CinST", "torchvision"),
        ("resnet50", 8, "CinST", "m2a"),
        ("resnet50", 8, "CinST", "aia"),
        ("resnet50", 8, "se3d", "torchvision"),
        ("resnet50", 8, "se3d", "m2a"),
        ("mobilenetv2", 0.35, "CinST", "torchvision"),
        ("mobilenetv2", 0.35, "CinST", "flat"),
        ("mobilenetv2", 0.35, "s3d-g", "m2a"),
        ("mobilenetv2", 0.35, "ge3d-g", "torchvision"),
        ("mobilenetv2", 0.35, "ge3d-g", "flat"),
    ],
)
def test_a_plain_backbones_weights_fit_around_the_modules(
    backbone: str, width: float, mechanism: str, layout: str, tmp_path: Any
) -> None:
    """Norm by norm: with the modules taken out again, the network computes what the plain one does."""
    torch.manual_seed(0)
    plain = build_model(backbone, frames=4, classes=3, width=width)
    for buffer in plain.buffers():
        if buffer.dtype.is_floating_point:
            buffer.uniform_(0.5, 1.5)
    names = file_names(plain, layout)
    torch.save({names[key]: value for key, value in plain.state_dict().items()}, tmp_path / "plain.pth")
    model = build_model(backbone, mechanism, frames=4, classes=3, width=width, temporal_shift=backbone == "resnet50")
    report = load_file(model, tmp_path / "plain.pth")
    assert len(report.loaded) == len(plain.state_dict())
    assert all(".mechanism." in key for key in report.missing)
    _assert_plain_without_its_parts(model, plain)


def _assert_plain_without_its_parts(model: VideoClassifier, plain: VideoClassifier) -> None:
    for place, parts in model.insertions.items():
        for part in parts:
            if part not in ("conv", "norm"):
                setattr(model.backbone.get_submodule(place), part, nn.Identity())
    clips = torch.randn(1, 4, 3, 32, 32)
    torch.testing.assert_close(model.eval()(clips), plain.eval()(clips))
