"""What is printed for people, as it stands: nothing in a name or a path is markup, an emoji or a control sequence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, ProgressColumn, TextColumn
from rich.segment import Segment

# All but tab and line break; and what turns the direction of writing, so that a name could look like another.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class PlainConsole(Console):
    """A console that takes texts literally; outside a terminal it breaks none into lines, which could be paths."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments, control characters in their texts written as escapes: ``\\x1b``."""
        for segment in super().render(renderable, options):
            if segment.control or not _CONTROL.search(segment.text):
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich's."""
        if not self.is_terminal and all(isinstance(one, str) for one in objects):
            how.setdefault("soft_wrap", True)
        super().print(*objects, **how)


def visible(text: str) -> str:
    """Text whose control characters can be seen and do nothing."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def bar_columns(*fields: str, width: int | None = 40) -> tuple[ProgressColumn, ...]:
    """Columns of a progress display: description, bar, and fields of the task; all of them literal."""
    texts = ["{task.description}", *(f"{{task.fields[{name}]}}" for name in fields)]
    first, *others = (TextColumn(text, markup=False) for text in texts)
    return first, BarColumn(width), *others
