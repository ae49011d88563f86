"""M2A's kernels against the plain operations they stand in for, and where they do."""

from __future__ import annotations

import copy
import io
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidrepro.errors import ModelError
from vidrepro.models import kernels
from vidrepro.models.mechanisms import m2a_fast
from vidrepro.models.mechanisms.m2a import FrameAttention, GatedMotionAttention
from vidrepro.models.mechanisms.pointwise import PointwiseConv2d

pytestmark = pytest.mark.skipif(not kernels.usable(), reason="no kernels in this process")
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-4}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def is_fast(out: Tensor) -> bool:
    return out.grad_fn is not None and "_Gated" in out.grad_fn.name()


def clips(channels: int, frames: int, size: tuple[int, int], dtype: torch.dtype, *, alike: bool = True) -> Tensor:
    """Two clips, of frames that resemble each other or do not: attention to these is one-hot."""
    x = torch.randn(2, frames, channels, *size, dtype=dtype)
    return (x[:, :1] + 0.1 * x if alike else x).flatten(0, 1).requires_grad_()


def learn(module: nn.Module, x: Tensor, loss_weights: Tensor) -> tuple[Tensor, ...]:
    out = module(x)
    return out, *torch.autograd.grad(out, [x, *module.parameters()], loss_weights)


def both_ways(module: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """The result and the gradients by kernels, each with that by plain operations."""
    loss_weights = torch.randn_like(x)
    found = learn(module, x, loss_weights)
    assert is_fast(found[0])
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "usable", lambda: False)
        expected = learn(module, x, loss_weights)
    assert not is_fast(expected[0])
    return list(zip(found, expected, strict=True))


def assert_same(pairs: list[tuple[Tensor, Tensor]], tolerance: float) -> None:
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * max(1.0, theirs.abs().max().item()))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("boundary", ["zeros", "first"])
@pytest.mark.parametrize("skip", ["reduced", "attention-input", "none"])
@pytest.mark.parametrize("norm", ["with-attention", "always", "never"])
@pytest.mark.parametrize("blocks", [("m2a", "m2a"), ("m2a", "none"), ("none", "m2a")])
def test_every_option(
    blocks: tuple[str, str], norm: str, skip: str, boundary: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    motion, attention = blocks
    options: dict[str, Any] = {"norm": norm, "skip": skip, "boundary": boundary}
    module = GatedMotionAttention(32, 5, motion=motion, attention=attention, **options).to(dtype)
    assert_same(both_ways(module, clips(32, 5, (7, 6), dtype), monkeypatch), TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize(
    ("channels", "frames", "size"),
    [
        (8, 1, (1, 1)),
        (20, 3, (4, 4)),  # channels to no multiple of what is worked on at once
        (24, 8, (9, 9)),
        (64, 8, (28, 28)),  # a frame is a tile
        (64, 2, (56, 56)),  # parts of a frame are
        (64, 2, (37, 41)),  # ... that do not lie well
        (128, 8, (14, 14)),  # several frames are
        (256, 7, (7, 7)),
        (512, 8, (4, 4)),
    ],
)
def test_every_size(
    channels: int,
    frames: int,
    size: tuple[int, int],
    alike: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    module = GatedMotionAttention(channels, frames).to(dtype)
    assert_same(both_ways(module, clips(channels, frames, size, dtype, alike=alike), monkeypatch), TOLERANCES[dtype])


def test_gates_wide_open_and_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = GatedMotionAttention(16, 2)
    nn.init.normal_(module.conv_up.weight, std=300)
    assert_same(both_ways(module, clips(16, 2, (12, 12), torch.float32), monkeypatch), 1e-4)


def test_frames_that_do_not_move_have_no_motion() -> None:
    torch.manual_seed(0)
    module = GatedMotionAttention(16, 4, attention="none", norm="always", boundary="first")
    out = module(torch.randn(1, 16, 5, 5).expand(4, -1, -1, -1).contiguous())
    out.sum().backward()
    assert is_fast(out)
    assert module.conv_up.weight.grad is not None
    assert not module.conv_up.weight.grad.any()


def test_not_a_number_goes_through() -> None:
    torch.manual_seed(0)
    module = GatedMotionAttention(16, 2)
    x = torch.randn(4, 16, 6, 6)
    x[0, 3, 2, 1] = torch.nan
    x.requires_grad_()
    out = module(x)
    out.sum().backward()
    assert is_fast(out)
    assert out[:2].isnan().all()
    assert not out[2:].isnan().any()
    assert x.grad is not None
    assert x.grad[:2].isnan().all()
    assert not x.grad[2:].isnan().any()
    assert all(parameter.grad is not None and parameter.grad.isnan().any() for parameter in module.parameters())


@pytest.mark.parametrize("size", [(28, 28), (7, 7)])
def test_the_same_bits_on_any_number_of_threads(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module = GatedMotionAttention(64, 2)
    x = torch.randn(22, 64, *size, requires_grad=True)
    loss_weights = torch.randn_like(x)
    expected = learn(module, x, loss_weights)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found = learn(module, x, loss_weights)
        assert is_fast(found[0])
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_what_needs_no_gradient_gets_none() -> None:
    module = GatedMotionAttention(16, 2)
    module.conv_up.weight.requires_grad_(False)
    x = torch.randn(2, 16, 4, 4)
    module(x).sum().backward()
    assert x.grad is None
    assert module.conv_up.weight.grad is None
    assert module.conv_up.bias is not None
    assert module.conv_up.bias.grad is not None


def test_gradients_of_gradients() -> None:
    torch.manual_seed(0)
    module = GatedMotionAttention(8, 2, skip="attention-input").double()
    x = torch.randn(2, 8, 2, 3, dtype=torch.float64, requires_grad=True)
    assert is_fast(module(x))
    assert torch.autograd.gradcheck(module, x)
    assert torch.autograd.gradgradcheck(module, x)


def test_a_gradient_that_lies_otherwise() -> None:
    torch.manual_seed(0)
    module = GatedMotionAttention(16, 2)
    x = torch.randn(2, 16, 6, 6, requires_grad=True)
    flow = torch.randn_like(x)
    (expected,) = torch.autograd.grad(module(x), x, flow)
    (found,) = torch.autograd.grad(module(x), x, flow.contiguous(memory_format=torch.channels_last))
    assert torch.equal(found, expected)


def test_a_gradient_without_memory_of_its_own() -> None:
    module, x = GatedMotionAttention(16, 2), torch.randn(2, 16, 6, 6, requires_grad=True)
    (found,) = torch.autograd.grad(module(x), x, torch._efficientzerotensor(x.shape))
    assert not found.any()


@pytest.mark.parametrize("part", ["conv_down", "conv_up", "motion", "attention", "attention.tap", "gate"])
def test_steps_aside_for_whoever_listens(part: str) -> None:
    module = GatedMotionAttention(16, 2)
    x = torch.randn(2, 16, 4, 4, requires_grad=True)
    assert is_fast(module(x))
    module.get_submodule(part).register_forward_hook(lambda *_: None)
    assert not is_fast(module(x))


@pytest.mark.filterwarnings("ignore:`torch.jit.trace", "ignore::torch.jit.TracerWarning")
def test_where_plain_operations_run(monkeypatch: pytest.MonkeyPatch) -> None:
    module = GatedMotionAttention(16, 2)
    x = torch.randn(2, 16, 4, 4)
    learnt = module._learnt()
    assert m2a_fast.available(x, learnt, 2)
    assert not m2a_fast.available(x.to(memory_format=torch.channels_last), learnt, 2)
    assert not m2a_fast.available(x.double(), learnt, 2)
    assert not m2a_fast.available(x[:0], learnt, 2)
    of_half = tuple(None if tensor is None else tensor.bfloat16() for tensor in learnt)
    assert not m2a_fast.available(x.bfloat16(), of_half, 2)
    assert not m2a_fast.available(torch._efficientzerotensor(x.shape), learnt, 2)
    assert not m2a_fast.available(x, learnt, 3)
    assert not m2a_fast.available(torch._neg_view(x), learnt, 2)
    with torch.no_grad():
        assert not m2a_fast.available(x, learnt, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not m2a_fast.available(x, learnt, 2)
    torch.set_num_threads(2)
    assert not m2a_fast.available(x, learnt, 2)  # a clip for each thread, at least
    torch.set_num_threads(1)
    assert "_Gated" not in str(torch.jit.trace(module, x).inlined_graph)
    assert torch.func.vmap(module)(x[None]).shape == (1, *x.shape)
    assert torch.func.vmap(module, in_dims=1)(torch.randn(2, 3, 16, 4, 4)).shape == (3, 2, 16, 4, 4)
    assert not is_fast(GatedMotionAttention(16, 2, motion="tea")(x))
    assert not is_fast(GatedMotionAttention(16, 2, attention="tam")(x))
    monkeypatch.setattr(kernels, "usable", lambda: False)
    assert not m2a_fast.available(x, learnt, 2)


def test_the_tensors_of_the_convolutions_have_to_fit() -> None:
    """Kernels read them from memory, as numbers of the input's type and so many: nothing else may get there."""
    module, x = GatedMotionAttention(16, 2), torch.randn(2, 16, 4, 4)
    learnt = module._learnt()
    assert m2a_fast.available(x, learnt, 2)
    for place, tensor in enumerate(learnt):
        assert tensor is not None
        wide = torch.stack([tensor, tensor], -1)
        for other in (
            None,
            tensor.double(),
            tensor.bfloat16(),
            tensor[:1],
            wide[..., 0],
            torch._neg_view(tensor),
            tensor[None],
        ):
            assert not m2a_fast.available(x, (*learnt[:place], other, *learnt[place + 1 :]), 2), (place, other)
    with pytest.raises(RuntimeError, match="24"):
        module(torch.randn(2, 24, 4, 4))


def test_tensors_of_another_class_take_the_plain_operations() -> None:
    class Noted(torch.Tensor):
        pass

    x = torch.randn(2, 16, 4, 4).as_subclass(Noted)
    assert not is_fast(GatedMotionAttention(16, 2)(x))


@pytest.mark.parametrize("how", ["copied", "pickled"])
def test_a_copy_has_listeners_of_its_own(how: str) -> None:
    module = GatedMotionAttention(16, 2)
    if how == "copied":
        other = copy.deepcopy(module)
    else:
        file = io.BytesIO()
        torch.save(module, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    x = torch.randn(2, 16, 4, 4)
    assert is_fast(other(x))
    other.conv_up.register_forward_hook(lambda *_: None)
    assert not is_fast(other(x))
    assert is_fast(module(x))


def test_a_part_that_was_replaced_is_used() -> None:
    module, x = GatedMotionAttention(16, 2), torch.randn(2, 16, 4, 4)
    module.attention = nn.Identity()
    assert not is_fast(module(x))
    parametrised = GatedMotionAttention(16, 2)
    nn.utils.parametrizations.weight_norm(parametrised.conv_down)
    assert not is_fast(parametrised(x))


def test_a_replaced_tap_and_replaced_hooks_are_heard() -> None:
    x = torch.randn(2, 16, 4, 4)
    module = GatedMotionAttention(16, 2)
    assert isinstance(module.attention, FrameAttention)
    module.attention.tap = copy.deepcopy(module.attention.tap)
    heard: list[Any] = []
    module.attention.tap.register_forward_hook(lambda *call: heard.append(call))
    module(x)
    assert len(heard) == 1
    module = GatedMotionAttention(16, 2)
    module.conv_up._forward_hooks = OrderedDict()  # type: ignore[assignment]
    module.conv_up.register_forward_hook(lambda *call: heard.append(call))
    module(x)
    assert len(heard) == 2


def test_a_convolution_of_another_class_is_used() -> None:
    class Doubled(PointwiseConv2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    module, x = GatedMotionAttention(16, 2), torch.randn(2, 16, 4, 4)
    assert is_fast(module(x))
    module.conv_up.__class__ = Doubled
    assert not is_fast(module(x))


def test_parameters_that_are_cast_before_the_backward_pass() -> None:
    for cast in (torch.bfloat16, torch.float64):
        module, x = GatedMotionAttention(16, 2), torch.randn(2, 16, 6, 6)
        out = module(x)
        assert is_fast(out)
        module.to(cast)
        with pytest.raises(RuntimeError):
            out.sum().backward()


@pytest.mark.parametrize("change", [lambda saved: saved.mT.contiguous().mT, lambda saved: saved.double().float()])
def test_what_hooks_make_of_saved_tensors(change: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    module, x = GatedMotionAttention(16, 2), torch.randn(2, 16, 6, 6, requires_grad=True)
    wanted = [x, *module.parameters()]
    expected = torch.autograd.grad(module(x).square().sum(), wanted)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda saved: saved, lambda saved: change(saved) if saved.dim() > 1 else saved
    ):
        out = module(x)
    found = torch.autograd.grad(out.square().sum(), wanted)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_infinite_weights_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = GatedMotionAttention(16, 2)
    with torch.no_grad():
        module.conv_up.weight[0, 0] = torch.inf
    x = torch.randn(2, 16, 6, 5, requires_grad=True)
    loss_weights = torch.randn_like(x)
    found = learn(module, x, loss_weights)
    assert is_fast(found[0])
    monkeypatch.setattr(kernels, "usable", lambda: False)
    expected = learn(module, x, loss_weights)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.isnan(), theirs.isnan())


def test_the_gate_is_as_exact_as_torch_s() -> None:
    numba = pytest.importorskip("numba")
    from vidrepro.models.mechanisms.m2a_products import squash_four

    @numba.njit
    def squash(values: Any) -> None:
        for place in range(0, len(values), 64):
            squash_four(values, place)

    z = torch.linspace(-86, 86, 64 * 1000)
    exact, found, of_torch = z.double().sigmoid(), z.clone(), z.sigmoid()
    squash(found.numpy())
    assert ((found - exact).abs() / exact).max() < 3e-7
    assert ((of_torch - exact).abs() / exact).max() > 5e-8  # so much is rounding
    ends = torch.tensor([torch.inf, -torch.inf, torch.nan, 1e30, -1e30, 0.0, -0.0, 87.5]).repeat(8)
    expected = ends.sigmoid()
    squash(ends.numpy())
    torch.testing.assert_close(ends, expected, rtol=3e-7, atol=2e-38, equal_nan=True)


def test_no_whole_number_of_clips() -> None:
    with pytest.raises(ModelError, match="whole number of clips"):
        GatedMotionAttention(16, 2)(torch.randn(3, 16, 4, 4))
