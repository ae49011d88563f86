"""A picture of a prepared dataset: a clip or more of each class, frames from left to right, the class beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vidrepro.data.frames import read_clip
from vidrepro.data.manifest import Manifest
from vidrepro.data.sampling import tsm_test
from vidrepro.errors import ConfigError, DataError
from vidrepro.files import atomic_path

FORMATS = (".png", ".jpg", ".jpeg", ".webp")
TEXT_WIDTH = 300  # pixels; the longest labels are wrapped
MARGIN = 4


def write_contact_sheet(
    manifest: Manifest, path: Path, *, split: str = "val", frames: int = 8, height: int = 64
) -> None:
    """Draw the first usable clip of each class.

    Args:
        manifest: the prepared dataset.
        path: the picture to write; its ending chooses the format.
        split: where the clips are taken from.
        frames: evenly spaced frames of a clip.
        height: of a frame in the picture, pixels.

    Raises:
        ConfigError: for an ending that is no picture's.
        DataError: if the split is empty, or a clip does not decode.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError("a picture's format is chosen by its ending", given=path, allowed=FORMATS)
    rows = manifest.clips(split).drop_duplicates("label").sort_values("label")
    if rows.empty:
        raise DataError(f"dataset '{manifest.name}' has no usable clip in split '{split}'", where=manifest.path)
    clips = [manifest.clip(clip_id) for clip_id in rows["id"]]
    strips = [_strip(read_clip(manifest, clip, tsm_test(clip.frames, frames)), height) for clip in clips]
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (TEXT_WIDTH + width, len(strips) * (height + MARGIN) - MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (strip, label) in enumerate(zip(strips, rows["label"], strict=True)):
        top = number * (height + MARGIN)
        sheet.paste(strip, (TEXT_WIDTH, top))
        text = _wrapped(draw, manifest.classes[label])
        draw.multiline_text((TEXT_WIDTH - 2 * MARGIN, top + height // 2), text, "black", anchor="rm", align="right")
    with atomic_path(path) as temporary:
        sheet.save(temporary)


def _strip(frames: np.ndarray, height: int) -> Image.Image:
    pictures = [Image.fromarray(frame) for frame in frames]
    width = round(pictures[0].width * height / pictures[0].height)
    strip = Image.new("RGB", (len(pictures) * (width + MARGIN) - MARGIN, height), "white")
    for number, picture in enumerate(pictures):
        strip.paste(picture.resize((width, height)), (number * (width + MARGIN), 0))
    return strip


def _wrapped(draw: ImageDraw.ImageDraw, text: str) -> str:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer) <= TEXT_WIDTH - 4 * MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)
