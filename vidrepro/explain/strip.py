"""A clip and what networks see in it as one picture: frames from left to right, one row of heat maps per network.

Nothing here knows where the heat comes from: Grad-CAM, attention, or anything else with a value per pixel and frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import colormaps, pyplot
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from numpy.typing import NDArray

from vidrepro.files import atomic_path

COLOURS = "viridis"  # blue is nothing, yellow the largest value
OPACITY = 0.6
RIGHT_COLOUR, WRONG_COLOUR = "tab:green", "tab:red"
CELL = 1.15  # inches, of a frame

Frames = NDArray[np.uint8]  # (T, H, W, 3)
Heat = NDArray[np.float32]  # (T, H, W), 0 to 1


@dataclass(frozen=True)
class StripRow:
    """One row of the picture.

    Attributes:
        frames: what lies below the heat.
        title: left of the row.
        heat: None for bare frames.
        caption: under the row.
        right: whether what the caption says is right, which colours it; None for neither.
        notes: a few characters in the corner of each frame.
    """

    frames: Frames
    title: str
    heat: Heat | None = None
    caption: str = ""
    right: bool | None = None
    notes: Sequence[str] = ()


def overlay(frames: Frames, heat: Heat, opacity: float = OPACITY) -> Frames:
    """Frames in grey under the colours of the heat.

    Args:
        frames: uint8 (T, H, W, 3).
        heat: (T, H, W); 0 is drawn in the coldest colour, 1 in the hottest, what lies beyond as these.
        opacity: of the colours, 0 to 1.

    Returns:
        uint8 (T, H, W, 3).

    Raises:
        ValueError: if the two do not have the same frames and pixels.
    """
    if frames.shape[:3] != heat.shape:
        raise ValueError(f"heat of shape {heat.shape} does not lie over frames of shape {frames.shape}")
    grey = frames.astype(np.float32).mean(-1, keepdims=True) / 255
    colours = colormaps[COLOURS](np.clip(heat, 0, 1))[..., :3]
    mixed = (1 - opacity) * grey + opacity * colours
    return np.rint(255 * mixed).astype(np.uint8)


def draw_strip(path: Path, title: str, rows: Sequence[StripRow], *, heads: Sequence[str] = (), scale: str = "") -> None:
    """Write the picture as PNG; the same rows give the same bytes.

    Args:
        path: the picture.
        title: above it.
        rows: from top to bottom, all of T frames.
        heads: above each frame of the first row.
        scale: what the colours stand for, beside the colour bar; empty for none.

    Raises:
        ResultsError: if the file cannot be written.
    """
    columns = len(rows[0].frames)
    height, width = rows[0].frames.shape[1:3]
    row_height = CELL * height / width + 0.3
    figure, grid = pyplot.subplots(
        len(rows),
        columns,
        figsize=(CELL * columns + 2.4, row_height * len(rows) + 0.6),
        dpi=130,
        squeeze=False,
        layout="constrained",
    )
    for axes, row in zip(grid, rows, strict=True):
        _draw_row(axes, row)
    for axes, head in zip(grid[0], heads, strict=False):
        axes.set_title(head, fontsize=7, color="0.3", pad=2)
    figure.suptitle(title, fontsize=10)
    below = 0.2 / figure.get_size_inches()[1]  # the last row's caption, which the layout does not count
    figure.get_layout_engine().set(rect=(0, below, 1, 1 - below))  # type: ignore[union-attr, call-arg]
    if scale:
        bar = figure.colorbar(ScalarMappable(cmap=COLOURS), ax=grid, shrink=0.8, aspect=30, pad=0.01)
        bar.set_label(scale, fontsize=8)
        bar.ax.tick_params(labelsize=7)
    try:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
    finally:
        pyplot.close(figure)


def _draw_row(axes: Sequence[Axes], row: StripRow) -> None:
    pictures = row.frames if row.heat is None else overlay(row.frames, row.heat)
    for place, picture in zip(axes, pictures, strict=True):
        place.imshow(picture, interpolation="nearest")
        place.set_xticks([])
        place.set_yticks([])
        place.spines[:].set_visible(False)
    for place, note in zip(axes, row.notes, strict=False):
        place.text(
            0.97, 0.04, note, transform=place.transAxes, fontsize=6, color="white", ha="right", va="bottom",
            bbox={"facecolor": "black", "alpha": 0.5, "pad": 1, "edgecolor": "none"},
        )  # fmt: skip
    axes[0].set_ylabel(row.title, fontsize=8, rotation=0, ha="right", va="center")
    colour = {True: RIGHT_COLOUR, False: WRONG_COLOUR, None: "black"}[row.right]
    # The caption of the whole row hangs on its first frame and runs along below the others.
    caption = axes[0].text(0, -0.05, row.caption, transform=axes[0].transAxes, fontsize=8, color=colour, va="top")
    caption.set_in_layout(False)
