"""A folder to unpack in, watched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Path]:
    """A folder with a download and a target; after the test nothing may lie beside them but a bystander."""
    (tmp_path / "download").mkdir()
    (tmp_path / "bystander.txt").write_text("here before")
    yield tmp_path
    assert {path.name for path in tmp_path.iterdir()} <= {"download", "target", "bystander.txt", "bin"}
    assert (tmp_path / "bystander.txt").read_text() == "here before"
    scratch = tmp_path / "target" / ".unpacked" / "scratch"
    assert not scratch.exists() or not list(scratch.iterdir()), "unfinished files were left"
