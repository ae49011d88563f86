"""``vidrepro invert``: what is left of a run's accuracy when its attention is inverted, averaged or shuffled."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vidrepro.cli import options


def invert(
    run: options.RunName,
    what: Annotated[
        str,
        typer.Option(
            "--what",
            help="Which attention: all, names as the network has them (spatial,temporal; a wrong one lists them), or "
            "patterns of the taps' dotted names ('*layer3*'); commas between several, replaced together.",
        ),
    ] = "all",
    how: Annotated[
        str, typer.Option("--how", help="invert (1 - M), mean (of the clip), or shuffle (over its frames).")
    ] = "invert",
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=options.MAX_SEED, help="Of the permutations of shuffle.")
    ] = 0,
    protocol: options.Protocol = None,
    split: options.Split = None,
    checkpoint: options.Checkpoint = "best",
    device: options.Device = "auto",
    workers: options.Workers = 0,
    data: options.Data = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Faithfulness probe: replace a trained network's attention at test time, and see how much accuracy it costs.

    Nothing is trained, no weight changes. invert: M becomes 1 - M (a softmax is divided by its sum afterwards); mean:
    every value becomes the map's mean in the clip; shuffle: every frame gets the values of another frame of its clip.

    Examples:

      vidrepro invert synthetic_micro_m2a --how mean

      vidrepro invert RUN --what spatial,temporal --how invert --json
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.evaluation.probe_run import probe_run
    from vidrepro.evaluation.scores import incomplete_text
    from vidrepro.runs.folder import find_run

    folder = find_run(files.results_folder(results), run)
    record = probe_run(
        folder,
        data=files.data_folder(data),
        what=what,
        how=how,
        seed=seed,
        protocol=protocol,
        split=split,
        which=checkpoint,
        device=device,
        workers=workers,
    )
    if json:
        print_json(record)
        return
    printer = console()
    clips = f"{record['plain']['clips']:,} {record['split']} clips, {record['protocol']}"
    printer.print(f"{record['run']} ({record['checkpoint']}), {clips}")
    printer.print(_table(record))
    kinds: dict[str, list[dict[str, Any]]] = {}
    for tap in record["taps"]:
        kinds.setdefault(tap["what"], []).append(tap)
    for kind, taps in kinds.items():
        moved = [tap["moved"] for tap in taps if tap["moved"] is not None]
        change = "left as it is: no axis of time, or not computed"
        if moved:
            change = f"changed by {sum(moved) / len(moved):.3f} in the mean"
        printer.print(f"{kind} in {len(taps)} place{'s' if len(taps) > 1 else ''}: {change}")
    if lacking := incomplete_text(record["completeness"]):
        printer.print(lacking)
    printer.print(f"written: {record['file']}, {record['scores']['probed']}")


def _table(record: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table("accuracy in %", "as trained", f"{record['what']}: {record['how']}", "lost [95 %]")
    names = {"top1": "top-1", "top5": "top-5", "mean_class": "mean-class", "pair": "pair (class or its reversal)"}
    for key, name in names.items():
        plain, probed = record["plain"][key], record["probed"][key]
        if plain is None:
            continue
        drop = record["drop"].get(key)
        interval = f" [{drop['low']:.1f}, {drop['high']:.1f}]" if drop else ""
        table.add_row(name, f"{plain:.1f}", f"{probed:.1f}", f"{plain - probed:.1f}{interval}")
    return table
