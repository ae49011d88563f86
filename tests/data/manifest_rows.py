"""Rows of a small manifest, usable and bad, videos and sequences; and a dataset ``toy`` made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sample_clips import INFO

from vidrepro.data.manifest import Manifest, write_manifest

DIGEST = "ab" * 32


def row(clip_id: str, **changes: Any) -> dict[str, Any]:
    values = {"id": clip_id, "path": f"{clip_id}.mp4", "frames": 24, "fps": 12.0, "width": 64, "height": 48, "label": 0}
    values |= {"split": "train", "bytes": 1000, "digest": DIGEST, "status": "ok"}
    return values | changes


def sequence(clip_id: str, **changes: Any) -> dict[str, Any]:
    return row(clip_id, path=clip_id, first_frame=7, start_index=1, pattern="%05d.jpg", **changes)


ROWS = [
    row("a"),
    row("NA", label=1, path="sub folder/ä, b.mp4", split="val"),
    sequence("007", fps=59.94005994),
    row("bad one", status="bad", frames=0, fps=0, width=0, height=0, bytes=0, digest="", split="val"),
    row("b", label=1, split="test"),
]


def write(folder: Path, rows: Any = None, **info: Any) -> Manifest:
    return write_manifest(folder / "toy", ROWS if rows is None else rows, INFO | info)
