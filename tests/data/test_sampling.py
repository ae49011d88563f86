"""Sampling rules against index lists worked out by hand from TSM's formulas (0-based: its indices minus one).

The released ST-ABN's samplers are written out here a second time, as its loader has them: 1-based, in loops.
"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidrepro.config import EVAL_CLIPS, DataConfig
from vidrepro.data import sampling, segments, strided
from vidrepro.errors import ConfigError, DataError, UnknownNameError

# int(t/2 + t*k), t = N/T, by hand
CENTRES = {
    (45, 8): [2, 8, 14, 19, 25, 30, 36, 42],  # t = 5.625
    (30, 16): [0, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 29],  # t = 1.875
    (24, 8): [1, 4, 7, 10, 13, 16, 19, 22],  # t = 3
    (9, 8): [0, 1, 2, 3, 5, 6, 7, 8],  # t = 1.125
}
counts = st.integers(1, 300)
lengths = st.integers(1, 40)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def seen(draw, seeds: int = 400) -> list[set[int]]:
    """Every position each segment takes over many seeds."""
    return [set(column) for column in np.stack([draw(rng(seed)) for seed in range(seeds)]).T.tolist()]


@pytest.mark.parametrize(("num_frames", "num_segments"), list(CENTRES))
def test_val_and_test_take_the_centres_of_the_segments(num_frames, num_segments):
    expected = CENTRES[num_frames, num_segments]
    assert segments.tsm_val(num_frames, num_segments).tolist() == expected
    assert segments.tsm_test(num_frames, num_segments).tolist() == expected


def test_val_gives_the_first_frame_when_a_clip_is_not_longer_than_the_segments_and_test_does_not():
    assert segments.tsm_val(8, 8).tolist() == [0] * 8
    assert segments.tsm_test(8, 8).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert segments.tsm_val(5, 8).tolist() == [0] * 8
    assert segments.tsm_test(5, 8).tolist() == [0, 0, 1, 2, 2, 3, 4, 4]
    assert segments.tsm_test(1, 3).tolist() == [0, 0, 0]


def test_twice_sampling_appends_the_starts_of_the_segments():
    centres, starts = CENTRES[45, 8], [0, 5, 11, 16, 22, 28, 33, 39]
    assert segments.tsm_test(45, 8, twice=True).tolist() == centres + starts
    assert sampling.eval_positions("tsm-test", 45, 8, 2).tolist() == centres + starts
    assert sampling.eval_positions("tsm-val", 45, 8, 2).tolist() == centres + starts
    assert sampling.eval_positions("tsm-test", 5, 8, 2).tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 0, 0, 1, 1, 2, 3, 3, 4]
    assert sampling.eval_positions("tsm-val", 8, 8, 2).tolist() == [0] * 16


def test_train_draws_every_frame_of_each_span_but_never_the_tail_that_the_floor_cuts():
    # spans of floor(45 / 8) = 5 frames: 0-4, 5-9, ..., 35-39; 40-44 are never reached
    assert seen(lambda g: segments.tsm_train(45, 8, g)) == [set(range(5 * k, 5 * k + 5)) for k in range(8)]
    assert seen(lambda g: segments.tsm_train(45, 16, g)) == [{2 * k, 2 * k + 1} for k in range(16)]


@pytest.mark.parametrize(("num_frames", "num_segments"), [(45, 32), (30, 16), (8, 8), (63, 32)])
def test_train_has_no_chance_left_when_a_span_is_one_frame(num_frames, num_segments):
    for seed in range(20):
        assert segments.tsm_train(num_frames, num_segments, rng(seed)).tolist() == list(range(num_segments))


def test_train_gives_the_first_frame_when_a_clip_is_shorter_than_the_segments():
    assert segments.tsm_train(7, 8, rng()).tolist() == [0] * 8


def test_several_frames_from_each_start():
    # L = 5, N = 13, T = 8: t = (13 - 5 + 1) / 8 = 1.125
    assert segments.tsm_val(13, 8, 5).tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert segments.tsm_val(12, 8, 5).tolist() == [0] * 8  # N = T + L - 1
    assert segments.tsm_test(12, 8, 5).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    # N = 10: the span is floor(6 / 8) = 0 and N > T: T sorted draws from 0..5
    draws = np.stack([segments.tsm_train(10, 8, rng(seed), 5) for seed in range(300)])
    assert (np.diff(draws, axis=1) >= 0).all()
    assert set(draws.ravel().tolist()) == set(range(6))
    assert segments.tsm_train(3, 2, rng(), 5).tolist() == [0, 0]  # shorter than L


def test_jitter_covers_each_span_and_the_whole_clip():
    # a = 45 / 8 = 5.625: span 1 is 5.625..11.25, the last 39.375..45
    spans = seen(lambda g: segments.uniform_jitter(45, 8, g), 1500)
    assert spans[0] == set(range(6))
    assert spans[1] == set(range(5, 12))
    assert spans[7] == set(range(39, 45))


def test_dense_clips_span_64_frames():
    starts = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]  # linspace(0, 36, 10)
    expected = [start + 8 * k for start in starts for k in range(8)]
    assert strided.tsm_dense_test(100, 8).tolist() == expected
    assert strided.tsm_dense_test(20, 8).tolist() == [0, 8, 16, 4, 12, 0, 8, 16] * 10  # wraps
    assert {int(strided.tsm_dense_train(66, 8, rng(s))[0]) for s in range(100)} == {0, 1}  # never 2, the last start
    assert strided.tsm_dense_train(65, 8, rng()).tolist() == [0, 8, 16, 24, 32, 40, 48, 56]
    assert strided.tsm_dense_train(20, 4, rng()).tolist() == [0, 16, 12, 8]


def test_consecutive_frames_repeat_the_last_one_inside_the_clip():
    starts = np.array([0, 8, 9])
    assert strided.consecutive(starts, 10, 3).tolist() == [0, 1, 2, 8, 9, 9, 9, 9, 9]
    assert strided.consecutive(starts[:2], 10, 4, stride=3).tolist() == [0, 3, 6, 9, 8, 8, 8, 8]


@given(rule=st.sampled_from(sampling.TRAIN_RULES), num_frames=counts, num_segments=lengths, seed=st.integers(0, 99))
def test_training_positions_rise_within_the_clip(rule, num_frames, num_segments, seed):
    positions = sampling.train_positions(rule, num_frames, num_segments, rng(seed))
    assert positions.shape == (num_segments,)
    assert positions.dtype == np.int64
    assert 0 <= positions.min() <= positions.max() < num_frames
    assert (np.diff(positions) >= 0).all()
    again = sampling.train_positions(rule, num_frames, num_segments, rng(seed))
    assert (positions == again).all()


def released_stabn_clip(start: int, num_frames: int, frames: int = 32, step: int = 2) -> list[int]:
    """The loader's loop: 1-based, it moves on while the next place lies before the last frame."""
    place, found = start, []
    for _ in range(0, frames * step, step):
        found.append(place)
        if place + step < num_frames:
            place += step
    return found


def test_the_released_stabn_reads_short_videos_from_the_start_and_repeats_the_last_frame_it_reaches():
    expected = [*range(1, 44, 2), *[43] * 10]
    for positions in (
        strided.stabn_release_dense_train(45, 32, rng()),
        strided.stabn_release_dense_test(45, 32),
    ):
        assert (positions + 1).tolist() == expected == released_stabn_clip(1, 45)
    assert (strided.stabn_release_dense_test(100, 32) + 1).tolist() == list(range(19, 82, 2))


@given(num_frames=st.integers(1, 200))
def test_the_released_stabn_dense_clips_are_its_loaders(num_frames):
    window = 64
    average = num_frames - window + 1
    middle = int((num_frames - window + 1) / 2.0) if num_frames > window - 1 else 0
    test = sampling.eval_positions("stabn-release-dense", num_frames, 32) + 1
    assert test.tolist() == released_stabn_clip(1 + middle, num_frames)
    starts = set(range(1, average + 1)) if average > 0 else {1}
    for seed in range(5):
        train = sampling.train_positions("stabn-release-dense", num_frames, 32, rng(seed)) + 1
        assert train[0] in starts
        assert train.tolist() == released_stabn_clip(int(train[0]), num_frames)


def test_the_released_stabn_trains_its_32_on_the_first_32_frames_and_tests_it_on_the_whole_video():
    for seed in range(5):
        assert sampling.train_positions("stabn-release-sparse", 60, 32, rng(seed)).tolist() == list(range(32))
        assert sampling.train_positions("stabn-release-sparse", 31, 32, rng(seed)).tolist() == [0] * 32
    expected = [int(60 / 32 * (k + 0.5)) for k in range(32)]
    assert sampling.eval_positions("stabn-release-sparse", 60, 32).tolist() == expected


@pytest.mark.parametrize("num_frames", [5, 20, 31, 32, 33, 63, 100])
def test_sparse_32_done_right_sees_the_whole_video_in_training_and_at_test_time(num_frames):
    """Each sample lies in its own 32nd of the video, in reals; the ends are covered however short the video is."""
    edges = num_frames / 32 * np.arange(33)
    positions = sampling.eval_positions("tsm-test", num_frames, 32)
    drawn = np.stack([sampling.train_positions("uniform-jitter", num_frames, 32, rng(seed)) for seed in range(300)])
    for table in (positions[None], drawn):
        assert (table + 1 > edges[:-1]).all() and (table < edges[1:]).all()
    assert drawn.min() == 0 and drawn.max() == num_frames - 1
    assert positions[0] <= num_frames / 64 and positions[-1] >= num_frames - 1 - num_frames / 64


def test_strided_clips_start_anywhere_they_fit_in_training_and_in_the_middle_at_test_time():
    starts = set()
    for seed in range(400):
        positions = sampling.train_positions("strided", 20, 8, rng(seed), stride=2)
        assert (np.diff(positions) == 2).all()
        starts.add(int(positions[0]))
    assert starts == set(range(6))  # 5 + 7 * 2 = 19, the last frame
    assert sampling.eval_positions("strided", 20, 8, stride=2).tolist() == list(range(2, 18, 2))
    assert sampling.eval_positions("strided", 20, 8).tolist() == list(range(6, 14))


def test_strided_clips_of_short_videos_repeat_the_last_frame_they_reach():
    for clips in (1, 10):
        views = sampling.eval_positions("strided", 10, 8, clips, stride=2).reshape(clips, 8)
        assert (views == [0, 2, 4, 6, 8, 8, 8, 8]).all()
    assert sampling.train_positions("strided", 5, 8, rng()).tolist() == [0, 1, 2, 3, 4, 4, 4, 4]


def test_ten_strided_clips_reach_from_the_first_frame_to_the_last():
    views = sampling.eval_positions("strided", 61, 16, 10).reshape(10, 16)
    assert views[:, 0].tolist() == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]
    assert (np.diff(views, axis=1) == 1).all() and views[-1, -1] == 60


def test_two_segments_are_the_halves_of_the_video():
    views = sampling.eval_positions("two-segments", 41, 8, 2).reshape(2, 8)
    assert views[0].tolist() == segments.tsm_test(20, 8).tolist()
    assert views[1].tolist() == [20 + position for position in segments.tsm_test(21, 8).tolist()]
    drawn = [sampling.train_positions("two-segments", 41, 8, rng(seed)) for seed in range(400)]
    first = [positions for positions in drawn if positions.max() < 20]
    assert all(positions.min() >= 20 for positions in drawn if positions.max() >= 20)
    assert 150 < len(first) < 250
    assert {int(p) for positions in drawn for p in positions} == set(range(41))
    assert sampling.eval_positions("two-segments", 1, 3, 2).tolist() == [0] * 6


def test_two_random_segments_are_cut_anywhere():
    """Every cut is as likely and so is either part; evaluation stays with the fixed halves."""
    drawn = [sampling.train_positions("two-random-segments", 9, 4, rng(seed)) for seed in range(4000)]
    ends = Counter((int(p.min()), int(p.max())) for p in drawn)
    # T = 4 frames of a part of 1 or 2 frames show all of it: 1/8 for the cut, 1/2 for the part
    assert 200 < ends[0, 0] < 300 and 200 < ends[8, 8] < 300 and 200 < ends[7, 8] < 300
    assert any(low < 3 and high > 5 for low, high in ends)  # no half of nine frames reaches so far
    assert sampling.train_positions("two-random-segments", 1, 3, rng(0)).tolist() == [0] * 3
    assert "two-random-segments" not in sampling.EVAL_RULES


@given(
    rule_and_clips=st.sampled_from([(rule, clips) for rule in sampling.EVAL_RULES for clips in {1, *EVAL_CLIPS[rule]}]),
    num_frames=counts,
    num_segments=lengths,
)
def test_evaluation_positions_rise_within_the_clip(rule_and_clips, num_frames, num_segments):
    rule, clips = rule_and_clips
    views = sampling.eval_positions(rule, num_frames, num_segments, clips).reshape(clips, num_segments)
    assert views.dtype == np.int64
    assert 0 <= views.min() <= views.max() < num_frames
    assert (np.diff(views, axis=1) >= 0).all()


@given(num_frames=counts, num_segments=lengths)
def test_test_positions_mirror_within_one_frame(num_frames, num_segments):
    """The centres of equal spans are symmetric: position k from the start and from the end differ by rounding only."""
    positions = segments.tsm_test(num_frames, num_segments)
    assert (abs(positions + positions[::-1] - (num_frames - 1)) <= 1).all()


@given(num_frames=counts, num_segments=st.integers(1, 64), seed=st.integers(0, 99))
def test_dense_positions_stay_within_the_clip(num_frames, num_segments, seed):
    train = strided.tsm_dense_train(num_frames, num_segments, rng(seed))
    test = strided.tsm_dense_test(num_frames, num_segments)
    assert train.shape == (num_segments,)
    assert test.shape == (10 * num_segments,)
    assert min(train.min(), test.min()) >= 0
    assert max(train.max(), test.max()) < num_frames


@pytest.mark.parametrize("rule", sampling.TRAIN_RULES)
def test_counts_below_one_are_refused_in_training(rule):
    with pytest.raises(DataError, match="without frames"):
        sampling.train_positions(rule, 0, 8, rng())
    with pytest.raises(ConfigError, match="segments must be positive"):
        sampling.train_positions(rule, 8, 0, rng())


@pytest.mark.parametrize("rule", sampling.EVAL_RULES)
def test_counts_out_of_range_are_refused_in_evaluation(rule):
    with pytest.raises(DataError, match="without frames"):
        sampling.eval_positions(rule, -1, 8, 1)
    with pytest.raises(ConfigError, match="segments must be positive"):
        sampling.eval_positions(rule, 8, 0, 1)
    for clips in (0, 11):
        with pytest.raises(ConfigError, match="clips"):
            sampling.eval_positions(rule, 8, 8, clips)


def test_other_impossible_requests_are_refused():
    with pytest.raises(ConfigError, match="new_length"):
        segments.tsm_train(8, 8, rng(), 0)
    with pytest.raises(ConfigError, match="spreads its frames over 64"):
        strided.tsm_dense_test(100, 65)
    with pytest.raises(ConfigError, match="stride"):
        strided.consecutive(np.array([0]), 10, 3, stride=0)
    with pytest.raises(DataError, match="outside the clip"):
        strided.consecutive(np.array([10]), 10, 3)
    with pytest.raises(UnknownNameError, match="did you mean 'tsm-train'"):
        sampling.train_positions("tsm-trian", 8, 8, rng())
    with pytest.raises(UnknownNameError, match="evaluation sampling rule 'tsm-train'"):
        sampling.eval_positions("tsm-train", 8, 8)


def test_every_rule_a_config_accepts_can_be_sampled():
    for rule in sampling.TRAIN_RULES:
        config = DataConfig(train_sampling=rule)  # type: ignore[arg-type]
        positions = sampling.train_positions(config.train_sampling, 45, 8, rng())
        assert positions.shape == (8,) and positions.min() >= 0
        over_all_frames = rule.startswith("tsm-") or rule == "uniform-jitter"  # others draw a part of them
        assert (35 if over_all_frames else 7) <= positions.max() < 45
    for rule in sampling.EVAL_RULES:
        for clips in EVAL_CLIPS[rule]:
            config = DataConfig(eval_sampling=rule, eval_clips=clips)  # type: ignore[arg-type]
            views = sampling.eval_positions(config.eval_sampling, 45, 8, config.eval_clips)
            assert views.shape == (8 * clips,) and 0 <= views.min() < views.max() < 45
    assert "tsm-train" in sampling.TRAIN_RULES
    assert set(sampling.EVAL_RULES) == set(EVAL_CLIPS)
