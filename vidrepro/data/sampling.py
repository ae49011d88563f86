"""Which frames of a clip the network sees: frame counts in, index arrays out. Pure functions.

Every position is 0-based and in display order: the 1-based index of TSM's loader minus one. Here a rule's name becomes
its function, of `vidrepro.data.segments` or `vidrepro.data.strided`. The ``tsm-*`` rules, quirks included, are those of
TSM's `ops/dataset.py`, which M2A and AIA use unchanged; where a quirk changes results it is said there, and another
rule can be chosen by name.

Which rules a paper's protocol is made of:

- M2A: ``tsm-train``, ``tsm-val``. AIA: ``tsm-train``, ``tsm-test``, two clips by twice sampling.
- ST-ABN's "32", done right: ``uniform-jitter`` and ``tsm-test``, which both cover the whole video, however short. Its
  "32x2": ``strided`` with stride 2. As released: ``stabn-release-sparse`` and ``stabn-release-dense``. As the paper
  words it ("two 32 frames in which the input video is randomly divided into two segments"): ``two-random-segments``,
  evaluated by ``two-segments``, the fixed halves.
- T-CNN: ``strided`` with stride 1, that is consecutive frames; at test time ten clips.
"""

from __future__ import annotations

from typing import get_args

from numpy.random import Generator

from vidrepro.config import EVAL_CLIPS, DataConfig
from vidrepro.data import segments, strided
from vidrepro.data.segments import Positions
from vidrepro.errors import ConfigError, unknown_name

TRAIN_RULES: tuple[str, ...] = get_args(DataConfig.model_fields["train_sampling"].annotation)
EVAL_RULES: tuple[str, ...] = get_args(DataConfig.model_fields["eval_sampling"].annotation)


def train_positions(rule: str, num_frames: int, num_segments: int, rng: Generator, *, stride: int = 1) -> Positions:
    """Frames of one training clip by the rule's name in `DataConfig.train_sampling`.

    Args:
        rule: one of `TRAIN_RULES`; ``tsm-val`` and ``tsm-test`` draw nothing.
        num_frames: the clip's counted frames, >= 1.
        num_segments: frames wanted, >= 1.
        rng: of the draws; how many a rule makes is said at its function.
        stride: of ``strided`` only.

    Returns:
        Positions, shape (num_segments,), non-decreasing, each in [0, num_frames).

    Raises:
        UnknownNameError: for another rule. ConfigError, DataError: if a count is below 1.
    """
    if rule in ("tsm-train", "stabn-release-sparse"):  # with new_length 1 the two are the same formula
        return segments.tsm_train(num_frames, num_segments, rng)
    if rule == "uniform-jitter":
        return segments.uniform_jitter(num_frames, num_segments, rng)
    if rule == "tsm-val":
        return segments.tsm_val(num_frames, num_segments)
    if rule == "tsm-test":
        return segments.tsm_test(num_frames, num_segments)
    if rule == "strided":
        return strided.strided_train(num_frames, num_segments, rng, stride)
    if rule == "stabn-release-dense":
        return strided.stabn_release_dense_train(num_frames, num_segments, rng)
    if rule == "two-segments":
        return segments.two_segments_train(num_frames, num_segments, rng)
    if rule == "two-random-segments":
        return segments.two_random_segments_train(num_frames, num_segments, rng)
    raise unknown_name("training sampling rule", rule, TRAIN_RULES)


def eval_positions(rule: str, num_frames: int, num_segments: int, clips: int = 1, *, stride: int = 1) -> Positions:
    """Frames of one clip's evaluation views by the rule's name in `DataConfig.eval_sampling`.

    Args:
        rule: one of `EVAL_RULES`.
        num_frames: the clip's counted frames, >= 1.
        num_segments: frames in one view, >= 1.
        clips: as many as `vidrepro.config.EVAL_CLIPS` allows the rule. Of the ``tsm-*`` rules 1, or 2 for TSM's twice
            sampling (segment centres, then segment starts). TSM itself samples twice under its test rule only; under
            ``tsm-val`` both views obey that rule's guard for short clips. Every rule gives a single clip, if only one
            is to be looked at.
        stride: of ``strided`` only.

    Returns:
        Positions, shape (clips * num_segments,), one view after the other.

    Raises:
        UnknownNameError: for another rule. ConfigError, DataError: if a count is out of range.
    """
    if rule not in EVAL_RULES:
        raise unknown_name("evaluation sampling rule", rule, EVAL_RULES)
    if clips != 1 and clips not in EVAL_CLIPS[rule]:
        raise ConfigError(
            f"{rule} cannot sample so many clips of a video", given=clips, allowed=", ".join(map(str, EVAL_CLIPS[rule]))
        )
    if rule == "tsm-val":
        return segments.tsm_val(num_frames, num_segments, twice=clips == 2)
    if rule == "strided":
        return strided.strided_test(num_frames, num_segments, stride, clips)
    if rule == "stabn-release-dense":
        return strided.stabn_release_dense_test(num_frames, num_segments)
    if rule == "two-segments":
        return segments.two_segments_test(num_frames, num_segments)[: clips * num_segments]
    return segments.tsm_test(
        num_frames, num_segments, twice=clips == 2
    )  # tsm-test; stabn-release-sparse is the same formula
