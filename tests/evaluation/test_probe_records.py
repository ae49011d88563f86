"""Files of probes: found again by what was replaced and how."""

from __future__ import annotations

import json
from pathlib import Path

from vidrepro.evaluation.probe_records import probe_record


def test_a_probe_is_found_by_what_was_replaced_and_how(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "probes").mkdir(parents=True)
    for what, how, share in (
        ("spatial", "invert", 30.0),
        ("spatial", "mean", 40.0),
        ("all", "invert", 10.0),
        ("C+T", "invert", 20.0),
    ):
        record = {"what": what, "how": how, "checkpoint": "best", "protocol": "8x1x1@32", "split": "val"}
        path = folder / "probes" / f"{what}-{how}.json"
        path.write_text(json.dumps(record | {"probed": {"top1": share}}))

    def top1(what: str, how: str, protocol: str = "8x1x1@32") -> float | None:
        found = probe_record(folder, (what, how), "val", protocol)
        return None if found is None else found["probed"]["top1"]

    assert (top1("spatial", "invert"), top1("spatial", "mean"), top1("both", "invert")) == (30.0, 40.0, 10.0)
    assert top1("T,C", "invert") == 20.0
    assert top1("temporal", "invert") is top1("spatial", "invert", "8x3x2@32") is None
