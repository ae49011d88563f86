"""What one network costs: MACs by three counters and by the printed convention, parameters, what was not counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vidrepro.cost.call_counter import CallCounter
from vidrepro.cost.macs import FvcoreCount, count_with_fvcore
from vidrepro.cost.module_counter import ModuleCounter
from vidrepro.cost.printed_convention import rule_named
from vidrepro.cost.torch_counter import TorchCount, counting_with_torch

GIGA = 1e9


@dataclass(frozen=True)
class CrossCheck:
    """The same operators counted three times.

    Attributes:
        counts: operator kind -> counter ("fvcore", "calls", "torch") -> MACs. torch's dispatcher cannot tell a linear
            layer from another matrix product, so the kinds it takes part in are "conv" and "linear+matmul". None where
            a counter does not count something that ran.
        uncounted: operators that torch's counter has no formula for -> number of calls.
        disagreements: one sentence for every kind the counters differ on, or one of them does not count.
    """

    counts: Mapping[str, Mapping[str, int | None]]
    uncounted: Mapping[str, int]

    @property
    def disagreements(self) -> list[str]:
        """Where the counters differ or one does not count; empty when all agree."""
        return [
            f"{kind}: " + ", ".join(f"{counter} {self._macs_text(macs)}" for counter, macs in counters.items())
            for kind, counters in self.counts.items()
            if len(set(counters.values())) > 1
        ]

    def _macs_text(self, macs: int | None) -> str:
        return f"does not count {', '.join(self.uncounted)}" if macs is None else f"{macs:,}"

    @property
    def agrees(self) -> bool:
        """Whether every counter found the same MACs."""
        return not self.disagreements

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "agrees": self.agrees,
            "disagreements": self.disagreements,
            "macs": {kind: dict(counters) for kind, counters in self.counts.items()},
            "uncounted_by_torch": dict(self.uncounted),
        }


@dataclass(frozen=True)
class CostReport:
    """Cost of one forward pass of one clip in eval mode.

    Attributes:
        frames, size, channels: the clip, (1, frames, channels, size, size).
        params: distinct parameters, trainable or not.
        macs_fvcore: total of every operator fvcore has a formula for (GMACs: `gmacs_fvcore`).
        by_operator: fvcore's total, operator by operator.
        uncounted: operators without a formula -> number of calls.
        components: what the printed conventions add up, by name.
        elements: output elements of softmax and layer_norm, functions no convention here prices (fvcore estimates
            LayerNorm).
        cross_check: conv, linear and matrix products by three counters.
    """

    frames: int
    size: int
    channels: int
    params: int
    macs_fvcore: int
    macs_conv_linear: int
    by_operator: Mapping[str, int]
    uncounted: Mapping[str, int]
    components: Mapping[str, int]
    elements: Mapping[str, int]
    cross_check: CrossCheck

    @property
    def gmacs_fvcore(self) -> float:
        """fvcore's total, in 10⁹ MACs."""
        return self.macs_fvcore / GIGA

    @property
    def gmacs_conv_linear(self) -> float:
        """Convolutions and linear layers only, without bias, by our own counter, in 10⁹ MACs."""
        return self.macs_conv_linear / GIGA

    def gmacs_printed_convention(self, rule: str = "ptflops-0.6") -> float:
        """The cost as a paper printed it, in 10⁹, under a rule of `vidrepro.cost.printed_convention.RULES`.

        Raises:
            UnknownNameError: if there is no such rule.
        """
        return rule_named(rule).total(self.components) / GIGA

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the printed convention is left to whoever knows the rule."""
        return {
            "frames": self.frames,
            "size": self.size,
            "channels": self.channels,
            "params": self.params,
            "gmacs_fvcore": self.gmacs_fvcore,
            "gmacs_conv_linear": self.gmacs_conv_linear,
            "by_operator": dict(self.by_operator),
            "uncounted": dict(self.uncounted),
            "components": dict(self.components),
            "elements": dict(self.elements),
            "cross_check": self.cross_check.as_dict(),
        }


def measure_model(model: nn.Module, *, frames: int, size: int, channels: int = 3) -> CostReport:
    """Count one forward pass of one clip; the model's modes, weights and buffers stay as they are.

    Args:
        model: takes (N, T, C, H, W), as `vidrepro.models.build_model` returns it, on any device, in any float type.
            On the meta device (built under ``torch.device("meta")``) it is counted without being computed.
        frames: T of the clip.
        size: its height and width in pixels.
        channels: its C.

    The model runs twice: once under our own counters and torch's, once traced by fvcore.
    """
    parameter = next(model.parameters(), torch.empty(0))
    inputs = torch.zeros((1, frames, channels, size, size), device=parameter.device, dtype=parameter.dtype)
    modules, calls = ModuleCounter(), CallCounter()
    with _in_eval_mode(model), torch.no_grad():
        # a model that cannot run fails here: fvcore would leave its hooks behind
        with counting_with_torch() as torch_count, modules.watching(model), calls:
            model(inputs)
        fvcore = count_with_fvcore(_AllLogits(model) if hasattr(model, "all_logits") else model, inputs)
    return CostReport(
        frames=frames,
        size=size,
        channels=channels,
        params=sum(item.numel() for item in model.parameters()),
        macs_fvcore=fvcore.total,
        macs_conv_linear=calls.macs["conv"] + calls.macs["linear"],
        by_operator=fvcore.by_operator,
        uncounted=fvcore.uncounted,
        components={
            **modules.components,
            "matmul_macs": calls.macs["matmul"],
            "sigmoid_elements": calls.elements["sigmoid"],
        },
        elements={name: calls.elements[name] for name in ("layer_norm", "softmax")},
        cross_check=cross_check(fvcore, calls, torch_count[0]),
    )


class _AllLogits(nn.Module):
    """A classifier with all its outputs: a trace leaves out whatever the one returned does not hang on."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.model.all_logits(clips).values())  # type: ignore[operator]


def cross_check(fvcore: FvcoreCount, calls: CallCounter, torch_count: TorchCount) -> CrossCheck:
    """Put the three counts of one forward pass side by side."""
    macs = calls.macs
    return CrossCheck(
        {
            "conv": {"fvcore": fvcore.conv, "calls": macs["conv"], "torch": torch_count.conv},
            "linear": {"fvcore": fvcore.linear, "calls": macs["linear"]},
            "matmul": {"fvcore": fvcore.matmul, "calls": macs["matmul"]},
            "linear+matmul": {
                "fvcore": fvcore.linear + fvcore.matmul,
                "calls": macs["linear"] + macs["matmul"],
                "torch": torch_count.products,
            },
        },
        torch_count.uncounted,
    )


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():  # one by one: a frozen BatchNorm may be in eval inside a training net
            module.training = training
