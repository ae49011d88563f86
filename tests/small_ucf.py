"""A small download in UCF101's own format, its names as awkward as the format allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidrepro.data.encode import write_video

CLASSES = ("Jump[v2]", "Dive_$a$_%d", "[bold]Row:smile:")
TRAIN, TEST = 2, 1  # clips of each class


def write_small_ucf(root: Path) -> Path:
    """Write clips of 8 frames of 32x32 with their lists below `root`."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("".join(f"{number} {name}\n" for number, name in enumerate(CLASSES, 1)))
    rng = np.random.default_rng(0)
    of_split: dict[str, list[str]] = {"train": [], "test": []}
    for label, name in enumerate(CLASSES):
        for number in range(TRAIN + TEST):
            clip = f"{name}/v_{name}_g{number + 1:02d}_c01.avi"
            video = rng.integers(0, 90, (8, 32, 32, 3), dtype=np.uint8)
            for frame in range(8):
                video[frame, 8 * label : 8 * label + 8, 3 * frame : 3 * frame + 8] = 240
            file = root / "UCF-101" / clip  # the name says AVI, as UCF101's do; what is in it a player finds out
            write_video(file.with_suffix(".mp4"), video, 12, crf=20)
            file.with_suffix(".mp4").rename(file)
            of_split["train" if number < TRAIN else "test"].append(clip)
    for split, clips in of_split.items():
        lines = [f"{clip} {CLASSES.index(clip.split('/')[0]) + 1}\n" for clip in clips]
        (lists / f"{split}list01.txt").write_text("".join(lines))
    return root
