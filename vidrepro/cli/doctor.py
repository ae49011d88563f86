"""``vidrepro doctor``: what works here, what does not, and the remedy."""

from __future__ import annotations

import typer

from vidrepro.cli import options

MARKS = {"ok": "[green]ok[/green]", "warning": "[yellow]!![/yellow]", "broken": "[red]no[/red]"}


def doctor(data: options.Data = None, json: options.Json = False) -> None:
    """Check versions, devices, codecs and prepared datasets; exit 1 if something is broken.

    Examples:

      vidrepro doctor

      vidrepro doctor --json
    """
    from dataclasses import asdict

    from rich.table import Table

    from vidrepro import __version__, files
    from vidrepro.cli.output import console, print_json
    from vidrepro.diagnosis import diagnose

    findings = diagnose(files.data_folder(data))
    broken = [finding for finding in findings if finding.state == "broken"]
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        table = Table(title=f"vidrepro {__version__}", title_justify="left", box=None, pad_edge=False)
        for column in ("", "what", "name", "found"):
            table.add_column(column)
        for finding in findings:
            remedy = f"\n[bold]remedy:[/bold] {finding.remedy}" if finding.remedy else ""
            table.add_row(MARKS[finding.state], finding.topic, finding.name, finding.detail + remedy)
        console().print(table)
    if broken:
        raise typer.Exit(1)
