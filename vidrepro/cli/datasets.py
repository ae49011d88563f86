"""How datasets that can be prepared are described: ``prepare list``, ``prepare NAME --help`` and ``--dry-run``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from rich.console import Console

    from vidrepro.data.sources.contract import Description
    from vidrepro.data.sources.estimate import Estimate

_WORDS = "vidrepro.words"


class PrepareCommand(TyperCommand):
    """``prepare``, whose help says where a dataset comes from when its name stands on the line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words: ``--help`` is answered before any other is understood."""
        ctx.meta[_WORDS] = list(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The usual help, below what is to be known about the dataset."""
        from vidrepro.cli.output import console
        from vidrepro.data.known import OFFICIAL
        from vidrepro.data.sources import find_source

        for word in ctx.meta.get(_WORDS, ()):
            if word in OFFICIAL:
                print_guide(console(), find_source(word).describe()[0])
                break
        super().format_help(ctx, formatter)


def print_guide(out: Console, description: Description) -> None:
    """A dataset, where it comes from and what belongs to the download."""
    from rich.text import Text

    name = Text(description.name, style="bold")
    guide = description.guide
    if guide is None:
        out.print(name.append(f"  {description.content}; {description.origin}", style="not bold"))
        return
    out.print(name.append(f"  {guide.title}: {guide.content}", style="not bold"), soft_wrap=True)
    rows = [("page", guide.page), ("licence", guide.licence), ("registration", guide.registration)]
    rows += [("files" if not place else "", file) for place, file in enumerate(guide.files)]
    rows += [("not certain", guide.certainty)] if guide.certainty else []
    for head, text in rows:
        out.print(Text(f"  {head:13}", style="dim").append(text, style="not dim"), soft_wrap=True)
    out.print("  nothing is downloaded for you; then:", style="dim", end=" ")
    out.print(f"vidrepro prepare {description.name} --root FOLDER\n", soft_wrap=True)


def print_list(out: Console, descriptions: Sequence[Description]) -> None:
    """Every dataset."""
    for description in descriptions:
        print_guide(out, description)


def print_estimate(out: Console, name: str, found: Estimate) -> None:
    """What a preparation would find and take."""
    say = lambda text: out.print(text, soft_wrap=True)  # noqa: E731
    if found.packed_bytes:
        say(f"to unpack: {found.packed_bytes / 1e9:.2f} GB of archives")
    for split, row in found.counts.items():
        expected = f" of {row['expected']:,} official ones" if row["expected"] is not None else ""
        say(f"{split}: {row['listed']:,} clips listed{expected}, {row['missing']:,} without a file")
    for problem in found.problems:
        say(problem)
    if not found.accepted:
        say("as it is, the preparation would be refused; --allow-missing FRACTION accepts a share of missing clips")
    for note in found.notes:
        say(note)
    if found.sampled:
        say(f"{found.sampled} of {found.clips:,} clips tried, {found.sampled_bad} of them bad")
    time = "unknown" if found.seconds is None else _duration(found.seconds)
    say(
        f"{name}: about {time}, {_size(found.disk_bytes)} of disk ({_size(found.free_bytes)} free); nothing was written"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(count: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
