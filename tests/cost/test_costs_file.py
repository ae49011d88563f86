"""The costs kept with the papers: each is counted again; none is missing, left over, or shown for anything else."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.command_line import invoke
from vidrepro.cli.app import app
from vidrepro.config import ModelConfig
from vidrepro.cost import costs_file, paper_costs
from vidrepro.cost.costs_file import COSTS_FILE, KnownCosts, count, kept_costs
from vidrepro.cost.paper_costs import measure_everything, measure_paper
from vidrepro.errors import ConfigError
from vidrepro.experiments import Paper, load_paper, paper_names
from vidrepro.experiments.schema import CostInput

FILES = {name: load_paper(name).folder / COSTS_FILE for name in paper_names()}
ENTRIES = [(name, number) for name, file in FILES.items() for number in range(len(kept_costs(file).costs))]


@pytest.fixture
def nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(network: ModelConfig, clip: CostInput) -> Any:
        raise AssertionError(f"counted: {network} {clip}")

    monkeypatch.setattr(costs_file, "count", refuse)


@pytest.mark.parametrize(("paper", "number"), ENTRIES)
def test_each_is_what_is_counted_now(paper: str, number: int) -> None:
    entry = kept_costs(FILES[paper]).costs[number]
    counted = count(ModelConfig(**entry.network), entry.clip)
    assert counted == entry.cost.model_dump()
    assert counted["cross_check"]["agrees"]


@pytest.mark.usefixtures("nothing_is_counted")
@pytest.mark.parametrize("name", FILES)
def test_a_paper_keeps_all_that_is_shown_of_it_and_no_more(name: str, tmp_path: Path) -> None:
    """And a file made of what is asked for is the one there is."""
    paper = load_paper(name)
    costs = KnownCosts(None, paper)
    measure_everything(paper, costs)
    saved, there = costs.save(tmp_path), FILES[name]
    assert kept_costs(saved).costs == kept_costs(there).costs


@pytest.fixture
def small(tmp_path: Path) -> Paper:
    """M2A with two rows and one difference, in a folder of its own, counted on a clip that takes no time."""
    paper = load_paper("m2a")
    table = paper.table("I")
    boundary = next(item for item in paper.differences if item.id == "boundary")
    rows = tuple(row for row in table.rows if row.name in ("none", "m2a"))
    return replace(
        paper,
        tables=(replace(table, rows=rows),),
        differences=(boundary,),
        cost_input=CostInput(frames=2, size=32, classes=5),
        folder=tmp_path,
    )


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks that are counted, with figures that are made up of their settings."""
    done: list[str] = []

    def counting(network: ModelConfig, clip: CostInput) -> dict[str, Any]:
        done.append(f"{network.mechanism} {network.options} {clip.size}")
        return {
            "frames": clip.frames, "size": clip.size, "channels": 3, "params": sum(network.model_dump_json().encode()),
            "gmacs_fvcore": 1.5, "gmacs_conv_linear": 1.25, "by_operator": {}, "uncounted": {}, "components": {},
            "elements": {}, "cross_check": {"agrees": True, "disagreements": []},
        }  # fmt: skip

    monkeypatch.setattr(costs_file, "count", counting)
    return done


def test_what_was_saved_is_not_counted_again_and_what_changed_is(small: Paper, counts: list[str]) -> None:
    paper_costs.save_costs(small)
    assert counts == ["none {} 32", "m2a {} 32", "m2a {'boundary': 'first'} 32"]
    first = measure_paper(small)
    assert len(counts) == 3
    measure_paper(small, use_kept=False)
    assert counts[3:] == counts[:2]
    del counts[:]
    (table,), (none, m2a) = small.tables, small.tables[0].rows
    reduced = replace(m2a, layers=(*m2a.layers, ("test", {"model": {"options": {"reduction": 4}}})))
    changed = replace(small, tables=(replace(table, rows=(none, reduced)),))
    assert measure_paper(changed)[1]["params"] != first[1]["params"]
    assert measure_paper(small, overrides=["model.options.reduction=4"])[1] == measure_paper(changed)[1]
    assert set(counts) == {"m2a {'reduction': 4} 32"}
    del counts[:]
    measure_paper(replace(small, cost_input=CostInput(frames=2, size=40, classes=5)))
    assert counts == ["none {} 40", "m2a {} 40"]


def test_what_changes_no_count_does_not_count_again(small: Paper, counts: list[str]) -> None:
    paper_costs.save_costs(small)
    del counts[:]
    measure_paper(small, overrides=["model.dropout=0.3", "model.weights=imagenet", "model.head_std=0.1"])
    assert counts == []


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda text: text[:-40], "costs.json"),
        (lambda text: text.replace('"params": ', '"params": "many", "x": '), "params"),
        (lambda text: text.replace('"gmacs_fvcore"', '"gmacs_fvcor"'), "gmacs_fvcore"),
        (lambda text: text.replace('"clip": {"classes": 5, ', '"clip": {'), "clip.classes"),
    ],
)
def test_damaged_costs_are_refused_by_name(small: Paper, damage: Any, problem: str) -> None:
    file = paper_costs.save_costs(small)
    file.write_text(damage(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        measure_paper(small)
    assert problem in str(refused.value) and "--save" in str(refused.value)


def test_a_changed_class_of_ones_own_is_counted_again(
    small: Paper, counts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where costs are kept in the results folder."""
    module = tmp_path / "own_cost_block.py"
    text = (
        "from torch import nn\nclass Block(nn.Module):\n"
        "    def __init__(self, channels, frames):\n        super().__init__()\n"
        "        self.conv = nn.Conv2d(channels, channels, 1)\n"
        "    def forward(self, x):\n        return self.conv(x)\n"
    )
    module.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["model.mechanism=own_cost_block:Block"]
    first = measure_paper(small, overrides=words, results=tmp_path)
    assert measure_paper(small, overrides=words, results=tmp_path) == first and len(counts) == 1
    module.write_text(text.replace("channels, 1)", "channels, 3, padding=1)"))
    monkeypatch.delitem(sys.modules, "own_cost_block")
    assert measure_paper(small, overrides=words, results=tmp_path) != first and len(counts) == 2


def test_overrides_reach_the_members_of_an_ensemble(counts: list[str]) -> None:
    paper, costs = load_paper("aia"), KnownCosts()
    row = paper.row("aia/table2/aia-tsn-8+16x3x2")
    plain, changed = (
        paper_costs.measure_row(paper, row, costs, overrides=words) for words in ([], ["model.mechanism=C"])
    )
    assert counts == ["CinST->STinC {} 224"] * 2 + ["C {} 224"] * 2  # of 8 and 16 frames
    assert (plain["mechanism"], changed["mechanism"]) == ("CinST->STinC", "C")


def test_the_command_writes_the_file_and_counts_once(
    small: Paper, counts: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for place in ("vidrepro.experiments.load_paper", "vidrepro.cost.paper_costs.load_paper"):
        monkeypatch.setattr(place, lambda name: small)
    records = json.loads(invoke("measure", "m2a", "--save", "--results", tmp_path / "results", "--json"))
    assert len(counts) == len(kept_costs(tmp_path / COSTS_FILE).costs) == 3
    assert records == json.loads(json.dumps(measure_paper(small)))
    invoke("measure", "m2a", "--results", tmp_path / "results")
    assert len(counts) == 5  # without --save what is asked for is counted


@pytest.mark.parametrize("words", [("--table", "I"), ("--set", "model.variant=paper")])
def test_a_part_of_a_paper_is_not_saved(words: tuple[str, str]) -> None:
    refused = CliRunner().invoke(app, ["measure", "m2a", "--save", *words])
    assert isinstance(refused.exception, ConfigError) and words[1] in str(refused.exception)
    refused = CliRunner().invoke(app, ["measure", "loader", "--save"])
    assert isinstance(refused.exception, ConfigError) and "--save has no meaning" in str(refused.exception)
