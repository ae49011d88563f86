"""Sparse sampling: a clip cut into T equal spans and a frame taken of each. Positions are 0-based, in display order.

N is the clip's counted frames, T the frames wanted (TSM's `num_segments`), L = `new_length` the consecutive frames read
from each start (1 for RGB).
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vidrepro.errors import ConfigError, DataError

Positions = NDArray[np.int64]


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
    check_counts(num_frames, num_segments, new_length)
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
    check_counts(num_frames, num_segments, new_length)
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
    check_counts(num_frames, num_segments, new_length)
    span = max(1, num_frames - new_length + 1) / num_segments
    segments = np.arange(num_segments)
    centres = (span / 2.0 + span * segments).astype(np.int64)
    return np.concatenate([centres, (span * segments).astype(np.int64)]) if twice else centres


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
    check_counts(num_frames, num_segments, new_length)
    starts = max(1, num_frames - new_length + 1)
    span = starts / num_segments
    positions = (np.arange(num_segments) * span + rng.uniform(0, span, size=num_segments)).astype(np.int64)
    return np.minimum(positions, starts - 1)  # the float sum can round up to the end itself


def two_segments_train(num_frames: int, num_segments: int, rng: Generator) -> Positions:
    """T frames of one half of the video, drawn at random, by `uniform_jitter` within it.

    Training on either half with equal chance has the mean of both halves' losses as its expectation, at the cost of one
    clip. ST-ABN's paper divides the video at random: `two_random_segments_train`.

    Args:
        num_frames: the video's counted frames, >= 1; of an odd number the second half has one more.
        num_segments: T, >= 1.
        rng: one draw for the half, then T.

    Returns:
        Positions, shape (num_segments,), non-decreasing.

    Raises:
        ConfigError, DataError: if a count is below 1.
    """
    check_counts(num_frames, num_segments)
    start, size = _parts(num_frames, num_frames // 2)[rng.integers(2)]
    return start + uniform_jitter(size, num_segments, rng)


def two_random_segments_train(num_frames: int, num_segments: int, rng: Generator) -> Positions:
    """T frames of one part of the video, which is cut in two at random: ST-ABN's paper, literally.

    "Two 32 frames in which the input video is randomly divided into two segments": the cut lies in front of frame 1 to
    N - 1, each as likely; the rest is as in `two_segments_train`, the two parts for the halves. One may be one frame.

    Args:
        num_frames: the video's counted frames, >= 1; one frame is both parts.
        num_segments: T, >= 1.
        rng: one draw for the cut (none if N = 1), one for the part, then T.

    Returns:
        Positions, shape (num_segments,), non-decreasing.

    Raises:
        ConfigError, DataError: if a count is below 1.
    """
    check_counts(num_frames, num_segments)
    cut = 1 + int(rng.integers(num_frames - 1)) if num_frames > 1 else 0
    start, size = _parts(num_frames, cut)[rng.integers(2)]
    return start + uniform_jitter(size, num_segments, rng)


def two_segments_test(num_frames: int, num_segments: int) -> Positions:
    """Two clips: T frames of each half of the video by `tsm_test` within it.

    Returns:
        Positions, shape (2 * num_segments,), the first half's clip first.

    Raises:
        ConfigError, DataError: if a count is below 1.
    """
    check_counts(num_frames, num_segments)
    halves = _parts(num_frames, num_frames // 2)
    return np.concatenate([start + tsm_test(size, num_segments) for start, size in halves])


def check_counts(num_frames: int, num_segments: int, new_length: int = 1) -> None:
    if num_frames < 1:
        raise DataError("a clip without frames cannot be sampled", given=num_frames, allowed="1 frame or more")
    for name, count in (("segments", num_segments), ("new_length", new_length)):
        if count < 1:
            raise ConfigError(f"the number of {name} must be positive", given=count, allowed="1 or more")


def _parts(num_frames: int, cut: int) -> list[tuple[int, int]]:
    """Start and number of frames of what lies in front of the cut and behind it; a video of one frame is both."""
    return [(0, max(1, cut)), (cut, num_frames - cut)]
