"""Pictures are drawn, and ``doctor`` says what is odd, whatever the environment of the process is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from tests.command_line import invoke
from tests.fake_scores import made, right
from vidrepro import diagnosis, surroundings
from vidrepro.pictures import picture


def compare_words(results: Path, out: Path) -> list[str]:
    words = ["compare", "m2a/table1/m2a", "m2a/table1/none", "--per-class", "--format", "png"]
    return [*words, "--results", str(results), "--data", str(results), "--out", str(out)]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two made-up runs that can be compared."""
    made(tmp_path / "results", "m2a/table1/m2a", right(c0=9))
    made(tmp_path / "results", "m2a/table1/none", right(c0=1))
    return tmp_path / "results"


def test_a_notebooks_backend_no_home_and_a_foreign_style_change_no_picture(results: Path, tmp_path: Path) -> None:
    invoke(*compare_words(results, tmp_path / "here"))
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.grid: True\nno.such.key: 3\nbackend: nonsense\n")
    code = (
        "from vidrepro.__main__ import main\n"
        f"try: main({compare_words(results, tmp_path / 'there')!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "import matplotlib.pyplot"  # as captum does, which `explain gradcam` needs
    )
    odd = {
        "MPLBACKEND": "module://matplotlib_of_another_environment.backend",
        "MPLCONFIGDIR": "/dev/null/matplotlib",
        "HOME": "/dev/null",
        "XDG_CACHE_HOME": "/dev/null/cache",
        "TORCH_HOME": "/dev/null/torch",
    }
    environment = os.environ | odd | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (here,), (there,) = (list((tmp_path / name).glob("*.png")) for name in ("here", "there"))
    assert there.name == here.name and there.read_bytes() == here.read_bytes()


def test_a_users_style_is_left_as_it_was(tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 30}):
        with picture(tmp_path / "a.png") as figure:
            figure.text(0, 0, "text")
        assert matplotlib.rcParams["font.size"] == 30
    with picture(tmp_path / "b.png") as figure:
        figure.text(0, 0, "text")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_is_put_right_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(surroundings, "replaced", {})
    file = tmp_path / "file"
    file.touch()
    odd = {"MPLBACKEND": "nonsense", "COLUMNS": "0", "MPLCONFIGDIR": f"{file}/x", "XDG_CACHE_HOME": str(file)}
    for name, value in odd.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    surroundings.settle()
    assert os.environ["MPLBACKEND"] == "agg" and "COLUMNS" not in os.environ
    found = {
        item["name"]: item
        for item in json.loads(invoke("doctor", "--json", "--data", tmp_path))
        if item["topic"] == "environment"
    }
    assert set(found) == {"MPLBACKEND", "COLUMNS", "MPLCONFIGDIR", "TORCH_HOME"}
    assert all(item["state"] == "warning" and item["remedy"] for item in found.values())
    assert "'nonsense' is not used" in found["MPLBACKEND"]["detail"]
    assert str(file / "torch") in found["TORCH_HOME"]["detail"]


def test_no_home_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    import pwd

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    found = {item.name: item.detail for item in diagnosis._surroundings()}
    assert "there is no home folder" in found["MPLCONFIGDIR"]


def test_usual_surroundings_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "replaced", {})
    for name, value in {"MPLBACKEND": "Agg", "COLUMNS": "100", "LINES": "40"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TERMINAL_WIDTH", raising=False)
    surroundings.settle()
    assert surroundings.replaced == {}
    assert os.environ["COLUMNS"] == "100"
