"""The step benchmark: its reference networks compute what ours do, and its figures are what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from benchmarks.step import (
    FORWARD,
    SAVED,
    STEP,
    Case,
    Contender,
    _Bench,
    bootstrap_interval,
    build_contender,
    cases,
    measure_step,
)
from benchmarks.transcriptions import LiteralAIA
from vidrepro.models.mechanisms.aia import AttentionInAttention
from vidrepro.models.mechanisms.aia_released import released_block_key

TINY_TCNN = {"width": 2, "spatial_strides": "2,1,2,1,2,1,1", "stem_pool": False}
CASE = Case("resnet18", clips=2, frames=4, size=32, classes=5, contenders={})


@pytest.mark.parametrize("name", ["m2a", "tsm"])
def test_the_transcription_computes_what_ours_does(name: str) -> None:
    contenders = cases()["m2a"].contenders
    torch.manual_seed(0)
    ours = build_contender(CASE, contenders[name]).double().eval()
    literal = build_contender(CASE, contenders[f"{name}, literal"]).double().eval()
    literal.load_state_dict(ours.state_dict())
    clips = torch.randn(2, 4, 3, 32, 32, dtype=torch.float64)
    blocks: list[Any] = [network.backbone for network in (literal, ours)]
    assert type(blocks[0].layer1[0].conv1[0]) is not type(blocks[1].layer1[0].conv1[0])
    torch.testing.assert_close(literal(clips), ours(clips), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_aias_transcription_computes_what_ours_does(training: bool) -> None:
    """Values and gradients; the released `max` and ours differ in gradients only where values are equal."""
    torch.manual_seed(0)
    ours = AttentionInAttention(5, 3, "CinST->STinC").double().train(training)
    literal = LiteralAIA(5, 3).double().train(training)
    names = {key: ".".join(released_block_key(ours, key)) for key in ours.state_dict()}
    literal.load_state_dict({names[key]: value for key, value in ours.state_dict().items()})
    x = torch.randn(6, 5, 4, 6, dtype=torch.float64, requires_grad=True)
    mine, theirs = ours(x), literal(x)
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    weights = torch.randn_like(mine)
    learnt = dict(literal.named_parameters())
    expected = torch.autograd.grad(
        (theirs * weights).sum(), [x, *(learnt[names[k]] for k, _ in ours.named_parameters())]
    )
    found = torch.autograd.grad((mine * weights).sum(), [x, *ours.parameters()])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, literal.state_dict()[names[key]], rtol=1e-9, atol=1e-12)


def test_aias_transcription_stands_in_every_place_of_ours() -> None:
    contenders = cases()["aia"].contenders
    small = Case("micro", 1, 2, 16, 3, {})
    ours, literal = (build_contender(small, contenders[name]) for name in ("aia", "aia, literal"))
    count = sum(isinstance(module, AttentionInAttention) for module in ours.modules())
    assert count == sum(isinstance(module, LiteralAIA) for module in literal.modules()) > 0
    assert not any(isinstance(module, AttentionInAttention) for module in literal.modules())


def test_saved_bytes_are_those_of_each_storage_once() -> None:
    """Of a product with clips that want no gradient the clips are kept; a view of them costs nothing more."""
    factor, clips = torch.ones(3, 5, requires_grad=True), torch.ones(3, 5)

    class Products(torch.nn.Module):
        def loss(self, x: torch.Tensor, labels: torch.Tensor, criterion: Any) -> tuple[torch.Tensor, None]:
            return criterion((x * factor) + (x.view(3, 5) * factor) + factor.exp(), labels), None

    bench = _Bench(cast(Any, Products()), clips, torch.zeros(3, dtype=torch.long), torch.optim.SGD([factor]))
    products = 3 * 5 * 4
    loss = products + 3 * 8 + 4  # log-probabilities, labels, and the weight of their mean
    assert bench.saved_bytes() == 2 * products + loss  # clips, exponential


def test_every_network_of_a_case_differs_from_the_plain_one() -> None:
    torch.manual_seed(0)
    plain = build_contender(CASE, Contender()).eval()
    clips = torch.randn(1, 4, 3, 32, 32)
    for contender in cases()["m2a"].contenders.values():
        other = build_contender(CASE, contender).eval()
        shared = {key.replace(".conv.weight", ".weight"): value for key, value in other.state_dict().items()}
        plain.load_state_dict({key: shared[key] for key in plain.state_dict()})
        assert not torch.allclose(other(clips), plain(clips))


def test_bootstrap_interval_covers_the_median_and_narrows() -> None:
    numbers = np.random.default_rng(3).normal(1.05, 0.02, 400)
    few, many = bootstrap_interval(numbers[:15].tolist()), bootstrap_interval(numbers.tolist())
    assert few[0] <= float(np.median(numbers[:15])) <= few[1]
    assert many[1] - many[0] < few[1] - few[0]
    # a median's standard error is 1.2533 sigma / sqrt(n)
    assert (many[1] - many[0]) / 2 == pytest.approx(1.96 * 1.2533 * 0.02 / 20, rel=0.35)


def test_measure_step_reports_every_network(monkeypatch: pytest.MonkeyPatch) -> None:
    contenders = {
        "m2a": Contender("m2a", bars={STEP: 1e9, SAVED: 1}),
        "tsm": Contender(temporal_shift=True, bars={STEP: 0}, over="m2a"),
    }
    small = Case("micro", 1, 2, 16, 3, contenders, (STEP, FORWARD, SAVED))
    monkeypatch.setattr("benchmarks.step.cases", lambda: {"m2a": small})
    records = measure_step(1, "cpu")
    assert [record["name"] for record in records] == ["none", "m2a", "tsm"] * 3
    assert [record["met"] for record in records] == [None, True, False, *[None] * 3, None, False, None]
    assert [record["pairs"] for record in records] == [*[15] * 6, *[1] * 3]
    assert records[0]["ratio"] == 1
    none, m2a, tsm = (record["bytes"] for record in records[6:])
    assert records[8]["ratio"] == tsm / m2a and records[7]["ratio"] == m2a / none > 1


def test_attention_is_timed_within_the_step_it_belongs_to(monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases()["tcnn"]
    smaller = {name: replace(contender, options=TINY_TCNN) for name, contender in case.contenders.items()}
    small = replace(case, frames=4, size=32, classes=3, contenders=smaller)
    monkeypatch.setattr("benchmarks.step.cases", lambda: {"tcnn": small})
    none, spatial, attention = measure_step(1, "cpu")
    assert (none["ratio"], spatial["over"], spatial["bar"]) == (1, "none", 3.3)
    assert (attention["over"], attention["bar"]) == ("spatial", 0.1)


def test_a_step_trains_all_branches_and_its_attention_only_what_attends() -> None:
    case = cases()["tcnn"]
    learning = {}
    for name, contender in case.contenders.items():
        small = replace(case, frames=4, size=32, classes=3)
        bench = _Bench.of(small, replace(contender, options=TINY_TCNN), torch.device("cpu"))
        assert bench.task(STEP)() == 1
        learning[name] = {key for key, parameter in bench.model.named_parameters() if parameter.grad is not None}
    assert learning["spatial"] == {key for key, _ in bench.model.named_parameters()}
    assert learning["its attention alone"] == {"attention.beta1", "attention.beta2"}
