"""Where the order-blind ceiling is stated: checked against the frames that training really draws."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from numpy.random import Generator

from vidrepro.data.sampling import TRAIN_RULES, train_positions
from vidrepro.evaluation.ceiling import why_no_ceiling


class Evenly:
    """In place of a generator: the value at `share` of the way through whatever range is asked for."""

    def __init__(self, share: float) -> None:
        self.share = share

    def integers(self, high: int, size: int | None = None) -> Any:
        value = int(self.share * high)
        return value if size is None else np.full(size, value)

    def uniform(self, low: float, high: float, size: int) -> Any:
        return np.full(size, low + (high - low) * self.share)


def draws_alike_from_clip_and_reversal(rule: str, num_frames: int, frames: int) -> bool:
    """Whether each span's positions occur as often as its mirror image's, over a fine grid of random numbers.

    The middles of 2 * N * T cells, every cell as likely: none of them lands on a border between two frames. Of rules
    that draw a start, so many times as many cells as there are starts.
    """
    starts = {"strided": num_frames - frames + 1, "stabn-release-dense": num_frames - 2 * frames + 1}.get(rule, 1)
    cells = 2 * num_frames * frames * max(1, starts)
    shares = (np.arange(cells) + 0.5) / cells
    drawn = np.array(
        [train_positions(rule, num_frames, frames, cast(Generator, Evenly(share))) for share in shares.tolist()]
    )
    mirrored = num_frames - 1 - drawn[:, ::-1]
    return np.array_equal(np.sort(drawn, axis=0), np.sort(mirrored, axis=0))


@pytest.mark.parametrize("rule", [rule for rule in TRAIN_RULES if rule != "two-random-segments"])  # the test below
def test_it_holds_exactly_where_training_draws_alike_from_a_clip_and_its_reversal(rule: str) -> None:
    found = {}
    for frames in (2, 3, 8):
        for num_frames in range(2, 27):
            alike = draws_alike_from_clip_and_reversal(rule, num_frames, frames)
            assert (why_no_ceiling(rule, frames, [num_frames]) is None) == alike, (num_frames, frames)
            found[num_frames, frames] = alike
    never_the_last, in_halves = "stabn-release-dense", "two-segments"
    assert found[16, 8] == (rule not in ("tsm-val", "tsm-test", never_the_last))
    assert found[25, 8] == (rule not in ("tsm-train", "stabn-release-sparse", never_the_last, in_halves))


class Part(Evenly):
    """Likewise, of a video that is cut in front of frame `cut`: the first part or the second."""

    def __init__(self, share: float, cut: int, part: int) -> None:
        super().__init__(share)
        self.draws = [cut - 1, part]

    def integers(self, high: int, size: int | None = None) -> Any:
        assert 0 <= self.draws[0] < high
        return self.draws.pop(0)


def test_a_random_cut_shows_a_clip_and_its_reversal_alike() -> None:
    """The first part of a cut is the last part of another one, as likely, of the reversed clip."""

    def drawn(num_frames: int, frames: int, cut: int, part: int) -> Any:
        cells = 2 * frames * (cut if part == 0 else num_frames - cut)
        generators = [Part((cell + 0.5) / cells, cut, part) for cell in range(cells)]
        return np.array(
            [train_positions("two-random-segments", num_frames, frames, cast(Generator, one)) for one in generators]
        )

    for num_frames, frames in ((2, 3), (9, 2), (25, 8)):
        assert why_no_ceiling("two-random-segments", frames, [num_frames]) is None
        for cut in range(1, num_frames):
            first = drawn(num_frames, frames, cut, 0)
            mirrored = num_frames - 1 - drawn(num_frames, frames, num_frames - cut, 1)[:, ::-1]
            assert np.array_equal(np.sort(first, axis=0), np.sort(mirrored, axis=0)), (num_frames, frames, cut)


def test_strided_clips_hold_it_where_they_fit_into_the_video() -> None:
    assert why_no_ceiling("strided", 8, [15, 16, 40], stride=2) is None  # 15 = 7 * 2 + 1
    assert why_no_ceiling("strided", 8, [14], stride=2) is not None
    assert why_no_ceiling("strided", 8, [14]) is None


def test_the_reason_names_rule_frames_and_lengths() -> None:
    reason = why_no_ceiling("tsm-train", 8, [16, 30, 32, 31])
    assert reason is not None and "8 frames by tsm-train" in reason and "clips of 30, 31 frames" in reason
    many = why_no_ceiling("tsm-train", 8, range(1, 40))
    assert many is not None and "clips of 1, 2, 3, 4, … frames" in many


def test_without_recorded_lengths_the_rule_decides() -> None:
    assert why_no_ceiling("tsm-train", 8, None) is None
    assert why_no_ceiling("uniform-jitter", 8, None) is None
    for rule in ("tsm-val", "tsm-test"):
        assert "not recorded" in (why_no_ceiling(rule, 8, None) or "")
