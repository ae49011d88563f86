"""Trees as other programs leave them: links, folders of systems, folders inside folders, archives somewhere below."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from official_trees import TREES, diving48, epic55, hmdb51, ssv2, touch, ucf101, write_tree

from vidrepro.data.archives import unpack
from vidrepro.data.sources.annotations import UNPACKED
from vidrepro.data.sources.download import Download, read_download
from vidrepro.errors import DataError

Maker = Callable[[Path], dict[str, bytes]]
by_name = pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.__name__)


def read(tree: Maker, root: Path) -> Download:
    """As `prepare` does it: unpack, read the lists, find the clips."""
    dataset: Any = import_module(f"vidrepro.data.sources.{tree.__name__}")
    packed = dataset.archives(root)
    if packed:
        unpack(packed, root.parent / "data" / UNPACKED)
    return read_download(dataset, root, root.parent / "data", None)


def folders(root: Path) -> list[Path]:
    return [root, *(path for path in root.rglob("*") if path.is_dir())]


@by_name
def test_links_that_lead_nowhere_in_a_circle_or_back_up_are_no_folders(tree: Maker, tmp_path: Path) -> None:
    root = write_tree(tree, tmp_path / "root")
    before = read(tree, root)
    for folder in folders(root):
        (folder / "broken").symlink_to(tmp_path / "nowhere")
        (folder / "circle").symlink_to("circle")
        (folder / "up").symlink_to(root)
    after = read(tree, root)
    assert (after.located.media, after.located.missing) == (before.located.media, [])
    assert (after.searched, after.left_out) == (before.searched, ())


@by_name
def test_clips_and_lists_that_are_links_elsewhere(tree: Maker, tmp_path: Path) -> None:
    kept = write_tree(tree, tmp_path / "kept" / "root")
    root = tmp_path / "root"
    for folder in folders(kept):
        (root / folder.relative_to(kept)).mkdir()
    for file in filter(Path.is_file, kept.rglob("*")):
        (root / file.relative_to(kept)).symlink_to(file)
    assert read(tree, root).located.media == read(tree, kept).located.media
    shutil.rmtree(root)
    root.mkdir()
    for path in kept.iterdir():
        (root / path.name).symlink_to(path)
    assert read(tree, root).located.media == read(tree, kept).located.media


@by_name
def test_folders_of_systems_hold_no_clips(tree: Maker, tmp_path: Path) -> None:
    root = write_tree(tree, tmp_path / "root")
    before = read(tree, root)
    for folder in folders(root):
        for name in [path.name for path in folder.iterdir() if path.is_file()]:
            touch(folder, f"._{name}", f"@eaDir/{name}/SYNOFILE_THUMB_M.jpg", f"__MACOSX/._{name}")
        touch(folder, ".DS_Store", "Thumbs.db")
    after = read(tree, root)
    assert (after.located.media, after.annotations.notes) == (before.located.media, before.annotations.notes)


@pytest.mark.parametrize("suffix", [".MOV", ".m4v", ".mkv", ".mpg"])
@pytest.mark.parametrize("tree", [tree for tree in TREES if tree.__name__ not in ("ssv1", "epic55")])
def test_videos_in_another_container_than_the_official_one(tree: Maker, suffix: str, tmp_path: Path) -> None:
    root = write_tree(tree, tmp_path / "root")
    for video in [path for path in root.rglob("*") if path.suffix in (".mp4", ".avi", ".webm")]:
        video.rename(video.with_suffix(suffix))
    assert read(tree, root).located.missing == []


@by_name
def test_lists_three_levels_down(tree: Maker, tmp_path: Path) -> None:
    write_tree(tree, tmp_path / "root" / "archive (1)" / "Dataset")
    assert read(tree, tmp_path / "root").located.missing == []


def test_class_folders_inside_folders_of_their_archives(tmp_path: Path) -> None:
    """What unpackers make of brush_hair.rar, which holds brush_hair/."""
    root = write_tree(hmdb51, tmp_path / "root")
    for name in ("kick", "kick_ball"):
        (root / name).rename(root / "moved")
        (root / name).mkdir()
        (root / "moved").rename(root / name / name)
    located = read(hmdb51, root).located
    assert located.missing == []
    assert all((root / media.path).is_file() for media in located.media.values())


def pack(folder: Path, archive: Path, name: str) -> None:
    """A folder becomes an archive, in which it is called `name`."""
    with tarfile.open(archive, "w") as packed:
        packed.add(folder, name)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", [".", "P01_01"])
@pytest.mark.parametrize("both", [False, True])
def test_frames_of_which_some_are_still_packed(name: str, both: bool, tmp_path: Path) -> None:
    """Whose tars were deleted after unpacking but for one; and a tar that holds a folder of the video's name."""
    root = write_tree(epic55, tmp_path / "root")
    pack(root / "frames/P01/P01_01", root / "frames/P01/P01_01.tar", name)
    if both:
        pack(root / "frames/P26/P26_02", root / "frames/P26/P26_02.tar", ".")
    download = read(epic55, root)
    assert download.located.missing == []
    assert {media.count for media in download.located.media.values()} == {10}
    assert not any(media.gaps for media in download.located.media.values())
    for media in download.located.media.values():
        assert (download.media_root / media.path / (media.pattern % 1)).is_file()


def test_archives_one_level_down_and_of_other_names(tmp_path: Path) -> None:
    root = write_tree(ucf101, tmp_path / "ucf" / "root")
    (root / "raw").mkdir()
    pack(root / "UCF-101", root / "raw" / "UCF101.tar", "UCF-101")
    assert read(ucf101, root).located.missing == []
    root = write_tree(diving48, tmp_path / "diving" / "root")
    pack(root / "rgb", root / "archive.tar", "rgb")
    assert read(diving48, root).located.missing == []


@pytest.mark.parametrize("folder", ["20bn-something-something-v2", "labels"])
def test_an_archive_that_nothing_is_known_of_is_named_in_the_refusal(folder: str, tmp_path: Path) -> None:
    root = write_tree(ssv2, tmp_path / "root")
    pack(root / folder, root / "archive.tar", folder)
    with pytest.raises(DataError, match=r"not unpacked: .*archive\.tar"):
        read(ssv2, root)


def test_numbered_folders_that_divide_a_tree(tmp_path: Path) -> None:
    root = write_tree(ucf101, tmp_path / "root")
    for number, clip in enumerate(sorted((root / "UCF-101").rglob("*.avi"))):
        target = root / "UCF-101" / str(number % 2) / clip.parent.name
        target.mkdir(parents=True, exist_ok=True)
        clip.rename(target / clip.name)
    assert read(ucf101, root).located.missing == []
