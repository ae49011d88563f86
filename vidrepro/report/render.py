"""A `TableReport` as Markdown, LaTeX, CSV or terminal text. The same report always gives the same bytes.

The terminal alone also shows `TableReport.leftovers`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from vidrepro.report.grid import Cell, TableReport

if TYPE_CHECKING:
    from rich.console import RenderableType

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",  # after a line break, LaTeX would read a bare one as its argument
    "]": "{]}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "–": "--",
    "'": r"\textquotesingle{}",
}


def markdown(report: TableReport) -> str:
    """GitHub-flavoured Markdown."""
    lines = [f"# {_escape_markdown(report.title)}", ""]
    for grid in (*report.grids, *report.verdicts):
        lines += [f"**{_escape_markdown(grid.title)}**", "", _markdown_row(_markdown_cell(cell) for cell in grid.heads)]
        lines.append(_markdown_row(["---", *(["---:"] * (len(grid.heads) - 1))]))
        lines += [_markdown_row(_markdown_cell(cell) for cell in row) for row in grid.rows]
        lines += ["", *(f"- {_escape_markdown(fact)}" for fact in grid.facts), ""]
    lines += [f"{_superscript((number,))} {_escape_markdown(note)}  " for number, note in enumerate(report.notes, 1)]
    lines += ["", *(f"{_escape_markdown(remark)}\n" for remark in report.remarks)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def latex(report: TableReport) -> str:
    """A LaTeX ``table`` per grid; needs booktabs and textcomp."""
    lines = ["% Made by vidrepro; needs \\usepackage{booktabs,textcomp}.", f"% {_one_line(report.title)}"]
    for grid in (*report.grids, *report.verdicts):
        lines += [
            "",
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{escape_latex(report.title)}. {escape_latex(grid.title)}.}}",
            rf"\begin{{tabular}}{{l{'r' * (len(grid.heads) - 1)}}}",
            r"\toprule",
            _latex_row(grid.heads),
            r"\midrule",
            *(_latex_row(row) for row in grid.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        used = {mark for row in (grid.heads, *grid.rows) for cell in row for mark in cell.marks}
        below = [f"\\textsuperscript{{{n}}} {escape_latex(report.notes[n - 1])}." for n in sorted(used)]
        below += [escape_latex(fact) for fact in grid.facts]
        if below:
            lines += ["", r"\footnotesize", " \\\\\n".join(below)]
        lines.append(r"\end{table}")
    lines += [f"% {_one_line(remark)}" for remark in report.remarks]
    return "\n".join(lines) + "\n"


def csv_text(report: TableReport) -> str:
    """One line per row and setting, six decimals; empty where there is nothing, with ``empty_because``."""
    names = list(dict.fromkeys(name for record in report.records for name in record))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for record in report.records:  # rounded: the last bits of a float differ between machines
        writer.writerow(
            {name: round(value, 6) if isinstance(value, float) else value for name, value in record.items()}
        )
    return buffer.getvalue()


FORMATS: dict[str, Callable[[TableReport], str]] = {"md": markdown, "csv": csv_text, "tex": latex}


def terminal(report: TableReport) -> RenderableType:
    """For a rich console."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table as RichTable
    from rich.text import Text

    def below(text: str) -> RenderableType:
        return Padding(Text(text, style="dim"), (0, 0, 0, 2))

    parts: list[RenderableType] = [Text(report.title, style="bold")]
    for grid in (*report.grids, *report.verdicts):
        shown = RichTable(title=Text(grid.title, style="italic"), title_justify="left", box=SIMPLE_HEAD)
        for position, head in enumerate(grid.heads):
            shown.add_column(Text(_plain(head)), justify="right" if position else "left", vertical="bottom")
        for row in grid.rows:
            shown.add_row(*(Text(_plain(cell), style="bold" if cell.bold else "") for cell in row))
        parts += [shown, *(below(fact) for fact in grid.facts), ""]
    parts += [below(f"{_superscript((number,))} {note}") for number, note in enumerate(report.notes, 1)]
    parts += [below(remark) for remark in (*report.remarks, *report.leftovers)]
    return Group(*parts, "")


def escape_latex(text: str) -> str:
    """Text with every character that LaTeX would interpret, or that its default fonts lack, written safely."""
    return "".join(_LATEX.get(character, character) for character in text)


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell) -> str:
    text = _escape_markdown(_one_line(cell.text))
    return f"{f'**{text}**' if cell.bold else text}{_superscript(cell.marks)}"


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\|*_`<>\[\]$~]|&(?=#?\w+;))", r"\\\1", text)


def _latex_row(cells: Sequence[Cell]) -> str:
    return " & ".join(_latex_cell(cell) for cell in cells) + r" \\"


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(_one_line(cell.text))
    marks = ",".join(map(str, cell.marks))
    return (rf"\textbf{{{text}}}" if cell.bold else text) + (rf"\textsuperscript{{{marks}}}" if marks else "")


def _plain(cell: Cell) -> str:
    return cell.text + _superscript(cell.marks)


def _superscript(marks: Iterable[int]) -> str:
    return "˒".join(str(mark).translate(_SUPERSCRIPTS) for mark in marks)


def _one_line(text: str) -> str:
    return " ".join(text.split())
