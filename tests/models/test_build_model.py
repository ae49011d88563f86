"""`build_model`: every name builds, what it says is what is built, and nonsense is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vidrepro.config import ModelConfig
from vidrepro.errors import CheckpointError, ModelError, UnknownNameError, VidreproError
from vidrepro.models import (
    VideoClassifier,
    backbone_names,
    build_from_config,
    build_model,
    check_config,
    mechanism_names,
    module_names,
    takes_option,
)


def clips(frames: int, count: int = 2, side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn((count, frames, 3, side, side), generator=torch.Generator().manual_seed(seed))


def built(seed: int, *arguments: Any, **options: Any) -> VideoClassifier:
    torch.manual_seed(seed)
    return build_model(*arguments, **options)


# made of the same parts as others that are tried in every network
ALIKE = {"C", "ST", "C->ST", "ST->C", "C+ST", "CinST", "STinC", "STinC->CinST", "ge3d-dw133", "s3d-g", "cbam3d-177"}


def test_names() -> None:
    blockwise = {"i3d-resnet18", "micro", "mobilenetv2", "resnet18", "resnet50"}
    plain = {"c3d-micro", "c3d-resnet50", "i3d-resnet50", "slow-micro", "slow-r101", "slow-r50", "tcnn"}
    assert backbone_names() == sorted(blockwise | plain)
    assert set(mechanism_names()) >= {"none", "tsm", "m2a", "m2a-motion", "m2a-attention", "tea", "tdn", "tam"}
    assert set(mechanism_names()) >= {"tea-original", "tdn-original", "tam-original"}
    assert set(mechanism_names()) - set(module_names()) == {"st-abn", "sparse-spatial"}


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("mechanism", [name for name in module_names() if name not in ALIKE])
@pytest.mark.parametrize(
    ("backbone", "width"),
    [("micro", 8), ("resnet18", 8), ("resnet50", 8), ("mobilenetv2", 0.35), ("i3d-resnet18", 8)],
)
def test_every_combination_runs_for_one_and_odd_frames(
    backbone: str, width: float, mechanism: str, variant: str
) -> None:
    if mechanism.endswith("-original"):
        mechanism += "(reduction=8)"  # 16 is more than these narrow networks have
    for frames in (1, 3):
        model = build_model(backbone, mechanism, frames=frames, classes=5, variant=variant, width=width)
        logits = model(clips(frames))
        assert logits.shape == (2, 5)
        assert torch.isfinite(logits).all()
        logits.sum().backward()
        without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert without == []


@pytest.mark.parametrize(
    ("backbone", "mechanism", "variant", "parameters"),
    [
        ("resnet18", "none", "official", 11_265_774),
        ("resnet18", "tsm", "official", 11_265_774),
        ("resnet18", "m2a", "official", 11_265_774 + 111_224),
        ("resnet18", "m2a-attention", "official", 11_265_774 + 111_224),
        ("mobilenetv2", "none", "official", 2_446_766),
        ("mobilenetv2", "m2a-motion", "official", 2_446_766 + 22_027),
        ("resnet50", "none", "official", 25_557_032 - 2_049_000 + 2048 * 174 + 174),  # torchvision's, new head
    ],
)
def test_parameters(backbone: str, mechanism: str, variant: str, parameters: int) -> None:
    model = build_model(backbone, mechanism, frames=8, classes=174, variant=variant)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_none_cannot_see_the_order_of_frames_and_the_mechanisms_can() -> None:
    x = clips(6).double()
    reversed_clips = x.flip(1)
    for mechanism in module_names():
        model = built(0, "micro", mechanism, frames=6, classes=4).double().eval()
        change = (model(x) - model(reversed_clips)).abs().max().item()
        # attention is symmetric in time, and so are TDN's two directions together
        blind = mechanism in ("none", "m2a-attention", "tdn-original")
        # of AIA's comparators all but those with a 3x3x3 or 3x7x7 convolution
        blind = blind or mechanism in ("se3d", "ge3d-g", "ge3d-dw133", "s3d-g", "cbam3d-177")
        assert change < 1e-12 if blind else change > 1e-7, mechanism


def test_tsm_is_none_with_the_temporal_shift() -> None:
    x = clips(4)
    by_name = built(3, "micro", "tsm", frames=4, classes=4).eval()
    by_switch = built(3, "micro", "none", frames=4, classes=4, temporal_shift=True).eval()
    by_spec = built(3, "micro", {"motion": "none", "attention": "none", "temporal_shift": True}, frames=4, classes=4)
    assert torch.equal(by_name(x), by_switch(x))
    assert torch.equal(by_name(x), by_spec.eval()(x))


def test_options_may_come_in_any_of_three_ways() -> None:
    ways: list[dict[str, Any]] = [
        {"width": 8, "stem": "small2", "boundary": "first"},
        {"backbone_options": {"width": 8, "stem": "small2"}, "options": {"boundary": "first"}},
        {"backbone_options": {"width": 8}, "stem": "small2", "options": {}, "boundary": "first"},
    ]
    x = clips(4)
    logits = [built(1, "micro", "m2a", frames=4, classes=3, **way).eval()(x) for way in ways]
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])
    plain = built(1, "micro", "m2a", frames=4, classes=3, width=8, stem="small2").eval()(x)
    assert not torch.equal(logits[0], plain)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"backbone": "resnet-18"}, "did you mean 'resnet18'"),
        ({"backbone": ["resnet18"]}, "unknown backbone"),
        ({"mechanism": {"motion": "none", "attention": "none", "reducton": 8}}, "did you mean 'reduction'"),
        ({"mechanism": "m2a_motion"}, "did you mean 'm2a-motion'"),
        ({"variant": "offical"}, "did you mean 'official'"),
        ({"widht": 8}, "did you mean 'width' of backbone 'micro'"),
        ({"bundary": "first"}, "did you mean 'boundary' of mechanism 'm2a'"),
        ({"options": {"bundary": "first"}}, "did you mean 'boundary'"),
        ({"backbone_options": {"steam": "small"}}, "did you mean 'stem'"),
        ({"mechanism": "none", "boundary": "first"}, "unknown option"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UnknownNameError, match=says):
        build_model(**{"backbone": "micro", "mechanism": "m2a", "frames": 4, "classes": 3, **arguments})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"frames": 0}, "frames must be a positive integer"),
        ({"frames": 2.0}, "frames must be a positive integer"),
        ({"classes": True}, "classes must be a positive integer"),
        ({"dropout": 1.0}, "dropout is a probability"),
        ({"dropout": "0.5"}, "dropout is a probability"),
        ({"head_std": 0}, "head_std is a standard deviation"),
        ({"head_std": -0.1}, "head_std is a standard deviation"),
        ({"head_std": float("nan")}, "head_std is a standard deviation"),
        ({"head_std": True}, "head_std is a standard deviation"),
        ({"temporal_shift": "no"}, "temporal_shift is a switch"),
        ({"mechanism": {"motion": "m2a", "attention": "none", "temporal_shift": "no"}}, "temporal_shift is a switch"),
        ({"mechanism": {}}, "says what its motion and attention is"),
        ({"mechanism": {"motion": "m2a"}}, "says what its attention is"),
        ({"mechanism": None}, "not understood"),
        ({"width": 0}, "does not take 0"),
        ({"width": "16"}, "does not take '16'"),
        ({"stem": "imagnet"}, "did you mean 'imagenet'"),
        ({"backbone": "mobilenetv2", "width": -1.0}, "a number above 0"),
        ({"width": 4}, "4 channels cannot be reduced by 8"),
        ({"width": 8, "backbone_options": {"width": 8}}, "given twice"),
        ({"weights": "imagenet"}, "no ImageNet weights for backbone 'micro'"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        build_model(**{"backbone": "micro", "mechanism": "m2a", "frames": 4, "classes": 3, **arguments})


def settings(**changes: Any) -> ModelConfig:
    """Settings that may be wrong: the network's own checks are meant, not pydantic's in front of them."""
    good = ModelConfig(backbone="resnet18", mechanism="m2a", backbone_options={"width": 8}).model_dump()
    return ModelConfig.model_construct(**{**good, **changes})


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"backbone": "resnet-18"}, UnknownNameError),
        ({"mechanism": "m2a_motion"}, UnknownNameError),
        ({"mechanism": "m2a(motion"}, ModelError),
        ({"mechanism": "m2a(motion=[)"}, ModelError),
        ({"mechanism": "m2a(motion=none, attention=none)"}, ModelError),
        ({"mechanism": "m2a-motion", "options": {"attention": "m2a"}}, ModelError),
        ({"variant": "papper"}, UnknownNameError),
        ({"options": {"bundary": "first"}}, UnknownNameError),
        ({"options": {"boundary": "frist"}}, ModelError),
        ({"mechanism": "tsm", "options": {"boundary": "first"}}, UnknownNameError),
        ({"backbone_options": {"widht": 8}}, UnknownNameError),
        ({"backbone_options": {"width": 0}}, ModelError),
        ({"dropout": 1.0}, ModelError),
        ({"head_std": 0.0}, ModelError),
        ({"weights": "nowhere.pt"}, CheckpointError),
        ({"weights": "imagenet"}, ModelError),  # of another width
        ({"backbone": "micro", "weights": "imagenet"}, ModelError),
    ],
)
def test_settings_are_refused_in_the_words_of_building(changes: dict[str, Any], kind: type[VidreproError]) -> None:
    config = settings(**changes)
    with pytest.raises(kind) as by_building:
        build_from_config(config, frames=4, classes=3)
    with pytest.raises(kind) as by_checking:
        check_config(config)
    assert str(by_checking.value) == str(by_building.value)
    assert type(by_checking.value) is type(by_building.value)


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("mechanism", module_names())
def test_good_settings_pass_and_nothing_is_built(mechanism: str, variant: str) -> None:
    before = torch.get_rng_state()  # whatever is built draws its start from here
    check_config(settings(mechanism=mechanism, variant=variant, temporal_shift=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_checking_settings_does_not_read_the_weights(tmp_path: Path) -> None:
    damaged = tmp_path / "weights.pt"
    damaged.write_bytes(b"no checkpoint")
    config = settings(weights=str(damaged))
    check_config(config)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        build_from_config(config, frames=4, classes=3)


@pytest.mark.parametrize(
    ("mechanism", "name", "answer"),
    [
        ("m2a", "boundary", True),
        ("m2a-motion", "reduction", True),
        ("m2a(reduction=4)", "position", True),
        ({"motion": "m2a", "attention": "none", "temporal_shift": True}, "boundary", True),
        ({"motion": "none", "attention": "none", "temporal_shift": True}, "boundary", False),
        ("m2a", "bundary", False),
        ("m2a", "width", False),
        ("none", "boundary", False),
        ("tsm", "boundary", False),
    ],
)
def test_a_mechanism_takes_the_options_it_declares(mechanism: Any, name: str, answer: bool) -> None:
    assert takes_option(mechanism, name) is answer


def test_options_of_an_unknown_mechanism_are_not_guessed() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'm2a-motion'"):
        takes_option("m2a-motoin", "boundary")
