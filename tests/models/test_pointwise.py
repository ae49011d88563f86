"""The matrix products against the convolution they stand in for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vidrepro.models import build_mechanism, kernels
from vidrepro.models.mechanisms.pointwise import PointwiseConv2d


@pytest.mark.parametrize("channels", [(16, 2), (2, 16)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_the_same_numbers_and_gradients(channels: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    conv = PointwiseConv2d(*channels).to(dtype)
    x = torch.randn(6, channels[0], 5, 4, dtype=dtype, requires_grad=True)
    assert conv.by_products(x)
    found, expected = conv(x), F.conv2d(x, conv.weight, conv.bias)
    assert found.grad_fn is not None
    assert "Convolution" not in found.grad_fn.next_functions[0][0].name()
    loss_weights = torch.randn_like(expected)
    for ours, theirs in zip(
        (found, *torch.autograd.grad(found, (x, conv.weight, conv.bias), loss_weights)),
        (expected, *torch.autograd.grad(expected, (x, conv.weight, conv.bias), loss_weights)),
        strict=True,
    ):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
def test_where_it_is_the_convolution() -> None:
    conv = PointwiseConv2d(8, 2)
    x = torch.randn(2, 8, 3, 4)
    assert conv.by_products(x)
    assert not conv.by_products(x.to(memory_format=torch.channels_last))
    assert not conv.by_products(x.double())
    assert not conv.bfloat16().by_products(x.bfloat16())
    conv.float()
    with torch.no_grad():
        assert not conv.by_products(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not conv.by_products(x)
        assert conv(x).dtype == torch.bfloat16
    traced = torch.jit.trace(conv, x)
    assert "_convolution" in str(traced.inlined_graph)
    assert "baddbmm" not in str(traced.inlined_graph)


@pytest.mark.parametrize("spec", ["m2a", "m2a-motion", "tam", "m2a(attention=patch2)"])
@pytest.mark.parametrize("independent", [True, False])
def test_a_shell_learns_the_same_either_way(spec: str, independent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """For frames that resemble each other and such that do not, where attention is one-hot."""
    monkeypatch.setattr(kernels, "usable", lambda: False)
    torch.manual_seed(0)
    module = build_mechanism(spec, 32, 4).double()
    x = torch.randn(2, 4, 32, 12, 12, dtype=torch.float64)
    x = (x if independent else x[:, :1] + 0.1 * x).flatten(0, 1).requires_grad_()
    loss_weights = torch.randn_like(x)
    wanted = [x, *module.parameters()]

    def learn() -> tuple[torch.Tensor, ...]:
        out = module(x)
        return out, *torch.autograd.grad(out, wanted, loss_weights)

    found = learn()
    monkeypatch.setattr(PointwiseConv2d, "by_products", lambda conv, x: False)
    for ours, theirs in zip(found, learn(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11 * max(1.0, theirs.abs().max().item()))


def test_gradients_of_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "usable", lambda: False)
    torch.manual_seed(0)
    module = build_mechanism("m2a", 8, 2).double()
    names = [name for name, _ in module.named_parameters()]

    def call(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    x = torch.randn(2, 8, 2, 3, dtype=torch.float64, requires_grad=True)
    parameters = [parameter.detach().clone().requires_grad_() for parameter in module.parameters()]
    assert torch.autograd.gradgradcheck(call, (x, *parameters))
