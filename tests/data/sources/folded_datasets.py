"""Prepare a small official tree by the real command, compare its manifest line by line, train and evaluate on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini import SIZE
from typer.testing import CliRunner, Result

from vidrepro.cli.app import app
from vidrepro.data.manifest import Manifest, load_manifest

HEADER = "id,path,frames,fps,width,height,label,split,bytes,digest,status,first_frame,start_index,pattern"


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset and where it lies."""

    name: str
    data: Path

    @property
    def manifest(self) -> Manifest:
        return load_manifest(self.name, self.data)

    @property
    def info(self) -> dict[str, Any]:
        return json.loads((self.data / self.name / "dataset.json").read_text(encoding="utf-8"))

    def lines(self) -> list[str]:
        """manifest.csv."""
        return (self.data / self.name / "manifest.csv").read_text(encoding="utf-8").splitlines()

    def side(self, name: str) -> list[str]:
        """splits/<fold>.csv or labels/<task>.csv."""
        return (self.data / self.name / f"{name}.csv").read_text(encoding="utf-8").splitlines()


def run_command(name: str, root: Path, data: Path, *more: str) -> Result:
    """``vidrepro prepare``, with one worker."""
    words = ["prepare", name, "--root", str(root), "--data", str(data), "--workers", "1", *more]
    return CliRunner().invoke(app, words)


def prepare(name: str, root: Path, data: Path, *more: str) -> Prepared:
    """Prepare whatever is there."""
    result = run_command(name, root, data, "--allow-missing", "1.0", *more)
    assert result.exit_code == 0, (result.output, result.exception)
    return Prepared(name, data)


def refused(name: str, root: Path, data: Path, *more: str) -> str:
    """The refusal of a tree that must be refused; no manifest is left behind."""
    from vidrepro.errors import VidreproError

    result = run_command(name, root, data, *more)
    assert result.exit_code != 0 and isinstance(result.exception, VidreproError), (result.output, result.exception)
    assert not (data / name / "manifest.csv").exists()
    return str(result.exception)


def expected_lines(folder: Path, rows: Iterable[tuple[str, str, int, float, int, str]]) -> list[str]:
    """manifest.csv of videos, from (id, file, frames, fps, label, split); sizes and digests are those of the files."""
    width, height = SIZE
    lines = [HEADER]
    for clip, file, frames, fps, label, split in rows:
        content = (folder / file).read_bytes()
        facts = (
            f"{frames},{fps:g},{width},{height},{label},{split},{len(content)},{hashlib.sha256(content).hexdigest()}"
        )
        lines.append(f"{_quoted(clip)},{_quoted(file)},{facts},ok,,,")
    return lines


def frames_line(clip: str, folder: Path, root: Path, span: tuple[int, int], pattern: str, **facts: Any) -> str:
    """A line of manifest.csv of the pictures number `span` (inclusive) of a folder whose first one is number 1.

    Or number ``facts["start"]``.
    """
    contents = [(folder / (pattern % number)).read_bytes() for number in range(span[0], span[1] + 1)]
    digest = hashlib.sha256(b"".join(contents)).hexdigest()
    width, height = SIZE
    start = facts.get("start", 1)
    text = f"{len(contents)},{facts['fps']:g},{width},{height},{facts['label']},{facts['split']}"
    place = folder.relative_to(root).as_posix()
    return f"{clip},{place},{text},{sum(map(len, contents))},{digest},ok,{span[0] - start},{start},{pattern}"


def train_and_evaluate(
    prepared: Prepared, results: Path, *, fold: str | None = None, task: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One epoch of a tiny row on it, and its evaluation again; run.json and what ``evaluate --json`` prints."""
    settings = ["train.epochs=1", "train.batch_size=2", "train.warmup_epochs=0", "model.backbone_options.width=8"]
    settings += ["data.frames=4", "data.train_size=24", "data.eval_short_side=28", "data.eval_size=24"]
    settings += [f"data.fold={fold}"] * (fold is not None) + [f"data.task={task}"] * (task is not None)
    known = {path.name for path in (results / "runs").glob("*")}
    words = ["train", "m2a/table1/none", "--dataset", prepared.name, "--preset", "tiny", "--cache", "never"]
    words += ["--device", "cpu", "--data", str(prepared.data), "--results", str(results)]
    trained = CliRunner().invoke(app, words + [word for setting in settings for word in ("--set", setting)])
    assert trained.exit_code == 0, (trained.output, trained.exception)
    (folder,) = [path for path in (results / "runs").glob("*") if path.name not in known]
    again = CliRunner().invoke(
        app,
        ["evaluate", str(folder), "--device", "cpu", "--data", str(prepared.data), "--results", str(results), "--json"],
    )
    assert again.exit_code == 0, (again.output, again.exception)
    return json.loads((folder / "run.json").read_text(encoding="utf-8")), json.loads(again.stdout)


def _quoted(text: str) -> str:
    return f'"{text}"' if "," in text else text
