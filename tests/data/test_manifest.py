from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_clips import INFO

from vidrepro.data import manifest as manifest_module
from vidrepro.data.journal import JOURNAL_NAME
from vidrepro.data.manifest import (
    COLUMNS,
    Clip,
    Journal,
    Manifest,
    check_files,
    list_prepared,
    load_manifest,
    require_files,
    write_manifest,
)
from vidrepro.errors import ManifestError, ResultsError, UnknownNameError

FullDisk = Callable[[int], AbstractContextManager[None]]
MakeDataset = Callable[..., Manifest]
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


# --- reading and writing -------------------------------------------------------------------------------------------


def test_the_file_is_what_the_issue_says(tmp_path: Path) -> None:
    write(tmp_path)
    lines = (tmp_path / "toy" / "manifest.csv").read_bytes().decode().split("\n")
    assert lines == [
        "id,path,frames,fps,width,height,label,split,bytes,digest,status,first_frame,start_index,pattern",
        f"a,a.mp4,24,12,64,48,0,train,1000,{DIGEST},ok,,,",
        f'NA,"sub folder/ä, b.mp4",24,12,64,48,1,val,1000,{DIGEST},ok,,,',
        f"007,007,24,59.94005994,64,48,0,train,1000,{DIGEST},ok,7,1,%05d.jpg",
        "bad one,bad one.mp4,0,0,0,0,0,val,0,,bad,,,",
        f"b,b.mp4,24,12,64,48,1,test,1000,{DIGEST},ok,,,",
        "",
    ]


def test_ids_and_texts_stay_texts(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    assert manifest.table["id"].tolist() == ["a", "NA", "007", "bad one", "b"]
    assert manifest.clip("007") == Clip(
        "007", "007", 24, 59.94005994, 64, 48, 0, "train", 1000, DIGEST, "ok", 7, 1, "%05d.jpg"
    )
    assert manifest.clip("NA").first_frame is None
    with pytest.raises(UnknownNameError, match="unknown clip 'c'"):
        manifest.clip("c")


TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12).filter(
    lambda text: text == text.strip()
)
PATHS = st.lists(TEXT.filter(lambda part: not {"/", "\\"} & set(part) and part != ".."), min_size=1, max_size=3).map(
    "/".join
)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    ids = draw(st.lists(TEXT, unique=True, min_size=1, max_size=6))
    rows = []
    for clip_id in ids:
        values = row(
            clip_id,
            path=draw(PATHS),
            frames=draw(st.integers(1, 10**6)),
            fps=draw(st.floats(1e-3, 1e4, allow_subnormal=False)),
            label=draw(st.integers(0, 1)),
            split=draw(st.sampled_from(["train", "val", "test"])),
            status=draw(st.sampled_from(["ok", "bad"])),
            bytes=draw(st.integers(1, 2**40)),
            digest=draw(st.binary(min_size=32, max_size=32)).hex(),
        )
        video = {"first_frame": None, "start_index": None, "pattern": ""}
        offset = {"first_frame": draw(st.integers(0, 10**5)), "start_index": draw(st.integers(0, 1))}
        rows.append(values | draw(st.sampled_from([video, offset | {"pattern": "img_%05d.jpg"}])))
    return rows


@settings(max_examples=40, deadline=None)
@given(rows=tables())
def test_what_is_written_reads_back_equal(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("m")
    manifest = write(folder, rows)
    assert [manifest.clip(values["id"]) for values in rows] == [Clip(**values) for values in rows]
    again = write(folder / "again", manifest.table)
    assert again.fingerprint == manifest.fingerprint
    assert (folder / "toy" / "manifest.csv").read_bytes() == (folder / "again" / "toy" / "manifest.csv").read_bytes()


def test_windows_line_ends_marks_and_blank_lines_change_nothing(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    text = manifest.path.read_text(encoding="utf-8")
    manifest.path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    again = load_manifest("toy", tmp_path)
    assert again.fingerprint == manifest.fingerprint
    assert again.lines.tolist() == [2, 3, 4, 5, 6]


def test_the_fingerprint_follows_the_meaning_and_not_the_place(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "elsewhere" / "deep")
    assert load_manifest("toy", tmp_path / "elsewhere" / "deep").fingerprint == manifest.fingerprint
    same = [write(tmp_path / "1", root="/mnt/download"), write(tmp_path / "2", note="free text")]
    assert {one.fingerprint for one in same} == {manifest.fingerprint}
    others = [
        write(tmp_path / "3", ROWS[:-1]),
        write(tmp_path / "4", ROWS[::-1]),
        write(tmp_path / "5", [ROWS[0] | {"label": 1}, *ROWS[1:]]),
        write(tmp_path / "6", [ROWS[0] | {"digest": "cd" * 32}, *ROWS[1:]]),
        write(tmp_path / "7", classes=["left", "up"]),
        write(tmp_path / "8", version="2"),
        write(tmp_path / "9", encoding={"crf": 18}),
        write(tmp_path / "10", seed=1),
    ]
    assert len({one.fingerprint for one in [manifest, *others]}) == 1 + len(others)
    assert len(manifest.fingerprint) == 16
    int(manifest.fingerprint, 16)


def test_clips_are_the_usable_ones_in_order(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    assert manifest.clips("train")["id"].tolist() == ["a", "007"]
    assert manifest.clips("val")["id"].tolist() == ["NA"]
    assert manifest.clips("val").index.tolist() == [0]
    assert tuple(manifest.clips("train").columns) == COLUMNS
    assert manifest.counts() == {
        "train": {"ok": 2, "bad": 0},
        "val": {"ok": 1, "bad": 1},
        "test": {"ok": 1, "bad": 0},
    }
    assert manifest.classes == ["left", "right"]
    with pytest.raises(UnknownNameError, match="split"):
        manifest.clips("valid")


def test_the_root_may_lie_elsewhere(tmp_path: Path) -> None:
    assert write(tmp_path).root == tmp_path / "toy"
    assert write(tmp_path, root="/mnt/download").root == Path("/mnt/download")


# --- refusals ------------------------------------------------------------------------------------------------------


def edited(lines: list[str], number: int, old: str, new: str) -> list[str]:
    assert old in lines[number - 1]
    return [*lines[: number - 1], lines[number - 1].replace(old, new, 1), *lines[number:]]


BAD_LINES = [
    (3, "1000", "many", "bad bytes"),
    (2, "24", "24.5", "bad frames"),
    (2, "24", "-1", "bad frames"),
    (2, "24", "0", "bad frames"),
    (2, "24", "", "bad frames"),
    (2, "24", " 24", "bad frames"),
    (2, "64", "1e2", "bad width"),
    (2, "12", "nan", "bad fps"),
    (2, "12", "1e999", "bad fps"),
    (2, "12", "0", "bad fps"),
    (6, ",1,test", ",2,test", "bad label"),
    (6, ",1,test", ",-1,test", "bad label"),
    (6, ",1,test", ",,test", "bad label"),
    (6, "test", "Test", "bad split"),
    (6, "ok", "", "bad status"),
    (6, "b.mp4", "../b.mp4", "bad path"),
    (6, "b.mp4", "/etc/passwd", "bad path"),
    (6, "b.mp4", "x/../../b.mp4", "bad path"),
    (6, "b.mp4", "x\\b.mp4", "bad path"),
    (6, "b.mp4", "", "bad path"),
    (6, "b.mp4", "b\x07.mp4", "bad path"),
    (2, DIGEST, DIGEST[1:], "bad digest"),
    (2, DIGEST, "", "bad digest"),
    (6, "b,b.mp4", "a,b.mp4", "duplicate id"),
    (6, "b,b.mp4", ",b.mp4", "bad id"),
    (6, "b,b.mp4", " b,b.mp4", "bad id"),
    (6, "ok,,,", "ok,0,,", "bad first_frame"),
    (4, "ok,7,1", "ok,,1", "bad first_frame"),
    (4, "ok,7,1", "ok,7,x", "bad start_index"),
    (4, "%05d.jpg", "frame.jpg", "bad pattern"),
    (4, "%05d.jpg", "%s%s.jpg", "bad pattern"),
    (4, "%05d.jpg", "../%05d.jpg", "bad pattern"),
    (6, "ok,,,", "ok,,", "wrong number of fields"),
    (6, "ok,,,", "ok,,,,", "wrong number of fields"),
    (1, "frames", "n_frames", "unknown column 'n_frames'"),
    (1, "id,path", "id,id", "missing column 'path'"),
    (1, "start_index,pattern", "start_index,id", "missing column 'pattern'"),
]


@pytest.mark.parametrize(("number", "old", "new", "words"), BAD_LINES)
def test_a_malformed_line_is_refused_by_file_and_number(
    tmp_path: Path, number: int, old: str, new: str, words: str
) -> None:
    path = write(tmp_path).path
    lines = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join(edited(lines, number, old, new)), encoding="utf-8")
    with pytest.raises(ManifestError, match=words) as refused:
        load_manifest("toy", tmp_path)
    assert f"{path}, line {number}" in str(refused.value)


def test_line_numbers_count_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path).path
    path.write_text(path.read_text(encoding="utf-8").replace("\n", "\n\n").replace("test", "?"), encoding="utf-8")
    with pytest.raises(ManifestError, match=r"manifest\.csv, line 11"):
        load_manifest("toy", tmp_path)


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path).path
    for content in (b"", b"\xff\xfe\x00", path.read_bytes()[:-30] + b'"', np.random.default_rng(0).bytes(100)):
        path.write_bytes(content)
        with pytest.raises(ManifestError, match=r"manifest\.csv"):
            load_manifest("toy", tmp_path)


BAD_INFO = [
    ({"classes": []}, "classes"),
    ({"classes": ["a", "a"]}, "classes"),
    ({"classes": "ab"}, "classes"),
    ({"classes": ["a", 1]}, "classes"),
    ({"version": 3}, "version"),
    ({"root": None}, "root"),
    ({"name": "other"}, "name"),
    ({"seed": "0"}, "seed"),
    ({"reversal_pairs": [[0, 2]]}, "reversal_pairs"),
    ({"reversal_pairs": [[0, 0]]}, "reversal_pairs"),
    ({"reversal_pairs": [[0, 1], [1, 0]]}, "reversal_pairs"),
    ({"reversal_pairs": [0, 1]}, "reversal_pairs"),
    ({"order_blind_ceiling": 50}, "order_blind_ceiling"),
    ({"tasks": {"verb": []}}, "verb"),
]


@pytest.mark.parametrize(("change", "words"), BAD_INFO)
def test_a_bad_dataset_json_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        write(tmp_path, **change)
    assert not (tmp_path / "toy" / "manifest.csv").exists()
    write(tmp_path)
    (tmp_path / "toy" / "dataset.json").write_text(json.dumps(INFO | change), encoding="utf-8")
    with pytest.raises(ManifestError, match=words) as refused:
        load_manifest("toy", tmp_path)
    assert "dataset.json" in str(refused.value)


def test_a_dataset_json_that_is_incomplete_or_no_json_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "toy" / "dataset.json"
    for content in ("{}", "[]", '{"name": "toy",\n', json.dumps({k: v for k, v in INFO.items() if k != "version"})):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ManifestError, match=r"dataset\.json"):
            load_manifest("toy", tmp_path)


def test_a_dataset_that_is_not_prepared_says_how(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ManifestError, match="'ssv1' is not prepared") as refused:
        load_manifest("ssv1", tmp_path)
    assert refused.value.allowed == "toy"
    assert str(refused.value.hint) == "vidrepro prepare ssv1 --root FOLDER"
    for name, command in (("synthetic", "vidrepro prepare synthetic"), ("synthetic-full", "prepare synthetic-full")):
        with pytest.raises(ManifestError) as refused:
            load_manifest(name, tmp_path)
        assert str(refused.value.hint).endswith(command)
    for name, meant in (("toyy", "toy"), ("synthetik", "synthetic")):
        with pytest.raises(ManifestError) as refused:
            load_manifest(name, tmp_path)
        assert f"did you mean '{meant}'?" in str(refused.value.hint)
    for name in ("../toy", "toy/", "", ".."):
        with pytest.raises(ManifestError):
            load_manifest(name, tmp_path / "x")


def test_unwritable_rows_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for bad in (
        [row("a"), row("a")],
        [row("a", label=2)],
        [row("a\nb")],
        [row("a", path="\udce9.mp4")],
        [row("a", colour="red")],
        [{"id": "a"}],
    ):
        with pytest.raises(ManifestError):
            write(tmp_path, bad)
        assert not (tmp_path / "toy").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot write"):
        write(tmp_path / "file")


def test_prepared_datasets_are_listed_with_their_faults(tmp_path: Path) -> None:
    good = write(tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    Journal(tmp_path / "begun", "k").close()
    broken = tmp_path / "broken"
    shutil.copytree(tmp_path / "toy", broken)
    found = dict(list_prepared(tmp_path))
    assert list(found) == ["begun", "broken", "toy"]
    assert isinstance(found["toy"], Manifest)
    assert found["toy"].fingerprint == good.fingerprint
    assert "not finished" in str(found["begun"])
    assert "'broken', the name of its folder" in str(found["broken"])
    assert list_prepared(tmp_path / "nowhere") == []


# --- folds and tasks -----------------------------------------------------------------------------------------------


def beside(manifest: Manifest, path: str, text: str) -> None:
    file = manifest.folder / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_folds_and_tasks_replace_split_and_label(tmp_path: Path) -> None:
    manifest = write(tmp_path, tasks={"noun": ["cup", "pan", "lid"]})
    beside(manifest, "splits/split2.csv", "id,split\r\nb,train\r\nNA,train\r\nbad one,train\r\n")
    beside(manifest, "labels/noun.csv", "label,id\n2,a\n1,NA\n0,b\n")
    assert manifest.folds() == ["split2"]
    assert manifest.tasks() == ["noun"]
    assert manifest.classes_of("noun") == ["cup", "pan", "lid"]
    chosen = manifest.clips("train", fold="split2", task="noun")
    assert chosen[["id", "split", "label"]].values.tolist() == [["NA", "train", 1], ["b", "train", 0]]
    assert chosen["label"].dtype == np.int64
    assert manifest.clips("val", fold="split2").empty
    assert manifest.clips("train")["id"].tolist() == ["a", "007"]
    with pytest.raises(ManifestError, match="'007' has no label"):
        manifest.clips("train", task="noun")


def test_the_selection_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    beside(manifest, "splits/one.csv", "id,split\na,train\nb,val\n")
    beside(manifest, "splits/same.csv", "id,split\nb,val\na,train\n")
    beside(manifest, "splits/other.csv", "id,split\na,val\nb,val\n")
    beside(manifest, "labels/noun.csv", "id,label\na,5\nb,6\n")
    assert manifest.selection_fingerprint() == manifest.fingerprint == load_manifest("toy", tmp_path).fingerprint
    one, same, other = (manifest.selection_fingerprint(fold=name) for name in ("one", "same", "other"))
    assert one == same != other
    assert len({manifest.fingerprint, one, other, manifest.selection_fingerprint(task="noun")}) == 4


@pytest.mark.parametrize(
    ("path", "text", "words", "line"),
    [
        ("splits/s.csv", "id,split\na,dev\n", "bad split", 2),
        ("splits/s.csv", "id,split\na,train\nzz,val\n", "does not know", 3),
        ("splits/s.csv", "id,split\na,train\nb,val\na,val\n", "duplicate id", 4),
        ("splits/s.csv", "id,fold\na,train\n", "unknown column", 1),
        ("labels/l.csv", "id,label\na,one\n", "bad label", 2),
        ("labels/l.csv", "id,label\na,0\nb,2\n", "bad label", 3),
        ("labels/l.csv", "id,label\na\n", "number of fields", 2),
    ],
)
def test_bad_folds_and_tasks_are_refused(tmp_path: Path, path: str, text: str, words: str, line: int) -> None:
    manifest = write(tmp_path, tasks={"l": ["x", "y"]})
    beside(manifest, path, text)
    kind = {"fold": "s"} if path.startswith("splits") else {"task": "l"}
    with pytest.raises(ManifestError, match=words) as refused:
        manifest.clips("train", **kind)
    assert f"{manifest.folder / path}, line {line}" in str(refused.value)
    with pytest.raises(UnknownNameError):
        manifest.clips("train", **dict.fromkeys(kind, "nothing"))


# --- files ---------------------------------------------------------------------------------------------------------


def test_files_that_are_as_recorded_pass(make_dataset: MakeDataset) -> None:
    manifest = make_dataset()
    calls: list[tuple[int, int]] = []
    assert check_files(manifest, quick=True) == []
    assert check_files(manifest, quick=False, progress=lambda *done: calls.append(done)) == []
    assert calls == [(i, 5) for i in range(1, 6)]
    require_files(manifest)


def test_files_that_changed_are_found(make_dataset: MakeDataset) -> None:
    manifest = make_dataset(clips=4)
    clips = manifest.root / "clips"
    (clips / "c0.mp4").unlink()
    content = (clips / "c1.mp4").read_bytes()
    (clips / "c1.mp4").write_bytes(content[:-1])
    (clips / "c2.mp4").write_bytes((clips / "c2.mp4").read_bytes() + b"x")
    content = bytearray((clips / "c3.mp4").read_bytes())
    content[500] ^= 1
    (clips / "c3.mp4").write_bytes(content)
    (manifest.root / "pictures" / "img_00007.png").unlink()  # in the middle of the clip

    quick = {problem.clip: (problem.line, problem.problem) for problem in check_files(manifest, quick=True)}
    assert list(quick) == ["c0", "c1", "c2"]
    assert quick["c0"] == (2, "its file is gone")
    assert "shorter than recorded" in quick["c1"][1]
    assert "longer than recorded" in quick["c2"][1]
    slow = {problem.clip: problem.problem for problem in check_files(manifest, quick=False)}
    assert list(slow) == ["c0", "c1", "c2", "c3", "pictures@2"]
    assert "SHA-256" in slow["c3"]
    assert "img_00007.png is gone" in slow["pictures@2"]
    assert check_files(manifest, quick=True, splits=["val"]) == []
    with pytest.raises(ManifestError, match=r"clip 'c0'.*its file is gone \(and 2 more clips\)") as refused:
        require_files(manifest, splits=["train"])
    assert "manifest.csv, line 2" in str(refused.value)


def test_a_missing_end_of_a_sequence_is_found_quickly(make_dataset: MakeDataset) -> None:
    manifest = make_dataset(clips=1)
    (manifest.root / "pictures" / "img_00010.png").unlink()  # 3 + 2 + 5: the clip's last
    assert [problem.problem for problem in check_files(manifest, quick=True)] == ["its picture img_00010.png is gone"]


# --- journal and interruption --------------------------------------------------------------------------------------


def test_a_journal_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with Journal(tmp_path, "key") as journal:
        for clip in ROWS[:2]:
            journal.append(clip)
    with Journal(tmp_path, "key") as journal:
        assert list(journal.done.values()) == ROWS[:2]
        assert journal.discarded is None
        journal.append(sequence("s") | {"frames": np.int64(9)})
        with pytest.raises(ManifestError, match="id of its own"):
            journal.append(ROWS[0])
    with Journal(tmp_path, "key") as journal:
        assert list(journal.done) == ["a", "NA", "s"]
        assert journal.done["s"]["frames"] == 9


def test_a_journal_torn_anywhere_keeps_its_whole_lines(tmp_path: Path) -> None:
    rows = [{"id": "a", "n": 1}, {"id": "bb", "n": 2}, {"id": "ä", "n": 3}]  # short: every size of file is tried
    with Journal(tmp_path, "key") as journal:
        for values in rows:
            journal.append(values)
    content = (tmp_path / JOURNAL_NAME).read_bytes()
    for size in range(len(content)):
        (tmp_path / JOURNAL_NAME).write_bytes(content[:size])
        whole = max(content[:size].count(b"\n") - 1, 0)
        with Journal(tmp_path, "key") as journal:
            assert list(journal.done.values()) == rows[:whole]
            assert journal.discarded is None
            journal.append({"id": "new"})  # as short as a torn line
        with Journal(tmp_path, "key") as journal:
            assert list(journal.done) == [values["id"] for values in rows[:whole]] + ["new"]


def test_a_journal_on_a_full_disk_is_refused_and_goes_on_later(tmp_path: Path, full_disk: FullDisk) -> None:
    with pytest.raises(ResultsError, match="cannot write"), full_disk(500), Journal(tmp_path, "key") as journal:
        for number in range(100):
            journal.append({"id": f"clip{number:03d}"})
    with Journal(tmp_path, "key") as journal:
        assert 0 < len(journal.done) < 100
        assert list(journal.done) == [f"clip{number:03d}" for number in range(len(journal.done))]
        journal.append({"id": "new"})
    with Journal(tmp_path, "key") as journal:
        assert list(journal.done)[-1] == "new"


def test_a_journal_of_other_settings_is_discarded_and_says_so(tmp_path: Path) -> None:
    with Journal(tmp_path, "old") as journal:
        journal.append(ROWS[0])
    with Journal(tmp_path, "new") as journal:
        assert journal.done == {}
        assert "other settings" in str(journal.discarded)
    with Journal(tmp_path, "old") as journal:
        assert journal.done == {}


def test_a_damaged_journal_is_refused_by_line(tmp_path: Path) -> None:
    with Journal(tmp_path, "key") as journal:
        journal.append(ROWS[0])
        journal.append(ROWS[1])
    lines = (tmp_path / JOURNAL_NAME).read_bytes().split(b"\n")
    for bad in (b"\0\0", b"[]", b'{"path": "x"}'):
        (tmp_path / JOURNAL_NAME).write_bytes(b"\n".join([lines[0], bad, lines[2], b""]))
        with pytest.raises(ManifestError, match="line 2"):
            Journal(tmp_path, "key")


def test_one_process_prepares_a_folder_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path, "key"), pytest.raises(ManifestError, match="another process"):
        Journal(tmp_path, "key")
    Journal(tmp_path, "key").close()
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot write"):
        Journal(tmp_path / "file", "key")


def test_finishing_removes_the_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "toy", "key") as journal:
        for clip in ROWS:
            journal.append(clip)
        manifest = write(tmp_path, journal.done.values())
    assert len(manifest.table) == len(ROWS)
    assert not (tmp_path / "toy" / JOURNAL_NAME).exists()


def test_killed_between_the_two_files_nothing_false_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    with Journal(tmp_path / "toy", "key") as journal:
        journal.append(row("z"))

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(manifest_module, "atomic_write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, journal.done.values(), classes=["up", "down"])
    with pytest.raises(ManifestError, match="not finished"):
        load_manifest("toy", tmp_path)
    monkeypatch.undo()
    with Journal(tmp_path / "toy", "key") as journal:
        assert list(journal.done) == ["z"]
        assert write(tmp_path, journal.done.values(), classes=["up", "down"]).classes == ["up", "down"]


def test_a_table_can_be_written_too(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    fewer = write(tmp_path / "fewer", manifest.table[manifest.table["status"] == "ok"])
    assert fewer.table["id"].tolist() == ["a", "NA", "007", "b"]
    with pytest.raises(ManifestError, match="unknown column"):
        write(tmp_path / "more", pd.DataFrame(manifest.table).assign(colour="red"))


@pytest.mark.parametrize("spelling", ["crlf", "bom", "rate", "columns", "quotes", "blank line", "no last line feed"])
def test_the_same_rows_in_another_spelling_have_the_same_fingerprint(spelling: str, tmp_path: Path) -> None:
    manifest = write(tmp_path)
    lines = manifest.path.read_text(encoding="utf-8").splitlines()
    head, first = lines[0].split(","), lines[1].split(",")
    if spelling == "rate":
        assert first[3] == "12"
        lines[1] = ",".join([*first[:3], "12.0", *first[4:]])
    elif spelling == "columns":
        table = io.StringIO(newline="")
        csv.writer(table, lineterminator="\n").writerows(row[::-1] for row in csv.reader(lines))
        lines = table.getvalue().splitlines()
        assert lines[0].split(",") == head[::-1]
    elif spelling == "quotes":
        lines[1] = ",".join([f'"{first[0]}"', *first[1:]])
    elif spelling == "blank line":
        lines.insert(2, "")
    text = ("\r\n" if spelling == "crlf" else "\n").join(lines) + "\n" * (spelling != "no last line feed")
    manifest.path.write_bytes((b"\xef\xbb\xbf" if spelling == "bom" else b"") + text.encode())
    again = load_manifest("toy", tmp_path)
    assert again.fingerprint == manifest.fingerprint and again.table.equals(manifest.table)
