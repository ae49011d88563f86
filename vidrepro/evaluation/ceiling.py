"""Where a dataset's order-blind ceiling holds: where training shows a clip and its reversal the same frames."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vidrepro.data.sampling import train_positions

RANDOM_RULES = (
    "tsm-train", "uniform-jitter", "strided", "stabn-release-sparse", "two-segments", "two-random-segments"
)  # fmt: skip
NAMED_COUNTS = 4


def why_no_ceiling(rule: str, frames: int, frame_counts: Iterable[int] | None, stride: int = 1) -> str | None:
    """Why an order-blind network could exceed the ceiling, or None if it cannot.

    The ceiling counts on the frames of a clip and of its reversal being, as a set, equally likely. So they are if
    training draws position p of N as often as N - 1 - p. ``tsm-train`` does where T divides N: else it never draws the
    last N mod T frames, which are the first ones of the reversed clip. ``uniform-jitter`` and ``two-random-segments``
    cover the whole clip and always do, ``strided`` where its clip fits into the video, ``two-segments`` where the
    halves are equal; ``stabn-release-dense`` never sees the last frame, which is the first of the reversed clip.
    ``tsm-val`` and ``tsm-test`` draw nothing; whether their positions mirror each other depends on N. Evaluation does
    not matter: a network cannot use what it was not trained on.

    Args:
        rule: `DataConfig.train_sampling`.
        frames: T, frames the network sees of a clip.
        frame_counts: every N in the dataset; None where it is not recorded, which leaves the rule alone to judge by.
        stride: of ``strided``.

    Raises:
        UnknownNameError: for a rule that does not exist.
    """
    if frame_counts is None:
        if rule in RANDOM_RULES:
            return None
        return (
            f"training sampling {rule} takes the same frames of a clip every time, and whether the reversed clip gives "
            "the same ones depends on its length, which is not recorded"
        )
    uneven = sorted({count for count in frame_counts if count > 0 and not _mirrored(rule, count, frames, stride)})
    if not uneven:
        return None
    named = ", ".join(map(str, uneven[:NAMED_COUNTS])) + (", …" if uneven[NAMED_COUNTS:] else "")
    return (
        f"with {frames} frames by {rule}, training sees other frames of clips of {named} frames than of their "
        "reversals, which tells the two apart without their order"
    )


def _mirrored(rule: str, num_frames: int, frames: int, stride: int) -> bool:
    if rule in ("tsm-train", "stabn-release-sparse"):
        return num_frames % frames == 0
    if rule in ("uniform-jitter", "two-random-segments"):
        return True
    if rule == "strided":
        return num_frames >= (frames - 1) * stride + 1
    if rule == "two-segments":
        return num_frames % 2 == 0 or num_frames == 1
    if rule == "stabn-release-dense":
        return num_frames == 1
    positions = train_positions(rule, num_frames, frames, np.random.default_rng(0))  # these rules draw nothing
    return np.array_equal(positions, num_frames - 1 - positions[::-1])
