"""Manifests that are refused, by file and line, and datasets that are not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifest_rows import DIGEST, row, write
from sample_clips import INFO

from vidrepro.data.manifest import Journal, Manifest, list_prepared, load_manifest
from vidrepro.errors import ManifestError, ResultsError


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
