"""The committed evidence: what `table` makes of the committed runs and kept costs is the committed tables."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import invoke
from vidrepro.experiments import paper_names

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed runs without their tables: what git keeps of them, whatever else lies in this checkout."""
    results = tmp_path_factory.mktemp("results")
    shutil.copytree(RESULTS / "runs", results / "runs", ignore=shutil.ignore_patterns("*.pt", "*.log", "scores", ".*"))
    return results


@pytest.mark.parametrize("paper", paper_names())
def test_the_committed_tables_are_what_is_rendered(paper: str, results: Path) -> None:
    invoke("table", "--paper", paper, "--format", "md,csv,tex", "--results", results, "--data", results / "no-data")
    rendered, committed = results / "tables" / paper, RESULTS / "tables" / paper
    texts = {file.name: file.read_bytes() for file in rendered.iterdir()}
    assert texts == {file.name: file.read_bytes() for file in committed.iterdir() if file.suffix != ".png"}
    assert not (results / ".cache").exists()  # no cost was counted


def test_costs_that_are_kept_are_shown_without_torch(results: Path) -> None:
    commands = [["table", "--paper", "aia", "--format", "md"], *(["show", p, "--differences"] for p in ("m2a", "tcnn"))]
    code = (
        "import sys\nfrom vidrepro.__main__ import main\n"
        f"for words in {commands!r}:\n"
        f"    try: main([*words, '--results', {str(results)!r}])\n"
        "    except SystemExit as end: assert end.code == 0, (words, end.code)\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "on cost" in done.stdout
