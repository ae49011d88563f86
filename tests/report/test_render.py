from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vidrepro.report.grid import Cell, Grid, TableReport
from vidrepro.report.render import FORMATS, csv_text, escape_latex, latex, markdown, terminal

NASTY = r"50 % of a_b & c$d #1 {x} ~y ^z \w <t> |p| [q] *r* `s` ± × →"


def nasty_report() -> TableReport:
    grid = Grid(
        title=NASTY,
        heads=(Cell("name"), Cell("two\nlines")),
        rows=((Cell(NASTY, (1,), bold=True), Cell("1.5 [1, 2]")), (Cell("plain"), Cell("2", (1, 2)))),
        facts=(NASTY,),
    )
    records = ({"label": NASTY, "top1": 1 / 3, "n": 3, "none": None}, {"label": 'a "quoted", text', "top1": 0.5})
    notes, remarks = (NASTY, "second"), (NASTY,)
    return TableReport("m2a", "table1", NASTY, (grid,), notes, remarks, records, True, leftovers=("left over",))


def unescaped(text: str) -> str:
    """LaTeX without its escapes and comments."""
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    return re.sub(r"\\[\\&%$#_{}]", "", body)


def test_latex_is_balanced_and_escaped() -> None:
    text = latex(nasty_report())
    body = unescaped(text)
    assert body.count("{") == body.count("}")
    depth = 0
    for character in body:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert body.count("$") % 2 == 0
    assert not re.search(r"[#_~^|<>±×→]", re.sub(r"\$[^$]*\$", "", body))
    opened = re.findall(r"\\begin\{(\w+)\}", text)
    closed = re.findall(r"\\end\{(\w+)\}", text)
    assert sorted(opened) == sorted(closed)
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "&" in re.sub(r"\\&", "", line)]
    assert len(rows) == 3
    assert all(re.sub(r"\\&", "", row).count("&") == 1 for row in rows)
    assert r"\textbf{50 \% of" in text
    assert r"\textsuperscript{1,2}" in text


@given(st.text(alphabet=st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40))
def test_escaped_latex_has_no_active_characters(text: str) -> None:
    body = re.sub(r"\\[&%$#_{}]", "", escape_latex(text))  # escaped characters
    body = re.sub(r"\\text[a-z]+\{\}", "", body)  # named characters
    body = re.sub(r"\$\\[a-z]+\$", "", body).replace("{[}", "").replace("{]}", "")
    assert not set("&%$#_{}~^\\<>|[]") & set(body)


def test_markdown_keeps_its_columns_whatever_the_text() -> None:
    text = markdown(nasty_report())
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 4
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {3}
    assert "two lines" in table[0]
    assert "**50 % of a\\_b" in table[2]
    assert table[3].endswith("| 2¹˒² |")
    assert text.endswith("\n") and not text.endswith("\n\n")


def test_csv_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(nasty_report()))))
    assert rows[0] == {"label": NASTY, "top1": "0.333333", "n": "3", "none": ""}
    assert rows[1]["label"] == 'a "quoted", text'
    assert "\r" not in csv_text(nasty_report())


def test_what_else_lies_there_is_for_the_terminal_alone() -> None:
    assert not any("left over" in render(nasty_report()) for render in FORMATS.values())


@pytest.mark.parametrize("width", [200, 40])
def test_terminal_text_is_not_taken_for_markup(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal(nasty_report()))
    shown = console.export_text()
    assert "[q]" in shown and "left over" in shown
    if width == 200:
        assert "1.5 [1, 2]" in shown
        assert NASTY in shown


@pytest.mark.parametrize("text", ["$a$ and $b$", "~~gone~~", "&amp; &lt;b&gt; &#65;", "<b>x</b>", "a & b"])
def test_markdown_shows_a_name_as_it_is(text: str) -> None:
    """Read back as GitHub does: an escaped character is itself, and nothing else is left to read."""
    report = TableReport("m2a", "table1", text, (), (), (), (), True)
    shown = markdown(report).removeprefix("# ").strip()
    assert re.sub(r"\\(.)", r"\1", shown) == text
    assert not re.search(r"(?<!\\)[$~<>]|(?<!\\)&#?\w+;", shown)
