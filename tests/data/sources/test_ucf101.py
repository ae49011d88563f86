"""UCF101 from a small tree in the official format: labels from classInd.txt, capitals, folds, refused lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from folded_datasets import Prepared, expected_lines, prepare, refused, train_and_evaluate
from mini import make_frames, make_video

from vidrepro.data.sources import ucf101
from vidrepro.errors import DataError, UnknownNameError

# Sorted, HammerThrow would come before Hammering.
CLASSES = "1 Basketball\r\n2 Hammering\r\n3 HammerThrow\r\n4 HandstandPushups\r\n"
LISTS = {
    "trainlist01.txt": "Hammering/v_Hammering_g08_c01.avi 2\r\n"
    "HammerThrow/v_HammerThrow_g09_c02.avi 3 \r\n"
    "HandstandPushups/v_HandStandPushups_g08_c01.avi 4\r\n"
    "Basketball/v_Basketball_g10_c01.avi 1\r\n\r\n",
    "testlist01.txt": "HandstandPushups/v_HandStandPushups_g01_c01.avi\r\nBasketball/v_Basketball_g01_c04.avi",
    "trainlist02.txt": "Basketball/v_Basketball_g01_c04.avi 1\r\n"
    "HandStandPushups/v_HandStandPushups_g01_c01.avi 4\r\n"
    "Hammering/v_Hammering_g08_c01.avi 2\r\n",
    "testlist02.txt": "HammerThrow/v_HammerThrow_g09_c02.avi\r\n"
    "HandstandPushups/v_HandstandPushups_g08_c01.avi\r\n"
    "Basketball/v_Basketball_g10_c01.avi\r\n",
    "trainlist03.txt": "HammerThrow/v_HammerThrow_g09_c02.avi 3\r\nBasketball/v_Basketball_g10_c01.avi 1\r\n",
    "testlist03.txt": "Hammering/v_Hammering_g08_c01.avi 2\r\nBasketball/v_Basketball_g01_c04.avi 1\r\n"
    "HandstandPushups/v_HandStandPushups_g08_c01.avi 4\r\nHandstandPushups/v_HandStandPushups_g01_c01.avi 4\r\n",
}
# id, file, frames, label, split1
CLIPS = [
    ("Hammering/v_Hammering_g08_c01", "Hammering/v_Hammering_g08_c01.avi", 12, 1, "train"),
    ("HammerThrow/v_HammerThrow_g09_c02", "HammerThrow/v_HammerThrow_g09_c02.avi", 9, 2, "train"),
    ("HandstandPushups/v_HandStandPushups_g08_c01", "HandstandPushups/v_HandStandPushups_g08_c01.avi", 10, 3, "train"),
    ("Basketball/v_Basketball_g10_c01", "Basketball/v_Basketball_g10_c01.avi", 11, 0, "train"),
    ("HandstandPushups/v_HandStandPushups_g01_c01", "HandstandPushups/v_HandStandPushups_g01_c01.avi", 8, 3, "test"),
    ("Basketball/v_Basketball_g01_c04", "Basketball/v_Basketball_g01_c04.avi", 13, 0, "test"),
]

SPLIT2 = [
    "Hammering/v_Hammering_g08_c01,train",
    "HammerThrow/v_HammerThrow_g09_c02,test",
    "HandstandPushups/v_HandStandPushups_g08_c01,test",
    "Basketball/v_Basketball_g10_c01,test",
    "HandstandPushups/v_HandStandPushups_g01_c01,train",
    "Basketball/v_Basketball_g01_c04,train",
]


def write_annotations(root: Path, **changed: str) -> Path:
    """ucfTrainTestlist, with some files' contents replaced (``trainlist01=...``)."""
    folder = root / "ucfTrainTestlist"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ({"classInd.txt": "\ufeff" + CLASSES} | LISTS).items():
        (folder / name).write_bytes(changed.get(name.removesuffix(".txt"), text).encode())
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The download, unpacked; not to be changed."""
    root = tmp_path_factory.mktemp("ucf101")
    write_annotations(root)
    for _, file, frames, _, _ in CLIPS:
        make_video(root / "UCF-101" / file, frames, fps=25)
    (root / "UCF-101" / "Basketball" / "Thumbs.db").write_bytes(b"no video")
    return root


def test_classes_labels_and_splits_are_those_of_the_lists(tmp_path: Path) -> None:
    write_annotations(tmp_path)
    annotations = ucf101.read(tmp_path, None, None)
    assert annotations.classes == ("Basketball", "Hammering", "HammerThrow", "HandstandPushups")
    assert [(one.id, one.label, one.split) for one in annotations.entries] == [(c[0], c[3], c[4]) for c in CLIPS]
    assert [one.media + ".avi" for one in annotations.entries] == [clip[1] for clip in CLIPS]
    assert annotations.entries[1].where == (tmp_path / "ucfTrainTestlist" / "trainlist01.txt", 2)
    assert annotations.entries[5].where == (tmp_path / "ucfTrainTestlist" / "testlist01.txt", 2)
    assert list(annotations.folds) == ["split1", "split2", "split3"]
    # other capitals in another list are the same clip
    assert annotations.folds["split2"] == {
        CLIPS[5][0]: "train",
        CLIPS[4][0]: "train",
        CLIPS[0][0]: "train",
        CLIPS[1][0]: "test",
        CLIPS[2][0]: "test",
        CLIPS[3][0]: "test",
    }
    assert sorted(annotations.folds["split3"].values()) == ["test"] * 4 + ["train"] * 2
    assert annotations.expected == {"train": 9537, "test": 3783}
    assert annotations.expected_folds["split3"] == {"train": 9624, "test": 3696}
    assert len(annotations.class_problems) == 1 and "97 of the 101" in annotations.class_problems[0]


def test_the_official_class_list_is_accepted_and_another_order_is_named(tmp_path: Path) -> None:
    from vidrepro.data.sources.annotations import official_classes

    official = list(official_classes("ucf101"))
    # specs/datasets_and_protocols.md, section 6
    assert [official.index(name) + 1 for name in ("ApplyEyeMakeup", "Hammering", "HammerThrow")] == [1, 35, 36]
    assert [official.index(name) + 1 for name in ("JumpingJack", "JumpRope", "YoYo")] == [47, 48, 101]
    train = "".join(f"{name}/v_{name}_g08_c01.avi {label}\n" for label, name in enumerate(official, start=1))

    def problems(classes: list[str], train: str) -> tuple[str, ...]:
        listed = "".join(f"{number} {name}\n" for number, name in enumerate(classes, start=1))
        write_annotations(tmp_path, classInd=listed, trainlist01=train, testlist01="YoYo/v_YoYo_g01_c01.avi\n")
        for number in "23":
            for part in ("train", "test"):
                (tmp_path / "ucfTrainTestlist" / f"{part}list0{number}.txt").unlink()
        return ucf101.read(tmp_path, None, None).class_problems

    assert problems(official, train) == ()
    by_code_point = sorted(official)  # what torchvision and os.listdir make of it
    renumbered = "".join(f"{name}/v_{name}_g08_c01.avi {n}\n" for n, name in enumerate(by_code_point, start=1))
    (problem,) = problems(by_code_point, renumbered)
    assert "another order" in problem and "'HammerThrow' instead of 'Hammering'" in problem


def test_only_the_folds_whose_lists_are_there_are_offered(tmp_path: Path) -> None:
    folder = write_annotations(tmp_path)
    for name in ("trainlist03.txt", "testlist03.txt"):
        (folder / name).unlink()
    annotations = ucf101.read(tmp_path, None, None)
    assert list(annotations.folds) == ["split1", "split2"] and "split3" in annotations.notes[0]
    (folder / "testlist02.txt").unlink()
    with pytest.raises(DataError, match=r"the test list of split2 is missing(.|\n)*testlist02\.txt"):
        ucf101.read(tmp_path, None, None)


REFUSED = {
    "no label": ("trainlist01", "Basketball/v_Basketball_g10_c01.avi\n", 1, "no label"),
    "another class's label": ("trainlist01", "\nBasketball/v_Basketball_g10_c01.avi 2\n", 2, "not that of the clip's"),
    "label 0": ("trainlist01", "Basketball/v_Basketball_g10_c01.avi 0\n", 1, "not that of the clip's"),
    "a word as label": ("trainlist02", "Basketball/v_Basketball_g10_c01.avi one\n", 1, "no whole number"),
    "unknown class": ("testlist02", LISTS["testlist02.txt"] + "Knitting/v_Knitting_g10_c01.avi\n", 4, "unknown class"),
    "no folder": ("trainlist03", "v_Basketball_g10_c01.avi 1\n", 1, "path is not understood"),
    "leads out": ("trainlist03", "../v_Basketball_g10_c01.avi 1\n", 1, "unknown class"),
    "leads further out": ("trainlist03", "Basketball/../../x.avi 1\n", 1, "path is not understood"),
    "absolute": ("trainlist03", "/Basketball/v_Basketball_g10_c01.avi 1\n", 1, "path is not understood"),
    "twice": ("trainlist01", "Hammering/v_Hammering_g08_c01.avi 2\n" * 2, 2, "duplicate clip"),
    "in train and test": ("testlist01", "\nHammering/v_hammering_g08_c01.avi\n", 2, "duplicate clip"),
    "class number twice": ("classInd", CLASSES + "4 Knitting\n", 5, "class number 4 stands there twice"),
    "class twice": ("classInd", CLASSES + "5 Hammering\n", 5, "class 'Hammering' stands there twice"),
    "class without number": ("classInd", CLASSES + "Knitting\n", 5, "not understood"),
    "class 0": ("classInd", "0 Knitting\n" + CLASSES, 1, "without a number"),
    "no text": ("trainlist01", "\x00\x01\n", 1, "control character"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_line_is_refused_with_file_and_line(tmp_path: Path, case: str) -> None:
    name, text, line, problem = REFUSED[case]
    write_annotations(tmp_path, **{name: text})
    with pytest.raises(DataError, match=problem) as caught:
        ucf101.read(tmp_path, None, None)
    assert caught.value.where == f"{tmp_path / 'ucfTrainTestlist' / name}.txt, line {line}"


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"classInd\.txt"):
        ucf101.read(tmp_path, None, None)
    with pytest.raises(DataError, match=r"v_<Class>_gGG_cCC\.avi(.|\n)*UCF101\.rar"):
        ucf101.media_roots(tmp_path, None)
    with pytest.raises(UnknownNameError, match=r"classInd\.txt"):
        ucf101.read(tmp_path, None, "sorted")


def test_prepared_line_by_line(root: Path, tmp_path: Path) -> None:
    prepared = prepare("ucf101", root, tmp_path)
    rows = [(id, f"{file}", frames, 25, label, split) for id, file, frames, label, split in CLIPS]
    assert prepared.lines() == expected_lines(root / "UCF-101", rows)
    assert prepared.side("splits/split1") == ["id,split", *(f"{clip[0]},{clip[4]}" for clip in CLIPS)]
    assert sorted(prepared.side("splits/split2")[1:]) == sorted(SPLIT2)
    assert prepared.info["label_order"] == "classInd.txt" and prepared.info["version"] == "UCF101"


def test_another_fold_as_the_default_one(root: Path, tmp_path: Path) -> None:
    prepared = prepare("ucf101", root, tmp_path, "--split", "split2")
    assert [f"{line.split(',')[0]},{line.split(',')[7]}" for line in prepared.lines()[1:]] == SPLIT2


def test_frames_in_class_folders_and_flat(tmp_path: Path) -> None:
    """TSM's img_%05d.jpg from 1, mmaction2's from 0, in class folders or all in one."""
    for layout, pattern, start in (("Hammering/", "img_%05d.jpg", 1), ("", "img_%05d.jpg", 0)):
        root = tmp_path / f"from{start}"
        write_annotations(root)
        for id, *_ in CLIPS:
            folder, name = id.split("/")
            make_frames(root / "jpg" / (f"{folder}/{name}" if layout else name), 8, pattern, start)
        prepared = prepare("ucf101", root, tmp_path / f"data{start}")
        table = prepared.manifest.table
        assert table["start_index"].tolist() == [start] * 6 and set(table["pattern"]) == {"img_%05d.jpg"}
        assert set(table["frames"]) == {8} and len(table) == 6


def test_missing_and_bad_clips_are_refused_listed_and_counted(root: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "root"
    shutil.copytree(root, copy)
    (copy / "UCF-101" / CLIPS[0][1]).unlink()
    (copy / "UCF-101" / CLIPS[5][1]).write_bytes(b"RIFF, but no video")
    text = refused("ucf101", copy, tmp_path / "data", "--allow-missing", "0.5")
    assert f"trainlist01.txt, line 1: clip '{CLIPS[0][0]}' is missing" in text and "9,537 expected" in text
    prepared: Prepared = prepare("ucf101", copy, tmp_path / "data")
    splits = prepared.info["completeness"]["splits"]
    assert (splits["train"]["ok"], splits["train"]["missing"], splits["train"]["expected"]) == (3, 1, 9537)
    assert (splits["test"]["ok"], splits["test"]["bad"], splits["test"]["expected"]) == (1, 1, 3783)
    assert [line.split(",")[10] for line in prepared.lines()[1:]] == ["ok"] * 4 + ["bad"]


def test_trains_and_evaluates_on_an_official_fold(root: Path, tmp_path: Path) -> None:
    prepared = prepare("ucf101", root, tmp_path)
    for fold, tested in ((None, 2), ("split2", 3)):
        record, scores = train_and_evaluate(prepared, tmp_path / "results", fold=fold)
        assert record["best"]["split"] == "test" and record["best"]["clips"] == tested
        assert record["dataset"]["fold"] == (fold or "split1")
        assert record["dataset"]["completeness"]["allow_missing"] == 1
        assert scores["clips"] == tested and scores["split"] == "test"
