"""Per-class differences as a bar chart, after M2A's Figure 5: one bar per class, sorted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vidrepro.errors import ResultsError
from vidrepro.pictures import picture
from vidrepro.report.compare import ClassDifference, Comparison, signed

NAMED_BARS = 40  # more classes are drawn as the paper draws them: thin bars, only some of them named
CALLED_OUT = 3  # of those, so many of the largest gains and losses
GAIN_COLOUR, LOSS_COLOUR, PRINTED_COLOUR = "tab:blue", "tab:red", "black"


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """The bar chart as PNG; the same comparison gives the same bytes.

    Raises:
        ResultsError: if the comparison is not by class, or the file cannot be written.
    """
    if not comparison.classes:
        raise ResultsError("without single classes there is nothing to draw", hint="add --per-class")
    many = len(comparison.classes) > NAMED_BARS
    with picture(path, figsize=(12, 5) if many else (9, 1.9 + 0.3 * len(comparison.classes))) as figure:
        (_many_bars if many else _named_bars)(figure, comparison)


def _named_bars(figure: Figure, comparison: Comparison) -> None:
    classes = comparison.classes
    axes = figure.subplots()
    positions = np.arange(len(classes))
    axes.barh(positions, _values(classes), color=_colours(classes), height=0.65)
    axes.errorbar(
        _values(classes), positions, xerr=_whiskers(classes), fmt="none", ecolor="0.25", capsize=2, linewidth=1
    )
    marks = [(gain.delta, place) for place, item in enumerate(classes) for gain in item.printed]
    if marks:
        axes.plot(*zip(*marks, strict=True), "D", color=PRINTED_COLOUR, markersize=5, label="printed, on its dataset")
    axes.set_yticks(positions, [item.name for item in classes], fontsize=8)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(_axis_text(comparison), fontsize=9)
    _overall(comparison, axes.axvspan, axes.axvline)
    _finish(figure, axes, comparison)


def _many_bars(figure: Figure, comparison: Comparison) -> None:
    classes = comparison.classes
    axes = figure.subplots()
    positions = np.arange(len(classes))
    axes.bar(positions, _values(classes), color=_colours(classes), width=0.8)
    axes.errorbar(positions, _values(classes), yerr=_whiskers(classes), fmt="none", ecolor="0.6", linewidth=0.5)
    for place, item in enumerate(classes):
        for gain in item.printed:
            axes.plot(place, gain.delta, "D", color=PRINTED_COLOUR, markersize=5)
    if any(item.printed for item in classes):
        axes.plot([], [], "D", color=PRINTED_COLOUR, markersize=5, label="printed, on its dataset")
    named = {*range(CALLED_OUT), *range(len(classes) - CALLED_OUT, len(classes))}
    named |= {place for place, item in enumerate(classes) if item.printed}
    lines = [
        f"{place + 1}  {classes[place].name} ({signed(classes[place].measured.difference)})" for place in sorted(named)
    ]
    figure.text(0.66, 0.5, "\n".join(lines), fontsize=7, va="center", linespacing=1.6)
    places = [0, *range(24, len(classes), 25)]
    axes.set_xticks(places, [str(place + 1) for place in places], fontsize=8)
    axes.set_xlim(-1, len(classes))
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylabel(_axis_text(comparison), fontsize=9)
    axes.set_xlabel(f"{len(classes)} classes, largest gain first", fontsize=9)
    _overall(comparison, axes.axhspan, axes.axhline)
    _finish(figure, axes, comparison, right=0.65)


def _finish(figure: Figure, axes: Axes, comparison: Comparison, right: float = 1.0) -> None:
    run, overall = comparison.a.runs[0], comparison.overall
    counts = (len(comparison.a.runs), len(comparison.b.runs))
    seeds = f"{counts[0]} seed{'s' if counts[0] > 1 else ''} each" if counts[0] == counts[1] else f"{counts} seeds"
    axes.set_title(
        f"{comparison.a.label} minus {comparison.b.label}: {signed(overall.difference)} "
        f"[{signed(overall.low)}, {signed(overall.high)}] over all {overall.clips:,} clips\n"
        f"{run.dataset.name}, {comparison.split}, {comparison.protocol}, {seeds}; "
        f"whiskers: bootstrap 95 %",
        fontsize=9,
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="best")
    figure.tight_layout(rect=(0, 0, right, 1))


def _overall(comparison: Comparison, span, line) -> None:  # type: ignore[no-untyped-def]  # axvspan or axhspan
    span(comparison.overall.low, comparison.overall.high, color="0.5", alpha=0.2, linewidth=0, zorder=0)
    line(comparison.overall.difference, color="0.4", linestyle=":", linewidth=1, label="all clips")


def _axis_text(comparison: Comparison) -> str:
    return f"top-1 of {comparison.a.label} minus {comparison.b.label}, percentage points"


def _values(classes: Sequence[ClassDifference]) -> list[float]:
    return [item.measured.difference for item in classes]


def _colours(classes: Sequence[ClassDifference]) -> list[str]:
    return [GAIN_COLOUR if item.measured.difference >= 0 else LOSS_COLOUR for item in classes]


def _whiskers(classes: Sequence[ClassDifference]) -> np.ndarray:
    """Lengths below and above, shape (2, K)."""
    measured = [item.measured for item in classes]
    lengths = [[item.difference - item.low for item in measured], [item.high - item.difference for item in measured]]
    return np.maximum(lengths, 0)
