"""How fast things are on this machine: reading clips, training.

Everything that is compared runs in turns within one process, round by round, and is compared round by round: a
machine that slows down for a while slows all of it down. What is reported is the median over the rounds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from vidrepro.experiments import EMBEDDED_DATASET, default_preset, load_paper, load_preset, resolve_row, select_rows
from vidrepro.experiments.resolution import PAPER_PRESET

if TYPE_CHECKING:
    import torch

    from vidrepro.config import RunConfig

Record = dict[str, Any]
Task = Callable[[], int]  # does some work and returns how many clips (or what else it does) that was

PIXELS_PER_STEP = 2**20  # of a training step on a CPU: 32 clips of the preset tiny have 0.6 million


@dataclass(frozen=True)
class Options:
    """What the command line can ask of a benchmark.

    Attributes:
        rounds: how often everything is measured.
        dataset: a prepared dataset to read from; None makes clips of its own.
        data: folder of prepared datasets.
        preset, backbone: restrict `throughput` to one preset, and train another backbone than the table's.
        batch: clips a training step; None for the preset's, fewer where a CPU would take minutes.
        device: where to train.
    """

    rounds: int = 7
    dataset: str | None = None
    data: Path = Path("data")
    preset: str | None = None
    backbone: str | None = None
    batch: int | None = None
    device: str = "auto"


def in_turns(tasks: Mapping[str, Task], rounds: int) -> dict[str, list[float]]:
    """Run every task once per round, after one round that does not count, and return its rates, round by round.

    The order rotates from round to round, so that no task always follows the same one.

    Returns:
        For each task, ``rounds`` rates: what it did per second of wall time.
    """
    names = list(tasks)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            done = tasks[name]()
            seconds = time.perf_counter() - start
            if turn:
                rates[name].append(done / seconds)
    return rates


def summary(rates: Mapping[str, Sequence[float]], reference: str) -> list[Record]:
    """Median and quartiles of each task's rate, and the median of its rate over the reference's in the same round."""
    records = []
    for name, own in rates.items():
        low, _, high = quantiles(own, n=4) if len(own) > 1 else (own[0], own[0], own[0])
        relative = median(mine / other for mine, other in zip(own, rates[reference], strict=True))
        records.append(
            {
                "name": name,
                "per_second": median(own),
                "quartiles": [low, high],
                "relative": relative,
                "reference": reference,
                "rounds": len(own),
            }
        )
    return records


def measure_loader(options: Options) -> list[Record]:
    """Training clips per second and core, by our loader and by what it is compared with.

    ``vidrepro`` decodes up to the last wanted frame and converts the wanted ones; ``decode everything`` decodes and
    converts every frame of the clip and then picks, with the same crop after it; ``libav decode only`` decodes every
    frame and converts none, the floor of any loader that decodes whole clips; ``vidrepro, cached`` reads decoded
    frames from the memory-mapped cache.

    Args:
        options: `dataset` names a prepared dataset, whose preset gives the sampling and the crop; without it, clips
            like Something-Something's (320x240, 12 a second, a key frame every 12) are made in a temporary folder.
    """
    from vidrepro.cost import loaders

    with tempfile.TemporaryDirectory(prefix="vidrepro-loader-") as folder, _one_thread():
        manifest, config = loaders.clips_to_read(options.dataset, options.data, Path(folder))
        tasks = loaders.loader_tasks(manifest, config)
        rates = in_turns(tasks, options.rounds)
        what = {"dataset": manifest.name, "protocol": str(config.protocol), "unit": "clips/s per core"}
        return [{**record, **what, **machine("cpu", 1)} for record in summary(rates, "vidrepro")]


def measure_throughput(options: Options) -> list[Record]:
    """Training clips per second (forward, backward and step on random clips) of the default rows of M2A.

    One group per preset: the network and the clip's size are the ones `ablate` would train.
    """
    records: list[Record] = []
    for preset in [options.preset] if options.preset else [default_preset(EMBEDDED_DATASET), PAPER_PRESET]:
        records += _throughput_of_preset(preset, options)
    return records


def _throughput_of_preset(preset: str, options: Options) -> list[Record]:
    import torch

    from vidrepro.devices import choose_device, keep_freed_memory

    paper = load_paper("m2a")
    load_preset(preset)
    device = choose_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()  # as training does
    dataset = EMBEDDED_DATASET if load_preset(preset).for_datasets else paper.dataset
    rows = select_rows(paper)
    configs = [resolve_row(row, dataset=dataset, preset=preset, backbone=options.backbone) for row in rows]
    names = {_network_name(config): config for config in configs}
    batch = options.batch or _affordable_batch(configs[0], device)
    tasks = {name: _training_step(config, paper.cost_input.classes, batch, device) for name, config in names.items()}
    threads = torch.get_num_threads()
    rates = in_turns(tasks, options.rounds)
    data = configs[0].data
    what = {"preset": preset, "batch": batch, "frames": data.frames, "size": data.train_size, "unit": "clips/s"}
    return [{**record, **what, **machine(str(device), threads)} for record in summary(rates, next(iter(tasks)))]


def _training_step(config: RunConfig, classes: int, batch: int, device: torch.device) -> Task:
    import torch

    from vidrepro.data.augment import normalise
    from vidrepro.models import build_from_config
    from vidrepro.models.memory_format import to_channels_last

    data = config.data
    model = build_from_config(config.model, frames=data.frames, classes=classes, pretrained=False).to(device)
    if config.train.channels_last:
        to_channels_last(model)
    model.train()
    # a rate that changes nothing visible: on random labels the preset's own would lead to NaN, which is slower
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=config.train.momentum)
    generator = torch.Generator().manual_seed(0)
    shape = (batch, data.frames, 3, data.train_size, data.train_size)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, classes, (batch,), generator=generator).to(device)

    def task() -> int:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bfloat16"):
            loss = torch.nn.functional.cross_entropy(model(normalise(clips.to(device))), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return batch

    return task


def _network_name(config: RunConfig) -> str:
    network = config.model
    return f"{network.backbone} {network.mechanism}{' + shift' if network.temporal_shift else ''}"


def _affordable_batch(config: RunConfig, device: torch.device) -> int:
    if device.type != "cpu":
        return config.train.batch_size
    pixels = config.data.frames * config.data.train_size**2
    return max(1, min(config.train.batch_size, PIXELS_PER_STEP // pixels))


def machine(device: str, threads: int | None) -> Record:
    """Where a figure was measured, for its record."""
    import os
    import platform
    from importlib.metadata import version

    return {
        "device": device,
        "threads": threads,
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "torch": version("torch"),
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
