"""Commands as a user calls them, in this process or in one of their own."""

from __future__ import annotations

import subprocess
import sys

from typer.testing import CliRunner

from vidrepro.cli.app import app

HEAVY = (
    "torch", "torchvision", "av", "captum", "fvcore", "matplotlib", "numba", "numpy", "pandas", "scipy", "sklearn",
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


def light_help(*command: str) -> str:
    """What a command's ``--help`` prints in a process of its own, where it must import none of `HEAVY`."""
    code = (
        "import sys\nfrom vidrepro.__main__ import main\n"
        f"try: main({[*command, '--help']!r})\nexcept SystemExit as end: assert end.code == 0, end.code\n"
        f"heavy = {set(HEAVY)!r} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
