"""``vidrepro measure``: what a paper's rows cost, and how fast this machine is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidrepro.cli import options
from vidrepro.cli.measure_print import print_costs, print_leak, print_preparation, print_rates, print_steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

# word in place of a paper -> function in vidrepro.cost.benchmarks
BENCHMARKS = {"loader": "measure_loader", "throughput": "measure_throughput", "startup": "measure_startup"}
LEAK = "leak"
PREPARE = "prepare"
STEP = "step"
PAPER = "a paper"
MEANT_FOR = {  # options that do not mean something to every kind of target
    "table": (PAPER,),
    "set": (PAPER,),
    "rounds": (*BENCHMARKS, STEP, PREPARE),
    "dataset": ("loader",),
    "preset": ("throughput",),
    "backbone": ("throughput",),
    "batch": ("throughput",),
    "device": ("throughput", STEP, LEAK),
    "data": ("loader", LEAK),
    "results": (PAPER, LEAK),
}
ROUNDS = 5  # of a benchmark


def measure(
    target: Annotated[
        str,
        typer.Argument(metavar="PAPER", help="A paper, e.g. m2a; or loader, throughput, step, startup, prepare, leak."),
    ],
    table: Annotated[
        str | None, typer.Option("--table", help="Paper: I, 2, … or several (I,V); all its tables if not given.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Paper: change the network, e.g. model.variant=paper."),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help=f"Benchmarks: how often each is measured (default: {ROUNDS}).")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="loader: a prepared dataset; clips made for it if not given.")
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="throughput: this preset only.")] = None,
    backbone: Annotated[str | None, typer.Option("--backbone", help="throughput: instead of the table's.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="throughput: clips a step.")] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="throughput, step, leak: auto, cpu, cuda or cuda:N (default: auto).")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="loader, leak: prepared datasets (default: $VIDREPRO_DATA, else ./data)."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            help="Paper: folder to keep costs in (default: $VIDREPRO_RESULTS, else ./results); leak: to keep its run "
            "in (default: leak in the dataset's folder).",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Count what every row of a paper costs, or time reading, training and starting up on this machine.

    A paper's rows are counted on the real networks at the paper's input size: MACs by fvcore, by our own counter
    (convolutions and linear layers only) and by the convention the paper's numbers were printed in.

    step tells what a mechanism adds to a training step, in pairs of steps with and without it (at least 15), beside a
    literal transcription of the released module; the threads are OMP_NUM_THREADS or all.

    prepare makes a download of Something-Something V2's size and measures how it is read, checked and loaded.

    leak trains an order-blind network ten times longer than usual on the embedded dataset, which takes about half an
    hour, and tells whether anything betrays the direction of a clip to it; interrupted, it goes on. Its run is kept
    beside the clips, not among the results, unless --results says where.

    Examples:

      vidrepro measure m2a --table I

      vidrepro measure m2a --set model.variant=paper --json

      vidrepro measure loader --dataset synthetic

      vidrepro measure throughput --preset tiny --rounds 9
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json

    _refuse_unused(
        target,
        table=table,
        set=overrides,
        rounds=rounds,
        dataset=dataset,
        preset=preset,
        backbone=backbone,
        batch=batch,
        device=device,
        data=data,
        results=results,
    )
    device = device or "auto"
    measured: Any
    show: Callable[[Console, Any], None]
    if target == LEAK:
        measured, show = _measure_leak(files.data_folder(data), results, device), print_leak
    elif target == PREPARE:
        measured, show = _measure_prepare(rounds or ROUNDS), print_preparation
    elif target == STEP:
        measured, show = _measure_step(rounds, device), print_steps
    elif target in BENCHMARKS:
        from vidrepro.cost import benchmarks

        asked = benchmarks.Options(rounds or ROUNDS, dataset, files.data_folder(data), preset, backbone, batch, device)
        with console(for_json=True).status(f"measuring {target}"):
            measured = getattr(benchmarks, BENCHMARKS[target])(asked)
        show = partial(print_rates, target)
    else:
        measured, show = _measure_paper(target, table, overrides, files.results_folder(results)), print_costs
    if json:
        print_json(measured)
    else:
        show(console(), measured)


def _measure_paper(paper: str, table: str | None, overrides: list[str] | None, results: Any) -> list[dict[str, Any]]:
    from rich.text import Text

    from vidrepro.cli.output import console
    from vidrepro.cost.papers import measure_paper

    with console(for_json=True).status("counting") as status:
        return measure_paper(
            paper,
            table,
            overrides=overrides or (),
            results=results,
            progress=lambda experiment: status.update(Text(f"counting {experiment}")),
        )


def _measure_leak(data: Path, results: Path | None, device: str) -> dict[str, Any]:
    from vidrepro.cli.output import interruptible
    from vidrepro.experiments import EMBEDDED_DATASET
    from vidrepro.experiments.setting import select_setting
    from vidrepro.training.leak import check_leak
    from vidrepro.training.progress import ConsoleReporter, StopSignal

    setting = select_setting("m2a", dataset=EMBEDDED_DATASET, preset=None, backbone=None, overrides=None, data=data)
    config, manifest, reporter = setting.resolve("m2a/table1/none"), setting.load_manifest(), ConsoleReporter("leak")
    # not among the results: ./results is versioned, and this is no run of a paper's row
    results = results or manifest.folder / "leak"
    with interruptible(), StopSignal().installed() as stop:
        try:
            return check_leak(config, manifest, results, device=device, reporter=reporter, stop=stop)
        finally:
            reporter.close()


def _measure_step(rounds: int | None, device: str) -> list[dict[str, Any]]:
    from vidrepro.cli.output import console
    from vidrepro.cost.benchmarks import Options
    from vidrepro.cost.step import MIN_PAIRS, measure_step

    with console(for_json=True).status("measuring training steps"):
        return measure_step(Options(rounds=max(rounds or 0, MIN_PAIRS), device=device))


def _measure_prepare(rounds: int) -> list[dict[str, Any]]:
    from vidrepro.cli.output import console
    from vidrepro.cost.preparation import measure_prepare

    with console(for_json=True).status("preparing a dataset of Something-Something V2's size"):
        return measure_prepare(rounds=rounds)


def _refuse_unused(target: str, **given: object) -> None:
    from vidrepro.errors import ConfigError, unknown_name
    from vidrepro.experiments import paper_names

    if target not in (names := [*paper_names(), *BENCHMARKS, STEP, PREPARE, LEAK]):
        raise unknown_name("paper or benchmark", target, names)
    kind = target if target in (*BENCHMARKS, STEP, PREPARE, LEAK) else PAPER
    for option, value in given.items():
        if value is not None and value != [] and kind not in MEANT_FOR[option]:
            raise ConfigError(
                f"--{option} has no meaning for 'measure {target}'",
                given=", ".join(value) if isinstance(value, list) else value,
                allowed=f"with {' or '.join(MEANT_FOR[option])} only",
            )
    if kind == "loader" and given["data"] is not None and given["dataset"] is None:
        raise ConfigError(
            "--data has no meaning for 'measure loader' without --dataset: it reads clips made for it",
            given=given["data"],
            hint="add --dataset NAME",
        )
