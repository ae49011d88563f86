"""``vidrepro compare``: networks on the same clips, overall and class by class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidrepro.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from vidrepro.report.compare import Comparison
    from vidrepro.report.compare_several import SeveralCompared
    from vidrepro.report.grid import TableReport
    from vidrepro.report.run_sets import RunSet

    Draw = Callable[[Path], None]

FORMATS = ("md", "csv", "png")


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN [RUN]...",
            help="Two or more runs, or experiments (m2a/table1/m2a): all their seeds. Of two, differences are A minus "
            "B; of more, the first is what the others are measured against.",
        ),
    ],
    per_class: Annotated[bool, typer.Option("--per-class", help="Also class by class, largest gain first.")] = False,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--classes", help="Accuracies on these: numbers (26,34,84), or a part of a name; may be repeated."
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Show so many of the largest gains and of the largest losses.")
    ] = None,
    formats: Annotated[
        str | None, typer.Option("--format", help="Also write files: md, csv, png; several with commas.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the files (default: <results>/compare); implies all three.")
    ] = None,
    split: options.EvaluatedSplit = None,
    checkpoint: options.Checkpoint = "best",
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

    More than two are compared class by class (--per-class): the accuracy of each on the classes named with --classes,
    or else on those where the first one is beaten most and least, as a table and as grouped bars (AIA's Figure 5).

    The runs must have kept their scores of single clips, as every run does where it was trained (vidrepro evaluate
    makes them again from a checkpoint).

    Examples:

      vidrepro compare m2a/table1/m2a m2a/table5/tsm

      vidrepro compare m2a/table1/m2a m2a/table5/tdn --per-class --format md,csv,png

      vidrepro compare RUN_A RUN_B --per-class --top 5

      vidrepro compare RUN RUN RUN RUN --per-class --classes 9,25,117 --classes "Pretending to throw" --format png
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.config import Protocol
    from vidrepro.report.render import terminal
    from vidrepro.report.run_sets import find_run_sets

    wanted = _formats(formats, out, per_class=per_class)
    _check_options(len(runs), per_class=per_class, top=top, classes=classes)
    folder = files.results_folder(results)
    sets = [find_run_sets(folder, name, dataset=dataset, preset=preset) for name in runs]
    where: dict[str, Any] = {
        "data": files.data_folder(data),
        "split": split,
        "checkpoint": checkpoint,
        "protocol": str(Protocol.parse(protocol)) if protocol else None,
    }
    comparison: Comparison | SeveralCompared
    if len(runs) > 2 or classes:
        comparison, shown, draw = _several(sets, classes, top, where)
    else:
        comparison, shown, draw = _pair(sets, per_class, top, where)
    written = _write(comparison.slug, shown, draw, out or folder / "compare", wanted)
    out_console = console(for_json=json)
    if json:
        print_json(comparison.record() | {"files": [str(path) for path in written]})
        return
    out_console.print(terminal(shown))
    for path in written:
        out_console.print(f"written: {path}")


def _check_options(count: int, *, per_class: bool, top: int | None, classes: list[str] | None) -> None:
    if count < 2:
        raise typer.BadParameter("two or more runs are compared")
    if top is not None and not per_class:
        raise typer.BadParameter("--top would have no effect: it is about single classes (add --per-class)")
    if classes and not per_class:
        raise typer.BadParameter("--classes would have no effect: it is about single classes (add --per-class)")
    if classes and top is not None:
        raise typer.BadParameter("--classes and --top both choose the classes to show: give one of them")
    if count > 2 and not per_class:
        raise typer.BadParameter("more than two runs are compared class by class (add --per-class)")


def _pair(
    sets: list[list[RunSet]], per_class: bool, top: int | None, where: dict[str, Any]
) -> tuple[Comparison, TableReport, Draw]:
    """Two sets of runs: the comparison, its report, and what draws it."""
    from vidrepro.report.compare import compare as compare_sets
    from vidrepro.report.compare import comparison_report
    from vidrepro.report.run_sets import choose_pair

    def draw(path: Path) -> None:
        from vidrepro.report.compare_figure import draw_comparison

        draw_comparison(comparison, path)

    comparison = compare_sets(*choose_pair(*sets), per_class=per_class, **where)
    return comparison, comparison_report(comparison, top=top), draw


def _several(
    sets: list[list[RunSet]], classes: list[str] | None, top: int | None, where: dict[str, Any]
) -> tuple[SeveralCompared, TableReport, Draw]:
    """Any number of sets of runs, class by class: the comparison, its report, and what draws it."""
    from vidrepro.report.compare_several import choose_alike, compare_several, several_report

    def draw(path: Path) -> None:
        from vidrepro.report.compare_several_figure import draw_several

        draw_several(comparison, path)

    comparison = compare_several(choose_alike(sets), classes=classes, top=top, **where)
    return comparison, several_report(comparison), draw


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


def _write(slug: str, shown: TableReport, draw: Draw, folder: Path, formats: list[str]) -> list[Path]:
    """Write the files asked for and return their paths; `draw` makes the picture."""
    from vidrepro.files import atomic_write_text
    from vidrepro.report.render import FORMATS as RENDERERS

    written = []
    for name in formats:
        path = folder / f"{slug}.{name}"
        if name == "png":
            draw(path)
        else:
            atomic_write_text(path, RENDERERS[name](shown))
        written.append(path)
    return written
