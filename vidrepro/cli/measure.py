"""``vidrepro measure``: what a paper's rows cost, and how fast this machine is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidrepro.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    out = console(for_json=json)
    if target == LEAK:
        _measure_leak(out, files.data_folder(data), results, device, json)
        return
    if target == PREPARE:
        _measure_prepare(out, rounds or ROUNDS, json)
        return
    if target == STEP:
        _measure_step(out, rounds, device, json)
        return
    if target not in BENCHMARKS:
        records = _measure_paper(target, table, overrides, files.results_folder(results))
        if json:
            print_json(records)
        else:
            _print_costs(out, records)
        return
    from vidrepro.cost import benchmarks

    asked = benchmarks.Options(rounds or ROUNDS, dataset, files.data_folder(data), preset, backbone, batch, device)
    with console(for_json=True).status(f"measuring {target}"):
        records = getattr(benchmarks, BENCHMARKS[target])(asked)
    if json:
        print_json(records)
    else:
        _print_rates(out, target, records)


def _measure_paper(paper: str, table: str | None, overrides: list[str] | None, results: Any) -> list[dict[str, Any]]:
    from vidrepro.cli.output import console
    from vidrepro.cost.papers import measure_paper

    with console(for_json=True).status("counting") as status:
        return measure_paper(
            paper,
            table,
            overrides=overrides or (),
            results=results,
            progress=lambda experiment: status.update(f"counting {experiment}"),
        )


def _measure_leak(out: Console, data: Path, results: Path | None, device: str, json: bool) -> None:
    from vidrepro.cli.output import interruptible, print_json
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
            found = check_leak(config, manifest, results, device=device, reporter=reporter, stop=stop)
        finally:
            reporter.close()
    if json:
        print_json(found)
        return
    low, high = found["interval"]
    verdict = "[red]something leaks[/red]" if found["leaks"] else "[green]no leak seen[/green]"
    out.print(
        f"order-blind network, {found['epochs']} epochs: top-1 {found['top1']:.1f} % ({low:.1f} to {high:.1f} % on "
        f"{found['clips']} clips; on training clips {found['train_top1']:.1f} %), pair {found['pair']:.1f} %, "
        f"order-blind ceiling {found['ceiling']:.1f} %; where the pair was told, "
        f"the direction was in {found['direction'] or 0:.1f} % ({found['direction_interval'][0]:.1f} to "
        f"{found['direction_interval'][1]:.1f} % of {found['direction_clips']} clips): {verdict}"
    )


def _measure_step(out: Console, rounds: int | None, device: str, json: bool) -> None:
    from rich.table import Table

    from vidrepro.cli.output import console, print_json
    from vidrepro.cost.benchmarks import Options
    from vidrepro.cost.step import MIN_PAIRS, measure_step

    with console(for_json=True).status("measuring training steps"):
        records = measure_step(Options(rounds=max(rounds or 0, MIN_PAIRS), device=device))
    if json:
        print_json(records)
        return
    for quantity, case in dict.fromkeys((record["quantity"], record["case"]) for record in records):
        rows = [record for record in records if (record["quantity"], record["case"]) == (quantity, case)]
        where = rows[0]
        pairs = f", median of {where['pairs']} pairs in turns" if where["pairs"] > 1 else ""
        grid = Table(
            title=f"{quantity}, {case}: {where['device']}, {where['threads']} threads, eager, torch {where['torch']}"
            f"{pairs}",
            title_justify="left",
        )
        grid.add_column("what", no_wrap=True)
        for name in ("MB" if where["bytes"] else "ms", "ratio", "95 % bootstrap", "may be at most"):
            grid.add_column(name, justify="right")
        for record in rows:
            interval = record["interval"]
            bar = "" if record["bar"] is None else f"{record['bar']:.2f} " + ("✓" if record["met"] else "✗")
            grid.add_row(
                record["name"],
                f"{record['bytes'] / 1e6:.0f}" if record["bytes"] else f"{1000 * record['seconds']:.0f}",
                f"{record['ratio']:.3f} x" + ("" if record["over"] == "none" else f" of {record['over']}"),
                "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
                bar,
            )
        out.print(grid)


def _measure_prepare(out: Console, rounds: int, json: bool) -> None:
    from vidrepro.cli.output import console, print_json
    from vidrepro.cost.preparation import measure_prepare

    with console(for_json=True).status("preparing a dataset of Something-Something V2's size"):
        records = measure_prepare(rounds=rounds)
    if json:
        print_json(records)
        return
    for record in records:
        limit, mark = "", ""
        if record["limit"] is not None:
            limit = f"   ({'at least' if record['at_least'] else 'at most'} {record['limit']:g})"
            mark = "[green]✓[/green] " if record["good"] else "[red]✗[/red] "
        out.print(f"{mark or '  '}{record['name']}: {record['value']:.2f} {record['unit']}{limit}")


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


def _print_costs(out: Console, records: Sequence[dict[str, Any]]) -> None:
    """One table for all rows, then what the reader must know about the numbers."""
    from rich.table import Table

    first = records[0]
    frames = " or ".join(str(count) for count in sorted({record["frames"] for record in records}))
    clip = f"{frames}x{first['size']}x{first['size']}, {first['classes']} classes"
    views = any(record["views"] != 1 for record in records)
    params = any(record["printed_params"] is not None for record in records)
    of = "view" if views else "clip"
    grid = Table(title=f"GMACs of one {of}, {clip}, eval mode", title_justify="left")
    for name in ("experiment", "row", "backbone"):
        grid.add_column(name, no_wrap=True)
    heads = ["fvcore", "conv+linear", "printed convention", "printed", *(["views", "fvcore x views"] if views else [])]
    for name in (*heads, "parameters", *(["printed, M"] if params else [])):
        grid.add_column(name, justify="right")
    rules = list(dict.fromkeys(record["rule"] for record in records if record["rule"]))
    marks = {rule: chr(ord("a") + number) for number, rule in enumerate(rules)}
    for record in records:
        if record["not_measured"]:
            cells = [record["backbone"] or "–", "–", "–", "–", _printed(record), *(["–", "–"] if views else []), "–"]
        else:
            convention = record["gmacs_printed_convention"]
            cells = [
                record["backbone"],
                f"{record['gmacs_fvcore']:.3f}",
                f"{record['gmacs_conv_linear']:.3f}",
                "" if convention is None else f"{convention:.3f} {marks[record['rule']]}",
                _printed(record),
                *([str(record["views"]), f"{record['gmacs_fvcore'] * record['views']:.1f}"] if views else []),
                f"{record['params']:,}",
            ]
        cells += [_printed(record, "printed_params")] if params else []
        grid.add_row(record["experiment"], record["label"], *cells)
    out.print(grid)
    for reason in dict.fromkeys(record["not_measured"] for record in records if record["not_measured"]):
        concerned = [record["experiment"] for record in records if record["not_measured"] == reason]
        out.print(f"–  {reason} ({', '.join(concerned)})")
    for rule, mark in marks.items():
        description = next(record["rule_description"] for record in records if record["rule"] == rule)
        out.print(f"[bold]{mark}[/bold]  {rule}: {description}")
    measured = [record for record in records if not record["not_measured"]]
    uncounted = sorted({name.removeprefix("aten::") for record in measured for name in record["uncounted"]})
    if uncounted:
        out.print(f"not counted by fvcore: {', '.join(uncounted)} (calls of each: --json)")
    disagreements = [f"{r['experiment']}: {text}" for r in measured for text in r["cross_check"]["disagreements"]]
    for text in disagreements:
        out.print(f"[red]the counters disagree[/red] on {text}")
    if measured and not disagreements:
        out.print("conv, linear and matrix products: three independent counters agree on every row")


def _printed(record: dict[str, Any], name: str = "printed") -> str:
    if record[name] is None:
        return ""
    mark = {True: " [green]✓[/green]", False: " [red]✗[/red]", None: ""}[record[f"matches_{name}"]]
    return f"{record[name]:.{record[f'{name}_decimals']}f}{mark}"


def _print_rates(out: Console, target: str, records: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    where = records[0]
    threads = f", {where['threads']} thread{'s' if where['threads'] > 1 else ''}" if where["threads"] else ""
    title = f"{target}: {where['device']}{threads}, torch {where['torch']}, median of {where['rounds']} rounds in turns"
    grid = Table(title=title, title_justify="left")
    grid.add_column("what", no_wrap=True)
    for name in ("on", where["unit"], "quartiles", "relative"):
        grid.add_column(name, justify="right")
    for record in records:
        low, high = record["quartiles"]
        grid.add_row(
            record["name"],
            _circumstances(record),
            f"{record['per_second']:.1f}",
            f"{low:.1f} to {high:.1f}",
            f"{record['relative']:.2f} x {record['reference']}",
        )
    out.print(grid)


def _circumstances(record: dict[str, Any]) -> str:
    if "preset" in record:
        return f"preset {record['preset']}, {record['batch']} x {record['frames']}x{record['size']}x{record['size']}"
    if "dataset" in record:
        return f"{record['dataset']}, {record['protocol']}"
    return f"{record['seconds'] * 1000:.0f} ms each"
