"""The preparation benchmark: what it makes and measures; never how long anything takes."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import prepare
from vidrepro.data.manifest import load_manifest


def test_the_generated_download_is_read_as_a_whole(tmp_path: Path) -> None:
    prepare.write_download(tmp_path / "large", 300)
    listed = [
        json.loads((tmp_path / f"large/labels/{name}.json").read_text()) for name in ("train", "validation", "test")
    ]
    assert [len(rows) for rows in listed] == [229, 33, 38]  # V2's shares of 300
    found = prepare.measure_join(str(tmp_path / "large"), str(tmp_path / "data"))
    assert found["seconds"] > 0 and found["peak_bytes"] > 0
    manifest = load_manifest("ssv2", tmp_path / "data")
    assert {split: count["ok"] for split, count in manifest.counts().items()} == {"train": 229, "val": 33, "test": 38}
    assert set(manifest.table["id"]) == {str(number) for number in range(1, 301)}


def test_all_measurements_run(tmp_path: Path) -> None:
    records = prepare.measure_prepare(clips=200, checked=1100, rounds=1)
    assert {record["unit"] for record in records} == {"s", "GB", "MB", "x", "clips/s per core"}
    assert [record["limit"] for record in records if record["limit"] is not None] == [
        30.0,
        1.5,
        20.0,
        10.0,
        0.9,
        2.0,
        10.0,
    ]
    for record in records:
        limit = record["limit"]
        met = limit is None or (record["value"] >= limit if record["at_least"] else record["value"] <= limit)
        assert record["good"] == met
