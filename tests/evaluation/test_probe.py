"""The faithfulness probe: each way of replacing attention by hand, on maps of every shape, and nothing left behind."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.tapped import Tapped, random_clips
from vidrepro.errors import ModelError, UnknownNameError, VidreproError
from vidrepro.evaluation.probe import HOWS, choose_taps, inverted, mean_of_clip, probing
from vidrepro.evaluation.probe_run import drops
from vidrepro.evaluation.scores import Scores
from vidrepro.models.taps import AttentionTap, taps_of


class One(nn.Module):
    """A tap alone: what comes out is what it makes of what goes in."""

    def __init__(self, *axes: str, frames: int | None = None, distribution: str | None = None) -> None:
        super().__init__()
        self.tap = AttentionTap("gate", axes, frames=frames, distribution=distribution)

    def forward(self, attention: Tensor) -> Tensor:
        return self.tap(attention)


def gates(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def probed(module: nn.Module, given: Tensor, how: str, seed: int = 0) -> Tensor:
    with probing(module, "all", how, seed):
        return module(given)


def test_inverting_is_one_minus_the_gate_and_twice_is_the_identity() -> None:
    module, gate = One("N", "C", "T", "H", "W"), gates(2, 3, 4, 5, 6)
    once = probed(module, gate, "invert")
    assert torch.equal(once, 1 - gate)
    assert torch.allclose(probed(module, once, "invert"), gate, atol=1e-7)
    half = torch.full((2, 3, 4, 5, 6), 0.5)
    assert torch.equal(probed(module, half, "invert"), half)


def test_an_inverted_distribution_is_one_minus_it_and_stays_a_distribution() -> None:
    module = One("N", "query", "key", distribution="key")
    attention = gates(3, 5, 7).softmax(2)
    found = probed(module, attention, "invert")
    assert torch.allclose(found, (1 - attention) / 6, atol=1e-6)
    assert torch.allclose(found.sum(2), torch.ones(3, 5))
    pair = torch.tensor([[[0.2, 0.8]]])
    assert torch.allclose(probed(module, pair, "invert"), torch.tensor([[[0.8, 0.2]]]))
    alone = torch.ones(2, 3, 1)
    assert torch.equal(probed(module, alone, "invert"), alone)


def test_what_is_no_gate_is_not_inverted() -> None:
    with pytest.raises(ModelError, match="between 0 and 1"):
        probed(One("N", "T"), torch.tensor([[0.5, 1.5]]), "invert")
    assert torch.equal(inverted(torch.tensor([1.0005]), AttentionTap("gate", ("T",))), 1 - torch.tensor([1.0005]))


def test_mean_keeps_each_clips_own_mean_and_nothing_else() -> None:
    gate = gates(2 * 4, 3, 5, 6)
    found = probed(One("N*T", "C", "H", "W", frames=4), gate, "mean")
    for clip in range(2):
        own = gate[4 * clip : 4 * clip + 4]
        assert torch.allclose(found[4 * clip : 4 * clip + 4], own.mean().expand_as(own), atol=1e-6)
    assert found.shape == gate.shape
    constant = torch.full((2, 4), 0.3)
    assert torch.allclose(probed(One("N", "T"), constant, "mean"), constant)
    even = probed(One("N", "query", "key", distribution="key"), gates(2, 5, 4).softmax(2), "mean")
    assert torch.allclose(even, torch.full((2, 5, 4), 0.25))
    unbatched = mean_of_clip(gates(3, 4), AttentionTap("gate", ("T", "C")))
    assert torch.allclose(unbatched, gates(3, 4).mean().expand(3, 4))


# Ways to lay out the same map of 6 clips, 4 frames, 3 channels: axes, frames, from (N, T, C) and back
LAYOUTS: dict[str, tuple[tuple[str, ...], int | None, Any, Any]] = {
    "N, T, C": (("N", "T", "C"), None, lambda x: x, lambda x: x),
    "N, C, T": (("N", "C", "T"), None, lambda x: x.transpose(1, 2), lambda x: x.transpose(1, 2)),
    "T, N, C": (("T", "N", "C"), None, lambda x: x.transpose(0, 1), lambda x: x.transpose(0, 1)),
    "N*T, C": (("N*T", "C"), 4, lambda x: x.flatten(0, 1), lambda x: x.unflatten(0, (6, 4))),
    "C, N*T": (("C", "N*T"), 4, lambda x: x.flatten(0, 1).t(), lambda x: x.t().unflatten(0, (6, 4))),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shuffling_deals_the_frames_of_a_clip_anew_whatever_the_layout(layout: str) -> None:
    axes, frames, lay, back = LAYOUTS[layout]
    maps = gates(6, 4, 3)
    module = One(*axes, frames=frames)
    reference = probed(One("N", "T", "C"), maps, "shuffle", seed=7)
    found = probed(module, lay(maps), "shuffle", seed=7)
    if layout != "C, N*T" and layout != "T, N, C":  # whose first axis is not the clips: numbered by the axis itself
        assert torch.equal(back(found), reference)
    for clip in range(6):  # rows stay whole and in their own clip
        rows = sorted(map(tuple, back(found)[clip].tolist()))
        assert rows == sorted(map(tuple, maps[clip].tolist()))
    assert not torch.equal(back(found), maps)


def test_a_clips_permutation_does_not_hang_on_the_batch() -> None:
    maps = gates(7, 5)
    module = One("N", "T")
    at_once = probed(module, maps, "shuffle", seed=3)
    with probing(module, "all", "shuffle", 3):
        in_parts = torch.cat([module(part) for part in maps.split(3)])
    assert torch.equal(at_once, in_parts)
    assert not torch.equal(at_once, probed(module, maps, "shuffle", seed=4))
    orders = {tuple(row) for row in probed(module, torch.arange(5.0).expand(7, 5), "shuffle", seed=3).tolist()}
    assert len(orders) > 1  # not one for all clips


def test_each_tap_is_shuffled_on_its_own() -> None:
    class InTurn(nn.Module):
        """Attention that looks at each frame alone, then a gate: by one permutation for both nothing would change."""

        def __init__(self) -> None:
            super().__init__()
            self.matrix = AttentionTap("attention", ("N", "query", "key"), distribution="key")
            self.gate = AttentionTap("gate", ("N", "T"))
            self.inner = AttentionTap("inner", ("N", "T"))  # at 2 places of each clip: N*2 items

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            attention = self.matrix(torch.eye(6).expand(len(x), 6, 6))
            return self.gate((attention @ x[..., None])[..., 0]), self.inner(x.repeat_interleave(2, 0))

    places, module = torch.arange(6.0).expand(5, 6), InTurn()
    with probing(module, "all", "shuffle", 1):
        gate, inner = module(places)
    assert not torch.equal(gate, places) and not torch.equal(inner[::2], gate)
    assert torch.equal(inner[::2], inner[1::2])  # one for all items of a clip


def test_keys_are_shuffled_where_there_is_no_axis_of_time() -> None:
    attention = gates(3, 4, 4).softmax(2)
    found = probed(One("N", "query", "key", distribution="key"), attention, "shuffle")
    assert torch.allclose(found.sum(2), torch.ones(3, 4))
    for clip in range(3):
        orders = [
            order for order in itertools.permutations(range(4)) if torch.equal(attention[clip][:, order], found[clip])
        ]
        assert len(orders) == 1  # one order for all queries
    frame_by_frame = gates(2 * 4, 3, 3).softmax(2)
    found = probed(One("N*T", "query", "key", frames=4, distribution="key"), frame_by_frame, "shuffle")
    assert sorted(found[:4].flatten(1).tolist()) == sorted(frame_by_frame[:4].flatten(1).tolist())


def test_shuffling_one_frame_is_the_identity_and_no_frames_are_refused() -> None:
    single = gates(4, 1, 3)
    assert torch.equal(probed(One("N", "T", "C"), single, "shuffle"), single)
    with pytest.raises(ModelError, match="has an axis of time"):
        probed(One("N", "C", "1", "1"), gates(2, 3, 1, 1), "shuffle")


@pytest.mark.parametrize("how", HOWS)
def test_afterwards_the_network_is_what_it_was(how: str) -> None:
    model, clips = Tapped().eval(), random_clips(3)
    before, state = model(clips), {key: value.clone() for key, value in model.state_dict().items()}
    with probing(model, "all", how) as probe:
        changed = model(clips)
        assert all(tap.in_use for name, tap in taps_of(model).items() if name in probe.calls)
    assert not torch.allclose(changed, before, atol=1e-4)
    assert torch.equal(model(clips), before)
    with pytest.raises(RuntimeError, match="halfway"), probing(model, "all", how):
        raise RuntimeError("halfway")
    assert torch.equal(model(clips), before)
    assert not any(tap.in_use for tap in taps_of(model).values()) and not model._forward_pre_hooks
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_only_the_chosen_attention_is_replaced() -> None:
    model, clips = Tapped().eval(), random_clips(2)
    seen: dict[str, Tensor] = {}
    handles = [  # listens behind the probe: hooks run in the order of their registration
        tap.register_forward_hook(lambda _m, _i, output, name=name: seen.update({name: output}))
        for name, tap in taps_of(model).items()
    ]
    model(clips)
    plain = dict(seen)
    for handle in handles:
        handle.remove()
    with probing(model, "temporal, matrix", "invert") as probe:
        for name, tap in taps_of(model).items():
            handles.append(tap.register_forward_hook(lambda _m, _i, output, name=name: seen.update({name: output})))
        model(clips)
    for handle in handles:
        handle.remove()
    assert torch.equal(seen["spatial"], plain["spatial"]) and torch.equal(seen["temporal"], 1 - plain["temporal"])
    assert probe.calls == {"temporal": 1, "matrix": 1}
    assert probe.moved["temporal"] == pytest.approx((1 - 2 * plain["temporal"]).abs().mean().item(), rel=1e-5)


def test_what_is_chosen_by_kind_name_and_pattern() -> None:
    model = Tapped()
    names = list(taps_of(model))
    for words, expected, called in (
        ("all", names, "all"),
        ("attention", ["matrix"], "attention"),
        ("spatial,temporal", ["spatial", "temporal"], "spatial+temporal"),
        ("temporal, spatial", ["spatial", "temporal"], "spatial+temporal"),
        ("m*", ["matrix"], "m*"),
        ("*", names, "all"),
    ):
        found = choose_taps(model, words)
        assert list(found.taps) == expected and found.name == called, words
    with pytest.raises(UnknownNameError, match="spatial, temporal") as refused:
        choose_taps(model, "spatail")
    assert "channel" in str(refused.value)
    for given, expected in (({"how": "revert"}, "invert"), ({"what": "both"}, "spatial")):  # four kinds, not two
        with pytest.raises(UnknownNameError, match=expected), probing(model, **given):
            pass
    with pytest.raises(VidreproError, match="no attention"), probing(nn.Linear(2, 2)):
        pass


def test_a_tap_that_lies_about_its_axes_is_named() -> None:
    with pytest.raises(ModelError, match="tap 'tap'"):
        probed(One("N", "T"), gates(2, 3, 4), "mean")


def scores(predicted: list[int], labels: list[int], classes: int = 4) -> Scores:
    logits = np.eye(classes, dtype=np.float32)[predicted]
    return Scores(np.array([str(n) for n in range(len(labels))]), np.array(labels), logits, "f", "4x1x1@6")


def test_drops_in_closed_form() -> None:
    labels = [0, 1, 2, 3] * 50
    right, reversed_ = scores(labels, labels), scores([label ^ 1 for label in labels], labels)
    same = drops(right, right, [[0, 1], [2, 3]])
    assert (same["top1"].difference, same["top1"].low, same["top1"].high) == (0, 0, 0)
    lost = drops(right, reversed_, [[0, 1], [2, 3]])  # every clip taken for its reversal
    assert (lost["top1"].difference, lost["top1"].low, lost["top1"].high) == (100, 100, 100)
    assert lost["pair"].difference == 0 and lost["pair"].a == lost["pair"].b == 100
    assert set(drops(right, reversed_, [])) == {"top1"}
    some = [label if number % 4 else label ^ 2 for number, label in enumerate(labels)]  # a quarter, to another pair
    found = drops(right, scores(some, labels), [[0, 1], [2, 3]])
    assert found["top1"].difference == found["pair"].difference == 25
    spread = 100 * 1.96 * np.sqrt(0.25 * 0.75 / 200)  # normal approximation of a share of 200 clips
    assert found["top1"].high - found["top1"].low == pytest.approx(2 * spread, rel=0.1)
