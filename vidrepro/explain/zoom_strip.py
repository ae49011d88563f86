"""Figures 2 and 3 of T-CNN + spatial for one clip: frames, response maps with both sets of peaks, grids, new frames.

As a picture (PNG), moving (GIF and MP4) and as arrays (.npz).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vidrepro.explain.animation import PANEL
from vidrepro.explain.clip_files import ClipPicture, write_clip
from vidrepro.explain.shown_clips import file_stem
from vidrepro.explain.strip import PALETTES, StripRow, overlay
from vidrepro.explain.zoom import BRANCH_NAMES, BRANCHES, ShownZoom

COLOURS = {"D": (255, 140, 0), "C": (70, 130, 255)}  # orange and blue, as in the paper's figure 1
GRID_LINES = 12  # cells of the drawn sampling grid along each side
PALETTE = PALETTES["turbo"]

Pictures = NDArray[np.uint8]


def write_zoom(
    shown: ShownZoom, folder: Path, *, frames: tuple[int, ...] | None = None, moving: bool = True
) -> dict[str, str]:
    """Write the picture, the animation and the arrays of one clip.

    Args:
        frames: places of the frames in the picture, 0-based; None for some of them, evenly spread.
        moving: whether GIF and MP4, which show all frames, are written too.

    Returns:
        Their paths by ``picture``, ``gif``, ``mp4`` and ``arrays``.

    Raises:
        ResultsError: if the folder cannot be written.
    """
    stem = folder / f"{shown.network.run}_{file_stem(shown.clip.id)}_zoom"
    scale = "class response, least to largest of each frame"
    drawn = ClipPicture(rows_of(shown), _verdicts(shown), scale, PALETTE)
    return write_clip(stem, shown.network, shown.clip, drawn, _arrays(shown), frames=frames, moving=moving)


def rows_of(shown: ShownZoom) -> list[StripRow]:
    """From top to bottom: frames, response map with peaks, and for each branch its grid and its frames."""
    frames = shown.clip.pictures
    factor = max(1, -(-PANEL // min(frames.shape[1:3])))
    large = enlarged(frames, factor)
    areas = shown.object_areas() or {}
    marked = enlarged(overlay(frames, shown.maps, palette=PALETTE), factor)
    entropy = [f"H {value:.2f}" for value in shown.zoom.entropy[0].tolist()]
    nothing = [""] * len(frames)
    rows = [
        StripRow(large, _with_area("frames", areas.get("original")), notes=nothing),
        StripRow(with_peaks(marked, shown, factor), "class response\norange: to D\nblue: to C", notes=entropy),
    ]
    for branch in BRANCHES:
        title = f"{branch}: {BRANCH_NAMES[branch]}"
        grid = with_grid(large, (shown.grid(branch) + 0.5) * factor - 0.5, COLOURS[branch])
        found = [f"{len(frame)} peak{'s' if len(frame) != 1 else ''}" for frame in shown.peaks(branch)]
        rows.append(StripRow(grid, f"{title},\nwhere it looks", notes=found))
        zoomed = enlarged(shown.pictures(branch), factor)
        rows.append(StripRow(zoomed, _with_area(title, areas.get(BRANCH_NAMES[branch])), notes=nothing))
    right = shown.predictions["total"].label == shown.clip.label
    caption = f"{'; '.join(_verdicts(shown))}\ntrue: {shown.network.classes[shown.clip.label]}"
    return [*rows[:-1], replace(rows[-1], caption=caption, right=right)]


def enlarged(pictures: Pictures, factor: int) -> Pictures:
    """Every pixel `factor` times as wide and as high."""
    return np.repeat(np.repeat(pictures, factor, axis=1), factor, axis=2)


def with_peaks(pictures: Pictures, shown: ShownZoom, factor: int) -> Pictures:
    """Frames, enlarged by `factor`, with a dot on each peak in the colour of its set; one in both is half and half."""
    painted = []
    radius = 3 + min(pictures.shape[1:3]) / 64
    sets = {branch: shown.peaks(branch) for branch in BRANCHES}
    for number, picture in enumerate(pictures):
        image = Image.fromarray(picture)
        draw = ImageDraw.Draw(image)
        for branch, start, other in (("D", 90, "C"), ("C", 270, "D")):
            for peak in sets[branch][number]:
                x, y = ((place + 0.5) * factor - 0.5 for place in peak)
                box = (x - radius, y - radius, x + radius, y + radius)
                if peak in sets[other][number]:
                    draw.pieslice(box, start, start + 180, fill=COLOURS[branch], outline="black")
                else:
                    draw.ellipse(box, fill=COLOURS[branch], outline="black")
        painted.append(np.asarray(image))
    return np.stack(painted)


def with_grid(pictures: Pictures, places: NDArray[np.float32], colour: tuple[int, int, int]) -> Pictures:
    """Frames with the sampling grid: lines that become straight and evenly spaced in the resampled frame.

    Args:
        pictures: (T, H, W, 3).
        places: where each pixel of the resampled frame looks, x and y in pixels of `pictures`, (T, h, w, 2).
        colour: of the lines.
    """
    rows, columns = (np.linspace(0, count - 1, GRID_LINES + 1).round().astype(int) for count in places.shape[1:3])
    painted = []
    for picture, looks in zip(pictures, places, strict=True):
        image = Image.fromarray(picture)
        draw = ImageDraw.Draw(image)
        lines = [*(looks[row] for row in rows), *(looks[:, column] for column in columns)]
        for line in lines:
            draw.line([(float(x), float(y)) for x, y in line], fill=colour, width=2)
        painted.append(np.asarray(image))
    return np.stack(painted)


def _with_area(title: str, area: float | None) -> str:
    return title if area is None else f"{title}\nobject {100 * area:.1f} %"


def _verdicts(shown: ShownZoom) -> list[str]:
    names = shown.network.classes
    return [
        f"{branch}: {names[one.label]} ({100 * one.probability:.0f} %)" for branch, one in shown.predictions.items()
    ]


def _arrays(shown: ShownZoom) -> dict[str, NDArray[np.generic]]:
    """Everything `Zoom` has, without its batch, and what the clip is."""
    arrays: dict[str, NDArray[np.generic]] = {
        name: value[0].detach().cpu().numpy() for name, value in vars(shown.zoom).items()
    }
    for branch in BRANCHES:
        arrays[f"frames_{branch}"] = shown.pictures(branch)
    return arrays | {
        "frames": shown.clip.pictures,
        "positions": shown.clip.positions,
        "clip": np.array(shown.clip.id),
        "run": np.array(shown.network.run),
        "true": np.array(shown.clip.label),
        "branches": np.array(list(shown.predictions)),
        "predicted": np.array([one.label for one in shown.predictions.values()]),
    }
