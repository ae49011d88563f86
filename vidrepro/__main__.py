"""Entry point of ``vidrepro`` and ``python -m vidrepro``: runs a command, turns refusals into one clean panel."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidrepro.errors import VidreproError

USAGE_ERROR = 2
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 defect of ours, 2 refused, 130 interrupted.

    ``--debug``, anywhere on the line, lets the traceback of any error through.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    from vidrepro import surroundings
    from vidrepro.cli import streams

    surroundings.settle()
    streams.make_streams_forgiving()
    code = _run(words, debug)
    lost = streams.lost_output(sys.stdout)
    if lost is not None:
        problem = f"cannot write to the standard output: {lost.strerror}"
        _print_panel(problem, [("next", "what the command did is done; only what it printed is lost")])
        code = code or USAGE_ERROR
    sys.exit(code)


def _run(words: list[str], debug: bool) -> int:
    import typer

    from vidrepro.cli.app import app
    from vidrepro.errors import VidreproError, machine_refusal

    usage_errors = typer.BadParameter.__mro__[2]  # ClickException, wherever this typer keeps its click
    try:
        _require_no_empty_word(words)
        code = app(args=words, prog_name="vidrepro", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        if isinstance(error, usage_errors):
            error.show()  # type: ignore[attr-defined]
            return USAGE_ERROR
        refusal = error if isinstance(error, VidreproError) else _fault_in_own_code(error) or machine_refusal(error)
        if refusal is not None:
            _print_panel(refusal.problem, refusal.details())
            return USAGE_ERROR
        defect = f"{type(error).__name__}: {error}"
        _print_panel(
            defect, [("next", "this is a defect of vidrepro; run again with --debug and report the traceback")]
        )
        return 1


def _require_no_empty_word(words: list[str]) -> None:
    """An empty folder would be this one, and an empty name the beginning of any run's."""
    from vidrepro.errors import VidreproError

    for number, word in enumerate(words, 1):
        if not word or (word.startswith("--") and word.find("=") == len(word) - 1):
            raise VidreproError(
                f"word {number} of the command says nothing: '{word}'",
                given=" ".join(f"'{one}'" for one in words),
                hint="a variable of the shell may not be set; without the option its default is taken",
            )


def _fault_in_own_code(error: Exception) -> VidreproError | None:
    """A fault in a user's own mechanism, where one was loaded: nothing is imported for it."""
    loaded = sys.modules.get("vidrepro.models.mechanisms.external_faults")
    return loaded.fault_in_own_code(error) if loaded else None


def _print_panel(problem: str, details: list[tuple[str, str]]) -> None:
    from rich.panel import Panel
    from rich.text import Text

    from vidrepro.terminal import PlainConsole

    text = Text(problem, style="bold")
    for label, value in details:
        text.append(f"\n{label}: ", style="dim").append(value, style="not bold")
    PlainConsole(stderr=True).print(Panel(text, title="error", title_align="left", border_style="red"))


if __name__ == "__main__":
    main()
