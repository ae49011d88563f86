"""What a mechanism adds to a training step: steps with and without it in turns, and the median of their ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from vidrepro.cost.benchmarks import Options, Record, Task, in_turns, machine

if TYPE_CHECKING:
    import torch
    from torch import nn

MIN_PAIRS = 15
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Contender:
    """A network whose step is timed: a mechanism on the case's backbone, or a transcription put in the same places.

    Attributes:
        mechanism: what `build_model` is asked for.
        temporal_shift: likewise.
        literal: replaces each module inserted by `mechanism` or the shift (``(channels, frames)`` → module).
        bar: what the ratio to the plain network may be at most; None for a reference.
    """

    mechanism: str = "none"
    temporal_shift: bool = False
    literal: Callable[[int, int], nn.Module] | None = None
    bar: float | None = None


@dataclass(frozen=True)
class Case:
    """One comparison: a backbone, the clips of a step, and the networks beside the plain one."""

    backbone: str
    clips: int
    frames: int
    size: int
    classes: int
    contenders: dict[str, Contender]

    @property
    def what(self) -> str:
        """The step in words."""
        return f"{self.backbone}, {self.clips} x {self.frames}x{self.size}x{self.size}"


def cases() -> dict[str, Case]:
    """What `measure step` compares, by paper."""
    from vidrepro.cost.transcriptions import LiteralM2A, LiteralShift

    return {
        "m2a": Case(
            backbone="resnet18",
            clips=2,
            frames=8,
            size=112,
            classes=174,
            contenders={
                "m2a": Contender("m2a", bar=1.05),
                "m2a, literal": Contender("m2a", literal=LiteralM2A),
                "tsm": Contender(temporal_shift=True, bar=1.03),
                "tsm, literal": Contender(temporal_shift=True, literal=LiteralShift),
            },
        ),
    }


def measure_step(options: Options) -> list[Record]:
    """Training steps (forward, backward, SGD; eager) with each mechanism over the plain network's of the same round.

    Args:
        options: `rounds` pairs, at least `MIN_PAIRS`; `device`.

    Returns:
        One record per network: the median ratio, its bootstrap interval, and the bar where there is one.
    """
    import torch

    from vidrepro.devices import choose_device, keep_freed_memory

    device = choose_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()  # as training does
    records: list[Record] = []
    for paper, case in cases().items():
        tasks = {"none": _step(case, Contender(), device)}
        tasks |= {name: _step(case, contender, device) for name, contender in case.contenders.items()}
        rates = in_turns(tasks, max(options.rounds, MIN_PAIRS))
        for name, own in rates.items():
            ratios = [plain / mine for plain, mine in zip(rates["none"], own, strict=True)]
            bar = case.contenders[name].bar if name in case.contenders else None
            records.append(
                {
                    "paper": paper,
                    "case": case.what,
                    "name": name,
                    "seconds": case.clips / median(own),
                    "ratio": median(ratios),
                    "interval": bootstrap_interval(ratios) if name != "none" else None,
                    "pairs": len(ratios),
                    "bar": bar,
                    "met": None if bar is None else median(ratios) <= bar,
                    **machine(str(device), torch.get_num_threads()),
                }
            )
    return records


def bootstrap_interval(ratios: Sequence[float]) -> list[float]:
    """The percentile bootstrap interval of the median, 9,999 resamples with a fixed seed."""
    import numpy as np
    from scipy.stats import bootstrap

    interval = bootstrap(
        (np.asarray(ratios),), np.median, confidence_level=CONFIDENCE, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return [float(interval.low), float(interval.high)]


def build_contender(case: Case, contender: Contender) -> nn.Module:
    """The network of a contender, random weights; a transcription's modules take the place of ours."""
    from vidrepro.models import build_model
    from vidrepro.models.mechanisms.tsm import TemporalShift

    model = build_model(
        case.backbone,
        contender.mechanism,
        frames=case.frames,
        classes=case.classes,
        temporal_shift=contender.temporal_shift,
    )
    if contender.literal is None:
        return model
    for place, parts in model.insertions.items():
        together: Any = model.backbone.get_submodule(place)
        for part in parts:
            if part in ("conv", "norm"):
                continue
            module = getattr(together, part)
            channels = sum(module.parts) if isinstance(module, TemporalShift) else module.conv_down.in_channels
            setattr(together, part, contender.literal(channels, case.frames))
    return model


def _step(case: Case, contender: Contender, device: torch.device) -> Task:
    import torch

    torch.manual_seed(0)
    model = build_contender(case, contender).to(device).train()
    # a rate that changes nothing visible: steps on random labels would else run into NaN, which is slower
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    clips = torch.randn(case.clips, case.frames, 3, case.size, case.size).to(device)
    labels = torch.randint(0, case.classes, (case.clips,)).to(device)

    def task() -> int:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(clips), labels).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return case.clips

    return task
