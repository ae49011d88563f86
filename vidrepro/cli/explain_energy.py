"""``vidrepro explain energy``: how much of a network's attention lies on the moving object."""

from __future__ import annotations

from typing import Annotated

import typer

from vidrepro.cli import explain_options, options


def energy(
    run: explain_options.Run,
    clips: Annotated[int, typer.Option("--clips", min=1, help="How many, class by class in turn.")] = 10,
    what: explain_options.What = None,
    role: Annotated[
        str, typer.Option("--object", help="main, or of presets with props: second, hand, distractor.")
    ] = "main",
    split: explain_options.Split = None,
    seed: options.SeedOfExperiment = 0,
    checkpoint: options.Checkpoint = "best",
    dataset: options.DatasetOfExperiment = None,
    preset: options.PresetOfExperiment = None,
    device: options.Device = "auto",
    data: options.Data = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """How much of a network's spatial attention lies on the moving object, on clips of an embedded dataset.

    The share of each map's sum inside the object's pixels (mask) and its box, against their share of the picture; the
    ratio of the two in the mean over clips, with its bootstrap interval.

    Examples:

      vidrepro explain energy RUN --clips 40
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.explain.attention_energy import measure_energy

    folder = files.results_folder(results)
    (network,) = explain_options.networks_of(
        folder, [run], seed=seed, dataset=dataset, preset=preset, data=files.data_folder(data), device=device,
        split=split, checkpoint=checkpoint,
    )  # fmt: skip
    record = measure_energy(network, clips, what=what, role=role)
    if json:
        print_json(record)
        return
    from rich.table import Table

    printer = console()
    printer.print(f"{record['run']}: attention on object '{role}', {record['clips']} {record['split']} clips")
    table = Table(
        "attention", "within", "share of the picture", "of the attention", "ratio [95 %]", "above floor [95 %]"
    )
    for name, found in record["taps"].items():
        for region in ("mask", "box"):
            one = found[region]
            ratios = [
                f"{ratio['mean']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
                for ratio in (one["ratio"], one["ratio_above_floor"])
            ]
            table.add_row(name, region, f"{100 * one['area']:.1f} %", f"{100 * one['share']:.1f} %", *ratios)
    printer.print(table)
