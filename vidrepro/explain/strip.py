"""A clip and what networks see in it as one picture: frames from left to right, rows of heat maps and colour bars.

Nothing here knows where the heat comes from: Grad-CAM, attention, or anything else with a value per pixel and frame
(a row of maps) or per frame (a bar).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vidrepro.pictures import picture

COLOURS = "viridis"  # blue is nothing, yellow the largest value
OPACITY = 0.6
RIGHT_COLOUR, WRONG_COLOUR = "tab:green", "tab:red"
CELL = 1.15  # inches, of a frame
BAR = 0.23  # inches, the height of a colour bar
LUMA = np.array([0.299, 0.587, 0.114])

Frames = NDArray[np.uint8]  # (T, H, W, 3)
Heat = NDArray[np.float32]  # (T, H, W), 0 to 1


@dataclass(frozen=True)
class Palette:
    """How heat lies over frames.

    Attributes:
        colours: a colour map of matplotlib's.
        opacity: of the colours, 0 to 1.
        grey: whether the frames below lose their own colours.
    """

    colours: str = COLOURS
    opacity: float = OPACITY
    grey: bool = True

    def paint(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """RGB from 0 to 1 of values from 0 to 1, with one more axis."""
        return np.asarray(colormaps[self.colours](np.clip(values, 0, 1))[..., :3])


# "jet" is how ABN and ST-ABN were released: 0.6 of the coloured frame and 0.4 of the colours. "turbo" goes from blue to
# red as it does, without its false edges, and over grey the frame's own colours are not taken for heat.
PALETTES = {
    "viridis": Palette(),
    "turbo": Palette("turbo", 0.5),
    "jet": Palette("jet", 0.4, grey=False),
}


@dataclass(frozen=True)
class BarRow:
    """One colour for each frame.

    Attributes:
        values: (T,), 0 to 1.
        title: left of the bar.
        caption, right: under it, as of a `StripRow`.
        notes: a few characters on each colour.
    """

    values: NDArray[np.float32]
    title: str
    caption: str = ""
    right: bool | None = None
    notes: Sequence[str] = ()


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


def overlay(frames: Frames, heat: Heat, opacity: float | None = None, palette: Palette | None = None) -> Frames:
    """Frames under the colours of the heat.

    Args:
        frames: uint8 (T, H, W, 3).
        heat: (T, H, W); 0 is drawn in the coldest colour, 1 in the hottest, what lies beyond as these.
        opacity: of the colours, 0 to 1; None for the palette's.
        palette: None for viridis over grey.

    Returns:
        uint8 (T, H, W, 3).

    Raises:
        ValueError: if the two do not have the same frames and pixels.
    """
    if frames.shape[:3] != heat.shape:
        raise ValueError(f"heat of shape {heat.shape} does not lie over frames of shape {frames.shape}")
    palette = palette or Palette()
    share = palette.opacity if opacity is None else opacity
    below = frames.astype(np.float32) / 255
    if palette.grey:
        below = below.mean(-1, keepdims=True)
    return np.rint(255 * ((1 - share) * below + share * palette.paint(heat))).astype(np.uint8)


def draw_strip(
    path: Path,
    title: str,
    rows: Sequence[StripRow | BarRow],
    *,
    heads: Sequence[str] = (),
    scale: str = "",
    palette: Palette | None = None,
) -> None:
    """Write the picture as PNG; the same rows give the same bytes.

    Args:
        path: the picture.
        title: above it.
        rows: from top to bottom, all of T frames, the first one of frames.
        heads: above each frame of the first row.
        scale: what the colours stand for, beside the colour bar; empty for none.
        palette: None for viridis over grey.

    Raises:
        ResultsError: if the file cannot be written.
    """
    first = rows[0]
    assert isinstance(first, StripRow)
    palette = palette or Palette()
    columns = len(first.frames)
    height, width = first.frames.shape[1:3]
    heights = [CELL * height / width + 0.3 if isinstance(row, StripRow) else BAR + 0.3 for row in rows]
    with picture(path, figsize=(CELL * columns + 2.4, sum(heights) + 0.6), layout="constrained") as figure:
        grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
        _draw(figure, grid, title, rows, heads, scale, palette)


def _draw(
    figure: Figure,
    grid: NDArray[Any],
    title: str,
    rows: Sequence[StripRow | BarRow],
    heads: Sequence[str],
    scale: str,
    palette: Palette,
) -> None:
    for axes, row in zip(grid, rows, strict=True):
        if isinstance(row, BarRow):
            _draw_bar(axes, row, palette)
        else:
            _draw_row(axes, row, palette)
    for axes, head in zip(grid[0], heads, strict=False):
        axes.set_title(head, fontsize=7, color="0.3", pad=2)
    figure.suptitle(title, fontsize=10)
    lines = 1 + rows[-1].caption.count("\n")  # of the last row's caption, which the layout does not count
    below = (0.06 + 0.14 * lines) / figure.get_size_inches()[1]
    figure.get_layout_engine().set(rect=(0, below, 1, 1 - below))  # type: ignore[union-attr, call-arg]
    if scale:
        bar = figure.colorbar(ScalarMappable(cmap=palette.colours), ax=grid, shrink=0.8, aspect=30, pad=0.01)
        bar.set_label(scale, fontsize=8)
        bar.ax.tick_params(labelsize=7)
    _align_bars(figure, [axes for axes, row in zip(grid, rows, strict=True) if isinstance(row, BarRow)], grid[0])


def _draw_row(axes: Sequence[Axes], row: StripRow, palette: Palette) -> None:
    pictures = row.frames if row.heat is None else overlay(row.frames, row.heat, palette=palette)
    for place, shown in zip(axes, pictures, strict=True):
        place.imshow(shown, interpolation="nearest")
        _bare(place)
    for place, note in zip(axes, row.notes, strict=False):
        place.text(
            0.97, 0.04, note, transform=place.transAxes, fontsize=6, color="white", ha="right", va="bottom",
            bbox={"facecolor": "black", "alpha": 0.5, "pad": 1, "edgecolor": "none"},
        )  # fmt: skip
    _label(axes, row.title, row.caption, row.right)


def _draw_bar(axes: Sequence[Axes], row: BarRow, palette: Palette) -> None:
    """One block of colour for each frame."""
    colours = palette.paint(row.values)
    for place, colour in zip(axes, colours, strict=True):
        place.imshow(colour[None, None], aspect="auto", interpolation="nearest")
        _bare(place)
    for place, note, colour in zip(axes, row.notes, colours, strict=False):
        ink = "white" if float(colour @ LUMA) < 0.5 else "black"
        place.text(0.5, 0.45, note, transform=place.transAxes, fontsize=6, color=ink, ha="center", va="center")
    _label(axes, row.title, row.caption, row.right)


def _align_bars(figure: Figure, bars: Sequence[Sequence[Axes]], frames: Sequence[Axes]) -> None:
    """Make each block as wide as the frame above it, which keeps its shape within a wider cell, and of one height."""
    if not bars:
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    height = BAR / figure.get_size_inches()[1]
    for axes in bars:
        for place, frame in zip(axes, frames, strict=True):
            above, own = frame.get_position(), place.get_position()
            place.set_position((above.x0, (own.y0 + own.y1 - height) / 2, above.width, height))


def _bare(place: Axes) -> None:
    place.set_xticks([])
    place.set_yticks([])
    place.spines[:].set_visible(False)


def _label(axes: Sequence[Axes], title: str, caption: str, right: bool | None) -> None:
    axes[0].set_ylabel(title, fontsize=8, rotation=0, ha="right", va="center")
    colour = {True: RIGHT_COLOUR, False: WRONG_COLOUR, None: "black"}[right]
    # The caption of the whole row hangs on its first frame and runs along below the others.
    below = axes[0].annotate(
        caption,
        (0, 0),
        (0, -3),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=8,
        color=colour,
        va="top",
    )
    below.set_in_layout(False)
