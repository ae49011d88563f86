"""AIA's hand-written gradients against the plain operations they stand in for, and where those run instead."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vidrepro.errors import ModelError
from vidrepro.models import build_model, kernels
from vidrepro.models.layout import to_channels_last
from vidrepro.models.mechanisms import aia_fast
from vidrepro.models.mechanisms.aia import AttentionInAttention

pytestmark = pytest.mark.skipif(not kernels.usable(), reason="numba is missing or switched off")

SPECS = ["C", "ST", "CinST", "STinC", "CinSTinC", "STinST", "CinST->STinC", "C->ST->CinST", "C+ST", "(C+ST)->C"]
SHAPE = (8, 5, 4, 6)  # two clips of four frames; no two axes alike
# clips, frames, channels, height, width
SIZES = [(1, 1, 2, 2, 2), (1, 1, 7, 3, 3), (3, 2, 1, 5, 4), (2, 3, 16, 7, 1), (1, 5, 17, 1, 9), (2, 8, 33, 3, 2)]


def module_of(spec: str, *, channels: int = 5, frames: int = 4, **options: Any) -> AttentionInAttention:
    """With norms as after some training: those a module begins with hide mistakes."""
    torch.manual_seed(0)
    module = AttentionInAttention(channels, frames, spec, **options).double()
    for child in module.modules():
        if isinstance(child, nn.BatchNorm3d):
            nn.init.uniform_(child.weight, 0.5, 2)
            nn.init.normal_(child.bias)
            nn.init.normal_(child.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(child.running_var, 0.5, 2)  # type: ignore[arg-type]
    return module


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def everything(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, the gradients of a loss with random weights, and the buffers afterwards."""
    leaf = x.detach().clone().requires_grad_()
    out = module(leaf)
    loss = (out * random(*out.shape, seed=2).to(out.dtype)).sum()
    learnt = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    found = torch.autograd.grad(loss, [leaf, *learnt.values()])
    return {"out": out.detach(), **dict(zip(["x", *learnt], found, strict=True)), **dict(module.named_buffers())}


def used(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of units of each step whenever the fast way is taken."""
    calls: list[int] = []
    gated = aia_fast.gated

    def noted(x: Tensor, frames: int, steps: aia_fast.Steps) -> Tensor:
        calls.extend(map(len, steps))
        return gated(x, frames, steps)

    monkeypatch.setattr(aia_fast, "gated", noted)
    return calls


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def assert_alike(module: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch, tolerance: float) -> None:
    plain = copy.deepcopy(module)
    calls = used(monkeypatch)
    found = everything(module, x)
    assert calls
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "usable", lambda: False)
        expected = everything(plain, x)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        size = value.abs().max().item() if value.is_floating_point() else 0
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance * size, msg=name)


@pytest.mark.parametrize("pool_order", ["max_mean", "mean_max"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("spec", SPECS)
def test_the_same_numbers(spec: str, training: bool, pool_order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(spec, pool_order=pool_order).train(training)
    assert_alike(module, random(*SHAPE), monkeypatch, 1e-11)


@pytest.mark.parametrize("spec", ["C", "ST", "CinST->STinC"])
def test_equal_maxima_share_the_gradient(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip that stands still, whose frames are flat in places; and one that is the same everywhere."""
    x = random(*SHAPE)
    x[:4] = x[:1]
    x[:4, :, 1:3] = 0.25
    x[4:] = -1.5
    assert_alike(module_of(spec), x, monkeypatch, 1e-11)


@pytest.mark.parametrize("shape", [(4, 3, 7, 7), (4, 1, 1, 1), (2, 3, 28, 4), (36, 3, 3, 2)])
def test_other_shapes(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Square maps; one number a frame; and axes so long that the convolution cuts them into blocks."""
    frames = shape[0] // 2
    assert_alike(module_of("CinST->STinC", channels=shape[1], frames=frames), random(*shape), monkeypatch, 1e-10)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("clips", "frames", "channels", "height", "width"), SIZES)
def test_any_size(
    clips: int,
    frames: int,
    channels: int,
    height: int,
    width: int,
    training: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = module_of("STinC->CinST", channels=channels, frames=frames).train(training)
    assert_alike(module, random(clips * frames, channels, height, width), monkeypatch, 1e-10)


@pytest.mark.parametrize("layout", ["channels-last", "transposed", "part of another"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_however_maps_lie(layout: str, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = module_of("CinST->STinC").train(training), random(*SHAPE)
    lying = {
        "channels-last": x.contiguous(memory_format=torch.channels_last),
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "part of another": torch.cat([x, x], 1)[:, : x.shape[1]],
    }[layout]
    plain = copy.deepcopy(module)
    assert not lying.is_contiguous()
    calls = used(monkeypatch)
    leaf, weights = lying.detach().requires_grad_(), random(*SHAPE, seed=2)
    out = module(leaf)
    out.backward(weights[:, :, :1].expand(*SHAPE))
    assert calls == [2, 2]
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "usable", lambda: False)
        other = lying.contiguous().requires_grad_()
        expected = plain(other)
        expected.backward(weights[:, :, :1].expand(*SHAPE))
    torch.testing.assert_close(out, expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_threads_change_no_bit(training: bool, two_threads: None) -> None:
    x = random(12, 5, 4, 6)
    together = everything(module_of("CinST->STinC").train(training), x)
    torch.set_num_threads(1)
    alone = everything(module_of("CinST->STinC").train(training), x)
    assert all(torch.equal(together[name], alone[name]) for name in alone)


@pytest.mark.parametrize("single", [False, True], ids=["double", "single"])
def test_a_clip_by_itself_gets_the_same(single: bool) -> None:
    """When norms use running statistics."""
    x = random(12, 21, 4, 6)
    module = module_of("CinST->STinC", channels=21).eval()
    if single:
        module, x = module.float(), x.float()
    with torch.no_grad():
        together = module(x)
        assert torch.equal(together, torch.cat([module(clip) for clip in x.split(4)]))
    assert torch.equal(together, module(x.requires_grad_()))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("spec", ["C", "ST", "CinST->STinC"])
def test_nan_is_not_lost(spec: str, training: bool, number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is NaN by the plain operations is here: outputs, gradients and running statistics."""
    module, x = module_of(spec).train(training), random(*SHAPE)
    x[2, 1, 3, 2] = number
    plain = copy.deepcopy(module)
    found = everything(module, x)
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "usable", lambda: False)
        expected = everything(plain, x)
    assert expected["out"].isnan().any() or not math.isnan(number)
    assert torch.equal(found["out"].isnan(), expected["out"].isnan())
    for name, value in expected.items():
        assert found[name][value.isnan()].isnan().all(), name


def test_one_number_has_no_statistics() -> None:
    """As plain batch norm says."""
    with pytest.raises(ValueError, match="more than 1 value"):
        module_of("ST", channels=1, frames=2)(random(2, 1, 1, 1))


def test_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_alike(module_of("CinST->STinC").float(), random(*SHAPE).float(), monkeypatch, 2e-4)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("spec", ["CinST", "STinC"])
def test_gradients_are_the_numerical_ones(spec: str, training: bool) -> None:
    module = module_of(spec, channels=2, frames=2).train(training)
    x = random(4, 2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (x, *module.parameters()))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_gradients_have_gradients(training: bool) -> None:
    """By the plain operations; and asking for them moves no running statistics."""
    module = module_of("CinST", channels=2, frames=2).train(training)
    x = random(4, 2, 2, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(module, (x,))
    module(x)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    out = module(x)
    (first,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    first.square().sum().backward()
    steps = {name: int(after - before[name]) for name, after in module.named_buffers() if name.endswith("tracked")}
    assert set(steps.values()) == {int(training)}


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels-last"])
def test_maps_come_back_as_they_lay(last: bool) -> None:
    layout = torch.channels_last if last else torch.contiguous_format
    module, x = module_of("CinST->STinC"), random(*SHAPE).contiguous(memory_format=layout).requires_grad_()
    before = x * 1
    arrived: list[bool] = []
    before.register_hook(lambda gradient: arrived.append(gradient.is_contiguous(memory_format=layout)))
    out = module(before)
    out.backward(random(*SHAPE).contiguous(memory_format=layout))
    assert out.is_contiguous(memory_format=layout) and arrived == [True]
    nn.functional.relu(module(x * 1), inplace=True).sum().backward()  # as the block behind it does


def test_a_whole_network_with_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = used(monkeypatch)
    torch.manual_seed(0)
    model = build_model("micro", "CinST->STinC", frames=4, classes=3, width=8).eval()
    clips = torch.randn(2, 4, 3, 32, 32)
    expected = model(clips)
    to_channels_last(model)
    torch.testing.assert_close(model(clips), expected, rtol=1e-4, atol=1e-5)
    assert calls == [2, 2] * (len(calls) // 2) != []


def test_frozen_parts_get_no_gradient() -> None:
    module = module_of("CinST")
    for name, parameter in module.named_parameters():
        parameter.requires_grad_("C_conv" in name)
    module(random(*SHAPE)).sum().backward()
    learnt = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    assert learnt == {"body.gates0.C_conv.weight"}


def test_gradients_twice_from_one_forward_pass() -> None:
    module, x = module_of("CinST->STinC"), random(*SHAPE).requires_grad_()
    out = module(x)
    weights = random(*SHAPE, seed=3)
    first, again = (torch.autograd.grad(out, x, weights, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(weights, random(*SHAPE, seed=3))


def test_hooks_of_a_step_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = used(monkeypatch)
    module, x = module_of("C->ST"), random(*SHAPE)
    heard: list[Any] = []
    module.get_submodule("body.0").register_forward_hook(lambda *call: heard.append(call))
    module(x)
    assert len(heard) == 1 and calls == [1, 1]


def test_clips_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = used(monkeypatch)
    with pytest.raises(ModelError, match="whole number of clips"):
        module_of("CinST", frames=3)(random(*SHAPE))
    assert calls == [2]


def test_where_kernels_are_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = used(monkeypatch)
    module, x = module_of("CinST"), random(*SHAPE)
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "usable", lambda: False)
        module(x)
    assert calls == []
    module(x)
    assert calls == [2]


def test_where_the_plain_operations_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = used(monkeypatch)
    module, x = module_of("CinST").float().eval(), random(*SHAPE).float()
    expected = module(x)
    assert calls == [2]
    with FlopCounterMode(display=False) as counter:
        module(x)
    volumes = 4 * 4 * 6 + 5 * 4 * 6 + 4 * 5 * 6 + 4 * 4 * 5  # T*H*W, C*H*W, T*C*W, T*H*C
    assert counter.get_total_flops() == 2 * 54 * 2 * volumes  # two clips
    traced = torch.jit.trace(module, x, check_trace=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(x)
    copy.deepcopy(module).bfloat16()(x.bfloat16())
    torch.testing.assert_close(torch.func.vmap(module)(x[None])[0], expected)
    assert calls == [2]
    torch.testing.assert_close(traced(x), expected)
    layer = module.get_submodule("body.gates0.C_conv")
    heard: list[Any] = []
    handle = layer.register_forward_hook(lambda *call: heard.append(call))
    module(x)
    handle.remove()
    assert len(heard) == 1 and calls == [2]
    nn.utils.parametrizations.weight_norm(layer)
    torch.testing.assert_close(module(x), expected)
    assert calls == [2]


def test_inference_takes_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = used(monkeypatch)
    module, x = module_of("CinST->STinC").eval(), random(*SHAPE)
    expected = module(x)
    with torch.inference_mode():
        assert torch.equal(module(x), expected)
    with torch.no_grad():
        assert torch.equal(module(x), expected)
    assert calls == [2] * 6


def test_little_is_kept_for_the_backward_pass() -> None:
    """Each module's input, and what is as small as a pooled map: no product with a gate."""
    frames, channels, side = 8, 64, 16
    module = AttentionInAttention(channels, frames, "CinST->STinC")
    x = torch.randn(frames, channels, side, side, requires_grad=True)
    kept: dict[int, Tensor] = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        module(x)
    maps = [tensor for tensor in kept.values() if tensor.numel() >= x.numel()]
    assert len(maps) == 2
    assert sum(tensor.numel() for tensor in kept.values()) < 4.5 * x.numel()


@pytest.mark.slow
def test_compiled_without_a_break() -> None:
    module, x = module_of("CinST->STinC").eval(), random(*SHAPE)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), module(x))
