"""``vidrepro ablate``: a paper's rows, trained and evaluated, then its table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidrepro.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from vidrepro.config import RunConfig
    from vidrepro.data.manifest import Manifest
    from vidrepro.experiments import Row
    from vidrepro.experiments.setting import Setting
    from vidrepro.training.ablation import Job


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

      vidrepro ablate m2a --rows none,m2a,my_package.my_module:MyMechanism
    """
    from vidrepro import files
    from vidrepro.cli.output import console, interruptible
    from vidrepro.cli.train import with_weights
    from vidrepro.experiments import select_rows
    from vidrepro.experiments.setting import select_setting

    data_folder, results_folder = files.data_folder(data), files.results_folder(results)
    out = console(for_json=json)
    setting = select_setting(
        paper,
        dataset=dataset,
        preset=preset,
        backbone=backbone,
        overrides=with_weights(overrides, weights),
        data=data_folder,
    )
    selected = select_rows(setting.paper, table, rows, backbone)
    out.print(f"[bold]{setting.sentence}[/bold]")
    under = _settings_of_folds(setting, folds)
    named = f"; folds {', '.join(map(str, under))}" if folds is not None else ""
    out.print(f"Preset '{setting.preset}'; seeds {seeds}{named}; results in {results_folder}.")
    wanted_seeds = _seeds(seeds)
    resolved = [pair for one in under.values() for pair in _resolve(one, selected)]
    if dry_run:
        fingerprint = _prepared_fingerprint(setting)
        _print_plan(out, resolved, wanted_seeds, _own_fold(setting), fingerprint, results_folder, json)
        return

    from vidrepro.data.sources.parallel import usable_cores
    from vidrepro.devices import choose_device
    from vidrepro.training import ablation

    on_cpu = choose_device(device).type == "cpu"
    parallel = jobs or (usable_cores() if on_cpu else 1)
    threads = max(1, usable_cores() // parallel)
    files.make_folder(results_folder)  # refused now rather than after minutes of preparation
    with interruptible():
        _prepare_embedded(out, setting, json=json)
        manifest = setting.load_manifest()
        _make_cache(out, manifest, cache)
        planned = ablation.plan(resolved, wanted_seeds, _fingerprint_under(manifest), results_folder)
        for job in planned:
            job.arguments = _train_arguments(
                job,
                _setting_of(job, under),
                device=device,
                threads=threads,
                workers=workers,
                cache=cache,
                results=results_folder,
            )
        done = [job for job in planned if job.finished]
        if done:
            out.print(f"{len(done)} of {len(planned)} runs are finished already and are not repeated.")
        _run(out, planned, results_folder, parallel, ablation.execute)
    _print_tables(setting, [row.table for row in selected], results_folder, data_folder, json)


def _resolve(setting: Setting, rows: Sequence[Row]) -> list[tuple[str, RunConfig]]:
    """Every row's config, checked before anything is prepared, written or trained."""
    from vidrepro.experiments.overrides import require_some_row_takes
    from vidrepro.models import check_config

    require_some_row_takes(rows, setting.overrides)
    resolved = [(row.id, setting.resolve(row.id)) for row in rows]
    for _, config in resolved:
        check_config(config.model)
    return resolved


def _settings_of_folds(setting: Setting, folds: str | None) -> dict[str | None, Setting]:
    """The setting once for each fold of ``--folds``, by the fold's name; without ``--folds`` as it is.

    The fold that the dataset was prepared with is the manifest's own: its runs are those made without naming a fold.

    Raises:
        ConfigError: if the dataset has no official folds that ``all`` could mean, or ``--set`` names a fold too.
    """
    from dataclasses import replace

    from vidrepro.errors import ConfigError
    from vidrepro.report.fold_groups import FOLD_KEY
    from vidrepro.report.folds import OFFICIAL_FOLDS

    if folds is None:
        return {None: setting}
    if any(text.startswith(FOLD_KEY) for text in setting.overrides):
        raise ConfigError("--folds and --set data.fold=... both name a fold", given=folds, allowed="one of them")
    names = [name.strip() for name in folds.split(",")]
    if names == ["all"]:
        names = list(OFFICIAL_FOLDS.get(setting.dataset, ()))
    if not all(names) or not names:
        raise ConfigError(
            f"--folds names no fold of '{setting.dataset}'",
            given=folds,
            allowed=f"names such as split1,split2; all, of {', '.join(OFFICIAL_FOLDS)}",
        )
    own = _own_fold(setting)
    return {
        name: setting if name == own else replace(setting, overrides=(*setting.overrides, f"{FOLD_KEY}{name}"))
        for name in names
    }


def _own_fold(setting: Setting) -> str | None:
    """The fold that the dataset was prepared with; None if it has no folds or is not prepared."""
    from vidrepro.data.dataset_info import read_info
    from vidrepro.files import is_prepared

    if not is_prepared(setting.data, setting.dataset):
        return None
    return read_info(setting.data / setting.dataset / "dataset.json", setting.dataset).get("fold")


def _setting_of(job: Job, under: dict[str | None, Setting]) -> Setting:
    """The setting that gives the job's config, whose fold it is made for."""
    return next(one for one in under.values() if one.resolve(job.experiments[0]).fingerprint == job.config.fingerprint)


def _seeds(text: str) -> list[int]:
    from vidrepro.errors import ConfigError

    try:
        seeds = [int(part) for part in text.split(",")]
        if min(seeds) < 0:
            raise ValueError
    except ValueError as error:
        raise ConfigError(
            "--seeds is not understood", given=text, allowed="whole numbers from 0, e.g. 0,1,2"
        ) from error
    return list(dict.fromkeys(seeds))


def _prepare_embedded(out: Console, setting: Setting, *, json: bool) -> None:
    """The embedded dataset needs no download, so it is simply made where it is missing."""
    import contextlib
    import sys

    from vidrepro.cli.prepare import prepare_dataset
    from vidrepro.data.synthetic.presets import PRESETS
    from vidrepro.files import is_prepared

    embedded = {preset.dataset for preset in PRESETS.values()}
    if setting.dataset in embedded and not is_prepared(setting.data, setting.dataset):
        out.print(f"'{setting.dataset}' is not prepared yet: preparing it in '{setting.data}'.")
        with contextlib.redirect_stdout(sys.stderr if json else sys.stdout):  # JSON alone may stand on stdout
            prepare_dataset(setting.dataset, data=setting.data)


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


def _fingerprint_under(manifest: Manifest) -> Callable[[RunConfig], str]:
    """The dataset's fingerprint as a run sees it: under the fold and the task of its config."""
    return lambda config: manifest.selection_fingerprint(fold=config.data.fold, task=config.data.task)


def _prepared_fingerprint(setting: Setting) -> Callable[[RunConfig], str] | None:
    from vidrepro.data.manifest import load_manifest
    from vidrepro.files import is_prepared

    if not is_prepared(setting.data, setting.dataset):
        return None
    return _fingerprint_under(load_manifest(setting.dataset, setting.data))


def _print_plan(
    out: Console,
    resolved: list[tuple[str, Any]],
    seeds: list[int],
    own_fold: str | None,
    fingerprint: Callable[[RunConfig], str] | None,
    results: Path,
    json: bool,
) -> None:
    from rich.table import Table

    from vidrepro.cli.output import print_json
    from vidrepro.runs.folder import RUN_FILE, run_id, runs_folder

    cells = []
    for experiment, config in resolved:
        for seed in seeds:
            name = run_id(config, fingerprint(config), seed) if fingerprint else None
            finished = name is not None and (runs_folder(results) / name / RUN_FILE).is_file()
            state = "finished" if finished else "to run" if name else f"{config.dataset} not prepared"
            cells.append(
                {
                    "experiment": experiment,
                    "seed": seed,
                    "fold": config.data.fold or own_fold,
                    "run": name,
                    "state": state,
                    "config_fingerprint": config.fingerprint,
                    "config": config.model_dump(mode="json"),
                }
            )
    if json:
        print_json(cells)
        return
    shown = Table(title=f"{len(cells)} runs", title_justify="left")
    for column in ("experiment", "seed", "fold", "backbone", "mechanism", "protocol", "epochs", "config", "state"):
        shown.add_column(column)
    for (experiment, config), cell in zip([item for item in resolved for _ in seeds], cells, strict=True):
        mechanism = config.model.mechanism + (" + shift" if config.model.temporal_shift else "")
        shown.add_row(
            experiment,
            str(cell["seed"]),
            config.data.fold or own_fold or "-",
            config.model.backbone,
            mechanism,
            str(config.data.protocol),
            str(config.train.epochs),
            config.fingerprint,
            str(cell["state"]),
        )
    out.print(shown)


def _run(out: Console, planned: Sequence[Job], results: Path, parallel: int, execute: Any) -> None:
    from rich.live import Live

    if not out.is_terminal:
        reported: set[str] = set()

        def say(jobs: Sequence[Job]) -> None:
            for job in jobs:
                if job.finished and job.process is not None and job.name not in reported:
                    reported.add(job.name)
                    out.print(_result_line(results, job))

        execute(planned, results, parallel=parallel, on_change=say)
        return
    with Live(console=out, refresh_per_second=2) as live:
        execute(planned, results, parallel=parallel, on_change=lambda jobs: live.update(_status(jobs, results)))
        live.update(_status(planned, results))


def _status(jobs: Sequence[Job], results: Path) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("run")
    table.add_column("state")
    for job in jobs:
        fold = f" {job.config.data.fold}" if job.config.data.fold else ""
        label = f"{job.experiments[0].partition('/')[2]}{fold} seed {job.seed}"
        if job.finished:
            state = f"[green]{_result_line(results, job).partition(': ')[2]}[/green]"
        elif job.progress:
            state = job.progress.line()
        else:
            state = "starting" if job.process else "waiting"
        table.add_row(label, state)
    return table


def _result_line(results: Path, job: Job) -> str:
    import json

    from vidrepro.runs.folder import RUN_FILE, runs_folder

    record = json.loads((runs_folder(results) / job.name / RUN_FILE).read_text(encoding="utf-8"))
    best = record["best"]
    pair = f", pair {best['pair']:.1f} %" if best["pair"] is not None else ""
    fold = f" {job.config.data.fold}" if job.config.data.fold else ""
    return f"{job.experiments[0]}{fold} seed {job.seed}: top-1 {best['top1']:.1f} %{pair}, {record['seconds']:.0f} s"


def _print_tables(setting: Setting, tables: list[str], results: Path, data: Path, json: bool) -> None:
    from vidrepro.cli.table import write_tables

    write_tables(
        setting.paper.name,
        tables=list(dict.fromkeys(tables)),
        dataset=setting.dataset,
        preset=setting.preset,
        results=results,
        data=data,
        json=json,
    )
