"""``vidrepro ablate``: a paper's rows, trained and evaluated, then its table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidrepro.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from vidrepro.ablation.parts import Part
    from vidrepro.ablation.schedule import Job
    from vidrepro.ablation.setting import Setting
    from vidrepro.data.manifest import Manifest
    from vidrepro.errors import TrainingError


def ablate(
    paper: Annotated[str, typer.Argument(help="A paper, e.g. m2a.")],
    table: Annotated[
        str | None, typer.Option("--table", help="I, 2, … or several (I,V) (default: the paper's own choice).")
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option("--rows", help="Some rows only, e.g. none,m2a; my_package.my_module:MyMechanism adds yours."),
    ] = None,
    backbone: options.Backbone = None,
    dataset: options.Dataset = "auto",
    preset: options.Preset = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Comma list; one run per row and seed.")] = "0",
    folds: Annotated[
        str | None,
        typer.Option("--folds", help="Official folds, split1,split2 or all; one run per row, seed and fold."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Runs side by side, one thread each (default: one per core).")
    ] = None,
    weights: options.Weights = None,
    start: options.From = None,
    overrides: options.Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs, their settings and states; do nothing.")
    ] = False,
    device: options.Device = "auto",
    workers: options.Workers = 0,
    cache: options.Cache = "auto",
    data: options.Data = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Run a paper's rows: what is finished is kept, what was interrupted goes on, then the table is printed.

    Without --table, a backbone that has a table of its own selects that table (m2a: mobilenetv2 Table II, i3d-resnet18
    Table III); with --table, --backbone replaces the backbone of the rows. A mechanism of your own is a class derived
    from torch.nn.Module, called as MyMechanism(channels, frames), from (N*T, C, H, W) to the same shape.

    Examples:

      vidrepro ablate m2a

      vidrepro ablate m2a --table I --seeds 0,1,2

      vidrepro ablate m2a --backbone mobilenetv2 --dry-run

      vidrepro ablate m2a --dataset ucf101 --folds all

      vidrepro ablate tcnn --table 2 --dataset ucf101 --folds all --from RUN

      vidrepro ablate m2a --rows none,m2a,my_package.my_module:MyMechanism
    """
    from vidrepro import files
    from vidrepro.ablation.parts import find_parts, fingerprint_under
    from vidrepro.cli.ablate_plan import print_part, print_plans
    from vidrepro.cli.output import console, interruptible
    from vidrepro.cli.train import with_weights

    data_folder, results_folder = files.data_folder(data), files.results_folder(results)
    out = console(for_json=json)
    parts = find_parts(
        paper,
        table,
        rows,
        folds,
        dataset=dataset,
        preset=preset,
        backbone=backbone,
        overrides=with_weights(overrides, weights),
        start=start,
        data=data_folder,
        results=results_folder,
    )
    for part in parts:
        print_part(out, part, folds, seeds, results_folder)
    wanted_seeds = _seeds(seeds)
    if dry_run:
        print_plans(out, parts, wanted_seeds, results_folder, json)
        return

    from vidrepro.ablation import schedule
    from vidrepro.data.sources.parallel import usable_cores
    from vidrepro.devices import choose_device

    on_cpu = choose_device(device).type == "cpu"
    parallel = jobs or (usable_cores() if on_cpu else 1)
    threads = max(1, usable_cores() // parallel)
    files.make_folder(results_folder)  # refused now rather than after minutes of preparation
    with interruptible():
        planned: dict[str, Job] = {}
        for part in parts:
            _prepare_embedded(out, part.setting, json=json)
            manifest = part.setting.load_manifest()
            _make_cache(out, manifest, cache)
            for job in schedule.plan(part.resolved, wanted_seeds, fingerprint_under(manifest), results_folder):
                job.arguments = _train_arguments(
                    job,
                    _setting_of(job, part.under),
                    device=device,
                    threads=threads,
                    workers=workers,
                    cache=cache,
                    results=results_folder,
                )
                planned.setdefault(job.name, job)
        jobs_of_all = list(planned.values())
        done = [job for job in jobs_of_all if job.finished]
        if done:
            out.print(f"{len(done)} of {len(jobs_of_all)} runs are finished already and are not repeated.")
        failure = _run(out, jobs_of_all, results_folder, parallel, schedule.execute)
        if failure is not None and not any(job.finished for job in jobs_of_all):
            raise failure
        for part in parts:
            _evaluate_derived(out, part, wanted_seeds, results_folder, device=device, workers=workers)
    datasets = {part.setting.dataset for part in parts}
    tables = [row.table for part in parts for row in part.rows]
    only = datasets.pop() if len(datasets) == 1 else None
    _print_tables(parts[0].setting, tables, results_folder, data_folder, only, json)
    if failure is not None:
        raise failure  # last, below the table of what is finished


def _evaluate_derived(
    out: Console, part: Part, seeds: Sequence[int], results: Path, *, device: str, workers: int
) -> None:
    """Look at the runs again as the selected rows ask: other views, or attention replaced; kept for the table."""
    from vidrepro.ablation.derived_rows import evaluate_rows

    if any(row.derived is not None for row in part.rows):
        evaluate_rows(
            part.setting.paper,
            part.rows,
            list(part.under.values()),
            seeds,
            results,
            device=device,
            workers=workers,
            say=lambda text: out.print(text, style="dim"),
        )


def _setting_of(job: Job, under: dict[str | None, Setting]) -> Setting:
    """The setting that gives the job's config, whose fold it is made for."""
    return next(one for one in under.values() if one.resolve(job.experiments[0]).fingerprint == job.config.fingerprint)


def _seeds(text: str) -> list[int]:
    from vidrepro.errors import ConfigError
    from vidrepro.values import parse_value

    try:
        seeds = [parse_value(part) for part in text.split(",")]
        if not all(type(seed) is int and 0 <= seed <= options.MAX_SEED for seed in seeds):
            raise ValueError
    except ValueError as error:
        raise ConfigError(
            "--seeds is not understood", given=text, allowed=f"whole numbers from 0 to {options.MAX_SEED}, e.g. 0,1,2"
        ) from error
    return list(dict.fromkeys(seeds))


def _prepare_embedded(out: Console, setting: Setting, *, json: bool) -> None:
    """The embedded dataset needs no download, so it is simply made where it is missing."""
    import contextlib
    import sys
    import time

    from vidrepro.cli.prepare import prepare_dataset
    from vidrepro.data.synthetic.presets import PRESETS
    from vidrepro.errors import BusyError
    from vidrepro.files import is_prepared
    from vidrepro.locks import POLL_SECONDS

    embedded = {preset.dataset for preset in PRESETS.values()}
    waited_for = None
    while setting.dataset in embedded and not is_prepared(setting.data, setting.dataset):
        try:
            if waited_for is None:
                out.print(f"'{setting.dataset}' is not prepared yet: preparing it in '{setting.data}'.")
            with contextlib.redirect_stdout(sys.stderr if json else sys.stdout):  # JSON alone may stand on stdout
                prepare_dataset(setting.dataset, data=setting.data)
            return
        except BusyError as busy:
            if busy.given != waited_for:
                out.print(f"waits for '{setting.dataset}', prepared by {busy.given}")
            waited_for = busy.given
            time.sleep(POLL_SECONDS)


def _make_cache(out: Console, manifest: Manifest, mode: str) -> None:
    from vidrepro.data.cache import open_cache
    from vidrepro.data.sources.parallel import usable_cores

    # Once, here and with every core, instead of all runs waiting for the first of them.
    open_cache(manifest, mode, workers=usable_cores(), say=out.print)


def _train_arguments(
    job: Job, setting: Setting, *, device: str, threads: int, workers: int, cache: str, results: Path
) -> list[str]:
    arguments = [job.experiments[0], "--seed", str(job.seed), "--dataset", setting.dataset, "--preset", setting.preset]
    arguments += ["--backbone", setting.backbone] if setting.backbone else []
    for override in setting.overrides:
        arguments += ["--set", override]
    arguments += ["--device", device, "--threads", str(threads), "--workers", str(workers), "--cache", cache]
    return [*arguments, "--data", str(setting.data), "--results", str(results)]


def _run(out: Console, planned: Sequence[Job], results: Path, parallel: int, execute: Any) -> TrainingError | None:
    """Carry the runs out, showing their states; the error about those that failed, when all others are done."""
    from vidrepro.errors import TrainingError

    try:
        _run_shown(out, planned, results, parallel, execute)
    except TrainingError as failure:
        return failure
    return None


def _run_shown(out: Console, planned: Sequence[Job], results: Path, parallel: int, execute: Any) -> None:
    from rich.live import Live

    if not out.is_terminal:
        reported = {job.name for job in planned if job.finished}
        told: set[tuple[str, str]] = set()

        def say(jobs: Sequence[Job]) -> None:
            for job in jobs:
                if job.finished and job.name not in reported:
                    reported.add(job.name)
                    out.print(_result_line(results, job))
                elif job.failed and job.name not in reported:
                    reported.add(job.name)
                    out.print(f"failed: {_label(job)}")
                elif job.held_by and (job.name, job.held_by) not in told:
                    told.add((job.name, job.held_by))
                    out.print(f"waits for {_label(job)}, trained by {job.held_by}")

        execute(planned, results, parallel=parallel, on_change=say)
        return
    with Live(console=out, refresh_per_second=2) as live:
        execute(planned, results, parallel=parallel, on_change=lambda jobs: live.update(_status(jobs, results)))
        live.update(_status(planned, results))


def _status(jobs: Sequence[Job], results: Path) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("run")
    table.add_column("state")
    for job in jobs:
        state: str | Text
        if job.finished:
            state = Text(_result_line(results, job).partition(": ")[2], style="green")
        elif job.failed:
            state = Text("failed", style="red")
        elif job.progress:
            state = job.progress.line()
        else:
            state = f"trained by {job.held_by}" if job.held_by else "starting" if job.process else "waiting"
        table.add_row(_label(job).partition("/")[2], state)
    return table


def _result_line(results: Path, job: Job) -> str:
    from vidrepro.runs.folder import runs_folder
    from vidrepro.runs.record import read_record

    record, _ = read_record(runs_folder(results) / job.name)
    pair = f", pair {record.best.pair:.1f} %" if record.best.pair is not None else ""
    return f"{_label(job)}: top-1 {record.best.top1:.1f} %{pair}, {record.seconds:.0f} s"


def _label(job: Job) -> str:
    fold = f" {job.config.data.fold}" if job.config.data.fold else ""
    return f"{job.experiments[0]}{fold} seed {job.seed}"


def _print_tables(
    setting: Setting, tables: list[str], results: Path, data: Path, dataset: str | None, json: bool
) -> None:
    from vidrepro.cli.table import write_tables

    write_tables(
        setting.paper.name,
        tables=list(dict.fromkeys(tables)),
        dataset=dataset,
        preset=setting.preset,
        results=results,
        data=data,
        json=json,
    )
