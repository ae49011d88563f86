"""A picture of a prepared dataset: clips of each class, frames from left to right, the class beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from vidrepro.data.class_names import find_labels
from vidrepro.data.frames import read_clip
from vidrepro.data.manifest import Manifest
from vidrepro.data.segments import tsm_test
from vidrepro.errors import ConfigError, DataError
from vidrepro.files import atomic_file

FORMATS = (".png", ".jpg", ".jpeg", ".webp")
TEXT_WIDTH = 300  # pixels; the longest labels are wrapped
MARGIN = 4
STRIPS_IN_COLUMN = 60  # more clips go into further columns, so that a sheet of 174 classes can be looked at


def write_contact_sheet(
    manifest: Manifest,
    path: Path,
    *,
    split: str | None = None,
    frames: int = 8,
    height: int = 64,
    classes: Sequence[int] | None = None,
    clips_per_class: int = 1,
) -> list[str]:
    """Draw the first usable clips of each class.

    Args:
        manifest: the prepared dataset, of videos or image sequences.
        path: the picture to write; its ending chooses the format.
        split: where the clips are taken from; None for val, or test where there is no val.
        frames: evenly spaced frames of a clip.
        height: of a frame in the picture, pixels; the width follows from each clip.
        classes: labels, in the order they are drawn; None for all, by label. One without clips is left out.
        clips_per_class: clips of each, as far as there are as many.

    Returns:
        The ids of the clips, in the order they are drawn.

    Raises:
        ConfigError: for an ending that is no picture's, or less than one clip.
        DataError: if no such clip is there, or one does not decode.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError("a picture's format is chosen by its ending", given=path, allowed=FORMATS)
    if clips_per_class < 1:
        raise ConfigError("the number of clips of each class must be positive", given=clips_per_class)
    split = split or manifest.eval_split()
    rows = example_clips(manifest, split, classes, clips_per_class)
    if rows.empty:
        of = "" if classes is None else " of these classes"
        raise DataError(f"dataset '{manifest.name}' has no usable clip{of} in split '{split}'", where=manifest.path)
    clips = [manifest.clip(clip_id) for clip_id in rows["id"]]
    strips = [_strip(read_clip(manifest, clip, tsm_test(clip.frames, frames)), height) for clip in clips]
    columns = -(-len(strips) // STRIPS_IN_COLUMN)
    in_column = -(-len(strips) // columns)
    column_width = TEXT_WIDTH + max(strip.width for strip in strips)
    size = (columns * (column_width + MARGIN) - MARGIN, in_column * (height + MARGIN) - MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    named: set[int] = set()
    for number, (strip, label) in enumerate(zip(strips, rows["label"], strict=True)):
        left, top = number // in_column * (column_width + MARGIN), number % in_column * (height + MARGIN)
        sheet.paste(strip, (left + TEXT_WIDTH, top))
        if label not in named or top == 0:  # once for the clips of a class
            text = _wrapped(draw, manifest.classes[label])
            place = (left + TEXT_WIDTH - 2 * MARGIN, top + height // 2)
            draw.multiline_text(place, text, "black", anchor="rm", align="right")
        named.add(label)
    with atomic_file(path) as file:
        sheet.save(file, Image.registered_extensions()[path.suffix.lower()])
    return rows["id"].tolist()


def example_clips(
    manifest: Manifest, split: str, classes: Sequence[int] | None = None, clips_per_class: int = 1
) -> pd.DataFrame:
    """The first usable clips of each class, class by class; see `write_contact_sheet`."""
    rows = manifest.clips(split)
    order = sorted(rows["label"].unique()) if classes is None else list(dict.fromkeys(classes))
    rows = rows[rows["label"].isin(order)].groupby("label").head(clips_per_class)
    return rows.sort_values("label", key=lambda labels: labels.map(order.index), kind="stable")


def find_classes(manifest: Manifest, wanted: Sequence[str]) -> list[int]:
    """Labels of classes given by number, name, or a part of the name; a part may mean several classes.

    Raises:
        UnknownNameError: for one that nothing matches, with the closest names.
    """
    return find_labels(manifest.classes, wanted, manifest.name)


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
