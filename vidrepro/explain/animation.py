"""A clip and what a network sees in it, moving: panels side by side, colour bars with the current frame marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vidrepro.data.encode import write_video
from vidrepro.explain.gradcam_strip import Explained
from vidrepro.explain.strip import BarRow, Palette, StripRow, overlay
from vidrepro.files import atomic_file

PANEL = 192  # pixels, at least, of a panel's shorter side: small frames are enlarged by a whole number
GAP, LINE, BAR = 8, 18, 16  # pixels
SLOWEST, FASTEST = 2.0, 12.0  # frames a second
QUALITY = 18  # x264's constant rate factor


def frame_rate(fps: float | None, shown: int, frames_in_all: int) -> float:
    """Frames a second at which `shown` frames of a clip take as long as the clip, within what an eye can follow."""
    natural = (fps or FASTEST) * shown / max(1, frames_in_all)
    return float(min(FASTEST, max(SLOWEST, natural)))


def compose(rows: Sequence[StripRow | BarRow], lines: Sequence[str], palette: Palette) -> NDArray[np.uint8]:
    """The animation's pictures.

    Args:
        rows: as for `draw_strip`, all of T frames; each `StripRow` becomes a panel, each `BarRow` a bar below them.
        lines: of text above.
        palette: of heat and bars.

    Returns:
        uint8 (T, H, W, 3), H and W even.
    """
    panels = [row for row in rows if isinstance(row, StripRow)]
    bars = [row for row in rows if isinstance(row, BarRow)]
    frames, height, width = panels[0].frames.shape[:3]
    factor = max(1, -(-PANEL // min(height, width)))
    font = ImageFont.load_default(size=12)
    titles = [row.title.split("\n") for row in panels]
    title_lines = max(map(len, titles))
    room = max(width * factor, *(int(font.getlength(text)) for title in titles for text in title))
    wanted = [len(panels) * (room + GAP) - GAP, *(int(font.getlength(line)) for line in lines)]
    top = GAP + len(lines) * LINE  # of the titles
    below = top + title_lines * LINE  # of the panels
    total_height = below + height * factor + GAP + len(bars) * (LINE + BAR + GAP)
    total_width = max(wanted) + 2 * GAP
    size = (total_width + total_width % 2, total_height + total_height % 2)
    pictures = [
        row.frames if row.heat is None else overlay(row.frames, row.heat, palette=palette) for row in panels
    ]  # each (T, H, W, 3)
    large = [np.repeat(np.repeat(one, factor, axis=1), factor, axis=2) for one in pictures]
    moving = np.empty((frames, size[1], size[0], 3), np.uint8)
    for number in range(frames):
        canvas = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(canvas)
        for index, line in enumerate(lines):
            draw.text((GAP, GAP // 2 + index * LINE), line, fill="black", font=font)
        for index, (title, picture) in enumerate(zip(titles, large, strict=True)):
            left = GAP + index * (room + GAP)
            for line_number, text in enumerate(title):
                draw.text((left, top + line_number * LINE), text, fill="black", font=font)
            canvas.paste(Image.fromarray(picture[number]), (left, below))
        for index, bar in enumerate(bars):
            y = below + height * factor + GAP + index * (LINE + BAR + GAP)
            _draw_bar(draw, bar, (GAP, y), size[0] - 2 * GAP, number, palette, font)
        moving[number] = np.asarray(canvas)
    return moving


def write_animation(stem: Path, pictures: NDArray[np.uint8], fps: float) -> tuple[Path, Path]:
    """Write ``<stem>.gif`` and ``<stem>.mp4`` and return their paths.

    Args:
        pictures: uint8 (T, H, W, 3), H and W even.

    Raises:
        ResultsError: if they cannot be written.
    """
    gif, mp4 = stem.with_name(stem.name + ".gif"), stem.with_name(stem.name + ".mp4")
    images = [Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE) for picture in pictures]
    with atomic_file(gif) as file:
        images[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=round(100 / fps) * 10,  # GIF counts hundredths of a second
            loop=0,
        )
    write_video(mp4, pictures, fps, crf=QUALITY)
    return gif, mp4


def animate_explained(explained: Sequence[Explained], stem: Path) -> tuple[Path, Path]:
    """Grad-CAM of one clip, moving: each network's heat in a panel, its share of heat by frame in a bar.

    Returns:
        Paths of the GIF and the MP4.

    Raises:
        ResultsError: if they cannot be written.
    """
    first = explained[0]
    names = first.network.classes
    rows: list[StripRow | BarRow] = [StripRow(first.clip.pictures, "frames")]
    lines = [f"{first.clip.id}, true: {names[first.clip.label]}"]
    for one in explained:
        rows.append(StripRow(one.clip.pictures, f"{one.network.label}, {one.layer}", one.cam.relative))
        shares = one.cam.frame_shares.astype(np.float32)
        notes = [f"{100 * share:.0f} %" for share in shares]
        heat = shares / shares.max() if shares.max() > 0 else shares
        rows.append(BarRow(heat, f"{one.network.label}, heat by frame", notes=notes))
        predicted = names[one.cam.predicted]
        lines.append(f"{one.network.label} predicted: {predicted} ({100 * one.cam.probability:.0f} %)")
    fps = first.network.manifest.clip(first.clip.id).fps
    rate = frame_rate(fps, len(first.clip.pixels), first.clip.frames_in_all)
    return write_animation(stem, compose(rows, lines, Palette()), rate)


def _draw_bar(
    draw: ImageDraw.ImageDraw,
    bar: BarRow,
    corner: tuple[int, int],
    width: int,
    current: int,
    palette: Palette,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """A title, and below it a cell for each frame, the current one in a black frame."""
    left, top = corner
    frames = len(bar.values)
    note = f": {bar.notes[current]}" if len(bar.notes) == frames else ""
    draw.text(corner, bar.title.replace("\n", ", ") + note, fill="black", font=font)
    edges = [left + round(width * cell / frames) for cell in range(frames + 1)]
    top += LINE
    colours = np.rint(255 * palette.paint(bar.values)).astype(int)
    for cell, colour in enumerate(colours):
        draw.rectangle((edges[cell], top, edges[cell + 1] - 1, top + BAR - 1), fill=tuple(colour.tolist()))
    draw.rectangle((edges[current], top - 2, edges[current + 1] - 1, top + BAR + 1), outline="black", width=2)
