"""Sampling rules against index lists worked out by hand from TSM's formulas (0-based: its indices minus one)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidrepro.config import DataConfig
from vidrepro.data import sampling
from vidrepro.errors import ConfigError, DataError, UnknownNameError

# int(t/2 + t*k), t = N/T, by hand
CENTRES = {
    (45, 8): [2, 8, 14, 19, 25, 30, 36, 42],  # t = 5.625
    (30, 16): [0, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 29],  # t = 1.875
    (24, 8): [1, 4, 7, 10, 13, 16, 19, 22],  # t = 3
    (9, 8): [0, 1, 2, 3, 5, 6, 7, 8],  # t = 1.125
}
counts = st.integers(1, 300)
segments = st.integers(1, 40)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def seen(draw, seeds: int = 400) -> list[set[int]]:
    """Every position each segment takes over many seeds."""
    return [set(column) for column in np.stack([draw(rng(seed)) for seed in range(seeds)]).T.tolist()]


@pytest.mark.parametrize(("num_frames", "num_segments"), list(CENTRES))
def test_val_and_test_take_the_centres_of_the_segments(num_frames, num_segments):
    expected = CENTRES[num_frames, num_segments]
    assert sampling.tsm_val(num_frames, num_segments).tolist() == expected
    assert sampling.tsm_test(num_frames, num_segments).tolist() == expected


def test_val_gives_the_first_frame_when_a_clip_is_not_longer_than_the_segments_and_test_does_not():
    assert sampling.tsm_val(8, 8).tolist() == [0] * 8
    assert sampling.tsm_test(8, 8).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert sampling.tsm_val(5, 8).tolist() == [0] * 8
    assert sampling.tsm_test(5, 8).tolist() == [0, 0, 1, 2, 2, 3, 4, 4]
    assert sampling.tsm_test(1, 3).tolist() == [0, 0, 0]


def test_twice_sampling_appends_the_starts_of_the_segments():
    centres, starts = CENTRES[45, 8], [0, 5, 11, 16, 22, 28, 33, 39]
    assert sampling.tsm_test(45, 8, twice=True).tolist() == centres + starts
    assert sampling.eval_positions("tsm-test", 45, 8, 2).tolist() == centres + starts
    assert sampling.eval_positions("tsm-val", 45, 8, 2).tolist() == centres + starts
    assert sampling.eval_positions("tsm-test", 5, 8, 2).tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 0, 0, 1, 1, 2, 3, 3, 4]
    assert sampling.eval_positions("tsm-val", 8, 8, 2).tolist() == [0] * 16


def test_train_draws_every_frame_of_each_span_but_never_the_tail_that_the_floor_cuts():
    # spans of floor(45 / 8) = 5 frames: 0-4, 5-9, ..., 35-39; 40-44 are never reached
    assert seen(lambda g: sampling.tsm_train(45, 8, g)) == [set(range(5 * k, 5 * k + 5)) for k in range(8)]
    assert seen(lambda g: sampling.tsm_train(45, 16, g)) == [{2 * k, 2 * k + 1} for k in range(16)]


@pytest.mark.parametrize(("num_frames", "num_segments"), [(45, 32), (30, 16), (8, 8), (63, 32)])
def test_train_has_no_chance_left_when_a_span_is_one_frame(num_frames, num_segments):
    for seed in range(20):
        assert sampling.tsm_train(num_frames, num_segments, rng(seed)).tolist() == list(range(num_segments))


def test_train_gives_the_first_frame_when_a_clip_is_shorter_than_the_segments():
    assert sampling.tsm_train(7, 8, rng()).tolist() == [0] * 8


def test_several_frames_from_each_start():
    # L = 5, N = 13, T = 8: t = (13 - 5 + 1) / 8 = 1.125
    assert sampling.tsm_val(13, 8, 5).tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert sampling.tsm_val(12, 8, 5).tolist() == [0] * 8  # N = T + L - 1
    assert sampling.tsm_test(12, 8, 5).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    # N = 10: the span is floor(6 / 8) = 0 and N > T: T sorted draws from 0..5
    draws = np.stack([sampling.tsm_train(10, 8, rng(seed), 5) for seed in range(300)])
    assert (np.diff(draws, axis=1) >= 0).all()
    assert set(draws.ravel().tolist()) == set(range(6))
    assert sampling.tsm_train(3, 2, rng(), 5).tolist() == [0, 0]  # shorter than L


def test_jitter_covers_each_span_and_the_whole_clip():
    # a = 45 / 8 = 5.625: span 1 is 5.625..11.25, the last 39.375..45
    spans = seen(lambda g: sampling.uniform_jitter(45, 8, g), 1500)
    assert spans[0] == set(range(6))
    assert spans[1] == set(range(5, 12))
    assert spans[7] == set(range(39, 45))


def test_dense_clips_span_64_frames():
    starts = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]  # linspace(0, 36, 10)
    expected = [start + 8 * k for start in starts for k in range(8)]
    assert sampling.tsm_dense_test(100, 8).tolist() == expected
    assert sampling.tsm_dense_test(20, 8).tolist() == [0, 8, 16, 4, 12, 0, 8, 16] * 10  # wraps
    assert {int(sampling.tsm_dense_train(66, 8, rng(s))[0]) for s in range(100)} == {0, 1}  # never 2, the last start
    assert sampling.tsm_dense_train(65, 8, rng()).tolist() == [0, 8, 16, 24, 32, 40, 48, 56]
    assert sampling.tsm_dense_train(20, 4, rng()).tolist() == [0, 16, 12, 8]


def test_consecutive_frames_repeat_the_last_one_inside_the_clip():
    starts = np.array([0, 8, 9])
    assert sampling.consecutive(starts, 10, 3).tolist() == [0, 1, 2, 8, 9, 9, 9, 9, 9]
    assert sampling.consecutive(starts[:2], 10, 4, stride=3).tolist() == [0, 3, 6, 9, 8, 8, 8, 8]


@given(rule=st.sampled_from(sampling.TRAIN_RULES), num_frames=counts, num_segments=segments, seed=st.integers(0, 99))
def test_training_positions_rise_within_the_clip(rule, num_frames, num_segments, seed):
    positions = sampling.train_positions(rule, num_frames, num_segments, rng(seed))
    assert positions.shape == (num_segments,)
    assert positions.dtype == np.int64
    assert 0 <= positions.min() <= positions.max() < num_frames
    assert (np.diff(positions) >= 0).all()
    again = sampling.train_positions(rule, num_frames, num_segments, rng(seed))
    assert (positions == again).all()


@given(
    rule=st.sampled_from(sampling.EVAL_RULES), num_frames=counts, num_segments=segments, clips=st.sampled_from([1, 2])
)
def test_evaluation_positions_rise_within_the_clip(rule, num_frames, num_segments, clips):
    views = sampling.eval_positions(rule, num_frames, num_segments, clips).reshape(clips, num_segments)
    assert views.dtype == np.int64
    assert 0 <= views.min() <= views.max() < num_frames
    assert (np.diff(views, axis=1) >= 0).all()


@given(num_frames=counts, num_segments=segments)
def test_test_positions_mirror_within_one_frame(num_frames, num_segments):
    """The centres of equal spans are symmetric: position k from the start and from the end differ by rounding only."""
    positions = sampling.tsm_test(num_frames, num_segments)
    assert (abs(positions + positions[::-1] - (num_frames - 1)) <= 1).all()


@given(num_frames=counts, num_segments=st.integers(1, 64), seed=st.integers(0, 99))
def test_dense_positions_stay_within_the_clip(num_frames, num_segments, seed):
    train = sampling.tsm_dense_train(num_frames, num_segments, rng(seed))
    test = sampling.tsm_dense_test(num_frames, num_segments)
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
    with pytest.raises(ConfigError, match="clips"):
        sampling.eval_positions(rule, 8, 8, 3)


def test_other_impossible_requests_are_refused():
    with pytest.raises(ConfigError, match="new_length"):
        sampling.tsm_train(8, 8, rng(), 0)
    with pytest.raises(ConfigError, match="spreads its frames over 64"):
        sampling.tsm_dense_test(100, 65)
    with pytest.raises(ConfigError, match="stride"):
        sampling.consecutive(np.array([0]), 10, 3, stride=0)
    with pytest.raises(DataError, match="outside the clip"):
        sampling.consecutive(np.array([10]), 10, 3)
    with pytest.raises(UnknownNameError, match="did you mean 'tsm-train'"):
        sampling.train_positions("tsm-trian", 8, 8, rng())
    with pytest.raises(UnknownNameError, match="evaluation sampling rule 'tsm-train'"):
        sampling.eval_positions("tsm-train", 8, 8)


def test_every_rule_a_config_accepts_can_be_sampled():
    for rule in sampling.TRAIN_RULES:
        config = DataConfig(train_sampling=rule)  # type: ignore[arg-type]
        assert sampling.train_positions(config.train_sampling, 45, 8, rng()).max() >= 35
    assert "tsm-train" in sampling.TRAIN_RULES
    assert set(sampling.EVAL_RULES) == {"tsm-val", "tsm-test"}
