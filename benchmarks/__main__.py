"""``python -m benchmarks NAME``: run one of the benchmarks from a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidrepro.cli import options
from vidrepro.cli.output import console, interruptible, print_json

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]


@app.command()
def step(
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Of steps with and without; at least 15.")] = 15,
    device: Device = "auto",
    json: options.Json = False,
) -> None:
    """What a mechanism adds to a training step, beside a literal transcription of the released module.

    The threads are OMP_NUM_THREADS or all.
    """
    from benchmarks.show import print_steps
    from benchmarks.step import measure_step

    with console(for_json=True).status("measuring training steps"):
        records = measure_step(pairs, device)
    print_json(records) if json else print_steps(console(), records)


@app.command()
def prepare(
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often decoding is compared.")] = 5,
    json: options.Json = False,
) -> None:
    """How a made download of Something-Something V2's size is read, checked and loaded."""
    from benchmarks.prepare import measure_prepare
    from benchmarks.show import print_preparation

    with console(for_json=True).status("preparing a dataset of Something-Something V2's size"):
        records = measure_prepare(rounds=rounds)
    print_json(records) if json else print_preparation(console(), records)


@app.command()
def startup(
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each command starts.")] = 5,
    json: options.Json = False,
) -> None:
    """How long a second ``vidrepro --help`` takes, beside Python doing nothing."""
    from benchmarks.show import print_startup
    from benchmarks.startup import measure_startup

    records = measure_startup(rounds)
    print_json(records) if json else print_startup(console(), records)


@app.command()
def leak(
    data: Annotated[
        Path | None, typer.Option("--data", help="Prepared datasets ($VIDREPRO_DATA, else ./data).")
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="Where its run is kept (default: leak in the dataset's folder).")
    ] = None,
    device: Device = "auto",
    json: options.Json = False,
) -> None:
    """Whether anything betrays the direction of a clip of the embedded dataset to an order-blind network.

    It trains ten times longer than usual, about half an hour; interrupted, it goes on. Its run is kept beside the
    clips, not among the results, which are versioned: it is no run of a paper's row.
    """
    from benchmarks.leak import check_leak
    from benchmarks.show import print_leak
    from vidrepro import files
    from vidrepro.ablation.setting import select_setting
    from vidrepro.experiments import EMBEDDED_DATASET
    from vidrepro.training.progress import ConsoleReporter, StopSignal

    folder = files.data_folder(data)
    setting = select_setting("m2a", dataset=EMBEDDED_DATASET, preset=None, backbone=None, overrides=None, data=folder)
    config, manifest, reporter = setting.resolve("m2a/table1/none"), setting.load_manifest(), ConsoleReporter("leak")
    with interruptible(), StopSignal().installed() as stop:
        try:
            found = check_leak(
                config, manifest, results or manifest.folder / "leak", device=device, reporter=reporter, stop=stop
            )
        finally:
            reporter.close()
    print_json(found) if json else print_leak(console(), found)


if __name__ == "__main__":
    app()
