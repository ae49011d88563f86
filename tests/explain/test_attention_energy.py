"""Energy on the object: closed forms, and the masks of a real clip of the embedded dataset as a network sees it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vidrepro.config import resolve
from vidrepro.data.frames import read_clip
from vidrepro.data.manifest import Manifest
from vidrepro.data.sources.synthetic import prepare_synthetic
from vidrepro.data.synthetic.draws import GENERATOR_VERSION
from vidrepro.data.synthetic.presets import APPROACH_LEAVE, COVER_UNCOVER, Preset
from vidrepro.errors import DataError
from vidrepro.explain.attention_energy import (
    annotations_of,
    energy,
    made_again,
    mean_ratio,
    object_masks,
    objects_known,
    some_clips,
    summary,
)
from vidrepro.explain.shown_clips import Network

PRESET = Preset(
    name="tinier",
    dataset="tinier",
    pairs=(COVER_UNCOVER, APPROACH_LEAVE),
    unpaired=(),
    clips=(("val", 3),),
    side=48,
    radius=(0.15, 0.2),
    frame_counts=(8,),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return prepare_synthetic(tmp_path_factory.mktemp("data"), PRESET, workers=1)


def network(manifest: Manifest, **data: Any) -> Network:
    """A network as far as clips are concerned."""
    settings = {"frames": 4, "eval_short_side": 40, "eval_size": 32, "train_size": 32} | data
    model = {"backbone": "micro", "mechanism": "none"}
    config = resolve([("test", {"dataset": "tinier", "model": model, "data": settings})])
    trained: Any = SimpleNamespace(manifest=manifest, config=config, record=SimpleNamespace(id="a run"))
    return Network("net", trained, "val")


def test_shares_and_ratios_in_closed_form() -> None:
    mask = np.zeros((2, 4, 4), bool)
    mask[:, :2, :2] = True  # a quarter
    box = np.zeros_like(mask)
    box[:, :2] = True
    flat = np.full((2, 4, 4), 0.7, np.float32)
    even = energy("a", "tap", flat, mask, box)
    assert even is not None
    assert (even.mask_area, even.mask_share) == pytest.approx((0.25, 0.25))
    assert even.mask_floorless == 0.25  # nothing above the floor: as evenly spread
    on_object = np.where(mask, 0.9, 0.5).astype(np.float32)
    found = energy("a", "tap", on_object, mask, box)
    assert found is not None
    assert found.mask_share == pytest.approx(0.9 * 4 / (0.9 * 4 + 0.5 * 12))
    assert found.box_share == pytest.approx((0.9 * 4 + 0.5 * 4) / (0.9 * 4 + 0.5 * 12))
    assert found.mask_floorless == found.box_floorless == pytest.approx(1)
    assert energy("a", "tap", flat, np.zeros_like(mask), box) is None
    of_both = summary([even, found])
    assert of_both["mask"]["ratio"]["mean"] == pytest.approx((1 + found.mask_share / 0.25) / 2)
    assert of_both["mask"]["ratio"]["low"] == pytest.approx(1)  # both draws the smaller one


def test_the_interval_of_a_mean_ratio() -> None:
    constant = mean_ratio([0.4] * 10, [0.2] * 10)
    assert (constant.mean, constant.low, constant.high, constant.clips) == (2, 2, 2, 10)
    ratios = np.random.default_rng(1).normal(1.5, 0.2, 400)
    found = mean_ratio(ratios * 0.1, np.full(400, 0.1))
    assert found.high - found.low == pytest.approx(2 * 1.96 * ratios.std() / 20, rel=0.1)


def test_clips_are_taken_class_by_class(prepared: Manifest) -> None:
    ids = some_clips(network(prepared), 4)
    assert sorted(prepared.clip(one).label for one in ids) == [0, 1, 2, 3]
    assert len(some_clips(network(prepared), 100)) == 12


def test_a_clip_can_be_made_again_and_is_the_decoded_one(prepared: Manifest) -> None:
    luma = np.array([0.299, 0.587, 0.114])  # colours are kept at half the size
    for clip_id in some_clips(network(prepared), 4):
        row = prepared.clip(clip_id)
        frames, known = made_again(prepared.info, clip_id, row.label)
        decoded = read_clip(prepared, row, np.arange(8))
        difference = np.abs((frames.astype(int) - decoded) @ luma).mean()
        assert difference < 4  # x264 at crf 20
        assert difference < 0.5 * np.abs((frames.astype(int)[::-1] - decoded) @ luma).mean()
        kept = annotations_of(network(prepared), clip_id)
        assert kept.roles == known.roles and np.array_equal(kept.masks, known.masks)
        assert np.array_equal(kept.boxes, known.boxes)
    with pytest.raises(DataError, match="another version"):
        made_again(prepared.info | {"version": "0"}, clip_id, row.label)


def test_masks_are_taken_where_the_network_looks(prepared: Manifest) -> None:
    seeing = network(prepared)
    compared = 0
    for clip_id in some_clips(seeing, 4):
        clip = seeing.clip(clip_id)
        mask, box = object_masks(seeing, clip)
        assert mask.shape == box.shape == (4, 32, 32)
        known = annotations_of(seeing, clip_id)
        number = known.roles.index("main")
        for frame, position in enumerate(clip.positions):
            ys, xs = np.nonzero(known.masks[position, number])
            if not len(ys) or not mask[frame].any():
                continue
            # 48 pixels became 40, and the middle 32 of them are seen
            expected = np.clip((np.array([xs.mean(), ys.mean()]) + 0.5) * 40 / 48 - 4, 0, 32)
            found = np.argwhere(mask[frame])[:, ::-1].mean(0) + 0.5
            inside = (ys * 40 / 48 > 5).all() and (ys * 40 / 48 < 34).all()
            inside &= (xs * 40 / 48 > 5).all() and (xs * 40 / 48 < 34).all()
            if inside:
                assert np.abs(found - expected).max() < 0.6
                compared += 1
            assert (box[frame] | ~mask[frame]).mean() > 0.98  # the box holds the visible part, up to rounding
    assert compared >= 12  # of 16 frames: those in which the object lies in the picture as a whole
    with pytest.raises(DataError, match="no object 'cat'"):
        object_masks(seeing, clip, "cat")


def test_annotations_that_are_gone_are_made_again(prepared: Manifest) -> None:
    seeing = network(prepared)
    clip_id = some_clips(seeing, 1)[0]
    path = prepared.root / "annotations" / f"{clip_id}.npz"
    before = annotations_of(seeing, clip_id)
    aside = path.rename(path.with_suffix(".aside"))
    try:
        assert np.array_equal(annotations_of(seeing, clip_id).masks, before.masks)
    finally:
        aside.rename(path)


def test_other_datasets_have_no_objects(toy: Manifest) -> None:
    with pytest.raises(DataError, match="nobody knows"):
        annotations_of(network(toy), "016")


@pytest.mark.parametrize(
    ("info", "notes", "known"),
    [
        ({"seed": 0, "version": GENERATOR_VERSION}, False, True),
        ({"seed": 0, "version": "an older one"}, True, True),
        ({"seed": 0, "version": "an older one"}, False, False),  # maps are drawn all the same
        ({"seed": None, "version": "UCF101", "settings": {"split": "split1"}}, False, False),
        ({"seed": None, "version": "UCF101", "settings": {}}, True, False),  # a download may have such a folder
    ],
)
def test_objects_are_known_of_what_the_generator_made_alone(
    info: dict[str, Any], notes: bool, known: bool, tmp_path: Path
) -> None:
    if notes:
        (tmp_path / "annotations").mkdir()
    trained: Any = SimpleNamespace(manifest=SimpleNamespace(info=info, root=tmp_path))
    assert objects_known(Network("net", trained, "val")) is known
