"""The wheel carries everything the command needs, from any folder."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_wheel_runs_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(REPOSITORY)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (source_archive,) = (tmp_path / "dist").glob("vidrepro-*.tar.gz")  # the wheel is built from it
    with tarfile.open(source_archive) as archive:
        assert f"{source_archive.name.removesuffix('.tar.gz')}/LICENSE" in archive.getnames()
    (wheel,) = (tmp_path / "dist").glob("vidrepro-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as wheel_file:
        names = wheel_file.namelist()
        wheel_file.extractall(site)  # a pure wheel: its dependencies are this environment's
    assert not [name for name in names if name.startswith("tests/")]
    (licence,) = [name for name in names if name.endswith("/licenses/LICENSE")]
    assert (site / licence).read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
    metadata = (site / licence).parents[1] / "METADATA"
    assert "\nLicense-Expression: MIT\n" in metadata.read_text(encoding="utf-8")
    for source in (REPOSITORY / "experiments").rglob("*.yaml"):
        assert f"vidrepro/_experiments/{source.relative_to(REPOSITORY / 'experiments')}" in names

    code = (
        "import vidrepro, vidrepro.files as f; from vidrepro.__main__ import main; "
        f"assert vidrepro.__file__.startswith({str(site)!r}), vidrepro.__file__; "
        f"assert str(f.experiments_folder()).startswith({str(site)!r}); main(['show', 'm2a'])"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        timeout=120,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "M2A-Attention" in shown.stdout


def test_nothing_reads_the_workplace_folder() -> None:
    """The repository stands alone: no file of it names the folder beside it."""
    needle = "../" + "shared"
    tracked = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True
    )
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    there = [path for name in tracked.stdout.splitlines() if (path := REPOSITORY / name).is_file()]  # or just removed
    assert Path(__file__) in there
    for path in there:
        if path.suffix in {".py", ".yaml", ".toml", ".md", ".sh"} or path.name in {"Makefile", "run"}:
            assert needle not in path.read_text(encoding="utf-8"), path
