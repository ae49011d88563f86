"""A block's input shared between M2A and the skip path: the same gradients, added by the mechanism."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidrepro.models import build_model, kernels
from vidrepro.models.backbones.resnet import BasicBlock, Bottleneck
from vidrepro.models.mechanisms.m2a import GatedMotionAttention
from vidrepro.models.sharing import Sharing

pytestmark = pytest.mark.skipif(not kernels.usable(), reason="no kernels in this process")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For every time a block asks: whether it was given another tensor than its own."""
    found: list[bool] = []
    plain = Sharing.taken

    def noted(self: Sharing, x: Tensor) -> Tensor:
        other = plain(self, x)
        found.append(other is not x)
        return other

    monkeypatch.setattr(Sharing, "taken", noted)
    return found


class Fork(nn.Module):
    """A mechanism, and something else that takes its input too."""

    def __init__(self) -> None:
        super().__init__()
        self.mechanism = GatedMotionAttention(8, 2)
        self.sharing = self.mechanism.sharing = Sharing()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.mechanism(x)
        return out, self.sharing.taken(x).square()


def gradients(network: nn.Module, clips: Tensor) -> list[Tensor]:
    network.zero_grad()
    network(clips).square().sum().backward()
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.parametrize(("backbone", "blocks"), [("resnet18", 8), ("resnet50", 16), ("micro", 4)])
def test_a_network_learns_the_same(
    backbone: str, blocks: int, replaced: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    options = {} if backbone == "micro" else {"width": 16}
    network = build_model(backbone, "m2a", frames=2, classes=3, dropout=0.0, head_std=0.1, backbone_options=options)
    network.double()
    clips = torch.randn(2, 2, 3, 32, 32, dtype=torch.float64)
    found = gradients(network, clips)
    assert replaced == [True] * blocks
    monkeypatch.setattr(kernels, "usable", lambda: False)
    expected = gradients(network, clips)
    assert replaced[blocks:] == [False] * blocks
    assert len(found) == len(expected) == len(list(network.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * theirs.abs().max().item())


def test_with_the_shift_behind_the_mechanism(replaced: list[bool]) -> None:
    network = build_model("micro", "m2a", frames=2, classes=3, temporal_shift=True)
    network(torch.randn(1, 2, 3, 32, 32))
    assert replaced == [True] * 4


@pytest.mark.parametrize("options", [{"position": "after_first_conv"}, {"position": "before_second_conv"}])
def test_only_at_the_entrance_of_a_block(options: dict[str, Any], replaced: list[bool]) -> None:
    network = build_model("micro", "m2a", frames=2, classes=3, **options)
    network(torch.randn(1, 2, 3, 32, 32))
    assert replaced == []
    assert all(module.sharing is None for module in network.modules() if isinstance(module, GatedMotionAttention))


@pytest.mark.parametrize(("backbone", "mechanism"), [("mobilenetv2", "m2a"), ("micro", "none"), ("micro", "tea")])
def test_where_nothing_is_shared(backbone: str, mechanism: str, replaced: list[bool]) -> None:
    network = build_model(backbone, mechanism, frames=2, classes=3)
    network(torch.randn(1, 2, 3, 32, 32))
    assert not any(replaced)


def test_the_input_gets_its_whole_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only what flows past the mechanism: who kept the block's input asks for the gradient there (Grad-CAM)."""
    torch.manual_seed(0)
    network = build_model("micro", "m2a", frames=2, classes=3, dropout=0.0, head_std=0.1).double()
    kept: list[Tensor] = []
    network.get_submodule("backbone.layer1").register_forward_hook(lambda module, args, out: kept.append(out))
    clips = torch.randn(1, 2, 3, 32, 32, dtype=torch.float64)
    (found,) = torch.autograd.grad(network(clips).square().sum(), kept[0])
    monkeypatch.setattr(kernels, "usable", lambda: False)
    (expected,) = torch.autograd.grad(network(clips).square().sum(), kept[1])
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11 * expected.abs().max().item())


def test_gradients_of_gradients(replaced: list[bool]) -> None:
    torch.manual_seed(0)
    fork = Fork().double()
    x = torch.randn(2, 8, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fork, x)
    assert torch.autograd.gradgradcheck(fork, x)
    assert all(replaced)


@pytest.mark.parametrize("way", [0, 1])
def test_only_one_way_is_used(way: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    fork, x = Fork(), torch.randn(4, 8, 6, 6, requires_grad=True)
    found = torch.autograd.grad(fork(x)[way].sum(), [x, *fork.parameters()], allow_unused=True)
    monkeypatch.setattr(kernels, "usable", lambda: False)
    expected = torch.autograd.grad(fork(x)[way].sum(), [x, *fork.parameters()], allow_unused=True)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_gradient_that_lies_otherwise() -> None:
    torch.manual_seed(0)
    fork, x = Fork(), torch.randn(4, 8, 6, 6, requires_grad=True)
    flows = [torch.randn_like(x), torch.randn_like(x)]
    (expected,) = torch.autograd.grad(fork(x), x, flows)
    others = [flow.contiguous(memory_format=torch.channels_last) for flow in flows]
    (found,) = torch.autograd.grad(fork(x), x, others)
    assert torch.equal(found, expected)


def test_gradients_without_memory_of_their_own() -> None:
    torch.manual_seed(0)
    fork, x = Fork(), torch.randn(4, 8, 6, 6, requires_grad=True)
    nothing = torch._efficientzerotensor(x.shape)
    (found,) = torch.autograd.grad(fork(x), x, [nothing, nothing])
    assert not found.any()


def test_a_hook_that_puts_another_tensor_in_between(replaced: list[bool]) -> None:
    """A full backward hook gives the mechanism a view of its input: the block goes on with its own."""
    torch.manual_seed(0)
    fork, x = Fork(), torch.randn(4, 8, 6, 6, requires_grad=True)
    (expected,) = torch.autograd.grad(sum(part.sum() for part in fork(x)), x)
    fork.mechanism.register_full_backward_hook(lambda *_: None)
    (found,) = torch.autograd.grad(sum(part.sum() for part in fork(x)), x)
    assert replaced == [True, False]
    torch.testing.assert_close(found, expected)


def test_nothing_is_left_behind() -> None:
    sharing, x, other = Sharing(), torch.zeros(1), torch.zeros(1)
    sharing.leave(x, other)
    assert sharing.taken(torch.zeros(1)) is not other
    assert sharing.taken(x) is x
    sharing.leave(x, other)
    assert sharing.taken(x) is other
    assert sharing.taken(x) is x


def test_a_copy_shares_within_itself(replaced: list[bool]) -> None:
    network = build_model("micro", "m2a", frames=2, classes=3)
    other = copy.deepcopy(network)
    block = other.get_submodule("backbone.layer2.0")
    assert isinstance(block, BasicBlock)
    assert block.sharing is other.get_submodule("backbone.layer2.0.conv1.mechanism").sharing
    assert block.sharing is not network.get_submodule("backbone.layer2.0").sharing
    other(torch.randn(1, 2, 3, 32, 32))
    assert replaced == [True] * 4


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_are_torchvision_s(block: type[BasicBlock] | type[Bottleneck], stride: int) -> None:
    torch.manual_seed(0)
    planes = 8
    downsample = nn.Conv2d(8, planes * block.expansion, 1, stride=stride)
    ours = block(8, planes, stride, downsample)
    theirs = block.__base__(8, planes, stride, downsample)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 8, 8, 8)
    assert torch.equal(ours(x), theirs(x))
