"""``vidrepro compare``: two networks on the same clips, overall and class by class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidrepro.cli import options

FORMATS = ("md", "csv", "png")


def compare(
    run_a: Annotated[str, typer.Argument(help="A run, or an experiment (m2a/table1/m2a): all its seeds.")],
    run_b: Annotated[str, typer.Argument(help="What it is compared with; differences are A minus B.")],
    per_class: Annotated[bool, typer.Option("--per-class", help="Also class by class, largest gain first.")] = False,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Show so many of the largest gains and of the largest losses.")
    ] = None,
    formats: Annotated[
        str | None, typer.Option("--format", help="Also write files: md, csv, png; several with commas.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the files (default: <results>/compare); implies all three.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="train, val or test (default: the one training was evaluated on).")
    ] = None,
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="best or last.")] = "best",
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="frames x crops x clips @ size (default: the runs' own).")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Of an experiment: only the runs on this dataset.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="Of an experiment: only the runs with this preset.")
    ] = None,
    data: options.Data = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Compare two runs, or all seeds of two experiments, clip by clip: difference of top-1 with intervals.

    The runs must have kept their scores of single clips, as every run does where it was trained (vidrepro evaluate
    makes them again from a checkpoint).

    Examples:

      vidrepro compare m2a/table1/m2a m2a/table5/tsm

      vidrepro compare m2a/table1/m2a m2a/table5/tdn --per-class --format md,csv,png

      vidrepro compare RUN_A RUN_B --per-class --top 5
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.config import Protocol
    from vidrepro.report.compare import compare as compare_sets
    from vidrepro.report.compare import comparison_report
    from vidrepro.report.render import terminal
    from vidrepro.report.run_sets import choose_pair, find_run_sets

    wanted = _formats(formats, out, per_class=per_class)
    if top is not None and not per_class:
        raise typer.BadParameter("--top would have no effect: it is about single classes (add --per-class)")
    folder = files.results_folder(results)
    sets = [find_run_sets(folder, name, dataset=dataset, preset=preset) for name in (run_a, run_b)]
    first, second = choose_pair(*sets)
    comparison = compare_sets(
        first,
        second,
        data=files.data_folder(data),
        per_class=per_class,
        split=split,
        checkpoint=checkpoint,
        protocol=str(Protocol.parse(protocol)) if protocol else None,
    )
    shown = comparison_report(comparison, top=top)
    written = _write(comparison, shown, out or folder / "compare", wanted)
    out_console = console(for_json=json)
    if json:
        print_json(comparison.record() | {"files": [str(path) for path in written]})
        return
    out_console.print(terminal(shown))
    for path in written:
        out_console.print(f"written: {path}")


def _formats(formats: str | None, out: Path | None, *, per_class: bool) -> list[str]:
    from vidrepro.errors import unknown_name

    if formats is None:
        return [name for name in FORMATS if name != "png" or per_class] if out else []
    wanted = [name.strip() for name in formats.split(",")]
    for name in wanted:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    if "png" in wanted and not per_class:
        raise typer.BadParameter("--format png draws single classes (add --per-class)")
    return list(dict.fromkeys(wanted))


def _write(comparison, shown, folder: Path, formats: list[str]) -> list[Path]:  # type: ignore[no-untyped-def]
    """Write the files asked for and return their paths."""
    from vidrepro.files import atomic_write_text
    from vidrepro.report.render import FORMATS as RENDERERS

    written = []
    for name in formats:
        path = folder / f"{comparison.slug}.{name}"
        if name == "png":
            from vidrepro.report.compare_figure import draw_comparison

            draw_comparison(comparison, path)
        else:
            atomic_write_text(path, RENDERERS[name](shown))
        written.append(path)
    return written
