"""Schedules against closed forms; partial BN."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vidrepro.config import TrainConfig
from vidrepro.models import build_model
from vidrepro.models.classifier import VideoClassifier
from vidrepro.training.optimisation import (
    build_optimizer,
    freeze_batch_norm,
    learning_rate,
    plateau_share,
    set_learning_rate,
)


def test_step_schedule_is_the_released_one() -> None:
    recipe = TrainConfig(epochs=30, learning_rate=0.02, schedule="step", step_epochs=(20,), step_factor=0.1)
    assert [learning_rate(recipe, e) for e in (0, 19, 19.99, 20, 29.5)] == pytest.approx([0.02] * 3 + [0.002] * 2)
    twice = recipe.model_copy(update={"step_epochs": (10, 20)})
    assert learning_rate(twice, 25) == pytest.approx(0.0002)


def test_cosine_schedule() -> None:
    recipe = TrainConfig(epochs=10, learning_rate=1.0, schedule="cosine")
    for position in (0, 2.5, 5, 9.9):
        assert learning_rate(recipe, position) == pytest.approx(0.5 * (1 + math.cos(math.pi * position / 10)))


def test_cosine_schedule_can_end_above_zero() -> None:
    """T-CNN's: from 0.1 to 1e-4, scaled with the batch as the peak is."""
    recipe = TrainConfig(epochs=150, learning_rate=0.1, schedule="cosine", min_learning_rate=1e-4)
    for position in (0, 37.5, 75, 149.99):
        expected = 1e-4 + (0.1 - 1e-4) / 2 * (1 + math.cos(math.pi * position / 150))
        assert learning_rate(recipe, position) == pytest.approx(expected)
    assert learning_rate(recipe, 149.99) == pytest.approx(1e-4, rel=1e-3)
    halved = recipe.model_copy(update={"batch_size": 8, "base_batch": 16})
    assert learning_rate(halved, 75) == pytest.approx(learning_rate(recipe, 75) / 2)


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


def test_plateau_falls_where_the_validation_loss_stops_falling() -> None:
    """By hand, patience 2: the rate falls by the third evaluation in a row that is not lower by more than 10 %."""
    recipe = TrainConfig(schedule="plateau", plateau_patience=2, plateau_factor=0.5, plateau_threshold=0.1)
    losses = [2.0, 1.0, 0.95, 0.91, 0.90, 0.5, 0.6, 0.6, 0.46, 0.44, 0.4, 0.39, 0.38]
    shares = [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25]
    assert [plateau_share(recipe, losses[:count]) for count in range(len(losses) + 1)] == shares
    assert learning_rate(recipe, 3.5) == recipe.learning_rate  # the peak, of which the share is taken
    assert plateau_share(TrainConfig(schedule="constant"), [1.0] * 99) == 1


@given(
    st.sampled_from(["step", "cosine", "one-cycle", "constant", "plateau"]),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 10),
)
def test_rate_is_never_above_the_peak_or_negative(schedule: str, share: float, warmup: float) -> None:
    recipe = TrainConfig(epochs=12, learning_rate=0.3, schedule=schedule, warmup_epochs=warmup)  # type: ignore[arg-type]
    assert 0 <= learning_rate(recipe, share * 12) <= 0.3 * (1 + 1e-9)


def _small() -> VideoClassifier:
    return build_model("micro", "none", frames=2, classes=3, width=4)


def test_partial_batch_norm_freezes_all_but_the_first() -> None:
    net = _small()
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    everything = len(list(net.parameters()))
    net.train()
    freeze_batch_norm(net)
    assert [norm.training for norm in norms] == [True] + [False] * (len(norms) - 1)
    decayed = build_optimizer(net, TrainConfig()).param_groups[0]["params"]
    assert len(decayed) == everything - 2 * (len(norms) - 1)  # weight and bias of every norm but the first are held


def test_every_parameter_is_decayed() -> None:
    net = _small()
    groups = build_optimizer(net, TrainConfig(weight_decay=5e-4)).param_groups
    assert len(groups) == 1 and groups[0]["weight_decay"] == 5e-4
    assert len(groups[0]["params"]) == len(list(net.parameters()))


def test_a_network_can_ask_for_a_rate_of_its_own() -> None:
    class WithSlowHead(VideoClassifier):
        def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
            head = list(self.fc.parameters())
            return [
                {"params": list(self.backbone.parameters()), "weight_decay": weight_decay},
                {"params": head, "weight_decay": 0.0, "lr_scale": 0.1},
            ]

    plain = _small()
    net = WithSlowHead(plain.backbone, frames=2, classes=3, dropout=0)
    optimizer = build_optimizer(net, TrainConfig(weight_decay=5e-4))
    set_learning_rate(optimizer, 0.5)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.5, 5e-4), (0.05, 0.0)]
