"""The picture of a dataset shows real frames of every class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidrepro.data.contact_sheet import TEXT_WIDTH, find_classes, write_contact_sheet
from vidrepro.data.frames import read_clip
from vidrepro.data.manifest import Manifest
from vidrepro.errors import ConfigError, DataError, UnknownNameError


def test_each_class_has_a_strip_of_its_own_frames(toy: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    write_contact_sheet(toy, path, frames=4, height=32)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * 32 + 4, TEXT_WIDTH + 4 * 32 + 3 * 4, 3)
    rows = toy.clips("val").drop_duplicates("label").sort_values("label")
    for number, row in enumerate(rows.itertuples()):
        expected = read_clip(toy, row, [1, 3, 5, 7])  # segment centres of 8 frames
        for place in range(4):
            left = TEXT_WIDTH + place * 36
            assert np.array_equal(sheet[number * 36 : number * 36 + 32, left : left + 32], expected[place])
        assert (sheet[number * 36 : number * 36 + 32, :TEXT_WIDTH] < 128).any()  # the label's letters


def test_other_endings_and_empty_splits_are_refused(toy: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ending"):
        write_contact_sheet(toy, tmp_path / "sheet.txt")
    with pytest.raises(DataError, match="test"):
        write_contact_sheet(toy, tmp_path / "sheet.png", split="test")
    assert not list(tmp_path.iterdir())


def test_chosen_classes_come_in_the_order_asked_for_with_several_clips_each(toy: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    ids = write_contact_sheet(toy, path, frames=2, height=32, classes=[1, 0], clips_per_class=3)
    rows = toy.clips("val")
    assert ids == [*rows[rows["label"] == 1]["id"][:3], *rows[rows["label"] == 0]["id"][:3]]
    sheet = np.asarray(Image.open(path))
    for number, clip in enumerate(ids):
        frame = read_clip(toy, toy.clip(clip), [2])[0]
        assert np.array_equal(sheet[number * 36 : number * 36 + 32, TEXT_WIDTH : TEXT_WIDTH + 32], frame)
    written = [(sheet[number * 36 : number * 36 + 32, :TEXT_WIDTH] < 128).any() for number in range(6)]
    assert written == [True, False, False, True, False, False]  # a label stands once


def test_many_clips_go_into_columns(toy: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidrepro.data.contact_sheet.STRIPS_IN_COLUMN", 3)
    path = tmp_path / "sheet.png"
    ids = write_contact_sheet(toy, path, frames=1, height=32, clips_per_class=4)  # 8 clips: 3, 3 and 2
    sheet = np.asarray(Image.open(path))
    width = TEXT_WIDTH + 32
    assert sheet.shape == (3 * 36 - 4, 3 * (width + 4) - 4, 3)
    for number, clip in enumerate(ids):
        left, top = number // 3 * (width + 4) + TEXT_WIDTH, number % 3 * 36
        assert np.array_equal(sheet[top : top + 32, left : left + 32], read_clip(toy, toy.clip(clip), [4])[0])


def test_image_sequences_are_drawn_like_videos(make_dataset: Callable[..., Manifest], tmp_path: Path) -> None:
    manifest = make_dataset()
    path = tmp_path / "sheet.png"
    (video, sequence) = write_contact_sheet(manifest, path, frames=2, height=20)
    assert manifest.clip(sequence).first_frame is not None and manifest.clip(video).first_frame is None
    sheet = np.asarray(Image.open(path))
    expected = read_clip(manifest, manifest.clip(sequence), [1])[0]  # 6 frames in 2 halves: 1 and 4
    assert np.array_equal(sheet[24:44, TEXT_WIDTH : TEXT_WIDTH + 30], expected)


def test_classes_are_found_by_number_name_and_part_of_it(toy: Manifest) -> None:
    assert find_classes(toy, ["1"]) == [1]
    assert find_classes(toy, ["moving something from RIGHT to left"]) == [1]
    assert find_classes(toy, ["left to"]) == [0]
    assert find_classes(toy, ["1", "moving"]) == [1, 0]
    with pytest.raises(UnknownNameError, match="Poking"):
        find_classes(toy, ["Poking"])
    with pytest.raises(UnknownNameError, match="7"):
        find_classes(toy, ["7"])
