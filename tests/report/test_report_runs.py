from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import change_record, write_run

from vidrepro.errors import ResultsError
from vidrepro.report.finished_runs import load_runs


def test_runs_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for seed in (1, 0):
        write_run(tmp_path, "m2a/table1/none", 400 + seed, seed=seed)
    collection = load_runs(tmp_path)
    assert [(run.seed, run.best.top1_correct) for run in collection.runs] == [(0, 400), (1, 401)]
    assert collection.runs[0].best.correct("top5") == 768  # 96 % of 800
    assert load_runs(tmp_path / "nowhere").runs == ()


def test_unfinished_runs_are_counted_not_read(tmp_path: Path) -> None:
    write_run(tmp_path, "m2a/table1/none", 400)
    change_record(write_run(tmp_path, "m2a/table1/m2a", 700), state="running", best=None)
    files = {"begun": "last.pt", "starting": "progress.json", "refused": "train.log"}
    for folder, name in files.items():
        (tmp_path / "runs" / folder).mkdir()
        (tmp_path / "runs" / folder / name).touch()
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / ".gitignore").touch()
    collection = load_runs(tmp_path)
    assert len(collection.runs) == 1
    assert collection.unfinished == ("begun", "starting")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"state": "finished", "schema": 1', "delimiter"),
        ("[1, 2]", "a list instead of a record"),
        ('{"state": "finished", "schema": 2}', "schema 2; this vidrepro reads 1"),
        ('{"state": "finished", "schema": 1, "id": "x"}', "best: Field required"),
        ("\x00\x01", "Expecting value"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, text: str, fault: str) -> None:
    file = write_run(tmp_path, "m2a/table1/none", 400)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ResultsError) as error:
        load_runs(tmp_path)
    assert str(file) in str(error.value)
    assert fault in str(error.value)


def test_impossible_numbers_are_refused(tmp_path: Path) -> None:
    file = write_run(tmp_path, "m2a/table1/none", 400)
    change_record(file, best={"epoch": 1, "clips": 0, "top1": 140, "top1_correct": 1, "top5": 2})
    with pytest.raises(ResultsError) as error:
        load_runs(tmp_path)
    assert "best.clips" in str(error.value)
    assert "best.top1:" in str(error.value)


def test_a_copied_run_is_refused(tmp_path: Path) -> None:
    file = write_run(tmp_path, "m2a/table1/none", 400)
    copy = tmp_path / "runs" / "copy" / "run.json"
    copy.parent.mkdir()
    copy.write_bytes(file.read_bytes())
    with pytest.raises(ResultsError, match="lies there twice"):
        load_runs(tmp_path)
