"""Which frames of a clip the network sees: frame counts in, index arrays out. Pure functions.

Every position is 0-based and in display order: the 1-based index of TSM's loader minus one. N is the clip's counted
frames, T the frames wanted (TSM's `num_segments`), L = `new_length` the consecutive frames read from each start (1 for
RGB). The rules, quirks included, are those of TSM's `ops/dataset.py`, which M2A and AIA use unchanged; where a quirk
changes results it is said below, and another rule can be chosen by name.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vidrepro.config import DataConfig
from vidrepro.errors import ConfigError, DataError, unknown_name

Positions = NDArray[np.int64]

DENSE_SPAN = 64  # frames one dense clip covers
DENSE_STARTS = 10  # dense clips at test time

TRAIN_RULES: tuple[str, ...] = get_args(DataConfig.model_fields["train_sampling"].annotation)
EVAL_RULES: tuple[str, ...] = get_args(DataConfig.model_fields["eval_sampling"].annotation)


def train_positions(rule: str, num_frames: int, num_segments: int, rng: Generator) -> Positions:
    """Frames of one training clip by the rule's name in `DataConfig.train_sampling`.

    Args:
        rule: ``tsm-train``, ``uniform-jitter``, or one of the rules without chance, ``tsm-val`` and ``tsm-test``.
        num_frames: the clip's counted frames, >= 1.
        num_segments: frames wanted, >= 1.
        rng: used by ``tsm-train`` and ``uniform-jitter`` only: `num_segments` draws, first segment first.

    Returns:
        Positions, shape (num_segments,), non-decreasing, each in [0, num_frames).

    Raises:
        UnknownNameError: for another rule. ConfigError, DataError: if a count is below 1.
    """
    if rule == "tsm-train":
        return tsm_train(num_frames, num_segments, rng)
    if rule == "uniform-jitter":
        return uniform_jitter(num_frames, num_segments, rng)
    if rule == "tsm-val":
        return tsm_val(num_frames, num_segments)
    if rule == "tsm-test":
        return tsm_test(num_frames, num_segments)
    raise unknown_name("training sampling rule", rule, TRAIN_RULES)


def eval_positions(rule: str, num_frames: int, num_segments: int, clips: int = 1) -> Positions:
    """Frames of one clip's evaluation views by the rule's name in `DataConfig.eval_sampling`.

    Args:
        rule: ``tsm-val`` or ``tsm-test``.
        num_frames: the clip's counted frames, >= 1.
        num_segments: frames in one view, >= 1.
        clips: 1, or 2 for TSM's twice sampling (segment centres, then segment starts). TSM itself samples twice under
            its test rule only; under ``tsm-val`` both views obey that rule's guard for short clips.

    Returns:
        Positions, shape (clips * num_segments,), one view after the other.

    Raises:
        UnknownNameError: for another rule. ConfigError, DataError: if a count is out of range.
    """
    if clips not in (1, 2):
        raise ConfigError("so many clips cannot be sampled", given=clips, allowed="1, or 2 (twice sampling)")
    if rule == "tsm-val":
        return tsm_val(num_frames, num_segments, twice=clips == 2)
    if rule == "tsm-test":
        return tsm_test(num_frames, num_segments, twice=clips == 2)
    raise unknown_name("evaluation sampling rule", rule, EVAL_RULES)


def tsm_train(num_frames: int, num_segments: int, rng: Generator, new_length: int = 1) -> Positions:
    """TSM's TRAIN rule: one uniform draw inside each of T equal spans of a = floor((N - L + 1) / T) frames.

    Quirks: the floor leaves the clip's end unseen (nothing past frame T * floor(N / T): of 30 frames, T = 16 always
    sees the first 16); a clip with N < T frames gives its first frame T times.

    Args:
        num_frames: the clip's counted frames, >= 1.
        num_segments: spans, >= 1.
        rng: T draws, first span first.
        new_length: consecutive frames the caller reads from each position.

    Returns:
        Start positions, shape (num_segments,), non-decreasing.

    Raises:
        ConfigError, DataError: if a count is below 1.
    """
    _check_counts(num_frames, num_segments, new_length)
    starts = num_frames - new_length + 1
    span = starts // num_segments
    if span > 0:
        return np.arange(num_segments, dtype=np.int64) * span + rng.integers(span, size=num_segments)
    if num_frames > num_segments and starts > 0:  # only reachable with new_length > 1
        return np.sort(rng.integers(starts, size=num_segments))
    return np.zeros(num_segments, dtype=np.int64)


def tsm_val(num_frames: int, num_segments: int, new_length: int = 1, twice: bool = False) -> Positions:
    """TSM's VAL rule: the centre of each of T equal spans; M2A's numbers are measured with it.

    Quirk: a clip with N <= T + L - 1 frames, N == T included, gives its first frame T times. `tsm_test` does not.

    Args:
        num_frames: the clip's counted frames, >= 1.
        num_segments: spans, >= 1.
        new_length: consecutive frames the caller reads from each position.
        twice: append the spans' starts as a second view (TSM does so under its test rule only).

    Returns:
        Start positions, shape (num_segments,), or (2 * num_segments,) if `twice`.

    Raises:
        ConfigError, DataError: if a count is below 1.
    """
    _check_counts(num_frames, num_segments, new_length)
    if num_frames <= num_segments + new_length - 1:
        return np.zeros(num_segments * (2 if twice else 1), dtype=np.int64)
    return tsm_test(num_frames, num_segments, new_length, twice)


def tsm_test(num_frames: int, num_segments: int, new_length: int = 1, twice: bool = False) -> Positions:
    """TSM's TEST rule: int(t/2 + t*k) with t = (N - L + 1) / T; covers the whole clip, repeats frames when N < T.

    Args:
        num_frames: the clip's counted frames, >= 1.
        num_segments: spans, >= 1.
        new_length: consecutive frames the caller reads from each position; a clip shorter than it starts at 0.
        twice: append int(t*k) as a second view (TSM's `twice_sample`, the "x2" of 8x3x2).

    Returns:
        Start positions, shape (num_segments,), or (2 * num_segments,) if `twice`.

    Raises:
        ConfigError, DataError: if a count is below 1.
    """
    _check_counts(num_frames, num_segments, new_length)
    span = max(1, num_frames - new_length + 1) / num_segments
    segments = np.arange(num_segments)
    centres = (span / 2.0 + span * segments).astype(np.int64)
    return np.concatenate([centres, (span * segments).astype(np.int64)]) if twice else centres


def tsm_dense_train(num_frames: int, num_segments: int, rng: Generator) -> Positions:
    """TSM's dense rule in training, and in validation too, which is therefore random: one clip spanning 64 frames.

    Quirks: the last possible start is never drawn; positions past the clip's end wrap round to its beginning.

    Args:
        num_frames: the clip's counted frames, >= 1.
        num_segments: frames wanted, 1 to 64, taken 64 // T apart.
        rng: one draw if N > 64, none otherwise.

    Returns:
        Positions, shape (num_segments,).

    Raises:
        ConfigError, DataError: if a count is out of range.
    """
    stride, starts = _dense_grid(num_frames, num_segments)
    start = int(rng.integers(starts - 1)) if starts > 1 else 0
    return (start + stride * np.arange(num_segments, dtype=np.int64)) % num_frames


def tsm_dense_test(num_frames: int, num_segments: int) -> Positions:
    """TSM's dense rule at test time: ten clips spanning 64 frames, their starts spread over the video.

    Returns:
        Positions, shape (10 * num_segments,), one clip after the other, wrapping round the end.

    Raises:
        ConfigError, DataError: if a count is out of range.
    """
    stride, starts = _dense_grid(num_frames, num_segments)
    first = np.linspace(0, starts - 1, num=DENSE_STARTS, dtype=np.int64)
    return ((first[:, None] + stride * np.arange(num_segments, dtype=np.int64)) % num_frames).reshape(-1)


def uniform_jitter(num_frames: int, num_segments: int, rng: Generator, new_length: int = 1) -> Positions:
    """One uniform draw inside each of T equal spans of the whole clip, its end included.

    mmaction2's `SampleFrames(keep_tail_frames=True)`: int(k*a + U(0, a)) with a = (N - L + 1) / T, not rounded down.
    Clips with N < T frames repeat some of them, in order.

    Args:
        num_frames: the clip's counted frames, >= 1.
        num_segments: spans, >= 1.
        rng: T draws, first span first.
        new_length: consecutive frames the caller reads from each position; a clip shorter than it starts at 0.

    Returns:
        Start positions, shape (num_segments,), non-decreasing.

    Raises:
        ConfigError, DataError: if a count is below 1.
    """
    _check_counts(num_frames, num_segments, new_length)
    starts = max(1, num_frames - new_length + 1)
    span = starts / num_segments
    positions = (np.arange(num_segments) * span + rng.uniform(0, span, size=num_segments)).astype(np.int64)
    return np.minimum(positions, starts - 1)  # the float sum can round up to the end itself


def consecutive(start_positions: Positions, num_frames: int, length: int, stride: int = 1) -> Positions:
    """The frames read from each start: `length` of them `stride` apart, the last one inside the clip repeated.

    Args:
        start_positions: shape (S,), each in [0, num_frames).
        num_frames: the clip's counted frames, >= 1.
        length: frames from each start, >= 1 (TSM's `new_length`).
        stride: distance between them, >= 1.

    Returns:
        Positions, shape (S * length,), the frames of one start together.

    Raises:
        ConfigError, DataError: if a count is below 1 or a start lies outside the clip.
    """
    _check_counts(num_frames, 1, length)
    if stride < 1:
        raise ConfigError("the stride between frames must be positive", given=stride, allowed="1 or more")
    starts = np.asarray(start_positions, dtype=np.int64)
    if starts.size and not (starts.min() >= 0 and starts.max() < num_frames):
        raise DataError("a start position lies outside the clip", given=starts, allowed=f"0 to {num_frames - 1}")
    steps = np.minimum(np.arange(length), (num_frames - 1 - starts[:, None]) // stride)
    return (starts[:, None] + stride * steps).reshape(-1)


def _check_counts(num_frames: int, num_segments: int, new_length: int = 1) -> None:
    if num_frames < 1:
        raise DataError("a clip without frames cannot be sampled", given=num_frames, allowed="1 frame or more")
    for name, count in (("segments", num_segments), ("new_length", new_length)):
        if count < 1:
            raise ConfigError(f"the number of {name} must be positive", given=count, allowed="1 or more")


def _dense_grid(num_frames: int, num_segments: int) -> tuple[int, int]:
    _check_counts(num_frames, num_segments)
    if num_segments > DENSE_SPAN:  # TSM's stride would be 0: one frame, repeated
        raise ConfigError(
            f"dense sampling spreads its frames over {DENSE_SPAN}", given=num_segments, allowed=f"1 to {DENSE_SPAN}"
        )
    return DENSE_SPAN // num_segments, max(1, 1 + num_frames - DENSE_SPAN)
