"""Specs: several ways to write the same network, and mechanisms from outside the package."""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from vidrepro.errors import ModelError, UnknownNameError, VidreproError
from vidrepro.models import build_mechanism, build_model, takes_option
from vidrepro.models.mechanisms import external_digest, resolve_mechanism, split_temporal_shift


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize(
    ("alias", "spec"),
    [
        ("m2a", "m2a(motion=m2a, attention=m2a)"),
        ("m2a-motion", "m2a(motion=m2a,attention=none)"),
        ("m2a-attention", {"motion": "none", "attention": "m2a"}),
        ("tea", "m2a(attention=none, motion=tea)"),
        ("tdn", {"attention": "none", "motion": "tdn", "reduction": 8}),
        ("tam", " m2a ( motion = none , attention = tam ) "),
    ],
)
def test_an_alias_and_its_spec_mean_the_same(alias: str, spec: Any, variant: str) -> None:
    assert resolve_mechanism(alias, variant, {}).options == resolve_mechanism(spec, variant, {}).options


def test_an_option_that_does_nothing_makes_no_difference() -> None:
    def options(spec: str, **more: Any) -> dict[str, Any]:
        return resolve_mechanism(spec, "official", more).options

    assert options("m2a-attention", boundary="first") == options("m2a-attention")
    assert options("m2a", tdn_backward="fixed") == options("m2a", patch_difference="frame") == options("m2a")
    assert options("tea", skip="none") == options("tea")
    for spec, option in (("tdn", "tdn_backward=fixed"), ("m2a(attention=patch4)", "patch_difference=frame")):
        name, _, value = option.partition("=")
        assert options(spec, **{name: value}) != options(spec)


def test_variants_of_the_rivals() -> None:
    def chosen(spec: str, variant: str, *names: str) -> list[str]:
        options = resolve_mechanism(spec, variant, {}).options
        return [options[name] for name in names]

    assert chosen("tam", "official", "norm", "skip") == ["never", "none"]
    assert chosen("tam", "paper", "norm", "skip") == ["always", "attention-input"]
    assert chosen("m2a(attention=tam)", "official", "norm", "skip") == ["with-attention", "reduced"]
    assert [chosen("tdn", variant, "tdn_backward") for variant in ("official", "paper")] == [["released"], ["fixed"]]
    assert chosen("m2a(attention=patch8)", "paper", "patch_difference", "boundary") == ["frame", "first"]
    assert chosen("tea-original", "official", "reduction", "position") == [16, "before_second_conv"]
    assert chosen("tam-original", "paper", "reduction") == [4]


def test_every_pair_of_blocks_is_another_network() -> None:
    pairs = itertools.product(("none", "m2a", "tdn", "tea"), ("none", "m2a", "tam", "patch4", "patch8"))
    specs = [f"m2a(motion={motion}, attention={attention})" for motion, attention in pairs][1:]
    resolved = [str(resolve_mechanism(spec, "official", {}).options) for spec in specs]
    assert len(set(resolved)) == len(specs) == 19


def test_the_shift_may_stand_in_the_spec() -> None:
    spec, shift = split_temporal_shift("m2a(motion=tea, temporal_shift=true, reduction=4)")
    assert shift is True
    assert resolve_mechanism(spec, "official", {}) == resolve_mechanism("m2a(motion=tea, reduction=4)", "official", {})
    assert split_temporal_shift("m2a(motion=tea)") == ("m2a(motion=tea)", False)
    with pytest.raises(ModelError, match="temporal_shift is a switch"):
        split_temporal_shift("m2a(temporal_shift=maybe)")
    model = build_model("micro", "m2a(attention=tam, temporal_shift=true)", frames=4, classes=3)
    assert set(model.insertions.values()) == {("mechanism", "shift", "conv")}


def test_originals_stand_before_the_second_convolution() -> None:
    model = build_model("resnet18", "tam-original", frames=4, classes=3, width=8)
    assert sorted(model.insertions) == [f"layer{n}.{block}.conv2" for n in range(1, 5) for block in range(2)]
    placed = build_model("resnet18", "tam-original", frames=4, classes=3, width=8, position="before")
    assert sorted(placed.insertions) == [f"layer{n}.{block}.conv1" for n in range(1, 5) for block in range(2)]


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("tae", UnknownNameError, "did you mean 'tea'"),
        ("tdn_original", UnknownNameError, "did you mean 'tdn-original'"),
        ("m2a(motion=tam)", ModelError, "none, m2a, tdn, tea"),
        ("m2a(motion=tae)", ModelError, "did you mean 'tea'"),
        ("m2a(attention=patch)", ModelError, r"patch<s> such as patch4"),
        ("m2a(attention=patch0)", ModelError, r"patch<s> such as patch4"),
        ("m2a(tdn_backwards=fixed)", UnknownNameError, "did you mean 'tdn_backward'"),
        ("tea(motion=tdn)", ModelError, "means motion=tea"),
        ("tea-original(boundary=first)", UnknownNameError, "unknown option of mechanism 'tea-original'"),
        ("my_package.MyMechanism", UnknownNameError, "my_package.my_module:MyMechanism"),
    ],
)
def test_what_is_not_known_is_refused(spec: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        build_mechanism(spec, 64, 4)


OWN = """
from torch import nn

class Scale(nn.Module):
    position = "after_first_conv"

    def __init__(self, channels, frames, *, factor=2.0):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
        nn.init.constant_(self.conv.weight, factor)
        self.made_for = channels, frames

    def forward(self, x):
        return self.conv(x)

class Plain(nn.Module):
    def __init__(self, channels, frames):
        super().__init__()

    def forward(self, x):
        return x

class Fails(nn.Module):
    def __init__(self, channels, frames):
        raise RuntimeError("no such luck")

class Nowhere(Plain):
    position = "somewhere"

nothing = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with the user's own module `own_blocks.inner` in it."""
    (tmp_path / "own_blocks").mkdir()
    file = tmp_path / "own_blocks" / "inner.py"
    file.write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield file
    for name in [name for name in sys.modules if name.startswith("own_blocks")]:
        del sys.modules[name]


def test_a_class_of_ones_own(own: Path) -> None:
    x = torch.randn(4, 8, 3, 3)
    module = build_mechanism("own_blocks.inner:Scale", 8, 2)
    assert module.made_for == (8, 2)
    torch.testing.assert_close(module(x), 2 * x)
    torch.testing.assert_close(build_mechanism("own_blocks.inner:Scale(factor=3.0)", 8, 2)(x), 3 * x)
    torch.testing.assert_close(build_mechanism("own_blocks.inner:Scale", 8, 2, factor=3.0)(x), 3 * x)
    assert takes_option("own_blocks.inner:Scale", "factor")
    assert not takes_option("own_blocks.inner:Plain", "factor")


def test_a_class_of_ones_own_in_a_network(own: Path) -> None:
    model = build_model("resnet18", "own_blocks.inner:Scale", frames=4, classes=3, width=8, factor=0.5)
    assert set(model.insertions.values()) == {("conv", "mechanism")}, "its own position"
    moved = build_model("resnet18", "own_blocks.inner:Scale(position=before)", frames=4, classes=3, width=8)
    assert set(moved.insertions.values()) == {("mechanism", "conv")}
    plain = build_model("resnet18", "own_blocks.inner:Plain", frames=4, classes=3, width=8)
    assert set(plain.insertions.values()) == {("mechanism", "conv")}
    assert model(torch.randn(2, 4, 3, 32, 32)).shape == (2, 3)


def test_the_digest_follows_the_source(own: Path) -> None:
    assert external_digest("own_blocks.inner:Scale(factor=3.0)") == hashlib.sha256(OWN.encode()).hexdigest()
    own.write_text(OWN + "\n# changed\n")
    assert external_digest("own_blocks.inner:Scale") == hashlib.sha256(own.read_bytes()).hexdigest()
    for ours in ("m2a", "tea(reduction=4)", {"motion": "m2a", "attention": "none"}):
        assert external_digest(ours) is None


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("own_blocks.outer:Scale", ModelError, "'own_blocks.outer' .* cannot be imported"),
        ("own_blocks.inner:Skale", ModelError, "(?s)no nn.Module class.*Scale, Plain"),
        ("own_blocks.inner:nothing", ModelError, "no nn.Module class"),
        ("own_blocks.inner:", ModelError, "not understood"),
        ("own_blocks/inner.py:Scale", ModelError, "not understood"),
        ("own_blocks.inner:Fails", ModelError, "no such luck"),
        ("own_blocks.inner:Nowhere", ModelError, "position"),
        ("own_blocks.inner:Scale(faktor=2)", UnknownNameError, "did you mean 'factor'"),
        ("own_blocks.inner:Scale(position=behind)", ModelError, "does not take 'behind'"),
    ],
)
def test_an_own_class_that_cannot_be_used_is_refused(own: Path, spec: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        build_mechanism(spec, 8, 2)


def test_a_module_that_fails_is_named_with_its_error(own: Path) -> None:
    own.with_name("broken.py").write_text("import not_there_at_all\n")
    with pytest.raises(ModelError, match="ModuleNotFoundError: No module named 'not_there_at_all'"):
        build_mechanism("own_blocks.broken:Scale", 8, 2)


TYPED = """
from torch import nn


class Typed(nn.Module):
    def __init__(self, channels, frames, kernel: int = 3, scale: float = 1, plain=2, on: bool = False, name: str = "a",
                 anything=None):
        super().__init__()
"""


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "typed_block.py").write_text(TYPED)
    monkeypatch.chdir(tmp_path)
    return "typed_block:Typed"


@pytest.mark.parametrize(
    ("written", "option", "value"),
    [
        *[
            ("scale=1e-3", "scale", 1e-3),
            ("scale=.5", "scale", 0.5),
            ("scale=2", "scale", 2),
            ("plain=1E5", "plain", 1e5),
        ],
        *[
            ("kernel=010", "kernel", 10),
            ("on=true", "on", True),
            ("name=a: b", "name", "a: b"),
            ("name=b #2", "name", "b #2"),
        ],
        *[("name='2024'", "name", "2024"), ("name=yes", "name", "yes"), ("name=[v2] b", "name", "[v2] b")],
        *[("anything=null", "anything", None), ("anything=1:30", "anything", "1:30")],
    ],
)
def test_an_option_of_ones_own_class_arrives_as_it_is_written(
    typed: str, written: str, option: str, value: Any
) -> None:
    found = resolve_mechanism(f"{typed}({written})", "official", {}).options[option]
    assert found == value and type(found) is type(value)
    # beside the switch that is taken out of the text, too
    rest, shift = split_temporal_shift(f"{typed}({written}, temporal_shift=true)")
    assert shift and resolve_mechanism(rest, "official", {}).options[option] == value


@pytest.mark.parametrize(
    "written",
    [
        *["kernel=3.0", "kernel=true", "kernel='3'", "scale=.inf", "scale=.nan", "scale=1:30", "plain=true", "on=yes"],
        *["on=1", "name=2024", "name=null", "anything=.inf", "kernel=", "kernle=3"],
    ],
)
def test_an_option_of_ones_own_class_keeps_its_type_or_is_refused_by_name(typed: str, written: str) -> None:
    with pytest.raises(VidreproError) as caught:
        resolve_mechanism(f"{typed}({written})", "official", {})
    assert written.partition("=")[0] in str(caught.value)
