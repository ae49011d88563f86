"""A mechanism of one's own joins an ablation from outside the package: README's example, trained for real."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_commands import run, toy_ablation
from tests.command_line import run_here

MODULE = '''
import torch
from torch import nn


class MyMechanism(nn.Module):
    """Adds what moved since the frame before, through a depthwise convolution."""

    def __init__(self, channels: int, frames: int, kernel: int = 3):
        super().__init__()
        self.frames = frames
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)

    def forward(self, x):  # (N*T, C, H, W)
        clips = x.unflatten(0, (-1, self.frames))
        motion = torch.diff(clips, dim=1, prepend=clips[:, :1])
        return x + self.conv(motion.flatten(0, 1))
'''
MINE = "my_package.my_module:MyMechanism"


def rows(results: Path) -> dict[str, dict[str, str]]:
    with (results / "tables" / "m2a" / "table1.csv").open(encoding="utf-8") as file:
        return {row["experiment"]: row for row in csv.DictReader(file)}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "my_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "my_module.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folder / "my_module.py"
    for name in [name for name in sys.modules if name.startswith("my_package")]:
        del sys.modules[name]


@pytest.mark.usefixtures("trained_here")
def test_a_mechanism_of_ones_own_is_trained_and_stands_beneath_the_printed_rows(
    toy_data: Path, package: Path, results: Path
) -> None:
    words = toy_ablation(toy_data, results, epochs=1)
    words[words.index("none,m2a")] = f"none,{MINE}"
    done = run_here(*words, cwd=package.parents[1])
    assert done.returncode == 0, done.stderr
    records = [json.loads(path.read_text()) for path in results.glob("runs/*/run.json")]
    plain, own = sorted(records, key=lambda record: record["config"]["model"]["mechanism"] == MINE)
    entering = (8, 8, 16, 32)  # channels of the input of each block of micro at width 8
    added = sum(channels * (3 * 3 + 1) for channels in entering)
    assert own["backbone"]["parameters"] - plain["backbone"]["parameters"] == added

    table = rows(results)
    assert list(table)[-1] == f"m2a/table1/{MINE}" and len(table) == 5
    mine = table[f"m2a/table1/{MINE}"]
    assert (mine["label"], mine["printed_top1"]) == ("MyMechanism", "")
    assert float(mine["top1"]) == pytest.approx(own["best"]["top1"]) and mine["runs"] == own["id"]
    text = (results / "tables" / "m2a" / "table1.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("| MyMechanism"))
    assert "not printed" in line
    assert f"not in the paper: a mechanism of your own, {MINE.replace('_', chr(92) + '_')}, source sha256" in text

    package.write_text(MODULE.replace("kernel: int = 3", "kernel: int = 1"), encoding="utf-8")
    changed = json.loads(run(*words, "--dry-run", "--json", cwd=package.parents[1]).stdout)
    assert [cell["state"] for cell in changed] == ["finished", "to run"]  # another source is another run
