"""The picture of a dataset shows real frames of every class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidrepro.data.contact_sheet import TEXT_WIDTH, write_contact_sheet
from vidrepro.data.frames import read_clip
from vidrepro.data.manifest import Manifest
from vidrepro.errors import ConfigError, DataError


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
