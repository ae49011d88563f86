"""The picture of frames and heat maps: colours by hand, one row per network, the same bytes each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from vidrepro.explain import strip
from vidrepro.explain.shown_clips import file_stem
from vidrepro.explain.strip import StripRow, draw_strip, overlay


def test_overlay_mixes_grey_frames_with_the_colours_of_the_heat() -> None:
    frames = np.zeros((1, 1, 3, 3), np.uint8)
    frames[0, 0, 1] = (30, 60, 90)
    heat = np.array([[[0.0, 0.5, 7.0]]], np.float32)
    mixed = overlay(frames, heat, opacity=0.25)
    colour = np.array([colormaps[strip.COLOURS](value)[:3] for value in (0.0, 0.5, 1.0)])
    grey = np.array([0, 60, 0])[:, None]  # the mean of the channels
    assert np.abs(mixed[0, 0] - (0.75 * grey + 0.25 * 255 * colour)).max() <= 0.5 + 1e-3
    assert mixed.dtype == np.uint8


def test_heat_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="does not lie over"):
        overlay(np.zeros((2, 4, 4, 3), np.uint8), np.zeros((1, 4, 4), np.float32))


def test_every_row_and_frame_is_in_the_picture(tmp_path: Path, drawn: list[Any]) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
    heat = rng.uniform(size=(3, 8, 12)).astype(np.float32)
    rows = [
        StripRow(frames, "frames"),
        StripRow(frames, "M2A", heat, "predicted: up", right=False, notes=["1", "2", "3"]),
    ]
    for name in ("one.png", "two.png"):
        draw_strip(tmp_path / name, "a clip", rows, heads=["a", "b", "c"], scale="share")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert Image.open(tmp_path / "one.png").width > 3 * 100
    axes = drawn[0].axes
    shown = [place.images[0].get_array() for place in axes[:6]]
    assert all(np.array_equal(picture, frame) for picture, frame in zip(shown[:3], frames, strict=True))
    assert all(np.array_equal(picture, mixed) for picture, mixed in zip(shown[3:], overlay(frames, heat), strict=True))
    assert [place.get_title() for place in axes[:3]] == ["a", "b", "c"]
    texts = {text.get_text(): text.get_color() for place in axes[3:6] for text in place.texts}
    assert texts["predicted: up"] == strip.WRONG_COLOUR and {"1", "2", "3"} <= set(texts)


def test_ids_become_file_names_that_stay_apart() -> None:
    assert file_stem("val-000003") == "val-000003"
    stems = [file_stem(one) for one in ("P01/a b@3", "P01-a-b@3", "P01/a_b@3", "../../etc")]
    assert len(set(stems)) == 4 and not any("/" in stem or stem.startswith(".") for stem in stems)
