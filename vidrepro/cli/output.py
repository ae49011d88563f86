"""What commands print for people: to stderr when stdout belongs to a script."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidrepro.cli.streams import is_unicode

if TYPE_CHECKING:
    from rich.console import Console


def console(*, for_json: bool = False) -> Console:
    """A console on stdout, or on stderr when stdout carries JSON alone; it prints every text as it stands."""
    from vidrepro.terminal import PlainConsole

    # Outside a terminal rich would wrap at 80 columns and cut tables; a file or pipe has no width.
    width = None if (sys.stderr if for_json else sys.stdout).isatty() else 160
    return PlainConsole(stderr=for_json, width=width)


@contextmanager
def interruptible() -> Iterator[None]:
    """Around work that the same command continues: on Ctrl-C say so, and exit with 130."""
    import typer

    try:
        yield
    except KeyboardInterrupt:
        print("interrupted: what is finished is kept, and the same command continues", file=sys.stderr)
        raise typer.Exit(130) from None


def print_json(value: Any) -> None:
    """JSON alone on stdout; where that cannot show every character, in ASCII, which is JSON too."""
    print(json.dumps(value, indent=1, ensure_ascii=not is_unicode(sys.stdout), sort_keys=True))


def print_run(out: Console, folder: Path) -> None:
    """One line about a finished run."""
    from vidrepro.evaluation.scores import incomplete_text
    from vidrepro.runs.record import read_record

    record, _ = read_record(folder)
    best = record.best
    pair = f", pair {best.pair:.1f} %" if best.pair is not None else ""
    clips = f"{best.clips} {best.split} clips"
    out.print(
        f"{record.id}: top-1 {best.top1:.1f} %, top-5 {best.top5:.1f} %{pair} on {clips} of "
        f"{record.dataset.name} ({record.protocol}, epoch {best.epoch}; last epoch {record.last.top1:.1f} %), "
        f"{record.seconds:.0f} s"
    )
    if lacking := incomplete_text(record.dataset.completeness):
        out.print(lacking)
