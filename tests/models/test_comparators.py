"""The modules of AIA's Table I beside its own: hand-written transcriptions, and what they can and cannot see."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vidrepro.models import build_mechanism, build_model
from vidrepro.models.taps import taps_of

CHANNELS, FRAMES, SIDE = 16, 5, 9
LOCAL_IN_TIME = ("ge3d-dw333", "cbam3d-377")
FRAME_BY_FRAME = ("se3d", "ge3d-g", "ge3d-dw133", "s3d-g", "cbam3d-177")
NAMES = (*FRAME_BY_FRAME, *LOCAL_IN_TIME)


def module_of(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    module = build_mechanism(name, CHANNELS, FRAMES).double()
    for child in module.modules():
        if isinstance(child, nn.BatchNorm3d):  # as after some training: the identity hides a mistake
            nn.init.uniform_(child.weight, 0.5, 2)
            nn.init.normal_(child.bias)
            nn.init.normal_(child.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(child.running_var, 0.5, 2)  # type: ignore[arg-type]
    return module.eval()


def frames(clips: int, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(clips * FRAMES, CHANNELS, SIDE, SIDE, dtype=torch.float64)


def norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    shape = (-1, 1, 1, 1)
    scaled = (x - state[f"{name}.running_mean"].view(shape)) / (state[f"{name}.running_var"].view(shape) + 1e-5).sqrt()
    return scaled * state[f"{name}.weight"].view(shape) + state[f"{name}.bias"].view(shape)


def se3d(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    pooled = x.mean((1, 2, 3))
    inner = (state["excite.0.weight"] @ pooled).clamp(min=0)
    return torch.sigmoid(state["excite.2.weight"] @ inner).view(-1, 1, 1, 1)


def ge3d_g(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    return torch.sigmoid(x.mean((1, 2, 3))).view(-1, 1, 1, 1)


def s3d_g(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    return torch.sigmoid(state["gate.weight"] @ x.mean((1, 2, 3)) + state["gate.bias"]).view(-1, 1, 1, 1)


def ge3d_dw(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    for number in range(3):
        weight = state[f"gather.{3 * number}.weight"]
        x = torch.conv3d(x[None], weight, stride=(1, 2, 2), padding=[size // 2 for size in weight.shape[2:]], groups=16)
        x = norm(x[0], state, f"gather.{3 * number + 1}")
        x = x.clamp(min=0) if number < 2 else x
    assert x.shape == (CHANNELS, FRAMES, 2, 2)
    nearest = torch.arange(SIDE) * 2 // SIDE
    return torch.sigmoid(x[:, :, nearest][..., nearest])


def cbam3d(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    def shared(pooled: Tensor) -> Tensor:
        inner = (state["shared.0.weight"] @ pooled + state["shared.0.bias"]).clamp(min=0)
        return state["shared.2.weight"] @ inner + state["shared.2.bias"]

    of_channels = torch.sigmoid(shared(x.mean((1, 2, 3))) + shared(x.amax((1, 2, 3)))).view(-1, 1, 1, 1)
    x = x * of_channels
    weight = state["conv.weight"]
    places = torch.conv3d(
        torch.stack([x.amax(0), x.mean(0)])[None], weight, padding=[size // 2 for size in weight.shape[2:]]
    )
    return of_channels * torch.sigmoid(norm(places[0], state, "norm"))


TRANSCRIPTIONS: dict[str, Callable[[Tensor, dict[str, Tensor]], Tensor]] = {
    "se3d": se3d,
    "ge3d-g": ge3d_g,
    "s3d-g": s3d_g,
    **dict.fromkeys(("ge3d-dw133", "ge3d-dw333"), ge3d_dw),
    **dict.fromkeys(("cbam3d-177", "cbam3d-377"), cbam3d),
}


@pytest.mark.parametrize("name", NAMES)
def test_transcription(name: str) -> None:
    """One clip at a time as (C, T, H, W); the gate, then the product."""
    module = module_of(name)
    x = frames(2)
    out = module(x)
    for clip, gated in zip(x.split(FRAMES), out.split(FRAMES), strict=True):
        volume = clip.transpose(0, 1)
        gate = TRANSCRIPTIONS[name](volume, module.state_dict())
        assert gate.min() > 0 and gate.max() < 1
        torch.testing.assert_close(gated.transpose(0, 1), volume * gate)


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("ge3d-dw133", [(16, 1, 1, 3, 3)] * 3),
        ("ge3d-dw333", [(16, 1, 3, 3, 3)] * 3),
        ("cbam3d-177", [(1, 2, 1, 7, 7)]),
        ("cbam3d-377", [(1, 2, 3, 7, 7)]),
    ],
)
def test_kernels(name: str, kernels: list[tuple[int, ...]]) -> None:
    convs = [module for module in module_of(name).modules() if isinstance(module, nn.Conv3d)]
    assert [tuple(conv.weight.shape) for conv in convs] == kernels


@pytest.mark.parametrize("name", NAMES)
def test_only_a_kernel_of_several_frames_sees_their_order(name: str) -> None:
    """The others give the same outputs in the new order, so that no network built on them can tell the orders apart."""
    module, x = module_of(name), frames(1)
    for order in (torch.arange(FRAMES).flip(0), torch.tensor([2, 0, 4, 1, 3])):
        change = (module(x[order]) - module(x)[order]).abs().max().item()
        assert change > 1e-3 if name in LOCAL_IN_TIME else change < 1e-12


@pytest.mark.parametrize(
    ("name", "sees"), [("ge3d-dw133", False), ("cbam3d-177", False), ("ge3d-dw333", True), ("C", True)]
)
def test_a_network_and_a_clip_played_backwards(name: str, sees: bool) -> None:
    torch.manual_seed(2)
    model = build_model("micro", name, frames=6, classes=4, width=8).double().eval()
    clip = torch.randn(2, 6, 3, 32, 32, dtype=torch.float64)
    change = (model(clip) - model(clip.flip(1))).abs().max().item()
    assert change > 1e-7 if sees else change < 1e-12


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("clips", [1, 3])
def test_clips_do_not_influence_each_other_in_eval(name: str, clips: int) -> None:
    module, x = module_of(name), frames(clips)
    torch.testing.assert_close(module(x), torch.cat([module(clip) for clip in x.split(FRAMES)]))


@pytest.mark.parametrize("name", ["se3d", "cbam3d-177"])
def test_the_reduction_leaves_at_least_one_channel(name: str) -> None:
    widths = {64: 4, 16: 1, 8: 1}
    for channels, inner in widths.items():
        linear = next(part for part in build_mechanism(name, channels, 2).modules() if isinstance(part, nn.Linear))
        assert linear.weight.shape == (inner, channels)
    linear = next(part for part in build_mechanism(name, 64, 2, reduction=4).modules() if isinstance(part, nn.Linear))
    assert linear.weight.shape == (16, 64)


@pytest.mark.parametrize("name", NAMES)
def test_taps(name: str) -> None:
    """They show gates in (0, 1) of the shape they say; opened, all of them together are the identity."""
    module, x = module_of(name), frames(2)
    plain = module(x)
    seen: list[Tensor] = []
    taps = list(taps_of(module).values())
    assert [tap.what for tap in taps] == (["channel", "spatial"] if name.startswith("cbam") else [taps[0].what])
    handles = [tap.register_forward_hook(lambda *call: seen.append(call[2])) for tap in taps]
    torch.testing.assert_close(module(x), plain)
    sizes = {"N": 2, "N*T": 2 * FRAMES, "C": CHANNELS, "H": SIDE, "W": SIDE, "1": 1}
    for tap, gate in zip(taps, seen, strict=True):
        assert gate.shape == tuple(sizes[axis] for axis in tap.axes)
        assert gate.min() > 0 and gate.max() < 1
    for handle in handles:
        handle.remove()
    for tap in taps:
        tap.register_forward_hook(lambda *call: torch.ones_like(call[2]))
    torch.testing.assert_close(module(x), x)
