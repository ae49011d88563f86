"""``vidrepro measure``: what a paper's rows cost, and how fast this machine is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidrepro.cli import options
from vidrepro.cli.measure_print import print_costs, print_rates

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

# word in place of a paper -> function in vidrepro.cost.speed
SPEEDS = {"loader": "measure_loader", "throughput": "measure_throughput"}
PAPER = "a paper"
MEANT_FOR = {  # options that do not mean something to every kind of target
    "table": (PAPER,),
    "set": (PAPER,),
    "save": (PAPER,),
    "rounds": (*SPEEDS,),
    "dataset": ("loader",),
    "preset": ("throughput",),
    "backbone": ("throughput",),
    "batch": ("throughput",),
    "device": ("throughput",),
    "data": ("loader",),
    "results": (PAPER,),
}
ROUNDS = 5  # of a benchmark


def measure(
    target: Annotated[
        str,
        typer.Argument(metavar="PAPER", help="A paper, e.g. m2a; or loader, throughput."),
    ],
    table: Annotated[
        str | None, typer.Option("--table", help="Paper: I, 2, … or several (I,V); all its tables if not given.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Paper: change the network, e.g. model.variant=paper."),
    ] = None,
    save: Annotated[
        bool,
        typer.Option("--save", help="Paper: keep its costs with it (costs.json), where table and show look first."),
    ] = False,
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
        str | None, typer.Option("--device", help="throughput: auto, cpu, cuda or cuda:N (default: auto).")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="loader: prepared datasets (default: $VIDREPRO_DATA, else ./data)."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            help="Paper: folder to keep costs in (default: $VIDREPRO_RESULTS, else ./results).",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Count what every row of a paper costs, or time reading and training on this machine.

    A paper's rows are counted on the real networks at the paper's input size: MACs by fvcore, by our own counter
    (convolutions and linear layers only) and by the convention the paper's numbers were printed in.

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
        save=save or None,
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
    if target in SPEEDS:
        from vidrepro.cost import speed

        asked = speed.Options(rounds or ROUNDS, dataset, files.data_folder(data), preset, backbone, batch, device)
        with console(for_json=True).status(f"measuring {target}"):
            measured = getattr(speed, SPEEDS[target])(asked)
        show = partial(print_rates, target)
    else:
        if save:
            _save_costs(target, table, overrides)
        measured = _measure_paper(target, table, overrides, files.results_folder(results), use_kept=save)
        show = print_costs
    if json:
        print_json(measured)
    else:
        show(console(), measured)


def _measure_paper(
    paper: str, table: str | None, overrides: list[str] | None, results: Path, use_kept: bool
) -> list[dict[str, Any]]:
    from rich.text import Text

    from vidrepro.cli.output import console
    from vidrepro.cost.paper_costs import measure_paper

    with console(for_json=True).status("counting") as status:
        return measure_paper(
            paper,
            table,
            overrides=overrides or (),
            results=results,
            use_kept=use_kept,
            progress=lambda experiment: status.update(Text(f"counting {experiment}")),
        )


def _save_costs(paper: str, table: str | None, overrides: list[str] | None) -> None:
    from rich.text import Text

    from vidrepro.cli.output import console
    from vidrepro.cost.paper_costs import save_costs
    from vidrepro.errors import ConfigError
    from vidrepro.experiments import load_paper

    if table is not None or overrides:
        raise ConfigError(
            "--save keeps the costs of a whole paper as it stands",
            given=f"--table {table}" if table is not None else f"--set {', '.join(overrides or ())}",
            allowed=f"vidrepro measure {paper} --save",
        )
    out = console(for_json=True)
    with out.status("counting") as status:
        file = save_costs(load_paper(paper), lambda experiment: status.update(Text(f"counting {experiment}")))
    out.print(f"written: {file}", style="dim", soft_wrap=True, markup=False)


def _refuse_unused(target: str, **given: object) -> None:
    from vidrepro.errors import ConfigError, unknown_name
    from vidrepro.experiments import paper_names

    if target not in (names := [*paper_names(), *SPEEDS]):
        raise unknown_name("paper or benchmark", target, names)
    kind = target if target in SPEEDS else PAPER
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
