"""A class of a user's own that is at fault: told as theirs, with class, file, line and shapes, by whatever runs it."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.test_commands import overrides
from vidrepro.__main__ import _run
from vidrepro.errors import ModelError
from vidrepro.models import build_model
from vidrepro.models.mechanisms import build_mechanism
from vidrepro.models.mechanisms.external_faults import OwnCodeError, call

CLASSES = """
import sys
import torch
from torch import nn

print("imported")

class Base(nn.Module):
    def __init__(self, channels, frames):
        super().__init__()
        self.frames = frames
        self.conv = nn.Conv2d(channels, channels, 1)
    def forward(self, x):
        return x + self.conv(x)

class Raises(Base):
    def forward(self, x):
        return self.conv(x) + self.not_there  # fault of Raises

class Exits(Base):
    def forward(self, x):
        sys.exit(0)  # fault of Exits

class OneValue(Base):
    def __init__(self, channels, frames):
        super().__init__(channels, frames)
        self.norm = nn.BatchNorm2d(channels)
    def forward(self, x):
        return x * self.norm(x.mean((0, 2, 3), keepdim=True))  # fault of OneValue

class WrongShape(Base):
    def forward(self, x):  # fault of WrongShape
        return self.conv(x)[:, :-1]

class HalfTheSize(Base):
    def forward(self, x):  # fault of HalfTheSize
        return self.conv(x)[..., ::2, ::2]

class TupleOut(Base):
    def forward(self, x):  # fault of TupleOut
        return self.conv(x), None

class NoneOut(Base):
    def forward(self, x):  # fault of NoneOut
        self.conv(x)

class Doubles(Base):
    def forward(self, x):  # fault of Doubles
        return self.conv(x).double()

class Elsewhere(Base):
    def forward(self, x):  # fault of Elsewhere
        return self.conv(x).to("meta")

class InPlace(Base):
    def forward(self, x):  # fault of InPlace
        x += self.conv(x)
        return x

class NoForward(nn.Module):  # fault of NoForward
    def __init__(self, channels, frames):
        super().__init__()

class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2
    @staticmethod
    def backward(ctx, gradient):
        return gradient + ctx.not_there  # fault of WrongBackward

class WrongBackward(Base):
    def forward(self, x):
        return Backward.apply(self.conv(x))

class NoArguments(nn.Module):  # fault of NoArguments
    def __init__(self):
        super().__init__()

class NoSuper(nn.Module):  # fault of NoSuper
    def __init__(self, channels, frames):
        self.frames = frames

class Made(nn.Module):
    def __init__(self, channels, frames):
        super().__init__()
        self.conv = nn.Conv2d(channels / 2, channels, 1)  # fault of Made

class Lazy(nn.Module):  # fault of Lazy
    def __init__(self, channels, frames):
        super().__init__()
        self.conv = nn.LazyConv2d(channels, 1)
    def forward(self, x):
        return self.conv(x)

class NoModule:
    pass
"""
IN = (8, 8, 6, 6)  # 2 clips of 4 frames, in the first block of micro at width 8


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with the user's own module `bad_blocks` in it."""
    file = tmp_path / "bad_blocks.py"
    file.write_text(CLASSES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield file
    for name in [name for name in sys.modules if name.startswith("bad_blocks")]:
        del sys.modules[name]


def network(name: str, backbone: str = "micro") -> torch.nn.Module:
    options = {"width": 8, "stem": "small2"} if backbone == "micro" else {"width": 8}
    return build_model(backbone, f"bad_blocks:{name}", frames=4, classes=2, backbone_options=options)


def clips() -> torch.Tensor:
    return torch.randn(2, 4, 3, 24, 24)


def line_of(name: str) -> int:
    return next(number for number, line in enumerate(CLASSES.splitlines(), 1) if line.endswith(f"# fault of {name}"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Raises", "no attribute 'not_there'"),
        ("Exits", "SystemExit: 0"),
        ("OneValue", "more than 1 value per channel"),
        ("NoForward", "NotImplementedError"),
        ("WrongShape", r"in, \(8, 7, \d+, \d+\) float32 on cpu out"),
        ("HalfTheSize", r"float32 on cpu out"),
        ("TupleOut", "in, a tuple out"),
        ("NoneOut", "in, None out"),
        ("Doubles", "float64 on cpu out"),
        ("Elsewhere", "float32 on meta out"),
        ("InPlace", "changes its input in place"),
    ],
)
def test_a_fault_in_the_forward_pass(module: Path, name: str, says: str) -> None:
    model = network(name)
    with pytest.raises(OwnCodeError, match=says) as told:
        model(clips())
    text = str(told.value)
    assert f"bad_blocks:{name}" in text
    assert f"{module}, line {line_of(name)}\n" in text
    assert re.search(r"\(8, 8, \d+, \d+\)", text)  # what it was given


@pytest.mark.parametrize("name", ["WrongShape", "Raises"])
def test_in_a_3d_backbone_it_is_told_in_the_mechanism_s_own_shape(module: Path, name: str) -> None:
    with pytest.raises(OwnCodeError, match=r"\(8, 8, 12, 12\)"):
        network(name, "i3d-resnet18")(torch.randn(1, 8 // 1, 3, 48, 48)[:, :4].repeat(2, 1, 1, 1, 1))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("NoArguments", "TypeError"),
        ("NoSuper", "AttributeError"),
        ("Made", "cannot be made for 8 channels"),
        ("Lazy", "leaves shapes to its first input"),
    ],
)
def test_a_fault_in_the_constructor(module: Path, name: str, says: str) -> None:
    with pytest.raises(OwnCodeError, match=says) as told:
        network(name)
    assert f"bad_blocks:{name}" in str(told.value) and f"{module}, line {line_of(name)}\n" in str(told.value)


@pytest.mark.parametrize(
    ("text", "says", "line"),
    [
        ("import torch\nclass X(\n", "SyntaxError", 2),
        ("import torch\n\nimport not_installed_here\n", "ModuleNotFoundError", 3),
        ("import sys\nsys.exit('no GPU')\n", "SystemExit: no GPU", 2),
        ("def f():\n    return 1 / 0\nf()\n", "ZeroDivisionError", 2),
    ],
)
def test_a_module_that_cannot_be_imported(module: Path, text: str, says: str, line: int) -> None:
    module.write_text(text)
    with pytest.raises(
        OwnCodeError, match=f"'bad_blocks' of mechanism 'bad_blocks:X' cannot be imported\n.*, line {line}\n"
    ) as told:
        network("X")
    assert says in str(told.value)


def test_what_their_code_prints_leaves_stdout_alone(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network("Base")(clips())
    said = capsys.readouterr()
    assert said.out == "" and said.err == "imported\n"


def test_a_sound_class_is_untouched_by_the_guard(module: Path) -> None:
    model = network("Base").eval()
    assert [key for key in model.state_dict() if key.endswith("layer1.0.conv1.mechanism.conv.weight")]
    x = clips()
    block = model.backbone.get_submodule("layer1.0.conv1")
    inner = torch.randn(8, 8, 6, 6, requires_grad=True)
    expected = block.conv(inner + block.mechanism.conv(inner))
    torch.testing.assert_close(block(inner), expected, rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(model)(x), model(x), rtol=0, atol=0)
    with torch.inference_mode():
        assert model(x).shape == (2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x).shape == (2, 2)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_a_fault_in_a_backward_pass_is_told_as_theirs_by_the_command_line(
    module: Path, toy_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "m2a/table1/m2a", "--dataset", "toy", "--preset", "tiny", "--cache", "never", "--device", "cpu"]
    words += [*overrides("model.mechanism=bad_blocks:WrongBackward"), "--data", str(toy_data), "--results", "r"]
    assert _run(words, debug=False) == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "mechanism 'bad_blocks:WrongBackward' failed" in said and f"line {line_of('WrongBackward')} " in said
    assert "defect" not in said


def test_a_class_that_is_no_module_is_refused(module: Path) -> None:
    with pytest.raises(ModelError, match="no nn"):
        build_mechanism("bad_blocks:NoModule", 8, 4)


@pytest.mark.parametrize("change", [torch.Tensor.to_sparse, lambda x: torch.nested.nested_tensor(list(x))])
def test_a_sparse_or_nested_map_is_refused_where_it_is_returned(change: Any) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return change(x)

    with pytest.raises(OwnCodeError, match="a nested or sparse tensor out"):
        call("mine:Odd", Odd(), torch.ones(2, 3, 4, 4))
