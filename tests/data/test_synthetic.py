"""The generator: exact time reversal, draws that do not know the class, and annotations that agree with the pixels."""

from __future__ import annotations

import inspect
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidrepro.data.frames import read_video, write_video
from vidrepro.data.synthetic import generator, presets
from vidrepro.data.synthetic.draws import Draws, clip_generator, draw
from vidrepro.data.synthetic.generator import plan_clips, render_clip
from vidrepro.data.synthetic.ground_truth import load_annotations, save_annotations
from vidrepro.data.synthetic.presets import PRESETS, Preset, find_preset
from vidrepro.data.synthetic.rasterise import render
from vidrepro.data.synthetic.scenes import ACTIONS
from vidrepro.data.synthetic.shapes import THINGS, Shape
from vidrepro.data.synthetic.stage import stage
from vidrepro.errors import DataError, UnknownNameError

TINY, SMALL, FULL = PRESETS["tiny"], PRESETS["small"], PRESETS["full"]
QUICK = replace(FULL, name="quick", side=48)  # every class, small pictures
PAIRS = FULL.pairs
TRACKS = ("masks", "boxes", "centres", "sizes", "speeds", "camera")


def seen(name: str, clip_id: str = "train-000001", preset: Preset = QUICK):
    return render_clip(name, clip_id, preset, seed=0)


def centre(name: str, role: str = "main", clip_id: str = "train-000001", preset: Preset = QUICK):
    known = seen(name, clip_id, preset).annotations
    return known.centres[:, known.roles.index(role)]


def scene_of(name: str, draws: Draws, preset: Preset):
    scene = stage(draws, props=preset.props)
    ACTIONS[name].apply(scene, draws)
    return scene


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_pairs_only_classes_proved_below(preset: Preset) -> None:
    assert set(preset.pairs) <= set(PAIRS)
    assert set(preset.classes) <= set(ACTIONS)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])
@pytest.mark.parametrize("clip_id", ["train-000000", "val-000017"])
def test_a_clip_of_one_member_is_the_other_members_clip_backwards(pair: presets.Pair, clip_id: str) -> None:
    forwards, backwards = (seen(name, clip_id) for name in pair)
    np.testing.assert_array_equal(backwards.frames, forwards.frames[::-1])
    assert not np.array_equal(backwards.frames, forwards.frames)
    assert backwards.annotations.roles == forwards.annotations.roles
    for track in TRACKS:
        np.testing.assert_array_equal(getattr(backwards.annotations, track), getattr(forwards.annotations, track)[::-1])


def test_the_draws_of_a_clip_are_the_same_for_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(inspect.signature(draw).parameters) == {"rng", "preset"}
    drawn: list[Draws] = []
    monkeypatch.setattr(generator, "draw", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    for name in QUICK.classes:
        seen(name)
    assert len({repr(one) for one in drawn}) == 1
    seen(QUICK.classes[0], "train-000002")
    assert repr(drawn[-1]) != repr(drawn[0])


ONE_THING = [
    pair[0]
    for pair in (
        presets.LEFT_RIGHT,
        presets.UP_DOWN,
        presets.TOWARDS_AWAY,
        presets.APPROACH_LEAVE,
        presets.TURN_SIDEWAYS,
        presets.TURN_UPRIGHT,
    )
]


@pytest.mark.parametrize("preset", [TINY, QUICK], ids=["tiny", "quick"])
def test_at_mid_clip_classes_of_one_thing_or_the_camera_look_exactly_alike(preset: Preset) -> None:
    draws = draw(clip_generator(0, "train-000003"), preset)
    stopped = replace(draws, progress=np.zeros_like(draws.progress))
    pictures = [
        render(scene_of(name, stopped, preset), stopped, preset.side).frames
        for name in ONE_THING
        if name in preset.classes
    ]
    assert len(pictures) >= 4
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_what_the_action_does_not_touch_looks_the_same_in_other_classes() -> None:
    right, up = seen("Moving something from left to right"), seen("Moving something up")
    untouched = ~(_grown(right) | _grown(up))
    assert untouched.mean() > 0.5
    np.testing.assert_array_equal(right.frames[untouched], up.frames[untouched])


def _grown(rendering) -> np.ndarray:
    """Where the main object is, and two pixels around it."""
    mask = rendering.annotations.masks[:, rendering.annotations.roles.index("main")]
    for _ in range(2):
        mask = mask | np.roll(mask, 1, 1) | np.roll(mask, -1, 1) | np.roll(mask, 1, 2) | np.roll(mask, -1, 2)
    return mask


@given(seed=st.integers(0, 2**32), number=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_drawn_quantities_stay_in_the_presets_ranges(seed: int, number: int) -> None:
    draws = draw(clip_generator(seed, f"train-{number:06d}"), SMALL)
    assert draws.frames in SMALL.frame_counts
    assert SMALL.radius[0] <= draws.radius <= SMALL.radius[1]
    assert all(SMALL.middle[0] <= place <= SMALL.middle[1] for place in draws.middle)
    assert draws.progress[0] == -1 and draws.progress[-1] == 1 and (np.diff(draws.progress) > 0).all()
    assert np.abs(draws.jitter).max() <= SMALL.jitter
    assert len(draws.distractors) <= SMALL.distractors
    luma = np.array([0.299, 0.587, 0.114])
    assert draws.main.texture.colours.mean(axis=0) @ luma != draws.background.colours.mean(axis=0) @ luma


def test_presets_are_as_the_issue_asks() -> None:
    assert all(count % 8 == 0 and 24 <= count <= 48 for preset in PRESETS.values() for count in preset.frame_counts)
    assert all(preset.fps == 12 for preset in PRESETS.values())
    assert 2 * SMALL.radius[0] == 2 * FULL.radius[0] == 0.08
    assert len(FULL.classes) >= 24
    unpaired = {presets.POKE, presets.PRETEND_POKE, presets.COLLIDE, presets.PASS, presets.HOLD, presets.SHOW}
    assert set(SMALL.unpaired) == set(FULL.unpaired) == unpaired


def test_class_names_are_the_official_ones() -> None:
    official = (Path(__file__).parent / "something_something_labels.txt").read_text().splitlines()
    own = {"Moving something from left to right", "Moving something from right to left"}  # the issue's own examples
    assert set(FULL.classes) - own <= set(official)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_the_ceiling_is_what_a_perfect_judge_of_unordered_frames_expects(preset: Preset) -> None:
    # To such a judge the members of a pair are one group; with balanced classes it gets one class of each group right.
    group = {name: frozenset(pair) for pair in preset.pairs for name in pair}
    groups = {group.get(name, name) for name in preset.classes}
    assert preset.order_blind_ceiling == pytest.approx(len(groups) / len(preset.classes))
    for first, second in preset.reversal_pairs:
        assert first < second and group[preset.classes[first]] == group[preset.classes[second]]
    assert len(preset.reversal_pairs) == len(preset.pairs)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_the_plan_is_balanced_and_its_order_says_nothing(preset: Preset) -> None:
    plan = plan_clips(preset, seed=0)
    assert len({clip.id for clip in plan}) == len(plan)
    by_split = defaultdict(list)
    for clip in plan:
        assert clip.id == f"{clip.split}-{len(by_split[clip.split]):06d}"
        by_split[clip.split].append(clip.label)
    for split, per_class in preset.clips:
        assert Counter(by_split[split]) == dict.fromkeys(range(len(preset.classes)), per_class)
    assert plan == plan_clips(preset, seed=0)
    again = [clip.label for clip in plan_clips(preset, seed=1)]
    labels = [clip.label for clip in plan]
    agreement = np.mean(np.array(again) == np.array(labels))
    assert agreement < 2 / len(preset.classes)  # another seed, another order: the index is not the label


def test_an_unknown_preset_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="tiy") as refusal:
        find_preset("tiy")
    assert "tiny" in str(refusal.value)


# --- what is seen is what the label says ---------------------------------------------------------------------------


@pytest.mark.parametrize("clip_id", ["train-000001", "train-000002", "train-000003"])
def test_things_go_where_the_label_says(clip_id: str) -> None:
    def travel(name: str, axis: int, role: str = "main") -> float:
        track = centre(name, role, clip_id)[:, axis]
        return float(track[-1] - track[0]) / QUICK.side

    assert travel("Moving something from left to right", 0) > 0.18
    assert travel("Moving something from right to left", 0) < -0.18
    assert travel("Moving something up", 1) < -0.18
    assert travel("Moving something down", 1) > 0.18
    assert travel("Turning the camera left while filming something", 0) > 0.18
    assert travel("Turning the camera right while filming something", 0) < -0.18
    assert travel("Turning the camera upwards while filming something", 1) > 0.18
    assert travel("Turning the camera downwards while filming something", 1) < -0.18
    assert travel("Pushing something from left to right", 0) > 0.18
    assert travel("Pushing something from right to left", 0) < -0.18
    assert travel("Pulling something from left to right", 0) > 0.18
    assert travel("Pulling something from right to left", 0) < -0.18


@pytest.mark.parametrize("clip_id", ["train-000001", "train-000002", "train-000003"])
def test_things_come_and_go_as_the_label_says(clip_id: str) -> None:
    def growth(name: str, role: str) -> float:
        known = seen(name, clip_id).annotations
        sizes = known.sizes[:, known.roles.index(role)]
        return float(sizes[-1] / sizes[0])

    assert growth("Moving something towards the camera", "main") > 1.5
    assert growth("Moving something towards the camera", "second") == pytest.approx(1)
    assert growth("Moving something away from the camera", "main") < 0.7
    assert growth("Approaching something with your camera", "main") > 1.5
    assert growth("Approaching something with your camera", "second") > 1.5
    assert growth("Moving away from something with your camera", "second") < 0.7

    def distances(name: str) -> np.ndarray:
        return np.linalg.norm(centre(name, "main", clip_id) - centre(name, "second", clip_id), axis=1)

    def travelled(name: str, role: str) -> float:
        track = centre(name, role, clip_id)
        return float(np.linalg.norm(track[-1] - track[0]) / QUICK.side)

    together = distances("Moving something and something closer to each other")
    assert together[-1] < together[0] - 0.1 * QUICK.side
    closer = distances("Moving something closer to something")
    assert closer[-1] < closer[0] - 0.1 * QUICK.side
    assert travelled("Moving something closer to something", "second") < 0.03
    collision, passing = distances(presets.COLLIDE), distances(presets.PASS)
    for track in (collision, passing):
        assert track.argmin() not in (0, len(track) - 1)
    sides = [
        centre(name, "main", clip_id) - centre(name, "second", clip_id) for name in (presets.COLLIDE, presets.PASS)
    ]
    assert (sides[0][0] * sides[0][-1]).sum() > 0  # bounced back
    assert (sides[1][0] * sides[1][-1]).sum() < 0  # changed sides


@pytest.mark.parametrize("clip_id", ["train-000001", "train-000002", "train-000003"])
def test_what_is_covered_or_put_away_is_no_longer_seen(clip_id: str) -> None:
    for name in ("Covering something with something", "Putting something into something"):
        known = seen(name, clip_id, FULL).annotations
        main = known.roles.index("main")
        area = known.masks[:, main].sum(axis=(1, 2))
        assert area[0] > 20
        assert area[-1] < 0.1 * area[0]
        assert known.boxes[-1, main].any()  # its box still tells where it is


def test_a_poke_moves_the_thing_and_a_pretended_one_does_not() -> None:
    still = replace(QUICK, stray=0.0, jitter=0.0)
    for number in range(4):
        clip_id = f"train-{number:06d}"
        for name, moves in ((presets.POKE, True), (presets.PRETEND_POKE, False), (presets.HOLD, False)):
            known = seen(name, clip_id, still).annotations
            main = known.centres[:, known.roles.index("main")]
            radius = known.sizes[0, known.roles.index("main")] * still.side / 2
            shift = np.linalg.norm(main[-1] - main[0])
            assert shift > 0.6 * radius if moves else shift < 1.0
        reach = centre(presets.PRETEND_POKE, "hand", clip_id, still)
        gap = np.linalg.norm(reach - centre(presets.PRETEND_POKE, "main", clip_id, still), axis=1)
        assert gap.argmin() not in (0, len(gap) - 1)


# --- annotations against pixels ------------------------------------------------------------------------------------


def test_masks_mark_the_pixels_a_thing_changes() -> None:
    draws = replace(draw(clip_generator(0, "train-000011"), TINY), distractors=(), noise=0.0)
    scene = scene_of("Moving something from left to right", draws, TINY)
    with_main = render(scene, draws, TINY.side)
    mask = with_main.annotations.masks[:, 0]
    scene.tracks.clear()
    scene.tracks.append(
        replace(scene_of("Moving something up", draws, TINY).track("main"), x=np.full(draws.frames, 9.0))
    )
    changed = (with_main.frames != render(scene, draws, TINY.side).frames).any(axis=-1)
    assert changed[mask].mean() > 0.98
    assert (changed & ~mask).sum() < 0.35 * mask.sum()  # the rim's half-covered pixels


@pytest.mark.parametrize("shape", THINGS)
def test_a_frontmost_things_box_is_its_masks(shape: str) -> None:
    draws = draw(clip_generator(0, "train-000004"), TINY)
    draws = replace(draws, main=replace(draws.main, shape=Shape(shape, (0.3, 0.6, 0.2, 0.9))))
    known = render(
        scene_of("Turning the camera left while filming something", draws, TINY), draws, TINY.side
    ).annotations
    main = known.roles.index("main")
    for mask, box in zip(known.masks[:, main], known.boxes[:, main], strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_a_discs_size_and_centre_are_those_of_its_pixels() -> None:
    draws = replace(draw(clip_generator(0, "train-000005"), TINY), distractors=())
    # in the middle of the picture: a disc cut off at the border has its pixels' centre elsewhere
    draws = replace(draws, main=replace(draws.main, shape=Shape("disc", (0, 0, 0, 0))), middle=(0.5, 0.5))
    known = render(scene_of("Approaching something with your camera", draws, TINY), draws, TINY.side).annotations
    for mask, size, middle in zip(known.masks[:, 0], known.sizes[:, 0], known.centres[:, 0], strict=True):
        assert mask.sum() == pytest.approx(np.pi * (size * TINY.side / 2) ** 2, rel=0.05)
        rows, columns = np.nonzero(mask)
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], middle, atol=0.3)
    steps = np.linalg.norm(np.diff(known.centres[:, 0], axis=0), axis=1)
    np.testing.assert_allclose(known.speeds[1:-1, 0].sum(), steps[1:-1].sum(), rtol=0.1)


@pytest.mark.parametrize("name", [presets.SHOW, "Covering something with something", "Opening something"])
def test_masks_of_a_frame_do_not_overlap_and_lie_in_their_boxes(name: str) -> None:
    known = seen(name, "train-000006").annotations
    assert known.masks.sum(axis=1).max() == 1
    rows, columns = np.indices(known.masks.shape[2:])
    for index in range(len(known.roles)):
        for mask, (x0, y0, x1, y1) in zip(known.masks[:, index], known.boxes[:, index], strict=True):
            inside = (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
            assert not (mask & ~inside).any()


def test_the_main_thing_stays_in_the_picture() -> None:
    for number in range(12):
        for name in ONE_THING:
            if name in TINY.classes:
                middle = centre(name, "main", f"train-{number:06d}", TINY)
                assert middle.min() > 0 and middle.max() < TINY.side


def test_the_file_holds_nothing_but_arrays_under_any_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy before 2.1 stores every keyword of savez as an array, `allow_pickle` too."""
    keywords: set[str] = set()

    def savez(file: Path, **arrays: np.ndarray) -> None:
        keywords.update(arrays)
        save(file, **arrays)

    save = np.savez_compressed
    monkeypatch.setattr(np, "savez_compressed", savez)
    save_annotations(tmp_path / "a.npz", seen("Holding something").annotations)
    assert keywords == {"roles", "mask_bits", "side", *TRACKS} - {"masks"}
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert not any(file[name].dtype.hasobject for name in keywords)


def test_annotations_survive_the_file(tmp_path: Path) -> None:
    known = seen("Folding something").annotations
    save_annotations(tmp_path / "a.npz", known)
    save_annotations(tmp_path / "b.npz", known)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    read = load_annotations(tmp_path / "a.npz")
    assert read.roles == known.roles and read.frames == known.frames
    for track in TRACKS:
        np.testing.assert_array_equal(getattr(read, track), getattr(known, track))
        assert getattr(read, track).dtype == getattr(known, track).dtype
    (tmp_path / "a.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:200])
    with pytest.raises(DataError, match="annotations"):
        load_annotations(tmp_path / "a.npz")


def test_encoding_treats_both_directions_of_time_alike(tmp_path: Path) -> None:
    for number, pair in enumerate(TINY.pairs):
        decoded = []
        for name in pair:
            frames = seen(name, f"val-{number:06d}", TINY).frames
            path = tmp_path / "clip.mp4"
            write_video(path, frames, TINY.fps, crf=TINY.crf)
            with av.open(str(path)) as container:
                assert all(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
            decoded.append(read_video(path, range(len(frames))))
            assert np.abs(decoded[-1].astype(int) - frames).mean() < 8
        np.testing.assert_array_equal(decoded[0], decoded[1][::-1])
