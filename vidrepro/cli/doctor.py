"""``vidrepro doctor``: what works here, what does not, and the remedy."""

from __future__ import annotations

import typer

from vidrepro.cli import options

MARKS = {"ok": ("ok", "green"), "warning": ("!!", "yellow"), "broken": ("no", "red")}


def doctor(data: options.Data = None, json: options.Json = False) -> None:
    """Check versions, devices, codecs, environment and prepared datasets; exit 1 if something is broken.

    Examples:

      vidrepro doctor

      vidrepro doctor --json
    """
    from dataclasses import asdict

    from rich.table import Table
    from rich.text import Text

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
            found = Text(finding.detail)
            if finding.remedy:
                found.append("\nremedy: ", style="bold").append(finding.remedy)
            table.add_row(Text(*MARKS[finding.state]), finding.topic, finding.name, found)
        console().print(table)
    if broken:
        raise typer.Exit(1)
