"""SGD and its schedules, as the released recipes define them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from vidrepro.config import TrainConfig
from vidrepro.models.backbones.resnet3d import BATCH_NORMS
from vidrepro.models.classifier import VideoClassifier

ONE_CYCLE_START = 1 / 25  # of the peak rate, as in Smith & Topin's one-cycle policy
ONE_CYCLE_END = 1e-4


def build_optimizer(model: VideoClassifier, config: TrainConfig) -> torch.optim.SGD:
    """SGD over every trainable parameter, without multipliers (as M2A's main.py) unless the network asks for some."""
    return torch.optim.SGD(
        model.parameter_groups(config.weight_decay),
        lr=config.effective_learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its rate: `rate`, times the multiplier the network asked for."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def learning_rate(config: TrainConfig, position: float) -> float:
    """The learning rate at a moment of training.

    Args:
        config: the recipe.
        position: epochs done so far, fractional inside an epoch; 0 <= position < epochs.

    Returns:
        ``step``: the peak times ``step_factor`` for every listed epoch that has begun (TSM: epoch counted from 0).
        ``cosine``: half a cosine from the peak to ``min_learning_rate``. ``one-cycle``: a rising half cosine over
        ``warmup_epochs`` (30 % of training when 0), then a falling one. ``constant``: the peak. ``plateau``: likewise,
        before `plateau_share`, which depends on what was measured. ``warmup_epochs`` rises linearly in front of all but
        one-cycle.
    """
    peak = config.effective_learning_rate
    if config.schedule == "one-cycle":
        rise = config.warmup_epochs or 0.3 * config.epochs
        if position < rise:
            return _cosine(peak * ONE_CYCLE_START, peak, position / rise)
        return _cosine(peak, peak * ONE_CYCLE_END, (position - rise) / max(config.epochs - rise, 1e-9))
    warmup = min(1.0, position / config.warmup_epochs) if config.warmup_epochs else 1.0
    if config.schedule == "cosine":
        return warmup * _cosine(peak, config.effective_min_learning_rate, position / config.epochs)
    if config.schedule == "step":
        return warmup * peak * config.step_factor ** sum(epoch <= position for epoch in config.step_epochs)
    return warmup * peak


def plateau_share(config: TrainConfig, losses: Iterable[float]) -> float:
    """The share of the learning rate that torch's ``ReduceLROnPlateau`` leaves after these validation losses.

    Nothing but the losses is remembered: a run that goes on has them in its checkpoint, as part of its history.

    Args:
        config: the recipe; under any schedule but ``plateau`` the share is 1.
        losses: of every evaluation so far, the first one first.
    """
    if config.schedule != "plateau":
        return 1.0
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=config.plateau_factor,
        patience=config.plateau_patience,
        threshold=config.plateau_threshold,
        eps=0,
    )
    for loss in losses:
        scheduler.step(loss)
    return float(optimizer.param_groups[0]["lr"])


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))


def freeze_batch_norm(model: nn.Module) -> None:
    """Hold every BatchNorm but the first at its statistics and affine values (TSM's partial BN).

    Called after each ``model.train()``, which would otherwise switch them on again.
    """
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
    for norm in norms[1:]:
        norm.eval()
        for parameter in norm.parameters():
            parameter.requires_grad_(False)
