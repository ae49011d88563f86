"""Made-up run records, written as the trainer writes them, for tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vidrepro.experiments import load_paper, resolve_row

SYNTHETIC = "ab12cd34ef56ab78"


def write_run(
    results: Path,
    experiment: str,
    correct: int,
    *,
    clips: int = 800,
    seed: int = 0,
    dataset: str = "synthetic",
    fingerprint: str = SYNTHETIC,
    preset: str = "tiny",
    backbone: str | None = None,
    overrides: tuple[str, ...] = (),
    bad: int = 0,
    ceiling: float | None = 0.5,
    pair_correct: int | None = 704,
    last_correct: int | None = None,
    fold: str | None = None,
) -> Path:
    """Write the record of a finished run of a paper's row with `correct` of `clips` validation clips right.

    `fold` is the recorded one: the manifest's own, unless `overrides` name one.
    """
    paper = experiment.split("/")[0]
    row = load_paper(paper).row(experiment)
    config = resolve_row(row, dataset=dataset, preset=preset, backbone=backbone, overrides=overrides)
    name = f"{dataset}_{fingerprint[:8]}_{config.fingerprint}_s{seed}"
    record = {
        "schema": 1,
        "id": name,
        "state": "finished",
        "config": config.model_dump(mode="json"),
        "config_fingerprint": config.fingerprint,
        "seed": seed,
        "preset": preset,
        "paper_setting": {"paper": paper, "preset": preset, "backbone": backbone, "overrides": list(overrides)},
        "dataset": {
            "name": dataset,
            "fingerprint": fingerprint,
            "version": "1",
            "preset": "tiny",
            "classes": 8,
            "order_blind_ceiling": ceiling,
            "counts": {"train": {"ok": 4000, "bad": 0}, "val": {"ok": clips, "bad": bad}},
            **({} if fold is None else {"fold": fold}),
        },
        "protocol": str(config.data.protocol),
        "backbone": {
            "name": config.model.backbone,
            "options": {"width": 16},
            "parameters": 308568,
            "input_size": config.data.train_size,
            "frames": config.data.frames,
        },
        "best": _score(correct, clips, pair_correct),
        "last": _score(correct if last_correct is None else last_correct, clips, pair_correct),
        "history": [],
        "seconds": 61.5,
        "environment": {"commit": "abc1234", "dirty": False, "torch": "2.15.0", "device": "cpu"},
    }
    file = results / "runs" / name / "run.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(record), encoding="utf-8")
    return file


def change_record(file: Path, **changes: Any) -> None:
    """Overwrite some keys of a record."""
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def _score(correct: int, clips: int, pair_correct: int | None) -> dict[str, Any]:
    return {
        "epoch": 7,
        "clips": clips,
        "top1": 100 * correct / clips,
        "top1_correct": correct,
        "top5": 96.0,
        "mean_class": 100 * correct / clips,
        "pair": None if pair_correct is None else 100 * pair_correct / clips,
        "pair_correct": pair_correct,
    }


def made_up_costs(paper: str = "m2a") -> dict[str, dict[str, Any]]:
    """Costs of a paper's rows, in the form of `vidrepro.cost.paper_costs.measure_paper`: its numbers are not real."""
    costs = {}
    for table in load_paper(paper).tables:
        for row in table.rows:
            rule = "rule-b" if row.name == "m2a" else "rule-a"
            record: dict[str, Any] = {
                "experiment": row.id,
                "label": row.label,
                "not_measured": None,
                "gmacs_fvcore": 1.2345,
                "gmacs_conv_linear": 1.2,
                "gmacs_printed_convention": 2.3456,
                "rule": rule,
                "rule_description": f"the sum under {rule}",
                "matches_printed": True,
                "params": 7654321,
                "uncounted": {"aten::softmax": 8},
            }
            costs[row.id] = record
    return costs
