"""Rows that are had from other rows' runs by a probe: made once, shown in the table, and not made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import invoke


@pytest.mark.usefixtures("trained_here")
def test_probes_are_made_for_the_rows_that_ask_for_them_and_kept(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidrepro.cost.paper_costs.measure_paper", lambda *_, **__: [])  # slow, and not tested here
    words = ["ablate", "stabn", "--table", "2", "--rows", "spatial,both-mean", "--dataset", "toy", "--preset", "tiny"]
    words += ["--data", toy_data, "--results", tmp_path, "--jobs", "1", "--json"]
    for text in ("train.epochs=1", "train.warmup_epochs=0", "train.batch_size=8", "model.backbone_options.width=4"):
        words += ["--set", text]
    (table,) = json.loads(invoke(*words))
    rows = {row["experiment"].rpartition("/")[2]: row for row in table["rows"]}
    probes = {path: json.loads(path.read_text()) for path in tmp_path.glob("runs/*/probes/*.json")}
    assert {(record["what"], record["how"]) for record in probes.values()} == {("spatial", "invert"), ("all", "mean")}
    for record in probes.values():
        row = rows[{"invert": "spatial", "mean": "both-mean"}[record["how"]]]
        assert (
            row["top1"] == record["probed"]["top1"]
            and row["runs"] == f"{record['run']}@{record['what']}-{record['how']}"
        )
        assert record["plain"]["top1"] == rows["neither"]["top1"]
    assert rows["temporal"]["empty_because"] == "not probed"
    made = {path: path.stat().st_mtime_ns for path in probes}
    invoke(*words)
    assert made == {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/probes/*.json")}
