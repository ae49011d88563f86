"""The start-up benchmark."""

from __future__ import annotations

import pytest

from benchmarks import startup


def test_startup_benchmark_runs_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(startup, "run", lambda command, **_: started.append(command[1:]))
    records = startup.measure_startup(2)
    assert started.count(["-m", "vidrepro", "--help"]) == started.count(["-c", "pass"]) == 3
    assert [record["name"] for record in records] == ["python -c pass", "vidrepro --help"]
    assert all(record["seconds"] == 1 / record["per_second"] for record in records)
