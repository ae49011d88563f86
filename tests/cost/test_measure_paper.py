"""Costs of a paper's rows: what is in a record, what is measured once, what is kept, and the command that prints it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from vidrepro.cli.measure import measure
from vidrepro.config import ModelConfig
from vidrepro.cost import costs_file, paper_costs
from vidrepro.cost.paper_costs import measure_paper, printed_cost
from vidrepro.errors import ConfigError, UnknownNameError, VidreproError
from vidrepro.experiments import Paper, load_paper
from vidrepro.experiments.schema import CostInput

ISSUE_KEYS = {
    "experiment",
    "backbone",
    "mechanism",
    "gmacs_fvcore",
    "gmacs_conv_linear",
    "gmacs_printed_convention",
    "params",
    "uncounted",
}


@pytest.fixture(scope="module")
def small_paper() -> Paper:
    """M2A's tables, counted on a clip that takes no time."""
    return replace(load_paper("m2a"), cost_input=CostInput(frames=2, size=32, classes=5))


@pytest.fixture(scope="module")
def one_row(small_paper: Paper) -> Paper:
    """As `small_paper`, with the first row of Table I alone."""
    table = small_paper.table("I")
    return replace(small_paper, tables=(replace(table, rows=table.rows[:1]),))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder shared by the tests that are not about measuring."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def networks_measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The mechanisms of the networks that are really measured."""
    done: list[str] = []
    original = costs_file.count

    def counting(network: ModelConfig, clip: CostInput) -> costs_file.Record:
        done.append(f"{network.backbone} {network.mechanism} {network.temporal_shift}")
        return original(network, clip)

    monkeypatch.setattr(costs_file, "count", counting)
    return done


def test_every_row_of_every_table_is_listed_in_printed_order() -> None:
    records = measure_paper("m2a")
    assert [record["experiment"] for record in records] == [r.id for t in load_paper("m2a").tables for r in t.rows]
    for record in records:
        assert record.keys() >= ISSUE_KEYS
        measured = record["not_measured"] is None
        assert (record["gmacs_fvcore"] is not None) == (record["params"] is not None) == measured
        assert measured or record["not_measured"].strip()
        assert (record["frames"], record["size"], record["classes"]) == (8, 224, 174)
    assert json.loads(json.dumps(records, allow_nan=False)) == records


def test_rows_that_share_a_network_are_measured_once(small_paper: Paper, networks_measured: list[str]) -> None:
    records = {record["experiment"]: record for record in measure_paper(small_paper, "I,V")}
    assert len(networks_measured) == len(set(networks_measured))
    first, again = records["m2a/table1/m2a"], records["m2a/table5/m2a"]
    assert {key for key in first if first[key] != again[key]} == {"experiment", "table"}
    assert records["m2a/table5/tsm"]["params"] == records["m2a/table1/none"]["params"]


def test_the_rule_of_each_cell_is_told(small_paper: Paper, kept: Path) -> None:
    rules = {record["label"]: record["rule"] for record in measure_paper(small_paper, "I", results=kept)}
    assert rules == {
        "None": "ptflops-0.6",
        "M2A-Attention": "ptflops-0.6",
        "M2A-Motion": "ptflops-0.6",
        "M2A": "ptflops-0.6+bmm+sigmoid",
    }


def test_matches_printed_compares_the_printed_digits(small_paper: Paper, kept: Path) -> None:
    """A clip of 2x32x32 cannot cost what the paper prints for 8x224x224, and a column without costs says nothing."""
    assert {record["matches_printed"] for record in measure_paper(small_paper, "I", results=kept)} == {False}
    assert {record["matches_printed"] for record in measure_paper(small_paper, "IV", results=kept)} == {None}


def test_printed_decimals_are_the_columns(small_paper: Paper) -> None:
    table = small_paper.table("I")
    cells = [list(cells) for cells in table.printed.rows]
    cells[0][1] = 14.5  # printed as 14.50, which YAML does not keep
    changed = replace(table, printed=table.printed.model_copy(update={"rows": cells}))
    paper = replace(small_paper, tables=(changed,))
    row = replace(changed.rows[0], printed={**changed.rows[0].printed, "gmacs_per_video": 14.5})
    assert printed_cost(paper, row) == (14.5, 2)


def test_a_row_nobody_can_build_is_listed_with_its_reason(small_paper: Paper, kept: Path) -> None:
    table = small_paper.table("I")
    unbuildable = replace(table.rows[1], layers=(*table.rows[1].layers, ("test", {"model": {"mechanism": "m3a"}})))
    paper = replace(small_paper, tables=(replace(table, rows=(table.rows[0], unbuildable)),))
    none, broken = measure_paper(paper, "I", results=kept)
    assert none["not_measured"] is None and none["gmacs_fvcore"] > 0
    assert "m3a" in broken["not_measured"] and broken["gmacs_fvcore"] is None and broken["mechanism"] == "m3a"


def test_overrides_reach_every_row(small_paper: Paper, kept: Path) -> None:
    """After the first convolution of MobileNetV2's blocks there are many more channels than before it."""
    released = measure_paper(small_paper, "II", results=kept)
    text = measure_paper(small_paper, "II", overrides=["model.variant=paper"])
    assert {record["variant"] for record in text} == {"paper"}
    assert released[0]["params"] == text[0]["params"]
    assert text[3]["gmacs_conv_linear"] > 1.2 * released[3]["gmacs_conv_linear"]


def test_an_option_reaches_the_rows_whose_mechanism_has_it(small_paper: Paper, kept: Path) -> None:
    """The attention's own width is an option of M2A's rows; the plain network is measured as it is."""
    released = measure_paper(small_paper, "I", results=kept)
    changed = measure_paper(small_paper, "I", overrides=["model.options.reduction=4"], results=kept)
    assert changed[0] == released[0] and changed[0]["mechanism"] == "none"
    assert all(new["params"] > old["params"] for new, old in zip(changed[1:], released[1:], strict=True))


@pytest.mark.parametrize(
    ("override", "error", "problem"),
    [
        ("model.mechansim=m2a", ConfigError, "did you mean mechanism"),
        ("model.mechanism=m3a", UnknownNameError, "m2a"),
        ("data.frames=16", ConfigError, "nothing but the network can be changed"),
        ("train.epochs=3", ConfigError, "nothing but the network can be changed"),
        ("dataset=ssv1", ConfigError, "nothing but the network can be changed"),
        ("model.options.bondary=first", ConfigError, "boundary"),
    ],
)
def test_a_wrong_override_is_refused(
    small_paper: Paper, override: str, error: type[VidreproError], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        measure_paper(small_paper, "I", overrides=[override])


def test_measured_costs_are_kept(one_row: Paper, tmp_path: Path, networks_measured: list[str]) -> None:
    first = measure_paper(one_row, "I", results=tmp_path)
    assert len(networks_measured) == 1 == len(list((tmp_path / ".cache" / "cost").glob("*.json")))
    assert measure_paper(one_row, "I", results=tmp_path) == first
    assert len(networks_measured) == 1


@pytest.mark.parametrize("change", ["code", "clip", "damage"])
def test_kept_costs_are_not_used_for_anything_else(
    one_row: Paper, tmp_path: Path, networks_measured: list[str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    first = measure_paper(one_row, "I", results=tmp_path)
    paper = one_row
    if change == "code":
        monkeypatch.setattr(costs_file, "_code_fingerprint", lambda: "other")
    elif change == "clip":
        paper = replace(one_row, cost_input=CostInput(frames=2, size=64, classes=5))
    else:
        for file in (tmp_path / ".cache" / "cost").glob("*.json"):
            file.write_text(file.read_text()[:-20])
    second = measure_paper(paper, "I", results=tmp_path)
    assert len(networks_measured) == 2
    assert (second == first) == (change != "clip")


def test_a_results_folder_that_cannot_be_written_costs_time_only(
    small_paper: Paper, kept: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "results"
    blocked.write_text("a file where the folder should be")
    assert measure_paper(small_paper, "I", results=blocked) == measure_paper(small_paper, "I", results=kept)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Runs ``vidrepro measure`` with its results in a fresh folder; returns (stdout, stderr)."""
    monkeypatch.setenv("VIDREPRO_RESULTS", str(tmp_path))
    app = typer.Typer()
    app.command()(measure)

    def command(*words: str) -> tuple[str, str]:
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout, result.stderr

    return command


RESNET18, MOBILENET, I3D, MECHANISM = 11_265_774, 2_446_766, 33_255_534, 111_224
COSTS = {
    "I": {
        "None": (14.549, 14.574, RESNET18),
        "M2A-Attention": (14.773, 14.788, RESNET18 + MECHANISM),
        "M2A-Motion": (14.755, 14.788, RESNET18 + MECHANISM),
        "M2A": (14.773, 14.810, RESNET18 + MECHANISM),
    },
    "II": {
        "None": (2.505, 2.553, MOBILENET),
        "M2A-Attention": (2.533, 2.579, MOBILENET + 22_027),
        "M2A-Motion": (2.528, 2.579, MOBILENET + 22_027),
        "M2A": (2.533, 2.584, MOBILENET + 22_027),
    },
    "III": {
        "None": (22.503, 22.525, I3D),
        "M2A-Attention": (22.636, 22.650, I3D + MECHANISM),
        "M2A-Motion": (22.622, 22.650, I3D + MECHANISM),
        "M2A": (22.636, 22.667, I3D + MECHANISM),
    },
    "V": {
        "M2A + TSM": (14.773, 14.810, RESNET18 + MECHANISM),
        "TSM": (14.549, 14.574, RESNET18),
        "M2A": (14.773, 14.810, RESNET18 + MECHANISM),
        "TEA": (14.792, 14.826, 11_393_086),
        "TDN": (15.101, 15.134, 11_517_086),
        "TAM": (14.759, 14.788, 11_406_422),
    },
}


@pytest.mark.parametrize("table", COSTS)
def test_every_printed_cost_is_met(table: str) -> None:
    """8x224x224, 174 classes: all 18 GMACs cells of Tables I, II, III and V to the printed digit.

    fvcore's counts and parameters are those of the released networks (official_cost.csv, parity files). What is kept
    with the paper is what is counted (test_kept_costs.py).
    """
    records = measure_paper("m2a", table)
    assert {(r["table"], r["frames"], r["size"], r["classes"]) for r in records} == {(table, 8, 224, 174)}
    figures = {
        r["label"]: (round(r["gmacs_fvcore"], 3), round(r["gmacs_printed_convention"], 3), r["params"]) for r in records
    }
    assert figures == COSTS[table]
    assert all(record["matches_printed"] and record["cross_check"]["agrees"] for record in records)


def test_command_prints_numbers_rules_and_reasons(
    run: Callable[..., tuple[str, str]], small_paper: Paper, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_costs, "load_paper", lambda name: small_paper)
    stdout, _ = run("m2a", "--table", "I,III", "--results", str(kept))
    records = measure_paper(small_paper, "I,III", results=kept)
    as_json, errors = run("m2a", "--table", "I,III", "--results", str(kept), "--json")
    assert (json.loads(as_json), errors) == (json.loads(json.dumps(records)), "")
    lines = stdout.splitlines()
    for record in records:
        line = next(line for line in lines if f" {record['experiment']} " in line)
        if record["not_measured"] is None:
            assert f"{record['gmacs_fvcore']:.3f}" in line and f"{record['params']:,}" in line
        else:
            assert record["not_measured"] in " ".join(stdout.split())
    for rule in ("ptflops-0.6:", "ptflops-0.6+bmm+sigmoid:"):
        assert rule in stdout
    assert "sigmoid" in next(line for line in lines if line.startswith("not counted by fvcore"))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["m3a"], "unknown paper or benchmark 'm3a'"),
        (["m2a", "--table", "XI"], "unknown table of m2a 'XI'"),
        (["m2a", "--batch", "2"], "--batch has no meaning"),
        (["m2a", "--device", "cpu"], "--device has no meaning"),
        (["m2a", "--rounds", "5"], "--rounds has no meaning"),
        (["m2a", "--data", "."], "--data has no meaning"),
        (["m2a", "--set", "data.frames=16"], "nothing but the network can be changed"),
        (["throughput", "--table", "I"], "--table has no meaning"),
        (["throughput", "--results", "."], "--results has no meaning"),
        (["throughput", "--data", "."], "--data has no meaning"),
        (["loader", "--device", "cpu"], "--device has no meaning"),
        (["loader", "--data", "."], "without --dataset"),
        (["loader", "--set", "model.variant=paper"], "--set has no meaning"),
        (["loader", "--preset", "tiny"], "--preset has no meaning"),
        (["leak"], "unknown paper or benchmark 'leak'"),
        (["loader", "--dataset", "nowhere", "--data", "."], "dataset 'nowhere' is not prepared"),
        (["throughput", "--preset", "tinny"], "unknown preset 'tinny'"),
        (["throughput", "--preset", "tiny", "--device", "tpu9"], "device"),
    ],
)
def test_command_refuses(
    run: Callable[..., tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VidreproError, match=problem):
        run(*words)
    assert list(tmp_path.iterdir()) == []
