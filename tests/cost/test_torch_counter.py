"""torch's own counter is right, or says that it does not count, whatever the running torch has formulas for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import flop_counter
from torchvision.ops import DeformConv2d

from vidrepro.cost.network_cost import CrossCheck, measure_model
from vidrepro.cost.torch_counter import TorchCount, counting_with_torch

aten = torch.ops.aten


class _Calling(nn.Module):
    """A network that is one function of its 3 frames, (3, 3, 4, 4)."""

    def __init__(self, function: Callable[[Tensor], Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.modules_used = nn.ModuleList(modules)

    def forward(self, clips: Tensor) -> Tensor:
        return self.function(clips.flatten(0, 1))


def _checked(function: Callable[[Tensor], Tensor], *modules: nn.Module) -> CrossCheck:
    return measure_model(_Calling(function, *modules), frames=3, size=4).cross_check


def _counted(function: Callable[[], Tensor]) -> TorchCount:
    with torch.no_grad(), counting_with_torch() as counts:
        function()
    return counts[0]


_LAYER = nn.MultiheadAttention(4, 2, batch_first=True).eval()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), 3 * 3 * 2 * 4 * 4 * 4),
        (lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(4, 4).bool()), 3 * 3 * 2 * 4 * 4 * 4),
        (lambda x: F.scaled_dot_product_attention(x[0], x[0], x[0]), 3 * 2 * 4 * 4 * 4),
        (lambda x: F.scaled_dot_product_attention(x.repeat(1, 2, 1, 1), x, x, enable_gqa=True), 3 * 6 * 2 * 4 * 4 * 4),
        (lambda x: x @ x[0, 0, 0], 3 * 3 * 4 * 4),
        (lambda x: x[0, 0, 0] @ x[0, 0, 0], 4),
        (lambda x: x[0, 0, 0] @ x[0, 0], 4 * 4),
    ],
    ids=["causal", "masked", "three axes", "grouped queries", "times a vector", "two vectors", "vector first"],
)
def test_products_that_torch_may_have_no_formula_for(function: Callable[[Tensor], Tensor], expected: int) -> None:
    check = _checked(function)
    assert check.agrees, check.disagreements
    assert check.counts["linear+matmul"] == {"fvcore": expected, "calls": expected, "torch": expected}


def test_attention_layer_without_its_weights() -> None:
    """Four projections of 3 tokens of 4 channels, then the fused kernel of two heads."""
    tokens = torch.ones(1, 3, 4)
    count = _counted(lambda: _LAYER(tokens, tokens, tokens, need_weights=False)[0])
    assert count == TorchCount(0, 4 * 3 * 4 * 4 + 2 * 2 * 3 * 3 * 2, {})


def test_attention_in_inference_mode() -> None:
    def run() -> Tensor:
        with torch.inference_mode():
            return F.scaled_dot_product_attention(*(torch.ones(1, 2, 5, 3) for _ in range(3)))

    assert _counted(run) == TorchCount(0, 2 * 2 * 5 * 5 * 3, {})


@pytest.mark.parametrize(
    ("layer", "run", "kind"),
    [
        (nn.LSTM(4, 5), lambda layer: lambda x: layer(x[0])[0], "linear+matmul"),
        (nn.Bilinear(4, 4, 5), lambda layer: lambda x: layer(x, x), "linear+matmul"),
        (nn.Identity(), lambda _: lambda x: torch.addbmm(x[0, 0], x[0], x[0]), "linear+matmul"),
        (DeformConv2d(3, 2, 3), lambda layer: lambda x: layer(x, x.new_zeros(3, 18, 2, 2)), "conv"),
    ],
    ids=["LSTM", "Bilinear", "addbmm", "deformable convolution"],
)
def test_what_no_counter_knows_is_no_agreement(
    layer: nn.Module, run: Callable[[nn.Module], Callable[[Tensor], Tensor]], kind: str
) -> None:
    check = _checked(run(layer), layer)
    assert not check.agrees
    assert check.counts[kind]["torch"] is None
    (text,) = check.disagreements
    assert text.startswith(f"{kind}: fvcore 0, calls 0, torch does not count ")
    assert check.as_dict()["uncounted_by_torch"]


def test_a_torch_without_a_formula_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(flop_counter.flop_registry, aten.bmm)
    check = _checked(lambda x: x[0].bmm(x[0]))
    assert check.disagreements == ["linear+matmul: fvcore 192, calls 192, torch does not count aten::bmm"]
    assert check.uncounted == {"aten::bmm": 1}
    monkeypatch.delitem(flop_counter.flop_registry, aten.convolution)
    convolution = nn.Conv2d(3, 2, 3)
    (text,) = _checked(convolution.forward, convolution).disagreements
    assert text == "conv: fvcore 648, calls 648, torch does not count aten::convolution"


@pytest.mark.parametrize("kernel", [name for name in dir(aten) if name.startswith("_scaled_dot_product_")])
def test_fused_attention_without_a_formula_is_counted(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    monkeypatch.delitem(flop_counter.flop_registry, getattr(aten, kernel), raising=False)
    query = torch.ones(1, 2, 5, 3)
    assert _counted(lambda: F.scaled_dot_product_attention(query, query, query)).products == 2 * 2 * 5 * 5 * 3


def test_norms_and_joined_tensors_are_no_products() -> None:
    norms = [nn.BatchNorm2d(3), nn.GroupNorm(3, 3), nn.LayerNorm(4)]

    def function(x: Tensor) -> Tensor:
        for norm in norms:
            x = norm(x)
        return torch.where(x > 0, torch.cat([x, x]).chunk(2)[0], torch.stack([x, x])[0]) * x + x

    assert _checked(function, *norms).agrees
