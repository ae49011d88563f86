"""Lists of another version or another dataset under the right name are refused, and no share of missing clips helps."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from folded_datasets import prepare, refused
from mini import make_video
from official_trees import TREES, lines, touch, write_tree
from test_epic55 import write_annotations

from vidrepro.data.sources import diving48, epic55, ssv1, ssv2
from vidrepro.data.sources.annotations import official_classes
from vidrepro.data.sources.foreign import kind_of_list
from vidrepro.errors import DataError

MAKERS = {tree.__name__: tree for tree in TREES}
COUNTED = ["ssv1", "ssv2", "diving48", "egtea", "epic55", "ucf101", "hmdb51"]


def diving_lists(root: Path, train: int, test: int) -> Path:
    root.mkdir()
    for split, count in (("train", train), ("test", test)):
        rows = [{"vid_name": f"{split}_{number:05d}", "label": number % 48} for number in range(count)]
        (root / f"Diving48_V2_{split}.json").write_text(json.dumps(rows))
    (root / "Diving48_vocab.json").write_text(json.dumps([["A", f"{number}som"] for number in range(48)]))
    return root


@pytest.mark.parametrize(("train", "test"), [(15_943, 2_096), (15_943, 5), (5, 2_096), (16_067, 2_337)])
def test_the_lists_of_diving48_v1_under_the_names_of_v2(train: int, test: int, tmp_path: Path) -> None:
    root = diving_lists(tmp_path / "root", train, test)
    with pytest.raises(DataError, match="the labels of Diving48 V1 are not accepted") as caught:
        diving48.read(root, None, None)
    assert f"{train:,} + {test:,}" in str(caught.value) and "15,943 + 2,096 = 18,039" in str(caught.value)


def test_the_counts_of_diving48_v2_are_accepted(tmp_path: Path) -> None:
    assert len(diving48.read(diving_lists(tmp_path / "root", 15_027, 1_970), None, None).entries) == 16_997


def test_the_command_refuses_diving48_v1_whatever_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diving48, "EXPECTED", {"train": 4, "test": 2})
    root = diving_lists(tmp_path / "root", 5, 2)
    make_video(root / "rgb" / "train_00000.mp4")
    text = refused("diving48", root, tmp_path / "data", "--allow-missing", "1")
    assert "Diving48 V1 are not accepted" in text and "--allow-missing" not in text


def fewer(counts: Any) -> Any:
    """A module's official counts, one clip a split less than the tree's six and two."""
    if isinstance(counts, dict):
        return {key: fewer(value) for key, value in counts.items()}
    return tuple(1 for _ in counts) if isinstance(counts, tuple) else 1


@pytest.mark.parametrize("name", COUNTED)
def test_more_clips_than_the_dataset_has_are_never_lacking(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree(MAKERS[name], tmp_path / "root")
    module = import_module(f"vidrepro.data.sources.{name}")
    attribute = "EXPECTED" if hasattr(module, "EXPECTED") else "COUNTS"
    monkeypatch.setattr(module, attribute, fewer(getattr(module, attribute)))
    for share in ("0", "0.5", "1"):
        text = refused(name, root, tmp_path / "data", "--allow-missing", share)
        assert "are not" in text and "lacking" not in text and "--allow-missing" not in text


@pytest.mark.parametrize(("name", "other"), [("ssv1", ssv1.OTHER), ("ssv2", ssv2.OTHER)])
def test_something_something_lists_of_the_other_version(
    name: str, other: tuple[str, dict[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their number, scaled down: the classes are the same, and the ids are numbers in both."""
    assert other[1] == (ssv2 if name == "ssv1" else ssv1).EXPECTED
    root = write_tree(MAKERS[name], tmp_path / "root")
    monkeypatch.setattr(f"vidrepro.data.sources.{name}.OTHER", (other[0], {"train": 6, "val": 3}))
    text = refused(name, root, tmp_path / "data", "--allow-missing", "1")
    assert f"the lists of {other[0]} are not accepted" in text


def ucf_classes_in_hmdb_lists(root: Path) -> None:
    for name in official_classes("ucf101")[:3]:
        touch(root, f"testTrainMulti_7030_splits/{name}_test_split1.txt")
        (root / f"testTrainMulti_7030_splits/{name}_test_split1.txt").write_text(f"v_{name}_g01_c01.avi 1 \n")
        touch(root, f"{name}/v_{name}_g01_c01.avi", "brush_hair/x.avi")


def hmdb_classes_in_ucf_lists(root: Path) -> None:
    names = official_classes("hmdb51")[:3]
    folder = root / "ucfTrainTestlist"
    touch(root, *(f"{name}/v_{name}_g01_c01.avi" for name in names), "ucfTrainTestlist/classInd.txt")
    (folder / "classInd.txt").write_bytes(lines(*(f"{n} {name}" for n, name in enumerate(names, start=1))))
    (folder / "trainlist01.txt").write_bytes(
        lines(*(f"{name}/v_{name}_g01_c01.avi {n}" for n, name in enumerate(names, start=1)))
    )
    (folder / "testlist01.txt").write_bytes(lines(f"{names[0]}/v_{names[0]}_g02_c01.avi"))


def kinetics_700(root: Path) -> None:
    touch(root, "train/-_000000000_000010_000020.mp4", "train.csv")
    rows = [f"class {n:03d},-_{n:09d},10,20,train" for n in range(700)]
    (root / "train.csv").write_bytes(lines("label,youtube_id,time_start,time_end,split", *rows))


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("hmdb51", ucf_classes_in_hmdb_lists, "the lists of UCF101 are not accepted"),
        ("ucf101", hmdb_classes_in_ucf_lists, "the lists of HMDB51 are not accepted"),
        ("kinetics400", kinetics_700, "700 classes instead of 400, as those of Kinetics-600 or -700"),
    ],
)
def test_lists_of_another_dataset_in_the_right_format(
    name: str, write: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    write(tmp_path / "root")
    text = refused(name, tmp_path / "root", tmp_path / "data", "--allow-missing", "1")
    assert reason in text and "--allow-missing" not in text


def test_more_classes_than_the_dataset_has_are_no_matter_of_missing_clips(tmp_path: Path) -> None:
    root = write_tree(MAKERS["egtea"], tmp_path / "root")
    path = root / "action_annotation" / "action_idx.txt"
    path.write_text(path.read_text() + "Do another thing 107\n")
    text = refused("egtea", root, tmp_path / "data", "--allow-missing", "0.9999")
    assert "107 classes, officially 106" in text and "--allow-missing" not in text and "prepare egtea --help" in text


def test_classes_that_kinetics400_does_not_have_are_named(tmp_path: Path) -> None:
    root = write_tree(MAKERS["kinetics400"], tmp_path / "root")
    path = root / "annotations" / "train.csv"
    path.write_text(path.read_text().replace("air drumming", "adjusting glasses"))
    text = refused("kinetics400", root, tmp_path / "data", "--allow-missing", "0.9")
    assert "1 classes of the lists are no official ones: 'adjusting glasses'" in text


def test_the_official_classes_of_kinetics400() -> None:
    from torchvision.models import video

    weights: Any = video.R3D_18_Weights.DEFAULT
    assert list(official_classes("kinetics400")) == weights.meta["categories"]


@pytest.mark.parametrize("file", ["EPIC_train_action_labels", "EPIC_verb_classes", "EPIC_noun_classes"])
def test_epic_100_under_the_names_of_epic_55(file: str, tmp_path: Path) -> None:
    labels = "narration_id,participant_id,video_id,narration_timestamp\nP01_01_0,P01,P01_01,00:00:01.089\n"
    classes = "id,key,instances,category\n0,take,\"['take']\",retrieve\n"
    write_annotations(tmp_path, **{file: labels if "labels" in file else classes})
    with pytest.raises(DataError, match="the labels of EPIC-KITCHENS-100 are not accepted") as caught:
        epic55.read(tmp_path, None, None)
    assert caught.value.where == f"{tmp_path / 'epic-kitchens-55-annotations' / file}.csv, line 1"


# --- ready-made lists ----------------------------------------------------------------------------------------------

READY_MADE = {
    "train_videofolder.txt": "TSM's loader",
    "val_videofolder_v2.txt": "TSM's loader",
    "category.txt": "TSM's loader",
    "ucf101_train_split_1_rawframes.txt": "mmaction2",
    "hmdb51_val_split_3_videos.txt": "mmaction2",
    "sthv2_train_list_videos.txt": "mmaction2",
    "kinetics400_val_list_rawframes.txt": "mmaction2",
    "train1.txt": "another code base",
    "trainlist01.txt": "of UCF101",
    "brush_hair_test_split1.txt": "of HMDB51",
    "test_split2.txt": "of EGTEA",
    "EPIC_100_train.csv": "of EPIC-KITCHENS-100",
    "Diving48_train.json": "of Diving48 V1",
    "kinetics700_2020_train.csv": "of Kinetics-600 or -700",
}


@pytest.mark.parametrize("file", READY_MADE)
def test_lists_are_known_by_their_names(file: str) -> None:
    assert READY_MADE[file] in (kind_of_list(file) or "")


@pytest.mark.parametrize("file", ["readme.txt", "train.csv", "train.json", "labels.json", "P01_01.MP4"])
def test_other_files_are_not(file: str) -> None:
    assert kind_of_list(file) is None


@pytest.mark.parametrize("name", [*COUNTED, "kinetics400"])
def test_ready_made_lists_are_named_in_the_refusal(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root, "lists/train_videofolder.txt", "lists/category.txt", "ucf101_train_split_1_rawframes.txt")
    text = refused(name, root, tmp_path / "data", "--allow-missing", "1")
    assert "category.txt, train_videofolder.txt: made for TSM's loader" in text
    assert "ucf101_train_split_1_rawframes.txt: made for mmaction2" in text
    assert "take the official lists instead" in text and str(root / "lists") in text


# --- lists that are there in part ----------------------------------------------------------------------------------


@pytest.mark.parametrize("absent", ["train", "val"])
def test_kinetics400_with_one_list_alone(absent: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for split, clip in (("train", "a_-bcdefghij_000001_000011"), ("val", "-_123456789_000002_000012")):
        make_video(root / split / f"{clip}.mp4", 8)
        row = f"abseiling,{clip[:-14]},{int(clip[-13:-7])},{int(clip[-6:])},{split}"
        if split != absent:
            (root / f"{split}.csv").write_bytes(lines("label,youtube_id,time_start,time_end,split", row))
    prepared = prepare("kinetics400", root, tmp_path / "data")
    (line,) = prepared.lines()[1:]
    assert line.split(",")[7] == ({"train", "val"} - {absent}).pop()
    assert f"there is no list of {absent} clips: the dataset has none" in prepared.info["notes"]


def test_egtea_without_the_names_of_its_actions(tmp_path: Path) -> None:
    root = write_tree(MAKERS["egtea"], tmp_path / "root")
    (root / "action_annotation" / "action_idx.txt").unlink()
    annotations = import_module("vidrepro.data.sources.egtea").read(root, None, None)
    assert annotations.classes[:2] == ("action 1", "action 2") and len(annotations.classes) == 106
    assert [entry.label for entry in annotations.entries] == [0, 1, 2, 3, 4, 5, 0, 1]
    assert any("action_idx.txt is not among the annotations" in note for note in annotations.notes)
    assert annotations.class_problems == ()
    path = root / "action_annotation" / "train_split1.txt"
    path.write_text(path.read_text().replace(" 3 1 1", " 107 1 1"))
    with pytest.raises(DataError, match="unknown action"):
        import_module("vidrepro.data.sources.egtea").read(root, None, None)


def test_egtea_does_not_judge_verbs_that_nobody_names(tmp_path: Path) -> None:
    root = write_tree(MAKERS["egtea"], tmp_path / "root")  # without verb_idx.txt and noun_idx.txt
    path = root / "action_annotation" / "train_split1.txt"
    path.write_text(path.read_text().replace(" 3 1 1", " 3 - ?"))
    assert len(import_module("vidrepro.data.sources.egtea").read(root, None, None).entries) == 8
