"""The files of one clip: a picture (PNG), the same moving (GIF and MP4), and the arrays behind it (.npz)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vidrepro.explain.animation import compose, frame_rate, write_animation
from vidrepro.explain.chosen_frames import usual_frames
from vidrepro.explain.shown_clips import Network, ShownClip
from vidrepro.explain.strip import BarRow, Palette, StripRow, draw_strip
from vidrepro.files import atomic_file


@dataclass(frozen=True)
class ClipPicture:
    """What is drawn of a clip.

    Attributes:
        rows: from top to bottom, all of the T frames that the network sees.
        lines: of text above the moving picture, below the clip's name and class.
        scale: what the colours stand for.
        palette: of heat and bars.
    """

    rows: Sequence[StripRow | BarRow]
    lines: Sequence[str]
    scale: str
    palette: Palette


def write_clip(
    stem: Path,
    network: Network,
    clip: ShownClip,
    drawn: ClipPicture,
    arrays: Mapping[str, Any],
    *,
    frames: tuple[int, ...] | None = None,
    moving: bool = True,
) -> dict[str, str]:
    """Write picture, animation and arrays.

    Args:
        stem: of the files' names.
        network, clip: whose they are.
        drawn: what is in the pictures.
        arrays: content of the .npz file.
        frames: places of the frames in the picture, 0-based; None for some of them, evenly spread.
        moving: whether GIF and MP4, which show all frames, are written too.

    Returns:
        Their paths by ``picture``, ``gif``, ``mp4`` and ``arrays``.

    Raises:
        ResultsError: if the folder cannot be written.
    """
    true = network.classes[clip.label]
    places = list(frames or usual_frames(len(clip.pixels)))
    picture = stem.with_name(stem.name + ".png")
    draw_strip(
        picture,
        f"{network.manifest.name}, clip {clip.id}: {true}",
        [_some_frames(row, places) for row in drawn.rows],
        heads=[f"frame {clip.positions[place] + 1}" for place in places],
        scale=drawn.scale,
        palette=drawn.palette,
    )
    written = {"picture": str(picture)}
    if moving:
        pictures = compose(drawn.rows, [f"{clip.id}, true: {true}", *drawn.lines], drawn.palette)
        rate = frame_rate(network.manifest.clip(clip.id).fps, len(clip.pixels), clip.frames_in_all)
        gif, mp4 = write_animation(stem, pictures, rate)
        written |= {"gif": str(gif), "mp4": str(mp4)}
    array_file = stem.with_name(stem.name + ".npz")
    with atomic_file(array_file) as file:
        np.savez_compressed(file, **arrays)
    return written | {"arrays": str(array_file)}


def _some_frames(row: StripRow | BarRow, places: list[int]) -> StripRow | BarRow:
    notes = [row.notes[place] for place in places] if row.notes else ()
    if isinstance(row, BarRow):
        return replace(row, values=row.values[places], notes=notes)
    heat = None if row.heat is None else row.heat[places]
    return replace(row, frames=row.frames[places], heat=heat, notes=notes)
