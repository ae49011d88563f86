"""The manifest: what is written is what is read, its fingerprint, its folds and label sets."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_rows import DIGEST, ROWS, row, write

from vidrepro.data.manifest import COLUMNS, Clip, Manifest, load_manifest
from vidrepro.errors import ManifestError, UnknownNameError


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
