"""What a mechanism adds to a training step: steps with and without it in turns, and the median of their ratios.

Beside the step, a case can ask for the forward pass alone, in training and in inference, and for the bytes that a
forward pass keeps for the backward pass (each storage counted once).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from vidrepro.cost.speed import Record, Task, in_turns, machine

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from vidrepro.models.classifier import VideoClassifier

MIN_PAIRS = 15
CONFIDENCE, RESAMPLES = 0.95, 9_999
STEP = "training step"
FORWARD = "forward pass, inference"
FORWARD_IN_TRAINING = "forward pass, training"
SAVED = "kept for the backward pass"


@dataclass(frozen=True)
class Contender:
    """A network that is measured: a mechanism on the case's backbone, or a transcription put in the same places.

    Attributes:
        mechanism: what `build_model` is asked for.
        temporal_shift: likewise.
        literal: replaces each module inserted by `mechanism` or the shift (``(channels, frames)`` → module).
        bars: what the ratio to the reference may be at most, by quantity: a number, or the name of the network whose
            ratio it is; nothing for a reference.
        backbone: another than the case's.
        options: more of what `build_model` is asked for.
        part: timed in place of the whole training step: makes a task of the network and its clips.
        over: the network it is compared with.
    """

    mechanism: str = "none"
    temporal_shift: bool = False
    literal: Callable[[int, int], nn.Module] | None = None
    bars: Mapping[str, float | str] = field(default_factory=dict)
    backbone: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    part: Callable[[Any, Tensor], Task] | None = None
    over: str = "none"


@dataclass(frozen=True)
class Case:
    """One comparison: a backbone, the clips of a step, the networks beside the plain one, and what is measured."""

    backbone: str
    clips: int
    frames: int
    size: int
    classes: int
    contenders: dict[str, Contender]
    quantities: tuple[str, ...] = (STEP,)

    @property
    def what(self) -> str:
        """The step in words."""
        return f"{self.backbone}, {self.clips} x {self.frames}x{self.size}x{self.size}"


def cases() -> dict[str, Case]:
    """What is compared, by paper."""
    from benchmarks.attention_step import attention_task
    from benchmarks.transcriptions import LiteralAIA, LiteralM2A, LiteralShift

    return {
        "m2a": Case(
            backbone="resnet18",
            clips=2,
            frames=8,
            size=112,
            classes=174,
            contenders={
                "m2a": Contender("m2a", bars={STEP: "m2a, literal"}),
                "m2a, literal": Contender("m2a", literal=LiteralM2A),
                "tsm": Contender(temporal_shift=True, bars={STEP: "tsm, literal"}),
                "tsm, literal": Contender(temporal_shift=True, literal=LiteralShift),
            },
        ),
        "aia": Case(
            backbone="resnet50",
            clips=2,
            frames=8,
            size=112,
            classes=174,
            contenders={
                "aia": Contender("CinST->STinC", bars={STEP: 1.40}),
                "aia, literal": Contender("CinST->STinC", literal=LiteralAIA),
            },
            quantities=(STEP, FORWARD, FORWARD_IN_TRAINING, SAVED),
        ),
        "tcnn": Case(
            backbone="tcnn",
            clips=1,
            frames=16,
            size=112,
            classes=101,
            contenders={
                "spatial": Contender("sparse-spatial", bars={STEP: 3.3}),
                "its attention alone": Contender(
                    "sparse-spatial", bars={STEP: 0.1}, part=attention_task, over="spatial"
                ),
            },
        ),
    }


def measure_step(pairs: int = MIN_PAIRS, device_name: str = "auto") -> list[Record]:
    """Training steps (forward, backward, SGD; eager) with each mechanism over the plain network's of the same round.

    Args:
        pairs: of steps, at least `MIN_PAIRS`.
        device_name: where to train.

    Returns:
        One record per quantity and network: the median ratio to the plain network (`Contender.over`), its bootstrap
        interval, and the bar where there is one. Bytes are counted once, without an interval.
    """
    from vidrepro.devices import choose_device, keep_freed_memory

    device = choose_device(device_name)
    if device.type == "cpu":
        keep_freed_memory()  # as training does
    rounds = max(pairs, MIN_PAIRS)
    records: list[Record] = []
    for paper, case in cases().items():
        networks = {"none": Contender(), **case.contenders}
        benches = {name: _Bench.of(case, contender, device) for name, contender in networks.items()}
        for quantity in case.quantities:
            if quantity == SAVED:
                # no Task returns these, but their ratios are told like those of times
                costs = {name: [float(bench.saved_bytes())] for name, bench in benches.items()}
            else:
                tasks = {name: bench.task(quantity) for name, bench in benches.items()}
                rates = in_turns(tasks, rounds)
                costs = {name: [case.clips / rate for rate in own] for name, own in rates.items()}
            records += _records(paper, case, quantity, networks, costs, device)
    return records


def _records(
    paper: str,
    case: Case,
    quantity: str,
    networks: Mapping[str, Contender],
    costs: Mapping[str, list[float]],
    device: torch.device,
) -> list[Record]:
    import torch

    records: list[Record] = []
    ratios_of = {
        name: [mine / theirs for mine, theirs in zip(costs[name], costs[contender.over], strict=True)]
        for name, contender in networks.items()
    }
    for name, contender in networks.items():
        ratios = ratios_of[name]
        bar = contender.bars.get(quantity)
        if isinstance(bar, str):
            bar = median(ratios_of[bar])
        records.append(
            {
                "paper": paper,
                "case": case.what,
                "quantity": quantity,
                "name": name,
                "seconds": None if quantity == SAVED else median(costs[name]),
                "bytes": median(costs[name]) if quantity == SAVED else None,
                "over": contender.over,
                "ratio": median(ratios),
                "interval": bootstrap_interval(ratios) if name != "none" and len(ratios) > 1 else None,
                "pairs": len(ratios),
                "bar": bar,
                "met": None if bar is None else median(ratios) <= bar,
                **machine(str(device), torch.get_num_threads()),
            }
        )
    return records


def bootstrap_interval(ratios: Sequence[float]) -> list[float]:
    """The percentile bootstrap interval of the median, `RESAMPLES` resamples with a fixed seed."""
    import numpy as np
    from scipy.stats import bootstrap

    interval = bootstrap(
        (np.asarray(ratios),),
        np.median,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return [float(interval.low), float(interval.high)]


def build_contender(case: Case, contender: Contender) -> VideoClassifier:
    """The network of a contender, random weights; a transcription's modules take the place of ours."""
    from vidrepro.models import build_model

    model = build_model(
        contender.backbone or case.backbone,
        contender.mechanism,
        frames=case.frames,
        classes=case.classes,
        temporal_shift=contender.temporal_shift,
        **contender.options,
    )
    if contender.literal is None:
        return model
    for place, parts in model.insertions.items():
        together: Any = model.backbone.get_submodule(place)
        for part in parts:
            if part in ("conv", "norm"):
                continue
            channels = _channels_of(getattr(together, part))
            setattr(together, part, contender.literal(channels, case.frames))
    return model


def _channels_of(module: nn.Module) -> int:
    """How many channels a module of ours was made for; 0 for one that takes any number."""
    from vidrepro.models.mechanisms.aia import AttentionInAttention
    from vidrepro.models.mechanisms.tsm import TemporalShift

    if isinstance(module, TemporalShift):
        return sum(module.parts)
    if isinstance(module, AttentionInAttention):
        return 0
    down: Any = module.conv_down
    return int(down.in_channels)


@dataclass
class _Bench:
    """A network with clips, labels and an optimiser."""

    model: VideoClassifier
    clips: Tensor
    labels: Tensor
    optimizer: torch.optim.Optimizer
    part: Callable[[Any, Tensor], Task] | None = None

    @classmethod
    def of(cls, case: Case, contender: Contender, device: torch.device) -> _Bench:
        """Make one, always from the same seed."""
        import torch

        torch.manual_seed(0)
        model = build_contender(case, contender).to(device).train()
        # a rate that changes nothing visible: steps on random labels would else run into NaN, which is slower
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
        clips = torch.randn(case.clips, case.frames, 3, case.size, case.size).to(device)
        labels = torch.randint(0, case.classes, (case.clips,)).to(device)
        return cls(model, clips, labels, optimizer, contender.part)

    def task(self, quantity: str) -> Task:
        """What is timed."""
        import torch

        if quantity == STEP and self.part is not None:
            return self.part(self.model, self.clips)
        work = {STEP: self._step, FORWARD: self._infer, FORWARD_IN_TRAINING: self._forward}[quantity]

        def task() -> int:
            work()
            if self.clips.device.type == "cuda":
                torch.cuda.synchronize(self.clips.device)
            return len(self.clips)

        return task

    def saved_bytes(self) -> int:
        """The bytes of every storage that the forward pass of a step keeps for its backward pass."""
        import torch

        storages: dict[int, int] = {}
        kept: list[Tensor] = []  # so that no storage is freed and its address taken by another

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self._forward()
        return sum(storages.values())

    def _step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self._forward().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def _forward(self) -> Tensor:
        import torch

        return self.model.loss(self.clips, self.labels, torch.nn.functional.cross_entropy)[0]

    def _infer(self) -> None:
        import torch

        self.model.eval()
        with torch.no_grad():
            self.model(self.clips)
        self.model.train()
