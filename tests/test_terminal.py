"""What is printed is what was given: no markup, no emoji code, no control sequence in a name does anything."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from tests.command_line import plain, run_here
from vidrepro.terminal import PlainConsole, bar_columns

NAMES = ["res [v2]", "[/x]", "[bold]a[/bold]", ":smile:", "[link]b", "\\[a]", "{x} %s", "[red]"]


def printed(*objects: object, terminal: bool = False) -> str:
    console = PlainConsole(width=200)
    console.file = StringIO()
    console._force_terminal = terminal
    console.print(*objects)
    return console.file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is_in_a_sentence_a_table_and_a_bar(name: str) -> None:
    assert printed(f"written: {name}") == f"written: {name}\n"
    table = Table(name, title=name)
    table.add_row(name)
    assert printed(table).count(name) == 3
    progress = Progress(*bar_columns("line"), console=PlainConsole(width=200))
    progress.add_task(name, line=name)
    assert printed(progress.get_renderable()).count(name) == 2


@pytest.mark.parametrize("wrap", [str, Text, Panel])
def test_control_characters_are_shown_and_do_nothing(wrap: type) -> None:
    text = printed(wrap("a\x1b[31mb\x07\x9bc\u202ed"))
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    assert r"a\x1b[31mb" in text and r"\x9bc\u202ed" in text


def test_a_long_path_stays_in_one_line_where_no_terminal_is() -> None:
    path = f"/{'a folder of a long name/' * 20}file"
    assert printed(f"written: {path}") == f"written: {path}\n"


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_their_refusals_name_what_was_typed(name: str, tmp_path: Path) -> None:
    done = run_here("runs", "--results", name, cwd=tmp_path)
    assert f"no runs in '{name}'" in done.stdout
    for words in (
        ["show", name],
        ["prepare", name],
        ["runs", name],
        ["train", f"m2a/table1/{name}"],
        [name],
        ["runs", f"--{name}"],
    ):
        refused = run_here(*words, cwd=tmp_path)
        assert refused.returncode == 2 and name in plain(refused.stderr), refused.stderr
