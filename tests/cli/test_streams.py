"""Standard output and error that are closed, lost, full or of a poor encoding: no crash, no wrong exit code."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_commands import overrides

from tests.command_line import invoke, plain
from vidrepro.__main__ import main
from vidrepro.cli import output
from vidrepro.cli.streams import ForgivingFile, forgiving, lost_output


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which ``vidrepro`` is this one; its exit code is the one of `vidrepro`, first in any pipe."""
    script = f'vidrepro() {{ "{sys.executable}" -m vidrepro "$@"; }}\n{line}\nexit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])} | environment,
        timeout=60,
    )


@pytest.fixture
def unread() -> Iterator[int]:
    """The writing end of a pipe whose reader went away."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(
    ("line", "code", "shown"),
    [
        ("vidrepro runs --results none >&-", 0, ""),
        ("vidrepro runs --results none <&- 2>&-", 0, "no runs in 'none'"),
        ("vidrepro show m2a --json | head -1", 0, "{"),
        ("vidrepro show m2b 2>/dev/full", 2, ""),
        ("vidrepro show m2b --debug 2>&1 >&- | tail -1", 1, "did you mean"),
    ],
    ids=["closed", "input and error closed", "head", "full error", "debug"],
)
def test_lost_streams_change_no_exit_code(line: str, code: int, shown: str) -> None:
    done = shell(line)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert shown in done.stdout


@pytest.mark.parametrize("more", ["", " --json"])
def test_a_full_disk_behind_the_output_is_told(more: str) -> None:
    done = shell(f"vidrepro show m2a{more} >/dev/full")
    assert done.returncode == 2
    assert "cannot write to the standard output: No space left on device" in plain(done.stderr)
    assert "defect" not in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "latin-1", "cp1252", "C locale"],
)
def test_poor_encodings_lose_nothing(environment: dict[str, str]) -> None:
    done = shell("vidrepro show m2a --json; vidrepro show m2a >&2", **environment)
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads(invoke("show", "m2a", "--json"))
    assert "resnet18 \\u2192 micro" in done.stderr  # the arrow, which none of them has


@pytest.mark.parametrize(
    "environment",
    [{"COLUMNS": "0"}, {"COLUMNS": "wide", "LINES": "-1", "TERMINAL_WIDTH": "²"}, {"TERM": "dumb", "NO_COLOR": "1"}],
    ids=["zero", "nonsense", "dumb"],
)
def test_the_terminal_said_to_be_odd(environment: dict[str, str]) -> None:
    done = shell("vidrepro train --help && vidrepro show m2b", **environment)
    assert done.returncode == 2
    assert "Usage: vidrepro train" in plain(done.stdout)
    assert "did you mean" in plain(done.stderr)


def test_training_goes_on_when_nobody_reads(
    toy_data: Path, tmp_path: Path, unread: int, monkeypatch: pytest.MonkeyPatch, trained_here: None
) -> None:
    monkeypatch.setattr(sys, "stdout", forgiving(unread))
    monkeypatch.setattr(sys, "stderr", forgiving(unread))
    words = ["ablate", "m2a", "--rows", "none", "--dataset", "toy", "--preset", "tiny", *overrides("train.epochs=1")]
    with pytest.raises(SystemExit) as end:
        main([*words, "--data", str(toy_data), "--results", str(tmp_path)])
    raw = sys.stdout.buffer.raw  # type: ignore[attr-defined]
    assert raw.failure.errno == errno.EPIPE
    assert end.value.code == 0
    (record,) = tmp_path.glob("runs/*/run.json")
    assert json.loads(record.read_text())["best"]["clips"] == 8
    assert list(tmp_path.glob("tables/m2a/*.md"))


def test_what_is_lost_is_told_only_where_somebody_was_to_read_it(unread: int) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        for descriptor, code in ((unread, None), (full.fileno(), errno.ENOSPC)):
            stream = forgiving(descriptor)
            print("→" * 20_000, file=stream)
            lost = lost_output(stream)
            assert (lost and lost.errno) == code
            print("more", file=stream, flush=True)  # is dropped as well
    assert lost_output(io.StringIO()) is None


def test_a_pipe_that_somebody_made_non_blocking_gets_everything() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    got: list[bytes] = []
    with open(reader, "rb") as file:  # noqa: PTH123
        thread = threading.Thread(target=lambda: got.append(file.read()))
        with forgiving(writer) as stream:
            os.write(writer, b"x" * 65_536)  # the pipe is full before anybody reads
            thread.start()
            stream.write("y" * 300_000)
        os.close(writer)
        thread.join(timeout=20)
    assert len(got[0]) == 365_536


def test_names_that_no_encoding_has_are_printed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file name that is not UTF-8, as Python reads it from a folder."""
    name = os.fsdecode(b"caf\xe9.mp4")
    reader, writer = os.pipe()
    for encoding in ("utf-8", "ascii"):
        like = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", forgiving(writer, like))
        output.print_json({name: "→"})
        sys.stdout.flush()
        assert json.loads(os.read(reader, 1000).decode(encoding)) == {name: "→"}
    os.close(reader)
    os.close(writer)


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with (tmp_path / "out").open("wb") as file:
        assert ForgivingFile(file.fileno(), "w", closefd=False).write(b"0123456789") == 10
    assert (tmp_path / "out").read_bytes() == b"0123456789"
