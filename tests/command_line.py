"""Commands as a user calls them, in this process or in one of their own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidrepro.__main__ import main
from vidrepro.cli.app import app

HEAVY = (
    "torch", "torchvision", "av", "captum", "fvcore", "matplotlib", "numpy", "pandas", "scipy", "sklearn",
)  # fmt: skip


def invoke(*words: object) -> str:
    """What a command prints on stdout; a refusal is raised."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def plain(output: str) -> str:
    """What a panel says, without its frame and line breaks."""
    return " ".join(output.replace("│", " ").split())


def run_here(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What ``vidrepro`` answers at a shell (exit code, both streams), given in this process: torch is there already."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]), chdir(cwd or Path.cwd()):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        for stream in streams:
            stream.seek(0)
    out, errors = (stream.read() for stream in streams)
    return subprocess.CompletedProcess(words, int(end.value.code or 0), out, errors)


def light_helps(commands: Iterable[str]) -> dict[str, str]:
    """What the commands' ``--help`` print, one after the other in a new process, where none may import of `HEAVY`."""
    code = (
        "import contextlib, io, json, sys\nfrom vidrepro.__main__ import main\nhelps = {}\n"
        f"for command in {list(commands)!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "        try: main([*command.split(), '--help'])\n"
        "        except SystemExit as end: assert end.code == 0, (command, end.code)\n"
        "    helps[command] = out.getvalue()\n"
        f"    heavy = {set(HEAVY)!r} & set(sys.modules)\n    assert not heavy, (command, heavy)\n"
        "print(json.dumps(helps))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
