"""``vidrepro train``: one row, one seed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidrepro.cli import options

if TYPE_CHECKING:
    from vidrepro.experiments.setting import Setting


def train(
    experiment: Annotated[str, typer.Argument(help="A row's id, e.g. m2a/table1/m2a (vidrepro show m2a lists them).")],
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
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
    from vidrepro.cli.output import console, interruptible, print_run
    from vidrepro.experiments.setting import select_setting
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
    config = setting.resolve(experiment)
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
                say=lambda sentence: out.print(sentence, markup=False),
            )
        finally:
            if isinstance(reporter, ConsoleReporter):
                reporter.close()
    print_run(out, folder)


def with_weights(overrides: list[str] | None, weights: Path | None) -> list[str]:
    """``--weights FILE`` is a short form of ``--set model.weights=FILE``."""
    return [*(overrides or []), *([f"model.weights={weights}"] if weights else [])]


def start_from(setting: Setting, start: str | None, results: Path) -> Setting:
    """The setting with ``--from``: a run's checkpoint by its digest, or the row's run that has the same seed.

    A run on another dataset is pretraining: rows that start from another row start from that one all the same.

    Args:
        setting: without it. A row is resolved under the same dataset, preset, backbone and overrides, but for those of
            ``train``: it may have been trained longer than what starts from it.
        start: a row's id (``tcnn/table4/o``) or what `find_run` takes.
        results: where the run lies.

    Raises:
        ConfigError: if start weights are given in another way too.
        UnknownNameError: if there is no such row or run.
        CheckpointError: if the run is not finished or its checkpoint is gone.
    """
    from dataclasses import replace

    from vidrepro.config import START_RUN
    from vidrepro.errors import ConfigError
    from vidrepro.evaluation.rerun import read_record
    from vidrepro.experiments.overrides import PRETRAINED, with_weights_digest
    from vidrepro.runs.folder import find_run, weights_of_run

    if start is None:
        return setting
    if any(text.startswith("model.weights") for text in setting.overrides):
        raise ConfigError("--from and --weights both say what to start from", given=start, allowed="one of them")
    if start.startswith(f"{setting.paper.name}/") and not Path(start).is_dir():
        lasting = tuple(text for text in setting.overrides if not text.startswith("train."))
        weights = f"model.weights={START_RUN}{replace(setting, overrides=lasting).resolve(start).fingerprint}"
    else:
        folder = find_run(results, start)
        elsewhere = read_record(folder)[1].dataset != setting.dataset
        weights = f"model.weights={PRETRAINED if elsewhere else ''}{weights_of_run(folder)}"
    return replace(setting, overrides=with_weights_digest((*setting.overrides, weights)))
