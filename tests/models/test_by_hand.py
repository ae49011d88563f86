"""The hand-written gradients against the plain operations they stand in for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vidrepro.models import build_mechanism
from vidrepro.models.mechanisms import by_hand


def gradients(module: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The output, and the gradient of a loss with random weights for everything that wants one."""
    module.zero_grad()
    leaf = x.clone().requires_grad_()
    out = module(leaf * 1)
    loss_weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    (out * loss_weights).sum().backward()
    found = {"out": out.detach(), "x": leaf.grad}
    return found | {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "spec", ["m2a", "m2a-motion", "m2a-attention", "tea", "m2a(attention=patch2)", "m2a(skip=none)"]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
@pytest.mark.parametrize("independent", [True, False])
def test_the_same_numbers(
    spec: str, dtype: torch.dtype, tolerance: float, independent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Independent frames make the attention one-hot, its other weights denormal; frames that resemble each do not."""
    torch.manual_seed(0)
    module = build_mechanism(spec, 32, 4).to(dtype)
    x = torch.randn(2, 4, 32, 12, 12, dtype=dtype)
    x = (x if independent else x[:, :1] + 0.1 * x).flatten(0, 1)
    used: list[str] = []
    for name in ("squeeze", "gate", "attend"):
        function = getattr(by_hand, name)
        monkeypatch.setattr(by_hand, name, lambda *inputs, f=function, name=name: (used.append(name), f(*inputs))[1])
    found = gradients(module, x)
    assert {"squeeze", "gate"} <= set(used)
    assert ("attend" in used) == (spec not in ("m2a-motion", "tea"))
    monkeypatch.setattr(by_hand, "available", lambda *tensors: False)
    expected = gradients(module, x)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance * value.abs().max().item())


def test_frozen_parts_get_no_gradient() -> None:
    module = build_mechanism("m2a", 16, 2).double()
    module.conv_down.requires_grad_(False)
    x = torch.randn(4, 16, 3, 3, dtype=torch.float64)
    assert set(gradients(module, x)) == {"out", "x", "conv_up.weight", "conv_up.bias"}
    module.requires_grad_(False)
    assert set(gradients(module, x)) == {"out", "x"}
    only_weights = build_mechanism("m2a", 16, 2).double()
    only_weights(x).sum().backward()
    assert all(parameter.grad is not None for parameter in only_weights.parameters())


def test_where_the_plain_operations_run() -> None:
    x, half = torch.zeros(2, 8, 3, 3), torch.zeros(2, 8, 3, 3, dtype=torch.bfloat16)
    assert by_hand.available(x, x)
    assert not by_hand.available(x, half)
    assert not by_hand.available(half)
    assert not by_hand.available(x.to(memory_format=torch.channels_last))
    with torch.no_grad():
        assert not by_hand.available(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not by_hand.available(x)


@pytest.mark.parametrize("layer", ["conv_down", "conv_up"])
def test_a_layer_that_is_listened_to_is_called(layer: str) -> None:
    heard: list[Any] = []
    module = build_mechanism("m2a", 16, 2)
    module.get_submodule(layer).register_forward_hook(lambda *call: heard.append(call))
    module(torch.randn(2, 16, 3, 3))
    assert len(heard) == 1


def test_the_output_and_its_input_are_left_alone() -> None:
    """The gradients add up in place: in tensors nobody else has."""
    module = build_mechanism("m2a", 16, 2).double()
    x = torch.randn(2, 16, 3, 3, dtype=torch.float64, requires_grad=True)
    y = x * 1
    y.retain_grad()
    out = module(y) + y  # the block's skip path uses its input too
    out.retain_grad()
    loss_weights = torch.randn(out.shape, dtype=torch.float64)
    before = loss_weights.clone()
    out.backward(loss_weights)
    assert torch.equal(loss_weights, before)
    assert torch.equal(out.grad, before)
    alone = gradients_of_input(module, x, before)
    torch.testing.assert_close(y.grad, alone + before)


def gradients_of_input(module: torch.nn.Module, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(module(x), x, weights)
    return found
