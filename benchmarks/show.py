"""What the benchmarks print: their records as tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidrepro.cli.measure_print import MARKS


def print_steps(out: Console, records: Sequence[dict[str, Any]]) -> None:
    """A table for each case and quantity: what every network costs, and the ratio it may have at most."""
    for quantity, case in dict.fromkeys((record["quantity"], record["case"]) for record in records):
        rows = [record for record in records if (record["quantity"], record["case"]) == (quantity, case)]
        where = rows[0]
        pairs = f", median of {where['pairs']} pairs in turns" if where["pairs"] > 1 else ""
        grid = Table(
            title=f"{quantity}, {case}: {where['device']}, {where['threads']} threads, eager, torch {where['torch']}"
            f"{pairs}",
            title_justify="left",
        )
        grid.add_column("what", no_wrap=True)
        for name in ("MB" if where["bytes"] else "ms", "ratio", "95 % bootstrap", "may be at most"):
            grid.add_column(name, justify="right")
        for record in rows:
            interval = record["interval"]
            bar = "" if record["bar"] is None else f"{record['bar']:.2f} " + ("✓" if record["met"] else "✗")
            grid.add_row(
                record["name"],
                f"{record['bytes'] / 1e6:.0f}" if record["bytes"] else f"{1000 * record['seconds']:.0f}",
                f"{record['ratio']:.3f} x" + ("" if record["over"] == "none" else f" of {record['over']}"),
                "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
                bar,
            )
        out.print(grid)


def print_preparation(out: Console, records: Sequence[dict[str, Any]]) -> None:
    """A line for each figure, with its limit where it has one."""
    for record in records:
        limit = ""
        if record["limit"] is not None:
            limit = f"   ({'at least' if record['at_least'] else 'at most'} {record['limit']:g})"
        mark = Text(*MARKS[record["good"] if limit else None])
        out.print(mark.append(f" {record['name']}: {record['value']:.2f} {record['unit']}{limit}", style="default"))


def print_leak(out: Console, found: Mapping[str, Any]) -> None:
    """What the order-blind network came to, and the verdict."""
    low, high = found["interval"]
    verdict = "something leaks" if found["leaks"] else "no leak seen"
    out.print(
        f"order-blind network, {found['epochs']} epochs: top-1 {found['top1']:.1f} % ({low:.1f} to {high:.1f} % on "
        f"{found['clips']} clips; on training clips {found['train_top1']:.1f} %), pair {found['pair']:.1f} %, "
        f"order-blind ceiling {found['ceiling']:.1f} %; where the pair was told, "
        f"the direction was in {found['direction'] or 0:.1f} % ({found['direction_interval'][0]:.1f} to "
        f"{found['direction_interval'][1]:.1f} % of {found['direction_clips']} clips): {verdict}"
    )


def print_startup(out: Console, records: Sequence[Mapping[str, Any]]) -> None:
    """A line for each command."""
    for record in records:
        out.print(
            f"{record['name']}: {record['seconds'] * 1000:.0f} ms, median of {record['rounds']} starts, "
            f"{1 / record['relative']:.2f} x {record['reference']}"
        )
