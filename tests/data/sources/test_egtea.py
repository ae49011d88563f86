"""EGTEA Gaze+ from a small tree in the official format: numbers from 1, recording folders, folds, tasks, refusals."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest
from folded_datasets import expected_lines, prepare, train_and_evaluate
from mini import make_frames, make_video

from vidrepro.data.sources import egtea
from vidrepro.errors import DataError

PASTA = "OP01-R01-PastaSalad-1002316-1004005-F024051-F024101"
BREAKFAST = "P21-R04-ContinentalBreakfast-291175-294945-F006979-F007088"
SALAD = "P04-R06-GreekSalad-682170-683940-F016368-F016419"
SALAD2 = "P04-R06-GreekSalad-700000-701000-F016800-F016900"
TURKEY = "OP06-R05-Cheeseburger-1-2000-F000000-F000048"
ACTIONS = "Inspect/Read recipe 1\nOpen fridge 2\nTake eating_utensil 3\nCut tomato 4\n"
VERBS = "Inspect/Read 1\nOpen 2\nTake 3\nCut 4\n"
NOUNS = "recipe 1\nfridge 2\neating_utensil 3\ntomato 4\nunused noun 5\n"
LISTS = {
    "action_idx": ACTIONS,
    "verb_idx": VERBS,
    "noun_idx": NOUNS,
    "train_split1": f"{BREAKFAST} 1 1 1\n{SALAD} 4 4 4\n{PASTA} 2 2 2 \n",
    "test_split1": f"{SALAD2} 3 3 3\r\n{TURKEY} 1 1 1\r\n\r\n",
    "train_split2": f"{SALAD2} 3 3 3\n{TURKEY} 1 1 1\n{SALAD} 4 4 4",
    "test_split2": f"{PASTA} 2 2 2\n{BREAKFAST} 1 1 1\n",
    "train_split3": f"\ufeff{PASTA} 2 2 2\n{SALAD2} 3 3 3\n",
    "test_split3": f"{BREAKFAST} 1 1 1\n{SALAD} 4 4 4\n{TURKEY} 1 1 1\n",
}
# clip, recording, frames, label, split1
CLIPS = [
    (BREAKFAST, "P21-R04-ContinentalBreakfast", 24, 0, "train"),
    (SALAD, "P04-R06-GreekSalad", 12, 3, "train"),
    (PASTA, "OP01-R01-PastaSalad", 10, 1, "train"),
    (SALAD2, "P04-R06-GreekSalad", 9, 2, "test"),
    (TURKEY, "OP06-R05-Cheeseburger", 8, 0, "test"),
]


def write_annotations(root: Path, **changed: str | None) -> Path:
    """action_annotation, with some files' contents replaced (None: not there)."""
    folder = root / "action_annotation"
    (folder / "raw_annotations").mkdir(parents=True, exist_ok=True)
    (folder / "raw_annotations" / "action_labels.csv").write_text("not;read\n")
    for name, text in (LISTS | changed).items():
        if text is not None:
            (folder / f"{name}.txt").write_bytes(text.encode())
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The download, unpacked; not to be changed."""
    root = tmp_path_factory.mktemp("egtea")
    write_annotations(root)
    for clip, recording, frames, _, _ in CLIPS:
        make_video(root / "cropped_clips" / recording / f"{clip}.mp4", frames, fps=24)
    return root


def test_labels_are_one_less_than_the_numbers_and_tasks_are_offered(tmp_path: Path) -> None:
    folder = write_annotations(tmp_path)
    annotations = egtea.read(tmp_path, None, None)
    assert annotations.classes == ("Inspect/Read recipe", "Open fridge", "Take eating_utensil", "Cut tomato")
    found = [(one.id, one.media, one.label, one.split) for one in annotations.entries]
    assert found == [(clip, f"{recording}/{clip}", label, split) for clip, recording, _, label, split in CLIPS]
    assert annotations.entries[3].where == (folder / "test_split1.txt", 1)
    assert annotations.folds["split3"] == {PASTA: "train", SALAD2: "train", BREAKFAST: "test", SALAD: "test"} | {
        TURKEY: "test"
    }
    assert annotations.expected == {"train": 8299, "test": 2022} and list(annotations.expected_folds) == ["split1"]
    assert annotations.tasks["verb"].classes == ("Inspect/Read", "Open", "Take", "Cut")
    assert annotations.tasks["verb"].labels == {BREAKFAST: 0, SALAD: 3, PASTA: 1, SALAD2: 2, TURKEY: 0}
    assert annotations.tasks["noun"].classes[4] == "unused noun" and annotations.tasks["noun"].labels[SALAD] == 3
    assert [text.split(" classes")[0] for text in annotations.class_problems] == [
        "action_idx.txt has 4",
        "verb_idx.txt has 4",
        "noun_idx.txt has 5",
    ]


def test_class_lists_out_of_order_and_with_gaps(tmp_path: Path) -> None:
    write_annotations(tmp_path, action_idx="Cut tomato 4\nOpen fridge 2\nInspect/Read recipe 1\n")
    annotations = egtea.read(tmp_path, None, None)
    assert annotations.classes == ("Inspect/Read recipe", "Open fridge", "(class 3)", "Cut tomato")
    assert annotations.class_problems[0] == "action_idx.txt has no class number 3"


def test_tasks_need_their_class_list_and_one_label_a_clip(tmp_path: Path) -> None:
    write_annotations(tmp_path, verb_idx=None, test_split2=f"{PASTA} 2 2 2 4\n{BREAKFAST} 1 1 1\n")
    annotations = egtea.read(tmp_path, None, None)
    assert not annotations.tasks
    assert "verb_idx.txt is not among" in annotations.notes[0]
    assert "several of them (test_split2.txt, line 1)" in annotations.notes[1]


REFUSED = {
    "three fields": ("train_split1", f"{PASTA} 2 2\n", 1, "wrong number of fields"),
    "action 0": ("train_split1", f"\n{PASTA} 0 2 2\n", 2, "counted from 1"),
    "unknown action": ("train_split1", f"{PASTA} 5 2 2\n", 1, "unknown action"),
    "unknown verb": ("test_split3", f"{PASTA} 2 5 2\n", 1, "unknown verb"),
    "unknown noun": ("train_split1", f"{PASTA} 2 2 6\n", 1, "unknown noun"),
    "a word": ("train_split1", f"{PASTA} 2 2 two\n", 1, "no whole number"),
    "no clip": ("train_split1", "PastaSalad 2 2 2\n", 1, "name is not understood"),
    "a path": ("train_split1", f"../{PASTA} 2 2 2\n", 1, "cannot be the name of a clip"),
    "twice": ("train_split1", f"{PASTA} 2 2 2\n{SALAD} 4 4 4\n{PASTA} 2 2 2\n", 3, "duplicate clip"),
    "in train and test": ("test_split1", f"{SALAD2} 3 3 3\n{PASTA} 2 2 2\n", 2, "duplicate clip"),
    "another label": ("train_split2", f"{SALAD} 3 4 4\n", 1, "another label in another list"),
    "another verb": ("train_split2", f"{SALAD} 4 3 4\n", 1, "another verb in another list"),
    "a class twice": ("action_idx", ACTIONS + "Open fridge 5\n", 5, "stands there twice"),
    "a class number twice": ("action_idx", ACTIONS + "Close fridge 2\n", 5, "stands there twice"),
    "a class without number": ("action_idx", ACTIONS + "Close fridge\n", 5, "no whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_line_is_refused_with_file_and_line(tmp_path: Path, case: str) -> None:
    name, text, line, problem = REFUSED[case]
    folder = write_annotations(tmp_path, **{name: text})
    with pytest.raises(DataError, match=problem) as caught:
        egtea.read(tmp_path, None, None)
    assert caught.value.where == f"{folder / name}.txt, line {line}"


def test_prepared_line_by_line(root: Path, tmp_path: Path) -> None:
    prepared = prepare("egtea", root, tmp_path)
    rows = [(clip, f"{recording}/{clip}.mp4", n, 24, label, split) for clip, recording, n, label, split in CLIPS]
    assert prepared.lines() == expected_lines(root / "cropped_clips", rows)
    assert sorted(prepared.side("labels/verb")) == sorted(
        ["id,label", f"{BREAKFAST},0", f"{SALAD},3", f"{PASTA},1", f"{SALAD2},2", f"{TURKEY},0"]
    )
    assert prepared.info["tasks"]["noun"][0] == "recipe"
    assert prepared.manifest.folds() == ["split1", "split2", "split3"]


def test_the_download_as_it_comes(root: Path, tmp_path: Path) -> None:
    """video_clips.tar and action_annotation.zip make the same manifest as the unpacked tree."""
    download = tmp_path / "download"
    download.mkdir()
    with tarfile.open(download / "video_clips.tar", "w") as tar:
        tar.add(root / "cropped_clips", "cropped_clips")
    with zipfile.ZipFile(download / "action_annotation.zip", "w") as archive:
        for file in sorted((root / "action_annotation").rglob("*.*")):
            archive.write(file, file.relative_to(root))
    packed, unpacked = prepare("egtea", download, tmp_path / "a"), prepare("egtea", root, tmp_path / "b")
    assert packed.lines() == unpacked.lines()
    assert packed.manifest.fingerprint == unpacked.manifest.fingerprint
    assert sorted(path.name for path in download.iterdir()) == ["action_annotation.zip", "video_clips.tar"]


@pytest.mark.parametrize("flat", [False, True])
def test_frames_beside_or_below_recordings(tmp_path: Path, flat: bool) -> None:
    write_annotations(tmp_path)
    for clip, recording, *_ in CLIPS:
        make_frames(tmp_path / "frames" / (clip if flat else f"{recording}/{clip}"), 8, "img_%05d.jpg", 1)
    prepared = prepare("egtea", tmp_path, tmp_path / "data")
    places = [line.split(",")[1] for line in prepared.lines()[1:]]
    assert places == [clip if flat else f"{recording}/{clip}" for clip, recording, *_ in CLIPS]


def test_trains_and_evaluates_on_a_fold_and_a_task(root: Path, tmp_path: Path) -> None:
    prepared = prepare("egtea", root, tmp_path)
    record, scores = train_and_evaluate(prepared, tmp_path / "results", fold="split3", task="noun")
    assert (record["dataset"]["fold"], record["dataset"]["task"], record["dataset"]["classes"]) == ("split3", "noun", 5)
    assert scores["clips"] == 3 and scores["task"] == "noun"
