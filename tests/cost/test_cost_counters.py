"""Counters on small networks whose costs are worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vidrepro.cost import call_counter, macs, network_cost
from vidrepro.cost.macs import attention_macs
from vidrepro.cost.network_cost import CostReport, measure_model


class Toy(nn.Module):
    """A clip (1, T, 3, 8, 8) through one of everything the printed convention knows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.grouped = nn.Conv2d(4, 8, 1, groups=2, bias=False)
        self.linear = nn.Linear(32, 5)

    def forward(self, clips: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(clips.flatten(0, 1))))  # (T, 4, 4, 4)
        x = self.relu(self.grouped(self.pool(x)))  # (T, 8, 2, 2), the same ReLU module again
        return F.relu(self.linear(x.flatten(1))).mean(0)


class Calling(nn.Module):
    """A network that is one function of the frames, (T, C, H, W)."""

    def __init__(self, function: Callable[[Tensor], Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.modules_used = nn.ModuleList(modules)

    def forward(self, clips: Tensor) -> Tensor:
        return self.function(clips.flatten(0, 1))


T = 3


@pytest.fixture
def toy() -> CostReport:
    return measure_model(Toy(), frames=T, size=8)


def test_components_of_the_toy(toy: CostReport) -> None:
    assert toy.components == {
        "conv_macs": T * (4 * 16 * 27 + 8 * 4 * 2),  # outputs x (inputs per group x kernel)
        "conv_bias": T * 4 * 16,
        "batch_norm_elements": T * 4 * 16,
        "relu_elements": T * (4 * 16 + 8 * 4),  # both calls of the shared module; F.relu is no module
        "pool_input_elements": T * 4 * 16,
        "linear_macs": T * 32 * 5,
        "linear_bias": 5,  # once per call, whatever the number of rows: as ptflops 0.6 does
        "matmul_macs": 0,
        "sigmoid_elements": 0,
    }


def test_printed_convention_of_the_toy(toy: CostReport) -> None:
    frame = 4 * 16 * 27 + 8 * 4 * 2 + 4 * 16 + 2 * 4 * 16 + (4 * 16 + 8 * 4) + 4 * 16 + 32 * 5
    assert toy.gmacs_printed_convention("ptflops-0.6") == pytest.approx((T * frame + 5) / 1e9, rel=1e-12)


def test_fvcore_and_own_counter_on_the_toy(toy: CostReport) -> None:
    conv, linear = T * (4 * 16 * 27 + 8 * 4 * 2), T * 32 * 5
    assert toy.by_operator == {"conv": conv, "linear": linear, "batch_norm": 2 * T * 4 * 16}  # eval mode: 2, not 5
    assert toy.macs_conv_linear == conv + linear
    assert toy.cross_check.counts["conv"] == {"fvcore": conv, "calls": conv, "torch": conv}
    assert toy.cross_check.agrees
    assert toy.uncounted == {"aten::max_pool2d": 1, "aten::mean": 1}
    assert toy.params == sum(parameter.numel() for parameter in Toy().parameters())


def test_second_rule_adds_products_and_sigmoids() -> None:
    def function(frames: Tensor) -> Tensor:
        tokens = frames.flatten(2).sigmoid()  # (T, 3, 16)
        return torch.sigmoid(tokens @ tokens.transpose(1, 2))  # (T, 3, 3)

    counted = measure_model(Calling(function), frames=T, size=4)
    expected = T * 3 * 3 * 16 + T * 3 * 16 + T * 3 * 3
    assert counted.gmacs_printed_convention("ptflops-0.6+bmm+sigmoid") * 1e9 == pytest.approx(expected)
    assert counted.gmacs_printed_convention("ptflops-0.6") == 0


def test_the_model_is_left_as_it_was() -> None:
    model = Toy().train()
    model.norm.eval()  # frozen, inside a network that trains
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_model(model, frames=T, size=8)
    assert model.training and model.conv.training and not model.norm.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_modes_and_hooks_are_put_back_when_the_model_fails() -> None:
    model = Toy().train()
    with pytest.raises(RuntimeError):
        measure_model(model, frames=T, size=4)  # features too small for the linear layer
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_double_precision_model() -> None:
    assert measure_model(Toy().double(), frames=T, size=8) == measure_model(Toy(), frames=T, size=8)


@pytest.mark.filterwarnings("error")
def test_nothing_is_printed_logged_or_warned(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    report = measure_model(Calling(lambda x: x.sigmoid() + x.sin(), nn.Linear(2, 2)), frames=T, size=4)
    assert report.uncounted == {"aten::add": 1, "aten::sigmoid": 1, "aten::sin": 1}
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def _einsum(x: Tensor) -> Tensor:
    return torch.einsum("tchw,tdhw->tcd", x, x)


@pytest.mark.parametrize(
    ("function", "modules", "kind", "expected"),
    [
        pytest.param(_einsum, (), "matmul", T * 3 * 3 * 36, id="einsum"),
        pytest.param(lambda x: x @ x, (), "matmul", T * 3 * 6 * 6 * 6, id="operator"),
        pytest.param(lambda x: x[0].bmm(x[1]), (), "matmul", 3 * 6 * 6 * 6, id="bmm"),
        pytest.param(lambda x: x[0, 0].mm(x[0, 1]), (), "matmul", 6 * 6 * 6, id="mm"),
        pytest.param(lambda x: torch.baddbmm(x[0], x[1], x[2]), (), "matmul", 3 * 6 * 6 * 6, id="baddbmm"),
        pytest.param(lambda x: torch.addmm(x[0, 0], x[0, 1], x[0, 2]), (), "matmul", 6 * 6 * 6, id="addmm"),
        pytest.param(
            lambda x: F.conv2d(x.flatten(0, 1)[None], torch.ones(9, 1, 3, 3), groups=9, padding=1),
            (),
            "conv",
            9 * 36 * 9,
            id="functional depthwise",
        ),
    ],
)
def test_functions(function: Callable[[Tensor], Tensor], modules: tuple[()], kind: str, expected: int) -> None:
    counts = measure_model(Calling(function, *modules), frames=T, size=6).cross_check
    assert counts.agrees
    assert counts.counts[kind] == dict.fromkeys(counts.counts[kind], expected)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Conv2d(3, 4, 3, padding="same", bias=False), T * 4 * 36 * 27),
        (nn.Conv2d(3, 6, 3, dilation=2, groups=3), T * 6 * 4 * 9),
        (nn.ConvTranspose2d(3, 6, 4, stride=2, groups=3), T * 3 * 36 * 2 * 16),  # every input meets 2 x 16 weights
    ],
    ids=["same", "grouped, dilated", "transposed"],
)
def test_convolutions(module: nn.Module, expected: int) -> None:
    counts = measure_model(Calling(module.forward, module), frames=T, size=6).cross_check
    assert counts.counts["conv"] == {"fvcore": expected, "calls": expected, "torch": expected}


def test_convolution_over_time() -> None:
    module = nn.Conv3d(3, 2, 3, padding=(1, 0, 0))
    model = Calling(lambda frames: module(frames.transpose(0, 1)[None]), module)
    counted = measure_model(model, frames=T, size=6)
    assert counted.macs_conv_linear == counted.components["conv_macs"] == 2 * T * 16 * 3 * 27
    assert counted.cross_check.agrees


@settings(max_examples=12, deadline=None)
@given(
    heads=st.integers(1, 3),
    queries=st.integers(1, 5),
    keys=st.integers(1, 5),
    width=st.integers(1, 4),
    out=st.integers(1, 4),
)
def test_attention_costs_what_its_two_products_cost(heads: int, queries: int, keys: int, width: int, out: int) -> None:
    """The fused function is counted as the written-out one, and both as the closed form says."""
    query, key = torch.ones(2, heads, queries, width), torch.ones(2, heads, keys, width)
    value = torch.ones(2, heads, keys, out)

    def fused(frames: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query + frames.mean(), key, value)

    def written_out(frames: Tensor) -> Tensor:
        return ((query + frames.mean()) @ key.transpose(-1, -2)).softmax(-1) @ value

    expected = 2 * heads * (queries * width * keys + queries * keys * out)
    assert attention_macs(query.shape, key.shape, value.shape) == expected
    for function in (fused, written_out):
        counted = measure_model(Calling(function), frames=1, size=2)
        assert counted.cross_check.counts["matmul"] == {"fvcore": expected, "calls": expected}
        assert counted.cross_check.agrees, counted.cross_check.disagreements


def test_attention_is_not_listed_as_uncounted() -> None:
    counted = measure_model(Calling(lambda x: F.scaled_dot_product_attention(x, x, x)), frames=2, size=4)
    assert counted.by_operator == {"scaled_dot_product_attention": 2 * 3 * 4 * 4 * (4 + 4)}
    assert counted.uncounted == {}


def test_a_wrong_own_counter_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, formula = call_counter._MACS["conv2d"]
    monkeypatch.setitem(call_counter._MACS, "conv2d", (kind, lambda *call: formula(*call) + 1))
    check = measure_model(Toy(), frames=T, size=8).cross_check
    right = T * (4 * 16 * 27 + 8 * 4 * 2)
    assert not check.agrees
    assert check.disagreements == [f"conv: fvcore {right:,}, calls {right + 2:,}, torch {right:,}"]
    assert check.as_dict()["agrees"] is False
    assert check.as_dict()["disagreements"] == check.disagreements


def test_a_wrong_fvcore_formula_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(macs, "_attention_handle", lambda inputs, outputs: 7)
    model = Calling(lambda x: F.scaled_dot_product_attention(x, x, x))
    right = T * 3 * 4 * 4 * 8
    assert measure_model(model, frames=T, size=4).cross_check.disagreements == [
        f"matmul: fvcore 7, calls {right:,}",
        f"linear+matmul: fvcore 7, calls {right:,}, torch {right:,}",
    ]


def test_a_product_hidden_from_the_own_counter_is_reported() -> None:
    """nn.MultiheadAttention multiplies inside a function of torch's that hides its calls."""
    layer = nn.MultiheadAttention(4, 2, batch_first=True)
    model = Calling(lambda x: layer(x[0], x[0], x[0])[0], layer)
    enabled = torch.backends.mha.get_fastpath_enabled()
    check = measure_model(model, frames=1, size=4).cross_check
    assert torch.backends.mha.get_fastpath_enabled() is enabled
    true_count = 3 * 4 * (4 * 4) * 4 + 3 * 2 * (4 * 4) * 4  # four projections of 3 x 4 tokens, and two products
    assert check.counts["linear+matmul"] == {"fvcore": true_count, "calls": 0, "torch": true_count}
    assert not check.agrees


def test_report_as_dict_is_plain_json(toy: CostReport) -> None:
    import json

    record = toy.as_dict()
    assert json.loads(json.dumps(record)) == record
    assert math.isclose(record["gmacs_fvcore"], sum(record["by_operator"].values()) / network_cost.GIGA)
