"""Trees as people have them: divided into splits in any spelling, several copies, folders that hold something else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from folded_datasets import prepare, refused, run_command
from mini import make_frames, make_video
from official_trees import TREES, touch, write_tree

from vidrepro.data.sources.download import Download, read_download
from vidrepro.data.sources.search import is_split_name
from vidrepro.data.sources.trees import File, choose_tree
from vidrepro.errors import DataError

Maker = Callable[[Path], dict[str, bytes]]
by_name = pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.__name__)


def read(tree: Maker, root: Path) -> Download:
    dataset: Any = import_module(f"vidrepro.data.sources.{tree.__name__}")
    assert dataset.archives(root) == []
    return read_download(dataset, root, root.parent / "data", None)


def media_folder(tree: Maker, root: Path) -> Path:
    """The folder that holds the tree's clips (kinetics400: those of its two)."""
    return root if tree.__name__ == "kinetics400" else read(tree, root).media_root


def clip_paths(tree: Maker, root: Path) -> list[Path]:
    download = read(tree, root)
    assert download.located.missing == []
    return sorted({download.media_root / media.path for media in download.located.media.values()})


def move_into(root: Path, media: Path, clips: list[Path], branches: tuple[str, ...]) -> None:
    """Each clip, with the folders it lies in, into one of some folders, in turns."""
    for number, clip in enumerate(clips):
        target = root / "all" / branches[number % len(branches)] / clip.relative_to(media)
        target.parent.mkdir(parents=True, exist_ok=True)
        clip.rename(target)


@by_name
@pytest.mark.parametrize(
    "branches", [("train", "val", "test"), ("Training", "validation"), ("TRAIN_256", "Val", "eval")]
)
def test_every_branch_of_a_divided_tree_is_searched(tree: Maker, branches: tuple[str, ...], tmp_path: Path) -> None:
    root = write_tree(tree, tmp_path / "root")
    before = read(tree, root)
    move_into(root, media_folder(tree, root), clip_paths(tree, root), branches)
    download = read(tree, root)
    assert download.located.missing == []
    assert set(download.located.media) == set(before.located.media)
    for media in download.located.media.values():
        assert (download.media_root / media.path).exists()


@by_name
def test_of_two_copies_the_one_with_the_fewest_missing_is_taken_and_said(tree: Maker, tmp_path: Path) -> None:
    """The copy that comes first by name lacks a clip."""
    root = write_tree(tree, tmp_path / "root")
    clips = clip_paths(tree, root)
    media = media_folder(tree, root)
    for copy in ("a copy", "full"):
        for clip in clips:
            target = root / copy / clip.relative_to(media)
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if clip.is_dir() else shutil.copy)(clip, target)
    for clip in clips:
        (shutil.rmtree if clip.is_dir() else Path.unlink)(clip)
    lost = root / "a copy" / clips[0].relative_to(media)
    (shutil.rmtree if lost.is_dir() else Path.unlink)(lost)
    download = read(tree, root)
    assert download.located.missing == []
    used = {(download.media_root / one.path).relative_to(root).parts[0] for one in download.located.media.values()}
    assert used == {"full"}
    (note,) = [note for note in download.annotations.notes if "a copy" in note]
    assert f"taken from {root / 'full'}" in note and "missing there" in note


@by_name
def test_folders_without_clips_are_named_in_the_refusal(tree: Maker, tmp_path: Path) -> None:
    root = write_tree(tree, tmp_path / "root")
    for clip in clip_paths(tree, root):
        (shutil.rmtree if clip.is_dir() else Path.unlink)(clip)
    (root / "somewhere" / "else").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        read(tree, root)
    assert str(root / "somewhere" / "else") in str(caught.value)


@pytest.mark.parametrize(
    "name", ["train", "Val", "VALID", "eval", "dev", "test_videos", "trainset", "split1_train", "tst"]
)
def test_names_of_splits(name: str) -> None:
    assert is_split_name(name)


@pytest.mark.parametrize(
    "name", ["Training_wheels_x", "rawframes", "contest", "vals", "device", "UCF-101", "brush_hair"]
)
def test_names_of_no_split(name: str) -> None:
    assert is_split_name(name) == (name == "Training_wheels_x")  # a word of its own is one, whatever follows


def files(folder: Path, clips: str, kind: str = "video") -> dict[str, File]:
    return {clip: File(folder, f"{clip}.mp4", kind) for clip in clips}


def test_branches_go_together_and_copies_do_not(tmp_path: Path) -> None:
    train, val, copy, other = (tmp_path / name for name in ("v/train", "v/val", "w/train", "w/val"))
    tree = choose_tree(
        tmp_path,
        {copy: files(copy, "abcd"), other: files(other, "e"), train: files(train, "abcd"), val: files(val, "ef")},
    )
    assert tree.root == tmp_path / "v" and set(tree.clips) == set("abcdef")
    assert [(one.folder, one.clips, one.twice) for one in tree.left_out] == [(tmp_path / "w", 5, 5)]
    assert tree.paths(tree.root)["e"] == ("val/e.mp4", "video")


def test_pictures_and_videos_are_not_mixed_but_between_splits(tmp_path: Path) -> None:
    videos, pictures = tmp_path / "videos", tmp_path / "rawframes"
    tree = choose_tree(tmp_path, {pictures: files(pictures, "ab", "frames"), videos: files(videos, "cde")})
    assert (tree.root, [one.folder for one in tree.left_out]) == (videos, [pictures])
    train, val = tmp_path / "train", tmp_path / "val"
    tree = choose_tree(tmp_path, {train: files(train, "ab", "frames"), val: files(val, "c")})
    assert (tree.root, set(tree.clips), tree.left_out) == (tmp_path, set("abc"), [])


def test_a_clip_in_two_splits_is_told(tmp_path: Path) -> None:
    train, val = tmp_path / "train", tmp_path / "val"
    tree = choose_tree(tmp_path, {train: files(train, "abcd"), val: files(val, "dxyz")})
    assert set(tree.clips) == set("abcdxyz") and tree.twice == ["d"]
    assert tree.clips["d"].folder == train


# --- by the command ------------------------------------------------------------------------------------------------


def write_ucf(root: Path) -> Path:
    """Lists of three clips, as a re-upload has them beside train/, val/ and test/."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\n2 Archery\n")
    (lists / "trainlist01.txt").write_text(
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\nArchery/v_Archery_g08_c01.avi 2\n"
    )
    (lists / "testlist01.txt").write_text("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\n")
    return root


UCF = {
    "train": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01",
    "val": "Archery/v_Archery_g08_c01",
    "test": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01",
}


def test_a_reupload_divided_into_splits(tmp_path: Path) -> None:
    root = write_ucf(tmp_path / "root")
    for split, clip in UCF.items():
        make_video(root / split / f"{clip}.avi", 8)
    prepared = prepare("ucf101", root, tmp_path / "data")
    assert prepared.info["root"] == str(root)
    assert [line.split(",")[:2] for line in prepared.lines()[1:]] == [
        [clip, f"{split}/{clip}.avi"] for split, clip in UCF.items()
    ]


def test_the_choice_is_printed_and_reported_and_a_refusal_names_the_folders(tmp_path: Path) -> None:
    root = write_ucf(tmp_path / "root")
    for clip in list(UCF.values())[:2]:
        make_video(root / "videos" / f"{clip}.avi", 8)
        make_frames(root / "rawframes" / clip, 8)
    make_frames(root / "rawframes" / UCF["test"], 8)
    result = run_command("ucf101", root, tmp_path / "data", "--allow-missing", "1")
    assert result.exit_code == 0, result.exception
    told = f"taken from {root / 'rawframes'}, where 0 of 3 are missing; {root / 'videos'} was left out: 1 are"
    assert told in result.output
    report = json.loads((tmp_path / "data" / "ucf101" / "report.json").read_text())
    assert report["media_root"] == str(root / "rawframes")
    assert report["folders_left_out"] == [{"folder": str(root / "videos"), "clips": 2}]
    assert set(report["folders_searched"]) == {str(root / "videos"), str(root / "rawframes")}

    shutil.rmtree(root / "rawframes" / UCF["test"])
    text = refused("ucf101", root, tmp_path / "other")
    assert "is missing" in text and f"searched: {root / 'videos'}, {root / 'rawframes'}" in text


def test_where_none_of_the_clips_is_found_the_folders_are_named(tmp_path: Path) -> None:
    root = write_ucf(tmp_path / "root")
    make_video(root / "train" / "Archery" / "v_Archery_g25_c01.avi", 8)
    text = refused("ucf101", root, tmp_path / "data", "--allow-missing", "1")
    assert "no clip of ucf101 can be used" in text and f"searched: {root / 'train'}" in text


def test_what_is_no_clip_is_not_taken_for_one(tmp_path: Path) -> None:
    """Folders of optical flow have the clips' names, and so have the files that archives from a Mac bring along."""
    root = write_ucf(tmp_path / "root")
    for clip in UCF.values():
        make_video(root / "UCF-101" / f"{clip}.avi", 8)
        touch(root, f"tvl1_flow/{clip}/x_00001.jpg", f"__MACOSX/UCF-101/{clip}.avi")
    prepared = prepare("ucf101", root, tmp_path / "data")
    assert prepared.info["root"] == str(root / "UCF-101")
    assert not any("left out" in note for note in prepared.info["notes"])


@pytest.mark.parametrize("padded", ["lists", "files"])
def test_numbers_padded_with_zeros_are_the_same_clips(padded: str, tmp_path: Path) -> None:
    ssv2 = next(tree for tree in TREES if tree.__name__ == "ssv2")
    root = write_tree(ssv2, tmp_path / "root")
    wanted = set(read(ssv2, root).located.media)
    if padded == "files":
        for clip in clip_paths(ssv2, root):
            clip.rename(clip.with_name(f"{clip.stem:0>6}.webm"))
    else:
        for path in (root / "labels" / "train.json", root / "labels" / "validation.json"):
            rows = [row | {"id": f"{row['id']:0>6}"} for row in json.loads(path.read_text())]
            path.write_text(json.dumps(rows))
    download = read(ssv2, root)
    assert set(download.located.media) == wanted and not download.located.missing


def test_class_folders_inside_splits(tmp_path: Path) -> None:
    """Ids are all that counts; a class's name may hold a word that folders of optical flow are called by, too."""
    ssv2 = next(tree for tree in TREES if tree.__name__ == "ssv2")
    root = write_tree(ssv2, tmp_path / "root")
    names = ("Pouring something until it overflows", "Holding something", "arranging flowers")
    for number, clip in enumerate(clip_paths(ssv2, root)):
        target = root / ("train" if number % 2 else "Validation") / names[number % 3] / clip.name
        target.parent.mkdir(parents=True, exist_ok=True)
        clip.rename(target)
    download = read(ssv2, root)
    assert not download.located.missing and download.media_root == root and not download.left_out


@pytest.mark.parametrize("place", ["ucfTrainTestlist", "my lists", "my lists/official"])
def test_lists_beside_a_hundred_class_folders(place: str, tmp_path: Path) -> None:
    root = write_ucf(tmp_path / "root")
    for number in range(101):
        (root / f"Class{number}").mkdir()
    touch(root, f"ApplyEyeMakeup/{Path(UCF['train']).name}.avi")
    (root / "ucfTrainTestlist").rename(tmp_path / "lists")
    (root / place).parent.mkdir(exist_ok=True)
    (tmp_path / "lists").rename(root / place)
    ucf101 = next(tree for tree in TREES if tree.__name__ == "ucf101")
    assert len(read(ucf101, root).located.media) == 1


def test_lists_two_levels_down(tmp_path: Path) -> None:
    ssv1 = next(tree for tree in TREES if tree.__name__ == "ssv1")
    root = write_tree(ssv1, tmp_path / "root")
    deep = root / "downloads" / "lists of v1"
    deep.mkdir(parents=True)
    for path in root.glob("*.csv"):
        path.rename(deep / path.name)
    assert read(ssv1, root).located.missing == []
