"""How many clips a prepared dataset has of each class and of each length, as bar charts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vidrepro.data.manifest import Manifest
from vidrepro.pictures import picture

NAMED_CLASSES = 40  # more are drawn as thin bars, most frequent first, without their names
LENGTH_BINS = 40


def draw_class_histogram(manifest: Manifest, path: Path) -> None:
    """Usable clips of each class, split by split, as PNG.

    Raises:
        ResultsError: if the file cannot be written.
    """
    ok = manifest.table[manifest.table["status"] == "ok"]
    splits = list(manifest.counts())
    counts = np.array(
        [np.bincount(ok["label"][ok["split"] == split], minlength=len(manifest.classes)) for split in splits]
    )
    names = manifest.classes
    with picture(path, figsize=_histogram_size(len(names)), layout="constrained") as figure:
        axes = figure.subplots()
        order = np.arange(len(names))
        if len(order) > NAMED_CLASSES:
            order = np.argsort(-counts.sum(0), kind="stable")
            _stacked(axes.bar, counts[:, order], splits, "bottom", width=1.0)
            axes.set_xlabel(_extremes(manifest, counts.sum(0)), fontsize=9)
            axes.set_ylabel("clips", fontsize=9)
            axes.set_xlim(-1, len(order))
        else:
            _stacked(axes.barh, counts, splits, "left", height=0.7)
            axes.set_yticks(order, names, fontsize=8)
            axes.set_ylim(len(order) - 0.4, -0.6)
            axes.set_xlabel("clips", fontsize=9)
        axes.set_title(f"{manifest.name}: {counts.sum():,} clips of {len(order)} classes", fontsize=10)
        _finish(figure, axes)


def _histogram_size(classes: int) -> tuple[float, float]:
    return (10, 4) if classes > NAMED_CLASSES else (9, 1.4 + 0.27 * classes)


def draw_length_histogram(manifest: Manifest, path: Path) -> None:
    """Usable clips by their number of frames, split by split, as PNG; seconds above where all have one frame rate.

    Raises:
        ResultsError: if the file cannot be written.
    """
    ok = manifest.table[manifest.table["status"] == "ok"]
    splits = list(manifest.counts())
    lengths = [ok["frames"][ok["split"] == split].to_numpy() for split in splits]
    distinct = np.unique(ok["frames"])
    with picture(path, figsize=(8, 3.6), layout="constrained") as figure:
        axes = figure.subplots()
        if len(distinct) <= LENGTH_BINS:  # a bar for every length there is
            counts = np.array([[(of_split == length).sum() for length in distinct] for of_split in lengths])
            gap = np.diff(distinct).min() if len(distinct) > 1 else 1
            _stacked(axes.bar, counts, splits, "bottom", positions=distinct, width=0.8 * gap)
            if len(distinct) <= 12:
                axes.set_xticks(distinct)
        else:
            axes.hist(lengths, bins=LENGTH_BINS, stacked=True, label=splits)
        median = float(np.median(ok["frames"]))
        axes.set_xlabel(f"frames (least {distinct[0]}, median {median:g}, most {distinct[-1]})", fontsize=9)
        axes.set_ylabel("clips", fontsize=9)
        rates = ok["fps"].unique()
        if len(rates) == 1 and rates[0] > 0:
            seconds = axes.secondary_xaxis("top", functions=(lambda n: n / rates[0], lambda s: s * rates[0]))
            seconds.set_xlabel(f"seconds at {rates[0]:g} frames/s", fontsize=9)
            seconds.tick_params(labelsize=8)
        else:
            axes.set_title(f"{manifest.name}: clip lengths", fontsize=10)
        _finish(figure, axes)


def _stacked(bars, counts, splits, base, positions=None, **size) -> None:  # type: ignore[no-untyped-def]
    """Bars of every split on top of one another; `bars` is axes.bar or axes.barh."""
    below = np.zeros(counts.shape[1])
    for split, of_split in zip(splits, counts, strict=True):
        bars(
            np.arange(counts.shape[1]) if positions is None else positions,
            of_split,
            label=split,
            **{base: below},
            **size,
        )
        below = below + of_split


def _extremes(manifest: Manifest, counts: np.ndarray) -> str:
    most, least = int(counts.argmax()), int(counts.argmin())
    names = manifest.classes
    return (
        f"classes, most clips first\nmost: {names[most]} ({counts[most]:,}); least: {names[least]} ({counts[least]:,})"
    )


def _finish(figure: Figure, axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")
