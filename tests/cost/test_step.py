"""The step benchmark: its reference networks compute what ours do, and its figures are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vidrepro.cost.benchmarks import Options
from vidrepro.cost.step import Case, Contender, bootstrap_interval, build_contender, cases, measure_step

CASE = Case("resnet18", clips=2, frames=4, size=32, classes=5, contenders={})


@pytest.mark.parametrize("name", ["m2a", "tsm"])
def test_the_transcription_computes_what_ours_does(name: str) -> None:
    contenders = cases()["m2a"].contenders
    torch.manual_seed(0)
    ours = build_contender(CASE, contenders[name]).double().eval()
    literal = build_contender(CASE, contenders[f"{name}, literal"]).double().eval()
    literal.load_state_dict(ours.state_dict())
    clips = torch.randn(2, 4, 3, 32, 32, dtype=torch.float64)
    assert type(literal.backbone.layer1[0].conv1[0]) is not type(ours.backbone.layer1[0].conv1[0])
    torch.testing.assert_close(literal(clips), ours(clips), rtol=1e-9, atol=1e-12)


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
    small = Case("micro", 1, 2, 16, 3, {"m2a": Contender("m2a", bar=1e9), "tsm": Contender(temporal_shift=True, bar=0)})
    monkeypatch.setattr("vidrepro.cost.step.cases", lambda: {"m2a": small})
    records = measure_step(Options(rounds=1, device="cpu"))
    assert [record["name"] for record in records] == ["none", "m2a", "tsm"]
    assert [record["met"] for record in records] == [None, True, False]
    assert {record["pairs"] for record in records} == {15}
    assert records[0]["ratio"] == 1
