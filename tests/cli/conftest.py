"""Ablations from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def counted_costs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Costs that one table needed and the next one needs again; their keys hold all that determines them."""
    return tmp_path_factory.mktemp("costs")


@pytest.fixture
def results(tmp_path: Path, counted_costs: Path) -> Path:
    """A results folder for ablations, whose tables count costs."""
    (tmp_path / ".cache").symlink_to(counted_costs)
    return tmp_path
