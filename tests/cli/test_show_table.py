from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_runs import made_up_costs, write_run
from typer.testing import CliRunner, Result

from vidrepro.cli.app import app
from vidrepro.cost import paper_costs
from vidrepro.data.manifest import load_manifest
from vidrepro.errors import ConfigError, ResultsError, UnknownNameError
from vidrepro.experiments import load_preset
from vidrepro.report import effects

Invoke = Callable[..., Result]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    write_run(folder, "m2a/table1/none", 352)
    write_run(folder, "m2a/table1/m2a", 640)
    (folder / "runs" / "begun").mkdir()
    (folder / "runs" / "begun" / "last.pt").touch()
    return folder


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, results: Path) -> Iterator[Invoke]:
    """Runs a command on made-up results; costs, which have tests of their own, are made up too."""
    costs = made_up_costs()

    def measured(paper: Any, table: str, **_: Any) -> list[dict[str, Any]]:
        return [costs[row.id] for row in paper.table(table).rows]

    monkeypatch.setattr(paper_costs, "measure_paper", measured)
    monkeypatch.setenv("VIDREPRO_RESULTS", str(results))
    monkeypatch.setenv("VIDREPRO_DATA", str(tmp_path / "data"))

    def run(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    yield run


def test_table_writes_what_it_prints(invoke: Invoke, results: Path) -> None:
    output = invoke("table", "--paper", "m2a").output
    assert "Table I: Ablation study" in output
    assert "44.0 [40.6, 47.5]" in output
    assert "Table II: Ablation study" in output and "nothing measured yet" in output
    written = sorted(path.name for path in (results / "tables" / "m2a").iterdir())
    assert written == [f"table{number}.{kind}" for number in range(1, 7) for kind in ("csv", "md", "tex")]
    assert "80.0 \\[77.1, 82.6\\]" in (results / "tables" / "m2a" / "table1.md").read_text(encoding="utf-8")


def test_filters_choose_what_is_printed_not_what_is_written(invoke: Invoke, results: Path) -> None:
    """Printed: nothing, for nothing was measured with the paper's preset. Written, drawn: everything, always."""
    invoke("table", "--paper", "m2a", "--table", "I", "--figure")
    folder = results / "tables" / "m2a"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == {"table1.md", "table1.csv", "table1.tex", "table1.png"}
    words = ["table", "--paper", "m2a", "--table", "I", "--figure"]
    for choice in (["--preset", "paper"], ["--dataset", "ssv1"], ["--dataset", "synthetic", "--preset", "tiny"]):
        for path in folder.iterdir():
            path.unlink()
        output = invoke(*words, *choice).output
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        shown = json.loads(invoke(*words, *choice, "--json").stdout)[0]["rows"]
        kept = "--preset" in choice and "tiny" in choice
        assert ("44.0 [40.6, 47.5]" in output) == kept == any(row["runs"] for row in shown)
        assert ("with everything that was measured" in output) != kept
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_else_lies_there_is_told_on_the_terminal_alone(invoke: Invoke, results: Path) -> None:
    words = ["table", "--paper", "m2a", "--table", "I"]
    assert "1 runs are not finished" in invoke(*words).output
    assert "not finished" in " ".join(json.loads(invoke(*words, "--json").stdout)[0]["remarks"])
    files = list((results / "tables" / "m2a").iterdir())
    assert len(files) == 3
    assert not any("not finished" in path.read_text(encoding="utf-8") for path in files)


def test_table_as_json_is_json_alone(invoke: Invoke, results: Path) -> None:
    tables = json.loads(invoke("table", "--paper", "m2a", "--table", "I,5", "--format", "csv", "--json").stdout)
    assert [table["table"] for table in tables] == ["table1", "table5"]
    rows = {row["experiment"]: row for row in tables[0]["rows"]}
    assert rows["m2a/table1/m2a"]["top1"] == 80.0
    assert rows["m2a/table1/m2a"]["delta_top1"] == pytest.approx(36.0)
    assert rows["m2a/table1/m2a"]["printed_top1"] == 34.7
    assert rows["m2a/table1/m2a-motion"]["empty_because"] == "not run"
    (verdicts,) = tables[0]["verdicts"]
    judged = {item["sentence"]: item["verdict"] for item in verdicts["sentences"]}
    assert judged["– M2A above None"] == "holds" and judged["– M2A above M2A-Motion"] == "not measured"
    assert [Path(file).name for table in tables for file in table["files"]] == ["table1.csv", "table5.csv"]


def test_table_draws_what_has_runs(invoke: Invoke, results: Path) -> None:
    output = invoke("table", "--paper", "m2a", "--table", "1,2", "--figure").output
    assert (results / "tables" / "m2a" / "table1.png").exists()
    assert not (results / "tables" / "m2a" / "table2.png").exists()
    assert "Nothing to draw for M2A, Table II" in output


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--paper", "m2b"], "unknown paper 'm2b'"),
        (["--paper", "m2a", "--table", "IX"], "unknown table of m2a 'IX'"),
        (["--paper", "m2a", "--format", "docx"], "unknown table format 'docx'"),
        (["--paper", "m2a", "--dataset", "syntetic"], "unknown dataset 'syntetic'"),
        (["--paper", "m2a", "--preset", "tinny"], "unknown preset 'tinny'"),
    ],
)
def test_table_refuses_unknown_names(invoke: Invoke, results: Path, words: list[str], problem: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        invoke("table", *words)
    assert problem in str(error.value)
    assert not (results / "tables").exists()


def test_table_names_a_damaged_record_and_writes_nothing(invoke: Invoke, results: Path) -> None:
    file = next((results / "runs").glob("*/run.json"))
    file.write_text("{", encoding="utf-8")
    with pytest.raises(ResultsError, match="cannot be read"):
        invoke("table", "--paper", "m2a")
    assert not (results / "tables").exists()


def test_show_paper_lists_tables_rows_settings_and_differences(invoke: Invoke) -> None:
    output = " ".join(invoke("show", "m2a").output.split())
    for expected in (
        "Table I (section IV-A)",
        "m2a/table1/m2a-attention M2A-Attention 16.9 resnet18 m2a-attention, variant=official",
        "m2a/table5/tsm TSM 39.0 resnet18 none + temporal shift",
        "Table III (section IV-A)",
        "m2a/table3/m2a M2A 27.1 i3d-resnet18 m2a",
        "m2a/table6/tdn-tam TDN-Motion, TAM-Attention 25.3 resnet18 m2a(motion=tdn, attention=tam)",
        f"train.learning_rate 0.02 {load_preset('tiny').train['learning_rate']:g}",
        "replaces the table's backbone: resnet18 → micro",
        "motion of the last frame",
    ):
        assert expected in output
    content = json.loads(invoke("show", "m2a", "--json").stdout)
    assert [table["table"] for table in content["tables"]] == ["I", "II", "III", "IV", "V", "VI"]
    assert len(content["tables"][5]["rows"]) == 12
    assert len(content["claims"]) >= 5


def test_show_differences_alone(invoke: Invoke, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(*_: Any) -> tuple[dict[str, Any], ...]:
        return tuple({"not_measured": None, "gmacs_fvcore": gmacs, "params": 7654321} for gmacs in (1.25, 1.5))

    monkeypatch.setattr(effects, "measure_effect", counted)
    write_run(results, "m2a/table1/m2a", 600, overrides=("model.options.boundary=first",))
    output = " ".join(invoke("show", "m2a", "--differences").output.split())
    assert "the released code" in output
    assert "Table I (" not in output
    assert "--set model.options.boundary=zeros (the code) or first (the text)" in output
    assert "effect of m2a/table1/m2a with model.options.boundary=first" in output
    assert "on cost 1.250 → 1.500 GMACs by fvcore, 7,654,321 → 7,654,321 parameters" in output
    assert "on accuracy top-1 -5.0 [" in output and "on accuracy no runs" in output
    assert "not built yet" not in output
    content = json.loads(invoke("show", "m2a", "--differences", "--json").stdout)
    boundary = next(item for item in content if item["id"] == "boundary")
    sides = {"name": "boundary", "official": "zeros", "paper": "first", "of": "mechanism"}
    assert boundary["option"] == sides | {"key": "model.options.boundary"}
    assert boundary["effects"][0]["cost"]["gmacs_fvcore"] == [1.25, 1.5]
    assert "--differences is about a paper" in invoke("show", "synthetic", "--differences", code=2).output


def test_show_row_resolves_its_settings(invoke: Invoke) -> None:
    output = " ".join(invoke("show", "m2a/table1/m2a", "--set", "train.epochs=3").output.split())
    assert "printed: gmacs_per_video 14.81, top1 34.7" in output
    assert "model.backbone micro" in output and "train.epochs 3" in output
    assert "not prepared" in output
    assert "model.options.boundary zeros: what the frame difference finds after the last frame (zeros, first)" in output
    assert "model.backbone_options.width 16: channels of the first stage" in output
    content = json.loads(invoke("show", "m2a/table2/m2a", "--preset", "paper", "--dataset", "ssv1", "--json").stdout)
    assert content["config"]["model"]["backbone"] == "mobilenetv2"
    assert content["config"]["data"]["train_size"] == 224
    with pytest.raises(UnknownNameError, match="m2a/table1/m2a-motion"):
        invoke("show", "m2a/table1/m2a-motoin")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["m2a", "--set", "foo=1"], "--set would have no effect: 'm2a' is a paper; only a row"),
        (["m2a", "--preset", "paper"], "--preset would have no effect"),
        (["m2a", "--differences", "--backbone", "resnet50"], "--backbone would have no effect"),
        (["synthetic", "--preset", "tiny", "--dataset", "ssv1"], "--dataset, --preset would have no effect"),
    ],
)
def test_show_refuses_options_that_would_change_nothing(invoke: Invoke, words: list[str], problem: str) -> None:
    output = " ".join(invoke("show", *words, code=2).output.replace("│", " ").split())
    assert problem in output


def test_show_row_refuses_an_option_its_mechanism_does_not_have(invoke: Invoke) -> None:
    shown = json.loads(invoke("show", "m2a/table1/m2a", "--set", "model.options.boundary=first", "--json").stdout)
    assert shown["config"]["model"]["options"] == {"boundary": "first"}
    with pytest.raises(ConfigError, match="no selected row's mechanism has an option 'boundary'"):
        invoke("show", "m2a/table1/none", "--set", "model.options.boundary=first")


def test_show_dataset(invoke: Invoke, toy_data: Path) -> None:
    output = " ".join(invoke("show", "toy", "--data", str(toy_data)).output.split())
    assert load_manifest("toy", toy_data).fingerprint in output
    assert "0 Moving something from left to right 8 4 1" in output
    content = json.loads(invoke("show", "toy", "--data", str(toy_data), "--json").stdout)
    assert content["counts"] == {"train": {"ok": 16, "bad": 0}, "val": {"ok": 8, "bad": 0}}
    assert content["frames"] == {"least": 8, "most": 8}
    assert content["sizes"] == ["32x32"]
    assert [entry["val"] for entry in content["classes"]] == [4, 4]


def test_show_run_and_runs(invoke: Invoke, results: Path) -> None:
    records = json.loads(invoke("runs", "--json").stdout)
    assert [record["state"] for record in records] == ["finished", "finished", "not finished"]
    best = max(records[:2], key=lambda record: record["top1"])
    assert (best["top1"], best["mechanism"], best["backbone"]) == (80.0, "m2a", "micro")
    output = invoke("runs").output
    assert best["run"] in output and "2 finished, 1 not finished" in output
    assert best["run"] in invoke("show", best["run"]).output
    shown = json.loads(invoke("show", best["run"], "--json").stdout)
    assert shown == json.loads((results / "runs" / best["run"] / "run.json").read_text(encoding="utf-8"))
    with pytest.raises(UnknownNameError, match=best["run"][:20]):
        invoke("show", best["run"][:-5] + "xxxxx")
    assert "next: vidrepro ablate m2a" in invoke("runs", "--results", str(results / "empty")).output


def test_looking_things_up_needs_no_torch(results: Path, tmp_path: Path) -> None:
    """`show` and `runs` start at once; and an error is one panel with exit code 2."""
    program = (
        "import sys; sys.argv = ['vidrepro', *sys.argv[1:]]\n"
        "from vidrepro.__main__ import main\n"
        "try:\n    main()\n"
        "finally:\n    assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    environment = {**os.environ, "VIDREPRO_RESULTS": str(results), "VIDREPRO_DATA": str(tmp_path)}
    for words, code, text in (
        (["show", "m2a"], 0, "Motion Aware Attention"),
        (["runs"], 0, "2 finished"),
        (["show", "m2a/table9/m2a"], 2, "unknown experiment"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, env=environment, timeout=60
        )
        assert done.returncode == code, done.stderr
        assert text in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
