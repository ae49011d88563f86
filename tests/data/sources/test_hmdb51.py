"""HMDB51 from a small tree in the official format: names no shell would survive, 1/2/0, clips in no split, refusals."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from folded_datasets import expected_lines, prepare, refused, train_and_evaluate
from mini import make_video

from vidrepro.data.sources import hmdb51
from vidrepro.data.sources.annotations import official_classes
from vidrepro.errors import DataError

SOCCER = "Amazing_Soccer_#2_kick_ball_f_cm_np1_ba_bad_5"
ODD = "a;b &[x](y)@{z}~+! 'q' kick_ball_0"
DASH = "-Ball_kick_u_nm_np1_fr_med_0"
HAIR = "April_09_brush_hair_u_nm_np1_ba_goo_0"
# class -> (name, use in split 1, 2, 3)
USES = {
    "kick_ball": [(SOCCER, 0, 1, 2), (ODD, 1, 2, 0), ("unused_kick_ball_1", 0, 0, 0), ("[1-3]", 2, 1, 1)],
    "kick": [(DASH, 1, 0, 2), ("1", 2, 1, 1)],
    "brush_hair": [(HAIR, 1, 2, 1), ("two.dots.brush_hair", 2, 1, 0), ("name with blanks", 1, 0, 0)],
}
SPLIT = {0: "none", 1: "train", 2: "test"}
LABELS = {"brush_hair": 0, "kick": 1, "kick_ball": 2}  # files sort kick_ball_test_... before kick_test_...


def write_lists(root: Path) -> Path:
    """testTrainMulti_7030_splits: a trailing blank on every line, LF; one list with CRLF and a byte-order mark."""
    folder = root / "testTrainMulti_7030_splits"
    folder.mkdir(parents=True)
    for name, clips in USES.items():
        for split in (1, 2, 3):
            text = "".join(f"{clip[0]}.avi {clip[split]} \n" for clip in clips)
            if (name, split) == ("kick", 2):
                text = "\ufeff" + text.replace(" \n", "\r\n") + "\r\n"
            (folder / f"{name}_test_split{split}.txt").write_bytes(text.encode())
    (folder / "readme.txt").write_text("not a list")
    return folder


def clips() -> list[tuple[str, str, tuple[int, ...]]]:
    """(class, name, uses) in the lists' order: split 1 first, in it class by class."""
    ordered = [(name, clip[0], clip[1:]) for name in sorted(USES) for clip in USES[name]]
    first = [one for one in ordered if one[2][0]]
    second = [one for one in ordered if not one[2][0] and one[2][1]]
    return first + second


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The download, unpacked; not to be changed."""
    root = tmp_path_factory.mktemp("hmdb51")
    write_lists(root)
    for name, clip, _ in clips():
        make_video(root / "hmdb51_org" / name / f"{clip}.avi", 8 + len(clip) % 5, fps=30)
    make_video(root / "hmdb51_org" / "kick" / "2.avi", 8)  # what [1-3] would match, were it a pattern
    return root


def test_classes_labels_and_splits_are_those_of_the_lists(tmp_path: Path) -> None:
    folder = write_lists(tmp_path)
    annotations = hmdb51.read(tmp_path, None, None)
    assert annotations.classes == ("brush_hair", "kick", "kick_ball")
    found = [(one.id, one.media, one.label, one.split) for one in annotations.entries]
    assert found == [
        (f"{name}/{clip}", f"{name}/{clip}", LABELS[name], SPLIT[uses[0]].replace("none", ""))
        for name, clip, uses in clips()
    ]
    for number, fold in enumerate(("split1", "split2", "split3")):
        expected = {f"{name}/{clip}": SPLIT[uses[number]] for name, clip, uses in clips() if uses[number]}
        assert annotations.folds[fold] == expected
    assert annotations.left_out == {"clips that no split uses": 1}
    assert annotations.expected_folds == {f"split{k}": {"train": 3570, "test": 1530} for k in (1, 2, 3)}
    assert annotations.expected_classes == 51 and "48 of the 51" in annotations.class_problems[0]
    where = next(one.where for one in annotations.entries if one.id == f"kick_ball/{SOCCER}")
    assert where == (folder / "kick_ball_test_split2.txt", 1)  # the first list that uses it


def test_the_official_class_list(tmp_path: Path) -> None:
    official = official_classes("hmdb51")
    assert len(official) == 51 and list(official) == sorted(official)
    # specs/datasets_and_protocols.md, section 7: TSN's class_list.txt swaps these
    assert official.index("kick") + 1 == official.index("kick_ball")
    assert official.index("sword") + 1 == official.index("sword_exercise")
    for name in official:
        for fold in (1, 2, 3):
            (tmp_path / f"{name}_test_split{fold}.txt").write_text(f"a_{name}_0.avi 1 \nb_{name}_0.avi 2 \n")
    assert hmdb51.read(tmp_path, None, None).class_problems == ()


REFUSED = {
    "one field": ("kick_test_split1.txt", f"{DASH}.avi 1 \nname.avi\n", 2, "wrong number of fields"),
    "3": ("kick_test_split1.txt", f"\n{DASH}.avi 3 \n", 2, "use is unknown"),
    "a word": ("kick_test_split3.txt", f"{DASH}.avi train \n", 1, "use is unknown"),
    "twice": ("kick_ball_test_split2.txt", f"{SOCCER}.avi 1 \n" * 2, 2, "duplicate clip"),
    "twice, unused": ("kick_ball_test_split2.txt", f"{SOCCER}.avi 0 \n" * 2, 2, "duplicate clip"),
    "a path": ("kick_test_split1.txt", f"../{DASH}.avi 1 \n", 1, "cannot be the name of a clip"),
    "no text": ("kick_test_split1.txt", "a\x07.avi 1 \n", 1, "control character"),
    "latin 1": ("kick_test_split1.txt", "a.avi 1 \nf\udcfc.avi 1 \n", 2, "not a text in UTF-8"),
    "web page": ("kick_test_split1.txt", "<!DOCTYPE html><html></html>", 1, "web page"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_line_is_refused_with_file_and_line(tmp_path: Path, case: str) -> None:
    name, text, line, problem = REFUSED[case]
    folder = write_lists(tmp_path)
    (folder / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=problem) as caught:
        hmdb51.read(tmp_path, None, None)
    assert caught.value.where == f"{folder / name}, line {line}"


def test_a_missing_list_is_named_and_missing_folds_are_not_offered(tmp_path: Path) -> None:
    folder = write_lists(tmp_path)
    (folder / "kick_test_split3.txt").unlink()
    with pytest.raises(DataError, match=r"class 'kick' for split3 is missing(.|\n)*kick_test_split3\.txt"):
        hmdb51.read(tmp_path, None, None)
    for name in USES:
        (folder / f"{name}_test_split3.txt").unlink(missing_ok=True)
    annotations = hmdb51.read(tmp_path, None, None)
    assert list(annotations.folds) == ["split1", "split2"] and "split3" in annotations.notes[0]
    assert annotations.left_out == {"clips that no split uses": 1}


def test_prepared_line_by_line(root: Path, tmp_path: Path) -> None:
    prepared = prepare("hmdb51", root, tmp_path)
    rows = [
        (f"{name}/{clip}", f"{name}/{clip}.avi", 8 + len(clip) % 5, 30, LABELS[name], SPLIT[uses[0]])
        for name, clip, uses in clips()
    ]
    lines = prepared.lines()
    assert lines == expected_lines(root / "hmdb51_org", rows)
    assert sum(",none," in line for line in lines) == 1  # in other folds only
    assert prepared.manifest.counts() == {"train": {"ok": 4, "bad": 0}, "test": {"ok": 3, "bad": 0}}
    assert prepared.info["completeness"]["left_out"] == {"clips that no split uses": 1}
    for number in (1, 2, 3):
        side = [f"{name}/{clip},{SPLIT[uses[number - 1]]}" for name, clip, uses in clips() if uses[number - 1]]
        assert sorted(prepared.side(f"splits/split{number}")[1:]) == sorted(side)


def test_a_name_is_no_pattern(root: Path, tmp_path: Path) -> None:
    """Without [1-3].avi the clip is missing, whatever else is called 1, 2 or 3."""
    copy = tmp_path / "root"
    shutil.copytree(root, copy)
    (copy / "hmdb51_org" / "kick_ball" / "[1-3].avi").unlink()
    make_video(copy / "hmdb51_org" / "kick_ball" / "1.avi", 8)
    prepared = prepare("hmdb51", copy, tmp_path / "data")
    assert not any("[1-3]" in line for line in prepared.lines())
    assert prepared.info["completeness"]["splits"]["test"]["missing"] == 1


def test_archives_are_told_by_their_bytes_and_only_what_is_packed_is_unpacked(root: Path, tmp_path: Path) -> None:
    for name, kept in (("lists", "testTrainMulti_7030_splits"), ("videos", "hmdb51_org")):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for file in sorted((root / kept).rglob("*.*")):
                archive.write(file, file.relative_to(root))
    download = tmp_path / "download"
    download.mkdir()
    (tmp_path / "lists.zip").rename(download / "test_train_splits.rar")  # a mirror's: a zip by its bytes
    (tmp_path / "videos.zip").rename(download / "hmdb51_org.rar")
    names = [one.parts[0].name for one in hmdb51.archives(download)]
    assert names == ["test_train_splits.rar", "hmdb51_org.rar"]
    packed = prepare("hmdb51", download, tmp_path / "a")
    unpacked = prepare("hmdb51", root, tmp_path / "b")
    assert packed.lines() == unpacked.lines()
    assert packed.manifest.fingerprint == unpacked.manifest.fingerprint
    (download / "leftover.zip").write_text("<html></html>")
    shutil.copytree(root / "hmdb51_org", tmp_path / "in place" / "hmdb51_org")
    shutil.copytree(root / "testTrainMulti_7030_splits", tmp_path / "in place" / "splits")
    (tmp_path / "in place" / "leftover.zip").write_text("<html></html>")
    assert hmdb51.archives(tmp_path / "in place") == []  # nothing is missing, so nobody asks what it is
    (download / "leftover.zip").unlink()
    shutil.copytree(root / "testTrainMulti_7030_splits", download / "testTrainMulti_7030_splits")
    assert [one.parts[0].name for one in hmdb51.archives(download)] == ["hmdb51_org.rar"]
    (download / "hmdb51_org.rar").write_text("<html><body>log in</body></html>")
    with pytest.raises(DataError, match=r"hmdb51_org\.rar(.|\n)*web page"):
        hmdb51.archives(download)


UNRAR = """#!{python}
import io, pathlib, sys, zipfile
rar, to = sys.argv[-2:]
with zipfile.ZipFile(io.BytesIO(pathlib.Path(rar).read_bytes()[7:])) as archive:
    archive.extractall(to)
"""
RAR = b"Rar!\x1a\x07\x00"


def stand_in_rar(path: Path, files: dict[str, bytes]) -> bytes:
    """What the stand-in unpacker takes for a rar: a rar's first bytes, then a zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    path.write_bytes(RAR + path.read_bytes())
    return path.read_bytes()


def test_rar_in_rar(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hmdb51_org.rar holds a rar for each class; without an unpacker it is said which ones would do."""
    download, tools = tmp_path / "download", tmp_path / "tools"
    download.mkdir()
    tools.mkdir()
    inner = {}
    for name in USES:
        files = {f"{name}/{file.name}": file.read_bytes() for file in (root / "hmdb51_org" / name).iterdir()}
        inner[f"{name}.rar"] = stand_in_rar(tmp_path / f"{name}.rar", files)
    stand_in_rar(download / "hmdb51_org.rar", inner)
    lists = root / "testTrainMulti_7030_splits"
    named = {f"testTrainMulti_7030_splits/{file.name}": file.read_bytes() for file in lists.iterdir()}
    stand_in_rar(download / "test_train_splits.rar", named)

    monkeypatch.setenv("PATH", str(tools))
    text = refused("hmdb51", download, tmp_path / "a", "--allow-missing", "1")
    assert "no program that unpacks these" in text and "unrar" in text and "bsdtar" in text
    (tools / "unrar").write_text(UNRAR.format(python=sys.executable))
    (tools / "unrar").chmod(0o755)
    packed, unpacked = prepare("hmdb51", download, tmp_path / "a"), prepare("hmdb51", root, tmp_path / "b")
    assert packed.lines() == unpacked.lines()


def test_trains_and_evaluates_on_an_official_fold(root: Path, tmp_path: Path) -> None:
    prepared = prepare("hmdb51", root, tmp_path)
    # the clip that split1 leaves out is tested in split3
    for fold, tested in ((None, 3), ("split3", 2)):
        record, scores = train_and_evaluate(prepared, tmp_path / "results", fold=fold)
        assert record["dataset"]["fold"] == (fold or "split1")
        assert record["best"]["clips"] == scores["clips"] == tested
        assert scores["completeness"]["left_out"] == {"clips that no split uses": 1}
