"""Schedules against closed forms; partial BN."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vidrepro.config import TrainConfig
from vidrepro.training.optimisation import build_optimizer, freeze_batch_norm, learning_rate


def test_step_schedule_is_the_released_one() -> None:
    recipe = TrainConfig(epochs=30, learning_rate=0.02, schedule="step", step_epochs=(20,), step_factor=0.1)
    assert [learning_rate(recipe, e) for e in (0, 19, 19.99, 20, 29.5)] == pytest.approx([0.02] * 3 + [0.002] * 2)
    twice = recipe.model_copy(update={"step_epochs": (10, 20)})
    assert learning_rate(twice, 25) == pytest.approx(0.0002)


def test_cosine_schedule() -> None:
    recipe = TrainConfig(epochs=10, learning_rate=1.0, schedule="cosine")
    for position in (0, 2.5, 5, 9.9):
        assert learning_rate(recipe, position) == pytest.approx(0.5 * (1 + math.cos(math.pi * position / 10)))


def test_warm_up_rises_linearly() -> None:
    recipe = TrainConfig(epochs=10, learning_rate=1.0, schedule="constant", warmup_epochs=4)
    assert [learning_rate(recipe, position) for position in (0, 1, 2, 4, 9)] == [0, 0.25, 0.5, 1, 1]


@pytest.mark.parametrize("warmup", [0, 2, 5])
def test_one_cycle_matches_torchs_own(warmup: int) -> None:
    steps, per_epoch = 100, 10
    recipe = TrainConfig(epochs=10, learning_rate=0.1, schedule="one-cycle", warmup_epochs=warmup)
    rise = (warmup or 3) * per_epoch
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    # torch counts `total_steps - 1` intervals and its rise ends at pct_start * total_steps - 1.
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=steps + 1, pct_start=(rise + 1) / (steps + 1), div_factor=25, final_div_factor=400
    )
    for step in range(steps):
        assert learning_rate(recipe, step / per_epoch) == pytest.approx(reference.get_last_lr()[0], rel=1e-6), step
        optimizer.step()
        reference.step()


@given(
    st.sampled_from(["step", "cosine", "one-cycle", "constant"]), st.floats(0, 1, exclude_max=True), st.floats(0, 10)
)
def test_rate_is_never_above_the_peak_or_negative(schedule: str, share: float, warmup: float) -> None:
    recipe = TrainConfig(epochs=12, learning_rate=0.3, schedule=schedule, warmup_epochs=warmup)  # type: ignore[arg-type]
    assert 0 <= learning_rate(recipe, share * 12) <= 0.3 * (1 + 1e-9)


def test_partial_batch_norm_freezes_all_but_the_first() -> None:
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    net.train()
    freeze_batch_norm(net)
    assert [net[index].training for index in (0, 2, 3)] == [True, False, False]
    assert [p.requires_grad for index in (0, 2, 3) for p in net[index].parameters()] == [True] * 2 + [False] * 4
    decayed = build_optimizer(net, TrainConfig()).param_groups[0]["params"]
    assert len(decayed) == 4  # the first norm's two and the convolution's two


def test_every_parameter_is_decayed() -> None:
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1))
    groups = build_optimizer(net, TrainConfig(weight_decay=5e-4)).param_groups
    assert len(groups) == 1 and len(groups[0]["params"]) == 4 and groups[0]["weight_decay"] == 5e-4
