"""``vidrepro runs``: the runs of a results folder."""

from __future__ import annotations

from vidrepro.cli import options


def runs(results: options.Results = None, json: options.Json = False) -> None:
    """List the runs of a results folder: what was trained on what, and its accuracy.

    Examples:

      vidrepro runs

      vidrepro runs --results /data/results --json
    """
    from rich.table import Table
    from rich.text import Text

    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.report.describe import describe_run
    from vidrepro.report.finished_runs import load_runs
    from vidrepro.runs.folder import lock_holder, runs_folder

    folder = files.results_folder(results)
    collection = load_runs(folder)
    records = [describe_run(run) for run in collection.runs]
    held = {name: lock_holder(runs_folder(folder) / name) for name in collection.unfinished}
    if json:
        print_json(records + [{"run": name, "state": "not finished", "held_by": held[name]} for name in held])
        return
    out = console()
    if not records and not collection.unfinished:
        out.print(f"no runs in '{folder}'; next: vidrepro ablate m2a")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("run", "dataset", "backbone", "mechanism", "protocol"):
        table.add_column(head, header_style="dim", overflow="fold")
    for head in ("seed", "top-1", "last", "pair", "seconds", "commit"):
        table.add_column(head, header_style="dim", justify="right")
    for record in records:
        names = [str(record[key]) for key in ("run", "dataset", "backbone", "mechanism", "protocol", "seed")]
        pair = f"{record['pair']:.1f}" if record["pair"] is not None else "-"
        commit = f"{record['commit'] or '-'}{'+' if record['dirty'] else ''}"
        numbers = [f"{record['top1']:.1f}", f"{record['last_top1']:.1f}", pair, f"{record['seconds']:.0f}", commit]
        table.add_row(*names, *numbers)
    for name, who in held.items():
        table.add_row(name, Text(f"trained by {who}" if who else "not finished"))
    out.print(table)
    out.print(f"{len(records)} finished, {len(collection.unfinished)} not finished, in {folder}")
