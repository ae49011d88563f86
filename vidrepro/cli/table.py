"""``vidrepro table``: a paper's tables, printed numbers beside measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidrepro.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from vidrepro.report.grid import Grid, TableReport


def table(
    paper: Annotated[str, typer.Option("--paper", help="A paper, e.g. m2a.")],
    which: Annotated[str | None, typer.Option("--table", help="I, 2, … or several, as I,V (default: all).")] = None,
    formats: Annotated[str, typer.Option("--format", help="Files to write: md, csv, tex.")] = "md,csv,tex",
    dataset: Annotated[str | None, typer.Option("--dataset", help="Print only what was measured on this.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Print only what was measured with this.")] = None,
    figure: Annotated[bool, typer.Option("--figure", help="Also draw each table that has runs, as PNG.")] = False,
    data: options.Data = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Write and print a paper's tables: printed numbers, counted costs, and accuracies measured here.

    Reads the finished runs of the results folder; writes tables/PAPER/ there. The files always hold everything that
    was measured: --dataset and --preset choose what is printed. Nothing is trained; costs that are not known yet are
    counted first.

    Examples:

      vidrepro table --paper m2a

      vidrepro table --paper m2a --table I,V --format md --figure

      vidrepro table --paper m2a --dataset synthetic --preset tiny --json
    """
    from vidrepro import files

    write_tables(
        paper,
        tables=which.split(",") if which else None,
        formats=formats,
        dataset=dataset,
        preset=preset,
        figure=figure,
        data=files.data_folder(data),
        results=files.results_folder(results),
        json=json,
    )


def write_tables(
    paper: str,
    *,
    tables: Sequence[str] | None = None,
    formats: str = "md,csv,tex",
    dataset: str | None = None,
    preset: str | None = None,
    figure: bool = False,
    results: Path,
    data: Path,
    json: bool = False,
) -> None:
    """What `table` does; also the end of ``ablate``.

    Args:
        paper: its name.
        tables: those wanted; None for all.
        formats: files to write, as a comma list.
        dataset, preset: print only what was measured so; the files hold everything.
        figure: whether to draw as well.
        results: where runs are read and tables are written.
        data: where prepared datasets lie.
        json: print JSON on stdout instead of tables.
    """
    from vidrepro.cli.output import console, print_json
    from vidrepro.cost.paper_costs import measure_paper
    from vidrepro.experiments import load_paper, load_preset
    from vidrepro.report.finished_runs import load_runs
    from vidrepro.report.own_rows import with_own_rows
    from vidrepro.report.verdicts import with_tables_compared
    from vidrepro.report.write import check_formats, report_tables, write_report

    source = load_paper(paper)
    wanted = check_formats(formats)
    if preset is not None:
        load_preset(preset)
    collection = load_runs(results)
    source = with_own_rows(source, collection.runs)
    chosen = list(source.tables)
    if tables is not None:
        chosen = list({t.id: t for t in map(source.table, tables)}.values())
    out = console(for_json=json)
    costs: dict[str, Any] = {}
    for entry in with_tables_compared(source, chosen):
        records = measure_paper(
            source,
            entry.id,
            results=results,
            progress=lambda row: out.print(f"counting the cost of {row}", style="dim"),
        )
        costs |= {record["experiment"]: record for record in records}
    dataset = None if dataset == "auto" else dataset
    shown = report_tables(source, chosen, collection, costs, data_folder=data, dataset=dataset, preset=preset)
    reports = report_tables(source, chosen, collection, costs, data_folder=data)
    written = [[str(path) for path in write_report(report, results, wanted)] for report in reports]
    if figure:
        for report, paths in zip(reports, written, strict=True):
            paths += [str(path) for path in _draw(report, source, results, out)]
    if json:
        print_json([_as_json(report, paths) for report, paths in zip(shown, written, strict=True)])
        return
    for report, whole, paths in zip(shown, reports, written, strict=True):
        _print(out, report, paths, in_full=report.measured or tables is not None, partly=report.grids != whole.grids)


def _draw(report: TableReport, paper: Any, results: Path, out: Console) -> list[Path]:
    if not report.measured:
        out.print(f"Nothing to draw for {report.title}: nothing is measured yet.")
        return []
    from vidrepro.report.figures import draw_table

    path = results / "tables" / report.paper / f"{report.table}.png"
    draw_table(report, paper, path)
    return [path]


def _print(out: Console, report: TableReport, paths: Sequence[str], *, in_full: bool, partly: bool) -> None:
    from vidrepro.report.render import terminal

    if in_full:
        out.print(terminal(report))
    else:
        out.print(f"{report.title}: nothing measured yet.")
    more = ", with everything that was measured" if partly else ""
    out.print(f"  written{more}: {', '.join(paths)}", style="dim", soft_wrap=True)


def _as_json(report: TableReport, paths: Sequence[str]) -> dict[str, Any]:
    return {
        "paper": report.paper,
        "table": report.table,
        "title": report.title,
        "rows": list(report.records),
        "facts": [fact for grid in report.grids for fact in grid.facts],
        "verdicts": [_verdicts(grid) for grid in report.verdicts],
        "notes": list(report.notes),
        "remarks": [*report.remarks, *report.leftovers],
        "files": list(paths),
    }


def _verdicts(grid: Grid) -> dict[str, Any]:
    heads = ("sentence", "printed", "measured", "verdict")
    rows = [dict(zip(heads, (cell.text for cell in row), strict=True)) for row in grid.rows]
    return {"title": grid.title, "sentences": rows, "facts": list(grid.facts)}
