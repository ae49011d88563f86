"""Dense sampling: clips of T frames a fixed distance apart. Positions are 0-based, in display order."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from vidrepro.data.segments import Positions, check_counts
from vidrepro.errors import ConfigError, DataError

DENSE_SPAN = 64  # frames one of TSM's dense clips covers
DENSE_STARTS = 10  # of its dense clips at test time
STABN_STRIDE = 2  # ``new_step`` of the released ST-ABN's 32x2


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


def strided_train(num_frames: int, length: int, rng: Generator, stride: int = 1) -> Positions:
    """One clip of T frames, `stride` apart, from a random start; every start at which the clip fits is as likely.

    A video shorter than the clip's (T - 1) * stride + 1 frames is read from its first frame on, and the last frame that
    is reached is repeated (as the released ST-ABN does; T-CNN does not say).

    Args:
        num_frames: the video's counted frames, >= 1.
        length: T, >= 1.
        rng: one draw if there are several starts, none otherwise.
        stride: >= 1; 1 takes consecutive frames.

    Returns:
        Positions, shape (length,), non-decreasing.

    Raises:
        ConfigError, DataError: if a count is below 1.
    """
    starts = _strided_starts(num_frames, length, stride)
    start = int(rng.integers(starts)) if starts > 1 else 0
    return consecutive(np.array([start]), num_frames, length, stride)


def strided_test(num_frames: int, length: int, stride: int = 1, clips: int = 1) -> Positions:
    """Clips of T frames, `stride` apart: one in the middle, or several from the first start to the last, equally far.

    Short videos as in `strided_train`: then all clips are the same.

    Args:
        num_frames: the video's counted frames, >= 1.
        length: T, >= 1.
        stride: >= 1.
        clips: >= 1; T-CNN takes 10.

    Returns:
        Positions, shape (clips * length,), one clip after the other.

    Raises:
        ConfigError, DataError: if a count is below 1.
    """
    last = _strided_starts(num_frames, length, stride) - 1
    if clips < 1:
        raise ConfigError("the number of clips must be positive", given=clips, allowed="1 or more")
    starts = np.linspace(0, last, clips).astype(np.int64) if clips > 1 else np.array([last // 2])
    return consecutive(starts, num_frames, length, stride)


def stabn_release_dense_train(num_frames: int, length: int, rng: Generator) -> Positions:
    """The released ST-ABN's 32x2 in training: one clip of T frames, 2 apart, in a window of 2T frames.

    Quirks: a video shorter than the window, most of Something-Something, is always read from its first frame on; the
    place moves on only while the next one lies before the video's last frame, which is therefore never seen, and the
    last one reached is repeated (N = 45, T = 32: the 1-based frames 1, 3, ..., 43, 43, ...).

    Args:
        num_frames: the video's counted frames, >= 1.
        length: T, >= 1.
        rng: one draw if N >= 2T, none otherwise.

    Returns:
        Positions, shape (length,), non-decreasing.

    Raises:
        ConfigError, DataError: if a count is below 1.
    """
    check_counts(num_frames, length)
    starts = num_frames - STABN_STRIDE * length + 1
    return _stabn_clip(int(rng.integers(starts)) if starts > 0 else 0, num_frames, length)


def stabn_release_dense_test(num_frames: int, length: int) -> Positions:
    """The released ST-ABN's 32x2 at test time: the clip of `stabn_release_dense_train` from the middle start.

    N = 100, T = 32: the 1-based frames 19, 21, ..., 81.

    Returns:
        Positions, shape (length,).

    Raises:
        ConfigError, DataError: if a count is below 1.
    """
    check_counts(num_frames, length)
    starts = num_frames - STABN_STRIDE * length + 1
    return _stabn_clip(starts // 2 if starts > 0 else 0, num_frames, length)


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
    check_counts(num_frames, 1, length)
    if stride < 1:
        raise ConfigError("the stride between frames must be positive", given=stride, allowed="1 or more")
    starts = np.asarray(start_positions, dtype=np.int64)
    if starts.size and not (starts.min() >= 0 and starts.max() < num_frames):
        raise DataError("a start position lies outside the clip", given=starts, allowed=f"0 to {num_frames - 1}")
    steps = np.minimum(np.arange(length), (num_frames - 1 - starts[:, None]) // stride)
    return (starts[:, None] + stride * steps).reshape(-1)


def _dense_grid(num_frames: int, num_segments: int) -> tuple[int, int]:
    check_counts(num_frames, num_segments)
    if num_segments > DENSE_SPAN:  # TSM's stride would be 0: one frame, repeated
        raise ConfigError(
            f"dense sampling spreads its frames over {DENSE_SPAN}", given=num_segments, allowed=f"1 to {DENSE_SPAN}"
        )
    return DENSE_SPAN // num_segments, max(1, 1 + num_frames - DENSE_SPAN)


def _strided_starts(num_frames: int, length: int, stride: int) -> int:
    """How many starts a clip of `length` frames, `stride` apart, has in the video; 1 if it does not fit."""
    check_counts(num_frames, length)
    if stride < 1:
        raise ConfigError("the stride between frames must be positive", given=stride, allowed="1 or more")
    return max(1, num_frames - (length - 1) * stride)


def _stabn_clip(start: int, num_frames: int, length: int) -> Positions:
    last = max(start, num_frames - 2)  # 1-based: p + step < N
    return consecutive(np.array([start]), last + 1, length, STABN_STRIDE)
