"""How far a long command is: bars with rate and remaining time on a terminal, else a line a minute; all on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int, int], None]  # (done, in all)

SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def progress_bars() -> Iterator[Callable[[str, str], Report]]:
    """Gives a function that makes bars from a label and a unit; each appears when it is first reported to."""
    from rich.progress import Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    from vidrepro.terminal import PlainConsole, bar_columns, visible

    class Done(ProgressColumn):
        def render(self, task: Task) -> Text:
            unit = task.fields["unit"]
            rate = f", {_amount(task.speed, unit)}/s" if task.speed else ""
            return Text(f"{_amount(task.completed, unit)} of {_amount(task.total or 0, unit)}{rate}")

    out = PlainConsole(stderr=True)
    columns = (*bar_columns(), Done(), TimeRemainingColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal) as display:

        def bar(label: str, unit: str) -> Report:
            if not out.is_terminal:
                return _lines(visible(label), unit)
            task = display.add_task(label, total=None, visible=False, unit=unit)
            return lambda done, total: display.update(task, completed=done, total=total, visible=True)

        yield bar


def _lines(label: str, unit: str) -> Report:
    began: tuple[float, int] | None = None
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal began, last
        now = time.monotonic()
        if began is None:
            began, last = (now, done), now
        elif now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = (done - began[1]) / (now - began[0])
            left = f", {_amount(rate, unit)}/s, {(total - done) / rate / 60:.0f} min left" if rate else ""
            print(f"{label}: {_amount(done, unit)} of {_amount(total, unit)}{left}", file=sys.stderr, flush=True)

    return report


def _amount(number: float, unit: str) -> str:
    if unit == "bytes":
        return f"{number / 1e6:,.1f} MB"
    return f"{number:,.0f} {unit}" if number >= 10 or number == int(number) else f"{number:.1f} {unit}"
