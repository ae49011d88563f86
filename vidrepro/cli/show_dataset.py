"""The part of ``vidrepro show`` that is about a prepared dataset: example clips, and pictures of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from vidrepro.data.manifest import Manifest

FIGURE_CLASSES = "figure3"  # --classes figure3: the classes whose clips M2A's Figure 3 shows
FIGURE_OF = ("m2a", "3")


def describe_with_examples(manifest: Manifest) -> dict[str, Any]:
    """`describe_dataset`, and a clip of each class to try things on."""
    from vidrepro.data.contact_sheet import example_clips
    from vidrepro.report.describe import describe_dataset

    content = describe_dataset(manifest)
    examples: dict[int, str] = {}
    for split in reversed(list(content["counts"])):  # validation clips before those of training
        rows = example_clips(manifest, split)
        examples = dict(zip(rows["label"], rows["id"], strict=True)) | examples
    for entry in content["classes"]:
        entry["example"] = examples.get(entry["label"])
    return content


def write_figures(manifest: Manifest, folder: Path, *, split: str, classes: list[str] | None, clips: int) -> list[Path]:
    """Example clips, class histogram and clip lengths as PNG in a folder.

    Raises:
        VidreproError: for unknown classes, clips that do not decode, or a folder that cannot be written.
    """
    from vidrepro.data.contact_sheet import write_contact_sheet
    from vidrepro.report.dataset_figures import draw_class_histogram, draw_length_histogram

    paths = [folder / f"{name}.png" for name in ("clips", "classes", "lengths")]
    wanted = None if classes is None else _labels(manifest, classes)
    write_contact_sheet(manifest, paths[0], split=split, classes=wanted, clips_per_class=clips)
    draw_class_histogram(manifest, paths[1])
    draw_length_histogram(manifest, paths[2])
    return paths


def _labels(manifest: Manifest, wanted: list[str]) -> list[int]:
    from vidrepro.data.class_names import split_numbers
    from vidrepro.data.contact_sheet import find_classes

    texts: list[str] = []
    for text in wanted:
        texts += _figure_classes(manifest) if text == FIGURE_CLASSES else split_numbers([text])
    return find_classes(manifest, texts)


def _figure_classes(manifest: Manifest) -> list[str]:
    from vidrepro.experiments import load_paper

    paper, number = FIGURE_OF
    figure = next(item for item in load_paper(paper).figures if item.id == number)
    known = {name.casefold() for name in manifest.classes}
    here = [label for label in figure.labels if label.casefold() in known]
    if not here:
        raise typer.BadParameter(
            f"{manifest.name} has none of the classes of {paper}'s Figure {number}: {'; '.join(figure.labels)}"
        )
    return here
