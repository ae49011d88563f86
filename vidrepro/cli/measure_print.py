"""What ``vidrepro measure`` prints for people: its records as tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def print_costs(out: Console, records: Sequence[dict[str, Any]]) -> None:
    """One table for all rows, then what the reader must know about the numbers."""
    from rich.table import Table

    first = records[0]
    frames = " or ".join(str(count) for count in sorted({record["frames"] for record in records}))
    clip = f"{frames}x{first['size']}x{first['size']}, {first['classes']} classes"
    views = any(record["views"] != 1 for record in records)
    params = any(record["printed_params"] is not None for record in records)
    of = "view" if views else "clip"
    grid = Table(title=f"GMACs of one {of}, {clip}, eval mode", title_justify="left")
    for name in ("experiment", "row", "backbone"):
        grid.add_column(name, no_wrap=True)
    heads = ["fvcore", "conv+linear", "printed convention", "printed", *(["views", "fvcore x views"] if views else [])]
    for name in (*heads, "parameters", *(["printed, M"] if params else [])):
        grid.add_column(name, justify="right")
    rules = list(dict.fromkeys(record["rule"] for record in records if record["rule"]))
    marks = {rule: chr(ord("a") + number) for number, rule in enumerate(rules)}
    for record in records:
        if record["not_measured"]:
            cells = [record["backbone"] or "–", "–", "–", "–", _printed(record), *(["–", "–"] if views else []), "–"]
        else:
            convention = record["gmacs_printed_convention"]
            cells = [
                record["backbone"],
                f"{record['gmacs_fvcore']:.3f}",
                f"{record['gmacs_conv_linear']:.3f}",
                "" if convention is None else f"{convention:.3f} {marks[record['rule']]}",
                _printed(record),
                *([str(record["views"]), f"{record['gmacs_fvcore'] * record['views']:.1f}"] if views else []),
                f"{record['params']:,}",
            ]
        cells += [_printed(record, "printed_params")] if params else []
        grid.add_row(record["experiment"], record["label"], *cells)
    out.print(grid)
    for reason in dict.fromkeys(record["not_measured"] for record in records if record["not_measured"]):
        concerned = [record["experiment"] for record in records if record["not_measured"] == reason]
        out.print(f"–  {reason} ({', '.join(concerned)})")
    for rule, mark in marks.items():
        description = next(record["rule_description"] for record in records if record["rule"] == rule)
        out.print(f"{mark}  {rule}: {description}")
    measured = [record for record in records if not record["not_measured"]]
    uncounted = sorted({name.removeprefix("aten::") for record in measured for name in record["uncounted"]})
    if uncounted:
        out.print(f"not counted by fvcore: {', '.join(uncounted)} (calls of each: --json)")
    disagreements = [f"{r['experiment']}: {text}" for r in measured for text in r["cross_check"]["disagreements"]]
    for text in disagreements:
        out.print(f"the counters disagree on {text}", style="red")
    if measured and not disagreements:
        out.print("conv, linear and matrix products: three independent counters agree on every row")


MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: (" ", "")}


def _printed(record: dict[str, Any], name: str = "printed") -> Text:
    from rich.text import Text

    if record[name] is None:
        return Text()
    matches = record[f"matches_{name}"]
    text = Text(f"{record[name]:.{record[f'{name}_decimals']}f}")
    return text if matches is None else text.append(" ").append(*MARKS[matches])


def print_rates(target: str, out: Console, records: Sequence[dict[str, Any]]) -> None:
    """Rates of what was measured in turns, each over the reference's."""
    from rich.table import Table

    where = records[0]
    threads = f", {where['threads']} thread{'s' if where['threads'] > 1 else ''}" if where["threads"] else ""
    title = f"{target}: {where['device']}{threads}, torch {where['torch']}, median of {where['rounds']} rounds in turns"
    grid = Table(title=title, title_justify="left")
    grid.add_column("what", no_wrap=True)
    for name in ("on", where["unit"], "quartiles", "relative"):
        grid.add_column(name, justify="right")
    for record in records:
        low, high = record["quartiles"]
        grid.add_row(
            record["name"],
            _circumstances(record),
            f"{record['per_second']:.1f}",
            f"{low:.1f} to {high:.1f}",
            f"{record['relative']:.2f} x {record['reference']}",
        )
    out.print(grid)


def _circumstances(record: dict[str, Any]) -> str:
    if "preset" in record:
        return f"preset {record['preset']}, {record['batch']} x {record['frames']}x{record['size']}x{record['size']}"
    return f"{record['dataset']}, {record['protocol']}"
