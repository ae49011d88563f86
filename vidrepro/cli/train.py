"""``vidrepro train``: one row, one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidrepro.cli import options


def train(
    experiment: Annotated[str, typer.Argument(help="A row's id, e.g. m2a/table1/m2a (vidrepro show m2a lists them).")],
    seed: Annotated[int, typer.Option("--seed", min=0, max=options.MAX_SEED)] = 0,
    dataset: options.Dataset = "auto",
    preset: options.Preset = None,
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    start: options.From = None,
    overrides: options.Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume/--restart", help="Go on with an interrupted attempt, or forget it.")
    ] = True,
    device: options.Device = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads of torch.")] = None,
    workers: options.Workers = 0,
    cache: options.Cache = "auto",
    progress_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
    data: options.Data = None,
    results: options.Results = None,
) -> None:
    """Train and evaluate one row with one seed.

    A finished run is not repeated; an interrupted one goes on where it stopped, bit for bit on the CPU.

    Examples:

      vidrepro train m2a/table1/m2a

      vidrepro train m2a/table1/none --seed 1 --set train.epochs=3

      vidrepro train tcnn/table4/o+c+d --from tcnn/table4/o
    """
    from vidrepro import files
    from vidrepro.ablation.parts import resolve_rows
    from vidrepro.ablation.schedule import BUSY
    from vidrepro.ablation.setting import select_setting
    from vidrepro.ablation.start import start_from
    from vidrepro.cli.output import console, interruptible, print_run
    from vidrepro.errors import BusyError
    from vidrepro.training.execute import execute_run
    from vidrepro.training.progress import ConsoleReporter, FileReporter, StopSignal

    data_folder, results_folder = files.data_folder(data), files.results_folder(results)
    setting = start_from(
        select_setting(
            experiment.split("/")[0],
            dataset=dataset,
            preset=preset,
            backbone=backbone,
            overrides=with_weights(overrides, weights),
            data=data_folder,
            experiment=experiment,
        ),
        start,
        results_folder,
    )
    # an ablation has asked for all its rows together: not each of them takes every option
    rows = [setting.paper.row(experiment)]
    ((_, config),) = resolve_rows(setting, rows, options_checked=progress_file is not None)
    manifest = setting.load_manifest()
    out = console()
    out.print(setting.sentence)
    recipe = config.train
    out.print(
        f"{experiment}: {config.model.backbone}, {manifest.name}, {config.data.protocol}, seed {seed}; learning rate "
        f"{recipe.effective_learning_rate:g} at {recipe.effective_batch} clips a step"
    )
    reporter = FileReporter(progress_file) if progress_file else ConsoleReporter(experiment.rpartition("/")[2])
    with interruptible(), StopSignal().installed() as stop:
        try:
            folder = execute_run(
                config,
                manifest,
                seed,
                results_folder,
                provenance=setting.provenance(),
                device=device,
                threads=threads,
                workers=workers,
                cache=cache,
                restart=not resume,
                reporter=reporter,
                stop=stop,
                say=out.print,
            )
        except BusyError as error:
            if progress_file is None:
                raise
            out.print(str(error))
            raise typer.Exit(BUSY) from error  # the ablation that asked for the run waits for it, and does others
        finally:
            if isinstance(reporter, ConsoleReporter):
                reporter.close()
    print_run(out, folder)


def with_weights(overrides: list[str] | None, weights: Path | None) -> list[str]:
    """``--weights FILE`` is a short form of ``--set model.weights=FILE``."""
    from vidrepro.experiments.overrides import weights_override

    return [*(overrides or []), *([weights_override(weights)] if weights else [])]
