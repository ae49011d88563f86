"""``vidrepro evaluate``: a finished run, looked at again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vidrepro.cli import options


def evaluate(
    run: options.RunName,
    protocol: options.Protocol = None,
    average: Annotated[
        str | None,
        typer.Option("--average", help="Mean over a clip's views of logits, or softmax (default: the run's own)."),
    ] = None,
    split: options.Split = None,
    checkpoint: options.Checkpoint = "best",
    device: options.Device = "auto",
    workers: options.Workers = 0,
    data: options.Data = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Evaluate a finished run under a named protocol and save its per-clip scores.

    A protocol with several crops (left, right, centre) or clips looks at a video that many times; the views are a batch
    and the mean of their logits is the video's. That is the released test code of TSM and AIA; its optional softmax of
    the mean changes no accuracy and is what vidrepro ensemble --average softmax combines.

    Examples:

      vidrepro evaluate synthetic_micro_m2a --protocol 8x3x2@48

      vidrepro evaluate synthetic_micro_m2a --checkpoint last --json
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.cost.views import gmacs_of_run
    from vidrepro.evaluation.rerun import evaluate_run
    from vidrepro.evaluation.scores import incomplete_text
    from vidrepro.runs.folder import find_run

    folder = find_run(files.results_folder(results), run)
    result = evaluate_run(
        folder,
        data=files.data_folder(data),
        protocol=protocol,
        average=average,
        split=split,
        which=checkpoint,
        device=device,
        workers=workers,
    )
    result["gmacs_per_view"] = gmacs_of_run(folder, result["protocol"])
    if json:
        print_json(result)
        return
    pair = f", pair {result['pair']:.1f} %" if result["pair"] is not None else ""
    which = f"{result['split']} clips" + (f" of {result['fold']}" if result["fold"] else "")
    console().print(
        f"{result['run']} ({result['checkpoint']}): top-1 {result['top1']:.1f} %, top-5 {result['top5']:.1f} %, "
        f"mean-class {result['mean_class']:.1f} %{pair} on {result['clips']} {which}, {result['bad']} bad ones "
        f"excluded ({result['protocol']})\n{_cost_text(result)}scores: {result['scores']}"
    )
    if lacking := incomplete_text(result["completeness"]):
        console().print(lacking)


def _cost_text(result: dict[str, Any]) -> str:
    """What a clip costs and how its views are combined, as a line; empty where neither can be said."""
    views, gmacs = result["views"], result["gmacs_per_view"]
    parts = [f"cost: {gmacs:.4g} GMACs a view (conv + linear) x {views} views"] if gmacs is not None else []
    parts += [f"mean of the views' {result['averaged']}"] if views > 1 else []
    return f"{', '.join(parts)}\n" if parts else ""
