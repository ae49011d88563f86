"""The command line: which commands there are. Each module parses, calls and prints; none imports torch at start-up."""

from __future__ import annotations

from typing import Annotated

import typer

from vidrepro import __version__
from vidrepro.cli.ablate import ablate
from vidrepro.cli.compare import compare
from vidrepro.cli.datasets import PrepareCommand
from vidrepro.cli.doctor import doctor
from vidrepro.cli.ensemble import ensemble
from vidrepro.cli.evaluate import evaluate
from vidrepro.cli.explain import explain
from vidrepro.cli.import_checkpoint import import_checkpoint
from vidrepro.cli.invert import invert
from vidrepro.cli.measure import measure
from vidrepro.cli.prepare import prepare
from vidrepro.cli.runs import runs
from vidrepro.cli.show import show
from vidrepro.cli.table import table
from vidrepro.cli.train import train

app = typer.Typer(
    name="vidrepro",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)

app.command(cls=PrepareCommand)(prepare)
for command in (
    ablate, train, evaluate, ensemble, invert, measure, table, compare, show, runs, doctor, import_checkpoint,
):  # fmt: skip
    app.command(command.__name__.replace("_", "-"))(command)
app.add_typer(explain)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Is a video-action-recognition paper's table true? Prepare data, run the paper's rows, print ours beside theirs.

    Start here: [bold]vidrepro ablate m2a[/bold] trains M2A's ablation on an embedded dataset and needs no download.

    Any error with --debug shows its traceback.
    """
