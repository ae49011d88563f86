"""What M2A's mechanisms show at their taps, and that they use what a hook gives back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vidrepro.models import build_mechanism
from vidrepro.models.mechanisms.patch_attention import MANY_TOKENS, attend
from vidrepro.models.taps import AttentionTap, taps_of

CLIPS, FRAMES, CHANNELS, HEIGHT, WIDTH = 2, 3, 16, 6, 4
REDUCED = CHANNELS // 8
GATE = ("gate", "N*T C H W", (6, 16, 6, 4))

# By tap: what it is called, its axes, the size of the map it sees.
EXPECTED: dict[str, dict[str, tuple[str, str, tuple[int, ...]]]] = {
    "m2a": {"gate": GATE, "attention.tap": ("attention", "N query key", (2, 3, 3))},
    "m2a-motion": {"gate": GATE},
    "m2a-attention": {"gate": GATE, "attention.tap": ("attention", "N query key", (2, 3, 3))},
    "tea": {"gate": GATE},
    "tdn": {
        "gate": GATE,
        "motion.forward_gate": ("motion", "N*T C H W", (6, REDUCED, 6, 4)),
        "motion.backward_gate": ("motion", "N*T C H W", (6, REDUCED, 6, 4)),
    },
    "tam": {
        "gate": GATE,
        "attention.gate": ("gate", "N C T", (2, REDUCED, 3)),
        "attention.kernels": ("attention", "N C key", (2, REDUCED, 3)),
    },
    "m2a(attention=patch2)": {
        "gate": GATE,
        "attention.over_time": ("attention", "N H W query key", (2, 3, 2, 3, 3)),
        "attention.over_space": ("attention", "N*T query key", (6, 6, 6)),
    },
    "m2a(attention=patch4)": {"gate": GATE, "attention.over_pixels": ("attention", "N query key", (2, 72, 72))},
    "tea-original": {"gate": ("motion", "N*T C 1 1", (6, 16, 1, 1))},
    "tdn-original": {
        "forward_gate": ("motion", "N*T C H W", (6, 16, 6, 4)),
        "backward_gate": ("motion", "N*T C H W", (6, 16, 6, 4)),
    },
    "tam-original": {
        "gate": ("gate", "N C T", (2, 16, 3)),
        "kernels": ("attention", "N C key", (2, 16, 3)),
    },
}


def module_and_input(spec: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return build_mechanism(spec, CHANNELS, FRAMES).double(), torch.randn(
        CLIPS * FRAMES, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64
    )


def replaced(module: nn.Module, new: Callable[[AttentionTap, Tensor], Tensor], x: Tensor) -> Tensor:
    """The output with `new` in place of every map."""
    handles = [
        tap.register_forward_hook(lambda tap, inputs, output: new(tap, output)) for tap in taps_of(module).values()
    ]
    out: Tensor = module(x)
    for handle in handles:
        handle.remove()
    return out


@pytest.mark.parametrize("spec", EXPECTED)
@pytest.mark.parametrize("training", [True, False])
def test_every_map_is_seen_and_kept(spec: str, training: bool) -> None:
    """Also where the fast path forms no map: a training step."""
    module, x = module_and_input(spec)
    module.train(training)
    names = {tap: name for name, tap in taps_of(module).items()}
    seen: dict[str, tuple[str, str, tuple[int, ...]]] = {}

    def look(tap: AttentionTap, attention: Tensor) -> Tensor:
        assert names[tap] not in seen
        seen[names[tap]] = (tap.what, " ".join(tap.axes), tuple(attention.shape))
        assert tap.frames == (FRAMES if "N*T" in tap.axes else None)
        if tap.distribution:
            sums = attention.sum(tap.axes.index(tap.distribution))
            torch.testing.assert_close(sums, torch.ones_like(sums))
            assert attention.min() >= 0
        else:
            assert 0 < attention.min() < attention.max() < 1
        return attention.clone()

    with torch.set_grad_enabled(training):
        out = replaced(module, look, x)
        torch.testing.assert_close(out, module(x), rtol=0, atol=1e-12)
    assert seen == EXPECTED[spec]


@pytest.mark.parametrize("spec", [spec for spec, taps in EXPECTED.items() if taps.get("gate") == GATE])
def test_the_shell_uses_the_gate_it_is_given(spec: str) -> None:
    """x + x*(1 - gate) instead of x + x*gate."""
    module, x = module_and_input(spec)
    out = replaced(module, lambda tap, gate: 1 - gate if tap is module.gate else gate, x)
    torch.testing.assert_close(out, 3 * x - module(x))


def test_m2a_uses_the_attention_it_is_given() -> None:
    module, x = module_and_input("m2a-attention")
    own_frame = torch.eye(FRAMES, dtype=x.dtype).expand(CLIPS, -1, -1)
    out = replaced(module, lambda tap, seen: own_frame if tap.what == "attention" else seen, x)
    reduced = module.conv_down(x)
    features = nn.functional.layer_norm(reduced, reduced.shape[1:]) + reduced
    torch.testing.assert_close(out, x * (1 + module.conv_up(features).sigmoid()))


@pytest.mark.parametrize(("size", "kept"), [(2, {"over_time", "over_space"}), (4, {"over_pixels"})])
def test_patches_use_the_attention_they_are_given(size: int, kept: set[str]) -> None:
    """Every token to itself: without norms each of the two attentions with its skip doubles what comes in."""
    module, x = module_and_input(f"m2a(motion=none, attention=patch{size}, norm=never)")
    out = replaced(module.attention, lambda tap, seen: torch.eye(seen.shape[-1], dtype=x.dtype).expand_as(seen), x)
    torch.testing.assert_close(out, 2 ** len(kept) * x)


@pytest.mark.parametrize("spec", ["tea-original", "tdn-original"])
def test_a_motion_gate_of_one_half_changes_nothing(spec: str) -> None:
    module, x = module_and_input(spec)
    torch.testing.assert_close(replaced(module, lambda tap, gate: torch.full_like(gate, 0.5), x), x)
    assert (module(x) - x).abs().max() > 1e-3


def test_tam_with_open_gates_and_kernels_on_one_frame() -> None:
    module, x = module_and_input("tam-original")
    kernel = torch.tensor([1.0, 0, 0], dtype=x.dtype)
    out = replaced(module, lambda tap, seen: kernel.expand_as(seen) if tap.distribution else torch.ones_like(seen), x)
    before = x.unflatten(0, (CLIPS, FRAMES))
    moved = torch.cat([torch.zeros_like(before[:, :1]), before[:, :-1]], dim=1).flatten(0, 1)
    torch.testing.assert_close(out, moved)


@pytest.mark.parametrize("learning", [True, False])
def test_attention_among_many_tokens_is_formed_for_who_listens(learning: bool) -> None:
    tokens = torch.randn(1, MANY_TOKENS + 2, 3, dtype=torch.float64, requires_grad=learning)
    tap = AttentionTap("attention", ("N", "query", "key"), distribution="key")
    unheard = attend(tokens, tap)
    seen: list[Tensor] = []
    tap.register_forward_hook(lambda tap, inputs, output: seen.append(output))
    torch.testing.assert_close(attend(tokens, tap), unheard)
    assert [tuple(weights.shape) for weights in seen] == [(1, MANY_TOKENS + 2, MANY_TOKENS + 2)]
