"""Crops and resizes against Pillow and a literal second implementation; flip pairs against the official labels."""

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vidrepro.data import augment
from vidrepro.data.augment import CropBox
from vidrepro.errors import ConfigError, DataError, UnknownNameError

SCALES = (1.0, 0.875, 0.75, 0.66)
LABELS = (Path(__file__).parent / "something_something_labels.txt").read_text().splitlines()


def smooth_frames(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Pictures with structure at every scale, so that a shifted or otherwise filtered resize shows."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    pictures = [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC)) for one in coarse]
    noise = generator.integers(-20, 21, (count, height, width, 3))
    return np.clip(np.stack(pictures).astype(np.int64) + noise, 0, 255).astype(np.uint8)


def pixels(frames: torch.Tensor) -> np.ndarray:
    return frames.movedim(-3, -1).numpy().astype(np.int64)


def literal_boxes(width: int, height: int, size: int, scales=SCALES, max_distort: int = 1) -> list[CropBox]:
    """Every outcome of GroupMultiScaleCrop, in its own words, one per (pair, place)."""
    base = min(width, height)
    sizes = []
    for scale in scales:
        side = int(base * scale)
        sizes.append(size if abs(side - size) < 3 else side)
    boxes = []
    for i, h in enumerate(sizes):
        for j, w in enumerate(sizes):
            if abs(i - j) > max_distort:
                continue
            ws, hs = (width - w) // 4, (height - h) // 4
            places = [(0, 0), (4 * ws, 0), (0, 4 * hs), (4 * ws, 4 * hs), (2 * ws, 2 * hs), (0, 2 * hs)]
            places += [(4 * ws, 2 * hs), (2 * ws, 4 * hs), (2 * ws, 0), (ws, hs), (3 * ws, hs), (ws, 3 * hs)]
            places += [(3 * ws, 3 * hs)]
            boxes += [CropBox(x, y, w, h) for x, y in places]
    return boxes


@pytest.mark.parametrize(("width", "height", "size"), [(340, 256, 224), (176, 100, 224), (64, 64, 48), (240, 427, 224)])
def test_multi_scale_crop_takes_all_ten_pairs_and_all_thirteen_places_evenly(width, height, size):
    generator = np.random.default_rng(0)
    draws = 13_000
    counted = Counter(augment.draw_multi_scale_crop(width, height, size, SCALES, 1, generator) for _ in range(draws))
    outcomes = Counter(literal_boxes(width, height, size))  # 130 outcomes, some of which coincide
    assert sum(outcomes.values()) == 130
    assert set(counted) == set(outcomes)
    for box, times in outcomes.items():
        mean = draws / 130 * times
        assert abs(counted[box] - mean) < 5 * mean**0.5, box


def test_multi_scale_sides_are_truncated_and_snapped():
    # 256: int(256 * .66) = 168, 192, 224, 256; 340 wide: (340 - 224) // 4 = 29
    boxes = set(literal_boxes(340, 256, 224))
    drawn = {augment.draw_multi_scale_crop(340, 256, 224, SCALES, 1, np.random.default_rng(s)) for s in range(3000)}
    assert {side for box in drawn for side in box[2:]} == {256, 224, 192, 168}
    assert CropBox(116, 0, 224, 256) in drawn <= boxes
    # 226 * 1 is within 2 of 224; 227 is not
    near, far = (
        {augment.draw_multi_scale_crop(n, n, 224, (1.0,), 1, np.random.default_rng(s))[2:] for s in range(9)}
        for n in (226, 227)
    )
    assert near == {(224, 224)}
    assert far == {(227, 227)}


def test_no_distortion_means_square_crops():
    for seed in range(200):
        box = augment.draw_multi_scale_crop(340, 256, 224, SCALES, 0, np.random.default_rng(seed))
        assert box.width == box.height


@pytest.mark.parametrize(
    ("height", "width", "size", "box"),
    [
        (256, 340, 224, CropBox(29, 16, 224, 192)),
        (100, 176, 224, CropBox(76, 0, 100, 87)),  # V1's small frames: enlarged
        (64, 64, 48, CropBox(4, 8, 56, 42)),
        (64, 64, 48, CropBox(8, 8, 48, 48)),  # nothing to resize
        (222, 300, 224, CropBox(-4, -1, 224, 224)),  # snapped beyond the frame: black there
    ],
)
def test_crop_and_resize_gives_pillows_pixels(height, width, size, box):
    frames = smooth_frames(2, height, width)
    ours = augment.crop_and_resize(augment.channels_first(frames), box, size)
    assert ours.dtype == torch.uint8
    left, top = box.left, box.top
    for one, frame in zip(pixels(ours), frames, strict=True):
        picture = Image.fromarray(frame).crop((left, top, left + box.width, top + box.height))
        expected = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)).astype(np.int64)
        assert abs(one - expected).max() <= 1


@pytest.mark.parametrize(("height", "width", "expected"), [(240, 427, (256, 455)), (427, 240, (455, 256))])
def test_short_side_is_resized_as_pillow_does(height, width, expected):
    frames = smooth_frames(1, height, width)
    ours = augment.resize_short_side(augment.channels_first(frames), 256)
    assert tuple(ours.shape) == (1, 3, *expected)
    reference = Image.fromarray(frames[0]).resize(expected[::-1], Image.Resampling.BILINEAR)
    assert abs(pixels(ours)[0] - np.asarray(reference).astype(np.int64)).max() <= 1


def test_frames_of_the_wanted_size_are_not_touched():
    frames = augment.channels_first(smooth_frames(2, 64, 80))
    assert augment.resize_short_side(frames, 64) is frames
    assert augment.crop_and_resize(frames, CropBox(3, 5, 48, 48), 48).data_ptr() == frames[:, :, 5:, 3:].data_ptr()


def coordinates(height: int, width: int) -> torch.Tensor:
    """(1, 2, H, W): each pixel holds its own column and row."""
    return torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"))[None]


def corner(view: torch.Tensor) -> tuple[int, int]:
    """Column and row of a view's first pixel."""
    return int(view[0, 0, 0, 0]), int(view[0, 1, 0, 0])


@pytest.mark.parametrize(
    ("height", "width", "size", "expected"),
    [
        (256, 340, 224, (58, 16)),
        (256, 341, 224, (58, 16)),  # 58.5 → 58
        (256, 343, 224, (60, 16)),  # 59.5 → 60
        (64, 64, 48, (8, 8)),
        (48, 48, 48, (0, 0)),
    ],
)
def test_centre_crop(height, width, size, expected):
    view = augment.centre_crop(coordinates(height, width), size)
    assert view.shape[-2:] == (size, size)
    assert corner(view) == expected


def test_three_crops_are_left_right_centre_in_quarters_of_the_free_space():
    # (341 - 224) // 4 = 29: the right crop starts at 116, one column short of the edge; (258 - 224) // 4 = 8
    views = augment.three_crops(coordinates(258, 341), 224)
    assert [corner(view) for view in views] == [(0, 16), (116, 16), (58, 16)]
    assert [tuple(view.shape[-2:]) for view in views] == [(224, 224)] * 3


def test_a_crop_larger_than_the_frames_is_refused():
    with pytest.raises(DataError, match=r"(?s)smaller than the crop.*40x64.*48x48"):
        augment.centre_crop(torch.zeros(1, 3, 64, 40), 48)
    with pytest.raises(DataError, match="smaller than the crop"):
        augment.three_crops(torch.zeros(1, 3, 40, 64), 48)
    with pytest.raises(DataError, match="too small"):
        augment.draw_multi_scale_crop(1, 1, 48, SCALES, 1, np.random.default_rng(0))


def test_random_crops_take_every_place_evenly():
    generator = np.random.default_rng(0)
    counts = Counter(augment.draw_random_crop(7, 6, 4, generator) for _ in range(2400))
    assert set(counts) == {CropBox(left, top, 4, 4) for left in range(4) for top in range(3)}
    assert min(counts.values()) > 140  # of 200 expected
    with pytest.raises(DataError, match="at least 8x8"):
        augment.draw_random_crop(9, 7, 8, generator)


def test_resized_crops_keep_their_area_and_aspect_within_the_frame():
    generator = np.random.default_rng(0)
    boxes = [augment.draw_resized_crop(320, 240, (0.08, 1), (3 / 4, 4 / 3), generator) for _ in range(400)]
    shares = np.array([box.width * box.height / (320 * 240) for box in boxes])
    aspects = np.array([box.width / box.height for box in boxes])
    assert shares.min() > 0.078 and shares.max() <= 1 and 0.12 < np.quantile(shares, 0.1) < 0.22
    assert aspects.min() > 0.74 and aspects.max() < 1.35 and abs(np.log(aspects).mean()) < 0.05
    assert all(box.left >= 0 and box.left + box.width <= 320 for box in boxes)
    assert all(box.top >= 0 and box.top + box.height <= 240 for box in boxes)
    same = [augment.draw_resized_crop(320, 240, (0.08, 1), (3 / 4, 4 / 3), np.random.default_rng(5)) for _ in range(2)]
    assert same[0] == same[1]


def test_colours_change_alike_in_every_frame_and_only_as_far_as_allowed():
    frames = torch.from_numpy(smooth_frames(1, 12, 16)).movedim(-1, -3).expand(5, -1, -1, -1)
    assert torch.equal(augment.jitter_colours(frames, (0, 0, 0, 0), np.random.default_rng(0)), frames)
    factors = set()
    for seed in range(20):
        brighter = augment.jitter_colours(frames, (0.125, 0, 0, 0), np.random.default_rng(seed))
        assert all(torch.equal(one, brighter[0]) for one in brighter)
        inside = (frames > 40) & (frames < 200)
        factor = (brighter[inside].double() / frames[inside]).mean().item()
        assert 0.865 < factor < 1.13
        factors.add(round(factor, 2))
    assert len(factors) > 8
    hued = augment.jitter_colours(frames, (0, 0, 0, 0.5), np.random.default_rng(1))
    assert (hued.amax(-3).int() - frames.amax(-3).int()).abs().max() <= 2  # a hue keeps the largest channel's value
    assert not torch.equal(hued, frames)


def test_flip_mirrors_left_and_right_only():
    frames = coordinates(4, 6)
    mirrored = augment.flip(frames)
    for row, column in product(range(4), range(6)):
        assert mirrored[0, :, row, column].tolist() == [5 - column, row]
    assert torch.equal(augment.flip(mirrored), frames)


def test_half_of_the_clips_are_flipped():
    generator = np.random.default_rng(1)
    flips = sum(augment.draw_flip(generator) for _ in range(10_000))
    assert abs(flips - 5000) < 250  # five standard deviations


def test_the_official_labels_pair_as_20bn_says():
    assert len(LABELS) == 174
    pairs = augment.swap_pairs(LABELS)
    assert pairs == {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166}
    assert LABELS[166] == "Turning the camera left while filming something"


def test_pairs_are_found_in_any_order_and_spelling():
    names = [
        "Turn_right",
        "turning something clockwise",
        "Putting something upright on the table",
        "turning something counter-clockwise",
        "TURN LEFT",
        "Pulling it right out",
        "Move left, then right",
        "move right, then left",
        "rotate left clockwise",
        "rotate right anticlockwise",
    ]
    assert augment.swap_pairs(names) == {0: 4, 4: 0, 1: 3, 3: 1, 6: 7, 7: 6, 8: 9, 9: 8}


@given(st.lists(st.sampled_from(["left", "right", "up", "clockwise", "anticlockwise"]), min_size=1, max_size=3))
def test_partners_are_mutual(words):
    names = sorted({" ".join(words), " ".join(reversed(words)), "right", "left", "clockwise right"})
    pairs = augment.swap_pairs(names)
    assert all(pairs[partner] == label != partner for label, partner in pairs.items())


def test_flip_policies():
    names = ["stay", "go left", "go right", "look left"]
    assert augment.flip_labels("none", names) is None
    assert augment.flip_labels("always", names).tolist() == [0, 1, 2, 3]
    assert augment.flip_labels("swap", names).tolist() == [0, 2, 1, 3]  # "look left" has no partner and stays


def test_swap_without_pairs_and_other_mistakes_are_refused():
    with pytest.raises(ConfigError, match="there are none"):
        augment.flip_labels("swap", ["go left", "Putting something upright", "stay"])
    with pytest.raises(UnknownNameError, match="swop"):
        augment.flip_labels("swop", ["go left", "go right"])
    with pytest.raises(ConfigError, match="same name"):
        augment.swap_pairs(["go left", "go right", "Go_left"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normalise_is_imagenets(dtype):
    frames = smooth_frames(2, 12, 16)
    result = augment.normalise(augment.channels_first(frames)[None], dtype)
    expected = (frames / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert result.shape == (1, 2, 3, 12, 16)
    assert result.dtype == dtype
    assert result.is_contiguous()
    got = result[0].movedim(1, -1).double().numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5 if dtype == torch.float32 else 0.01)
