"""Tables from made-up runs: which run stands in which cell, what empty cells say, and what stands below."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from fake_runs import change_record, made_up_costs, write_run

from vidrepro.errors import ResultsError, UnknownNameError
from vidrepro.experiments import load_paper, load_preset
from vidrepro.report.finished_runs import load_runs
from vidrepro.report.grid import Grid, TableReport
from vidrepro.report.printed_cells import truncation
from vidrepro.report.render import FORMATS, csv_text, markdown
from vidrepro.report.write import check_formats, report_tables, write_report


def report(results: Path, table: str = "I", **choice: Any) -> TableReport:
    paper = load_paper("m2a")
    choice.setdefault("data_folder", results / "no-data")
    return report_tables(paper, [paper.table(table)], load_runs(results), made_up_costs(), **choice)[0]


def column(grid: Grid, head: str) -> dict[str, str]:
    """A column's cells by the row's label."""
    position = [" ".join(cell.text.split()) for cell in grid.heads].index(head)
    return {row[0].text: row[position].text for row in grid.rows}


def begin_run(results: Path) -> None:
    """A run that was interrupted, and one that was refused."""
    for name in ("begun", "refused"):
        (results / "runs" / name).mkdir()
        (results / "runs" / name / "train.log").touch()
    (results / "runs" / "begun" / "last.pt").touch()


def change_dataset(file: Path, **facts: Any) -> None:
    change_record(file, dataset=json.loads(file.read_text(encoding="utf-8"))["dataset"] | facts)


def heads(grid: Grid) -> list[str]:
    return [" ".join(cell.text.split()) for cell in grid.heads]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """None, M2A-Motion and M2A of Table I and TSM of Table V, one seed each."""
    write_run(tmp_path, "m2a/table1/none", 352, bad=1, last_correct=340)
    write_run(tmp_path, "m2a/table1/m2a-motion", 696)
    write_run(tmp_path, "m2a/table5/m2a", 640)
    write_run(tmp_path, "m2a/table5/tsm", 780)
    return tmp_path


def test_printed_and_measured_numbers_stand_side_by_side(results: Path) -> None:
    accuracy, cost = report(results).grids
    assert column(accuracy, "Top-1 Acc printed ssv1") == {
        "None": "13.9", "M2A-Attention": "16.9 (+3)", "M2A-Motion": "28.9 (+15)", "M2A": "34.7 (+20)",
    }  # fmt: skip
    # Wilson's interval by hand for 352, 696 and 640 of 800
    assert column(accuracy, "Top-1 measured synthetic") == {
        "None": "44.0 [40.6, 47.5]",
        "M2A-Attention": "not run",
        "M2A-Motion": "87.0 [84.5, 89.2]",
        "M2A": "80.0 [77.1, 82.6]",
    }
    assert column(accuracy, "over None") == {
        "None": "baseline", "M2A-Attention": "not run", "M2A-Motion": "+43.0", "M2A": "+36.0",
    }  # fmt: skip
    assert column(accuracy, "last epoch")["None"] == "42.5"
    assert column(accuracy, "Pair measured synthetic")["M2A"] == "88.0"
    assert column(accuracy, "seeds") == {"None": "1", "M2A-Attention": "0", "M2A-Motion": "1", "M2A": "1"}
    assert column(cost, "GMACs/video printed")["M2A"] == "14.81"
    assert column(cost, "printed convention")["M2A"] == "2.346"
    assert column(cost, "counted by fvcore")["None"] == "1.234"
    assert column(cost, "parameters")["None"] == "7,654,321"


def test_an_accuracy_on_another_dataset_never_stands_under_the_papers(results: Path) -> None:
    for table in ("I", "V"):
        accuracy = report(results, table).grids[0]
        for head in heads(accuracy):
            if head.endswith("measured ssv1"):
                assert set(column(accuracy, head).values()) == {"ssv1 not prepared"}
        measured = [head for head in heads(accuracy) if "measured" in head and not head.endswith("ssv1")]
        assert measured and all(head.endswith("measured synthetic") for head in measured)
        assert any("not the paper's dataset" in fact for fact in accuracy.facts)


def test_empty_cells_say_why(results: Path) -> None:
    accuracy, cost = report(results, "V").grids
    assert column(accuracy, "Top-1 measured synthetic") == {
        "M2A + TSM": "not run",
        "TSM": "97.5 [96.2, 98.4]",
        "M2A": "80.0 [77.1, 82.6]",
        "TEA": "not run",
        "TDN": "not run",
        "TAM": "not run",
    }
    assert column(accuracy, "over None")["TSM"] == "+53.5"  # to Table I's None, which Table V does not print
    command = "vidrepro ablate m2a --table V --rows m2a-tsm,tea,tdn,tam --dataset synthetic"
    assert any(command in fact for fact in accuracy.facts)
    for grid in (accuracy, cost):
        assert all(cell.text.strip() for row in grid.rows for cell in row)


def test_a_table_without_runs_says_how_to_get_them(results: Path) -> None:
    shown = report(results, "II")
    assert not shown.measured
    assert set(column(shown.grids[0], "Top-1 measured synthetic").values()) == {"not run"}
    assert any("vidrepro ablate m2a --table II --dataset synthetic" in fact for fact in shown.grids[0].facts)
    asked = report(results, "II", dataset="ssv1")
    assert set(column(asked.grids[0], "Top-1 measured ssv1").values()) == {"ssv1 not prepared"}
    with pytest.raises(UnknownNameError, match="'synthetic'"):
        report(results, "II", dataset="syntetic")


def test_the_papers_dataset_is_not_run_rather_than_not_prepared_once_it_is_there(results: Path) -> None:
    data = results / "data"
    (data / "ssv1").mkdir(parents=True)
    (data / "ssv1" / "manifest.csv").touch()
    accuracy = report(results, data_folder=data).grids[0]
    assert set(column(accuracy, "Top-1 measured ssv1").values()) == {"not run"}


def test_a_matrix_is_laid_out_as_it_is_printed(results: Path) -> None:
    """Table VI: motion downwards, attention across; a cell shows its own runs and its gain over the cell above."""
    write_run(results, "m2a/table6/m2a-tam", 600)
    write_run(results, "m2a/table6/none-tam", 400)
    (accuracy,) = report(results, "VI").grids
    assert heads(accuracy) == [
        "Motion mechanism",
        "Top-1 Acc, None printed ssv1",
        "None measured synthetic",
        "Top-1 Acc, M2A-Attention printed ssv1",
        "M2A-Attention measured synthetic",
        "Top-1 Acc, TAM-Attention printed ssv1",
        "TAM-Attention measured synthetic",
    ]
    assert [row[0].text for row in accuracy.rows] == ["None", "M2A-Motion", "TDN-Motion", "TEA-Motion"]
    assert column(accuracy, "Top-1 Acc, TAM-Attention printed ssv1")["TDN-Motion"] == "25.3 (+4.3)"
    assert column(accuracy, "Top-1 Acc, M2A-Attention printed ssv1")["TEA-Motion"] == "33.9 (+17.0)"
    assert column(accuracy, "None measured synthetic") == {
        "None": "44.0 [40.6, 47.5]",  # Table I's None
        "M2A-Motion": "87.0 [84.5, 89.2] (+43.0)",
        "TDN-Motion": "not run",
        "TEA-Motion": "not run",
    }
    assert column(accuracy, "M2A-Attention measured synthetic")["M2A-Motion"] == "80.0 [77.1, 82.6]"
    assert column(accuracy, "TAM-Attention measured synthetic")["M2A-Motion"] == "75.0 [71.9, 77.9] (+25.0)"
    assert {cell.text for row in accuracy.rows for cell in row if cell.bold} == {"34.7 (+17.8)", "34.3", "33.3 (+12.3)"}
    assert any("On the paper's own dataset: ssv1 not prepared" in fact for fact in accuracy.facts)
    assert "Seeds a cell: 1." in accuracy.facts
    write_run(results, "m2a/table6/none-tam", 400, seed=1)
    (again,) = report(results, "VI").grids
    cells = "None, None; M2A-Motion, None; M2A-Motion, M2A-Attention; M2A-Motion, TAM-Attention"
    assert f"Seeds a cell: 2 (None, TAM-Attention), 1 ({cells})." in again.facts
    rows = {row["experiment"]: row for row in csv.DictReader(io.StringIO(csv_text(report(results, "VI"))))}
    assert len(rows) == 12
    assert rows["m2a/table6/m2a-tam"]["printed_top1"] == "31.6" and rows["m2a/table6/m2a-tam"]["delta_top1"] == "25.0"
    assert rows["m2a/table6/m2a-tam"]["label"] == "M2A-Motion, TAM-Attention"


def test_what_was_trained_stands_below(results: Path) -> None:
    accuracy, cost = report(results).grids
    size = load_preset("tiny").data["eval_size"]
    assert accuracy.title == f"Accuracy in %: measured on synthetic with micro (width=16), 8x1x1@{size}, preset tiny"
    text = "\n".join(accuracy.facts)
    for expected in (
        "Dataset synthetic (preset tiny, version 1), fingerprint ab12cd34ef56ab78, 8 classes",
        "train 4,000 clips, val 800 clips and 1 bad left out",
        "Order-blind ceiling: 50.0 % top-1",
        "Chance: top-1 12.5 %, pair 25.0 %",
        f"micro (width=16), 308,568 parameters, 8 frames of {size}x{size}",
        "Wilson 95 % interval",
        "commit abc1234; torch 2.15.0",
    ):
        assert expected in text
    assert "aten::softmax" in "\n".join(cost.facts)
    assert cost.title == "Cost in GMACs a clip: resnet18, 8 frames of 224x224, 174 classes"


def test_truncated_differences_and_counting_rules_are_marked(results: Path) -> None:
    shown = report(results)
    accuracy, cost = shown.grids
    marked = {
        (row[0].text, position): {shown.notes[mark - 1] for mark in cell.marks}
        for row in accuracy.rows
        for position, cell in enumerate(row)
        if cell.marks
    }
    # 15.0 and 3.1 are printed as +15 and +3: rounded or truncated alike
    assert marked.keys() == {("M2A-Motion", 2), ("M2A", 1), ("M2A", 2)}
    (note,) = {text for texts in marked.values() for text in texts}
    assert "M2A-Motion +15 / +17.8, M2A +20.8 / +24.5" in note
    rules = {row[0].text: [shown.notes[mark - 1] for mark in row[2].marks] for row in cost.rows}
    assert rules["M2A"] == ["counted by rule-b: the sum under rule-b"]
    assert rules["None"] == rules["M2A-Motion"] == ["counted by rule-a: the sum under rule-a"]
    assert any("14.57 to 14.81 GMACs is +1.65 %" in remark for remark in shown.remarks)


def test_every_truncated_difference_is_noted_and_no_other() -> None:
    """By hand: printed, and the exact difference to the row None; +15 and +3 are rounded and truncated alike."""
    truncated = {
        ("I", "M2A-Motion", "top5"): "17.8",
        ("I", "M2A", "top1"): "20.8",
        ("I", "M2A", "top5"): "24.5",
        ("II", "M2A-Motion", "top5"): "22.8",
        ("II", "M2A", "top1"): "21.8",
        ("II", "M2A", "top5"): "26.6",
    }
    for table in load_paper("m2a").tables:
        for label in table.printed.labels:
            for name in table.printed.row(label):
                note = None if name.startswith("printed_") else truncation(table.printed, label, name)
                exact = truncated.get((table.id, label, name))
                assert (note is None) == (exact is None)
                assert note is None or (f"+{exact}" in note and "cuts its differences off" in note)


def test_bold_is_the_papers(results: Path) -> None:
    for table, expected in (("I", {"34.7 (+20)", "63.4 (+24)"}), ("V", {"39.3"})):
        accuracy = report(results, table).grids[0]
        assert {cell.text for row in accuracy.rows for cell in row if cell.bold} == expected


def test_several_seeds_are_a_mean_with_its_spread(tmp_path: Path) -> None:
    for seed, (none, m2a) in enumerate([(320, 600), (328, 640), (360, 632)]):
        write_run(tmp_path, "m2a/table1/none", none, seed=seed)
        write_run(tmp_path, "m2a/table1/m2a", m2a, seed=seed)
    accuracy = report(tmp_path).grids[0]
    # none 40, 41, 45; M2A 75, 80, 79; differences 35, 39, 34
    assert column(accuracy, "Top-1 measured synthetic")["None"] == "42.0 ± 2.6"
    assert column(accuracy, "Top-1 measured synthetic")["M2A"] == "78.0 ± 2.6"
    assert column(accuracy, "over None")["M2A"] == "+36.0 ± 2.6"
    assert column(accuracy, "seeds")["M2A"] == "3"
    assert any("standard deviation over seeds 0, 1, 2" in fact for fact in accuracy.facts)
    assert not any("Wilson" in fact for fact in accuracy.facts)


def test_settings_do_not_mix(results: Path) -> None:
    """Another dataset content, preset, backbone or override: each has its section, with its own baseline."""
    write_run(results, "m2a/table1/m2a", 100, fingerprint="ffff000011112222")
    write_run(results, "m2a/table1/m2a", 200, overrides=("train.epochs=3",))
    write_run(results, "m2a/table1/m2a", 300, backbone="resnet18")
    write_run(
        results, "m2a/table1/m2a", 5000, clips=11522, dataset="ssv1", preset="paper", ceiling=None, pair_correct=None
    )
    shown = report(results)
    accuracies = shown.grids[:-1]
    assert [column(grid, f"Top-1 measured {name}")["M2A"].split()[0] for grid, name in zip(
        accuracies, ("ssv1", *["synthetic"] * 4), strict=True
    )] == ["43.4", "80.0", "25.0", "37.5", "12.5"]  # fmt: skip
    assert [column(grid, "over None")["M2A"] for grid in accuracies] == ["None not run", "+36.0", *["None not run"] * 3]
    assert "Pair measured ssv1" not in heads(accuracies[0])
    assert any("--set train.epochs=3" in fact for fact in accuracies[2].facts)
    assert "resnet18 (width=16)" in accuracies[3].title
    assert any("ffff000011112222" in fact for fact in accuracies[4].facts)
    rows = list(csv.DictReader(io.StringIO(csv_text(shown))))
    assert len(rows) == 5 * 4
    assert {(row["dataset"], row["preset"]) for row in rows} == {("ssv1", "paper"), ("synthetic", "tiny")}
    only = report(results, dataset="ssv1").grids[:-1]
    assert [grid.title for grid in only] == [accuracies[0].title]
    assert report(results, preset="paper").grids[:-1] == only


def test_a_backbone_asked_for_is_shown_in_the_table_printed_for_it(tmp_path: Path) -> None:
    write_run(tmp_path, "m2a/table2/m2a", 400, backbone="mobilenetv2")
    assert column(report(tmp_path, "II").grids[0], "Top-1 measured synthetic")["M2A"].startswith("50.0")
    for table in ("I", "V"):
        assert not report(tmp_path, table).measured


def test_equal_settings_share_a_section(tmp_path: Path) -> None:
    """A run made with an override that changes nothing stands where the plain one would."""
    write_run(tmp_path, "m2a/table1/none", 400)
    epochs = load_preset("tiny").train["epochs"]
    write_run(tmp_path, "m2a/table1/m2a", 600, overrides=(f"train.epochs={epochs}",))
    (accuracy, _) = report(tmp_path).grids
    assert column(accuracy, "over None")["M2A"] == "+25.0"


def test_runs_of_changed_settings_are_counted_not_shown(results: Path) -> None:
    file = write_run(results, "m2a/table1/m2a-attention", 500)
    file.write_text(file.read_text(encoding="utf-8").replace('"config_fingerprint": "', '"config_fingerprint": "0'))
    begin_run(results)
    leftovers = " ".join(report(results).leftovers)
    assert "1 finished runs of this paper are not shown" in leftovers
    assert "1 runs are not finished" in leftovers


def test_files_do_not_depend_on_what_else_lies_there(results: Path) -> None:
    """An interrupted run, a refused one, one of changed settings, one of another paper, one of no paper."""
    before = {name: render(report(results)) for name, render in FORMATS.items()}
    begin_run(results)
    for correct, (experiment, change) in enumerate(
        [
            ("m2a/table1/m2a-attention", {"config_fingerprint": "0123456789ab"}),
            ("m2a/table1/m2a", {"paper_setting": {"paper": "tea", "preset": "tiny"}, "config_fingerprint": "1" * 12}),
            ("m2a/table2/m2a", {"paper_setting": None}),
        ]
    ):
        change_record(write_run(results, experiment, correct, seed=5), **change)
    shown = report(results)
    assert shown.leftovers and {name: render(shown) for name, render in FORMATS.items()} == before


def test_the_ceiling_is_stated_only_where_it_holds(tmp_path: Path) -> None:
    for row in ("none", "m2a"):
        change_dataset(write_run(tmp_path, f"m2a/table1/{row}", 400), frame_counts=[16, 24])
    shown = report(tmp_path)
    assert any("Order-blind ceiling: 50.0 %" in fact for fact in shown.grids[0].facts)
    assert {record["order_blind_ceiling"] for record in shown.records if record["runs"]} == {0.5}

    for file in (tmp_path / "runs").glob("*/run.json"):
        change_dataset(file, frame_counts=[16, 30])
    shown = report(tmp_path)
    facts = "\n".join(shown.grids[0].facts)
    assert "Order-blind ceiling:" not in facts and "% top-1 is the most" not in facts
    assert "No order-blind ceiling is stated: with 8 frames by tsm-train" in facts and "clips of 30 frames" in facts
    assert "Chance: top-1 12.5 %, pair 25.0 %" in facts
    measured = [record for record in shown.records if record["runs"]]
    assert {record["order_blind_ceiling"] for record in measured} == {None}
    assert all("30 frames" in record["no_order_blind_ceiling"] for record in measured)
    assert "30 frames" in csv_text(shown)


def test_the_ceiling_is_not_stated_for_sampling_that_gives_the_direction_away(tmp_path: Path) -> None:
    overrides = ("data.train_sampling=tsm-val",)
    change_dataset(write_run(tmp_path, "m2a/table1/none", 700, overrides=overrides), frame_counts=[16])
    (fact,) = [fact for fact in report(tmp_path).grids[0].facts if "rder-blind" in fact]
    assert fact.startswith("No order-blind ceiling is stated: with 8 frames by tsm-val")
    write_run(tmp_path, "m2a/table1/m2a", 700, overrides=("data.train_sampling=tsm-test",))  # an older record
    assert sum("not recorded" in fact for grid in report(tmp_path).grids for fact in grid.facts) == 1


def test_rows_are_named_where_the_ceiling_holds_for_some_only(results: Path) -> None:
    for file in (results / "runs").glob("*/run.json"):
        config = json.loads(file.read_text(encoding="utf-8"))["config"]
        if config["model"]["mechanism"] == "m2a":
            change_record(file, config=config | {"data": config["data"] | {"train_sampling": "tsm-val"}})
    facts = report(results).grids[0].facts
    assert any(fact.startswith("Order-blind ceiling for None, M2A-Motion: 50.0 %") for fact in facts)
    assert any(fact.startswith("No order-blind ceiling is stated for M2A: training sampling tsm-val") for fact in facts)


def test_every_commit_of_a_resumed_run_is_named(tmp_path: Path) -> None:
    environment = {"commit": "bbb2222", "dirty": True, "torch": "2.15.0"}
    file = write_run(tmp_path, "m2a/table1/none", 400)
    change_record(file, environment=environment | {"commits": ["ccc3333", "bbb2222+"]})
    assert any("commit bbb2222+modified, ccc3333; torch" in fact for fact in report(tmp_path).grids[0].facts)
    change_record(file, environment=environment | {"commits": ["bbb2222+"]})
    assert any("commit bbb2222+modified; torch" in fact for fact in report(tmp_path).grids[0].facts)


def test_two_runs_of_the_same_identity_are_refused(results: Path) -> None:
    file = next((results / "runs").glob("*/run.json"))
    twin = results / "runs" / "twin" / "run.json"
    twin.parent.mkdir()
    text = file.read_text(encoding="utf-8")
    twin.write_text(text.replace(file.parent.name, "twin"), encoding="utf-8")
    with pytest.raises(ResultsError, match="same config, dataset and seed"):
        report(results)


def test_the_files_are_the_same_every_time(results: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = {path.name: path.read_bytes() for path in write_report(report(results), results, ["md", "csv", "tex"])}
    assert first.keys() == {"table1.md", "table1.csv", "table1.tex"}
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for path in sorted((results / "runs").iterdir(), reverse=True):  # another order on disk
        target = elsewhere / "runs" / path.name
        target.mkdir(parents=True)
        (target / "run.json").write_bytes((path / "run.json").read_bytes())
    second = {p.name: p.read_bytes() for p in write_report(report(elsewhere), elsewhere, ["md", "csv", "tex"])}
    assert first == second
    assert (results / "tables" / "m2a" / "table1.md").read_text(encoding="utf-8") == markdown(report(results))


def test_unknown_formats_are_refused() -> None:
    assert check_formats("md, tex,md") == ["md", "tex"]
    with pytest.raises(UnknownNameError, match="unknown table format 'latex'"):
        check_formats("md,latex")
