"""``vidrepro ensemble``: several finished runs as one network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidrepro.cli import options


def ensemble(
    runs: Annotated[
        list[str], typer.Argument(help="Two or more runs, or experiments (aia/table2/aia): their run with --seed.")
    ],
    weights: Annotated[
        str | None, typer.Option("--weights", help="One for each run, e.g. 1,1,2 (default: all alike).")
    ] = None,
    average: Annotated[
        str | None,
        typer.Option("--average", help="What of each run is averaged: logits, or softmax (default: what it keeps)."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="8x3x2@224, or (8+16)x3x2@224 (default: each run's own).")
    ] = None,
    split: options.EvaluatedSplit = None,
    checkpoint: options.Checkpoint = "best",
    seed: options.SeedOfExperiment = 0,
    dataset: options.DatasetOfExperiment = None,
    preset: options.PresetOfExperiment = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Score file, or its folder (default: <results>/ensembles).")
    ] = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Average the saved scores of several runs clip by clip: accuracy of each and of all together.

    Clips are matched by their ids; runs of different datasets, folds, label sets or clips are refused. What is averaged
    are the logits after the mean over a clip's views, as in AIA's and TSM's released test code, or with --average
    softmax their softmax.

    Examples:

      vidrepro ensemble RUN_8 RUN_16 --protocol "(8+16)x3x2@224"

      vidrepro ensemble RUN RUN RUN --weights 1,1,2 --json
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.cost.views import gmacs_of_run
    from vidrepro.evaluation.ensemble_runs import ensemble_runs
    from vidrepro.evaluation.scores import incomplete_text
    from vidrepro.report.run_sets import find_one_run

    folder = files.results_folder(results)
    sets = [find_one_run(folder, name, seed=seed, dataset=dataset, preset=preset) for name in runs]
    result = ensemble_runs(
        [one.folders[0] for one in sets],
        weights=_numbers(weights),
        average=average,  # type: ignore[arg-type]  # refused there if it is neither
        protocol=protocol,
        split=split,
        which=checkpoint,
        out=out or folder / "ensembles",
    )
    for one, run in zip(result["members"], sets, strict=True):
        one["gmacs_per_view"] = gmacs_of_run(run.folders[0], one["protocol"])
    if json:
        print_json(result)
        return
    printer = console()
    for one in result["members"]:
        words = [one["protocol"], f"weight {one['weight']:.3g}"]
        if one["gmacs_per_view"] is not None:
            words.append(f"{one['gmacs_per_view']:.4g} GMACs a view x {one['views']}")
        printer.print(f"{_line(one)}  {one['name']} ({', '.join(words)})")
    what = {"logits": "the runs' logits", "softmax": "the softmax of each run's scores"}[result["averaged"]]
    printer.print(
        f"{_line(result)}  all {len(result['members'])} together: mean of {what}, on {result['clips']} "
        f"{result['split']} clips ({result['protocol']}, {result['checkpoint']} checkpoints)",
    )
    costs, views = [one["gmacs_per_view"] for one in result["members"]], {one["views"] for one in result["members"]}
    if None not in costs and len(views) == 1:
        printer.print(f"cost: {sum(costs):.4g} GMACs a view (conv + linear) x {views.pop()} views")
    printer.print(f"scores: {result['scores']}")
    if lacking := incomplete_text(result["completeness"]):
        printer.print(lacking)


def _line(measured: dict[str, Any]) -> str:
    return (
        f"top-1 {measured['top1']:5.1f} %  top-5 {measured['top5']:5.1f} %  mean-class {measured['mean_class']:5.1f} %"
    )


def _numbers(text: str | None) -> list[float] | None:
    from vidrepro.values import parse_value

    if text is None:
        return None
    try:
        weights = [parse_value(part) for part in text.split(",")]
        if not all(type(weight) in (int, float) for weight in weights):
            raise ValueError
        return weights
    except ValueError:
        raise typer.BadParameter(f"--weights takes numbers with commas, not '{text}'") from None
