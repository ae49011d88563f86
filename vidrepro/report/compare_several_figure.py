"""Per-class accuracies of several networks as grouped bars, after AIA's Figure 5."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from vidrepro.errors import ConfigError
from vidrepro.pictures import picture
from vidrepro.report.compare_several import SeveralCompared
from vidrepro.report.statistics import Accuracy

MOST_CLASSES = 40  # more make a picture nobody can read
BASELINE_COLOUR = "0.7"
COLOURS = "viridis"
BAR = 0.14  # inches
NAME_WIDTH = 44  # characters
SHORT_LABEL = 20  # characters of a network's label, of which three fit beside one another


def draw_several(compared: SeveralCompared, path: Path) -> None:
    """The shown classes from top to bottom, a bar for each network, as PNG; the same comparison gives the same bytes.

    Raises:
        ConfigError: if there are too many classes. ResultsError: if the file cannot be written.
    """
    shown = compared.shown
    if len(shown) > MOST_CLASSES:
        raise ConfigError(
            "so many classes cannot be drawn", given=len(shown), allowed=f"at most {MOST_CLASSES}", hint="--classes"
        )
    height = BAR * len(compared.sets) * len(shown) * 1.3 + 1.3
    with picture(path, figsize=(10, max(3.0, height)), layout="constrained") as figure:
        _draw(figure, compared)


def _draw(figure: Figure, compared: SeveralCompared) -> None:
    shown, sets = compared.shown, compared.sets
    axes = figure.subplots()
    thickness = 0.78 / len(sets)  # of the unit that a class takes
    rows = np.arange(len(shown))
    later = colormaps[COLOURS](np.linspace(0.25, 0.95, max(1, len(sets) - 1)))
    for place, of_set in enumerate(sets):
        networks = [item.networks[place] for item in shown]
        at = rows + (place - (len(sets) - 1) / 2) * thickness
        overall = f"{compared.overall.networks[place].mean:.1f}"
        axes.barh(
            at,
            [network.mean for network in networks],
            height=0.9 * thickness,
            color=BASELINE_COLOUR if place == 0 else later[place - 1],
            label=f"{of_set.label} ({overall} on all clips)",
            xerr=np.array([_whisker(network) for network in networks]).T,
            error_kw={"ecolor": "0.1", "elinewidth": 0.7, "capsize": 1.5},
        )
    names = [f"{textwrap.fill(item.name, NAME_WIDTH)}\n{item.clips:,} clips" for item in shown]
    axes.set_yticks(rows, names, fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 101)
    axes.set_xlabel("top-1, %", fontsize=9)
    axes.grid(axis="x", color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=8)
    columns = 3 if max(len(of_set.label) for of_set in sets) <= SHORT_LABEL else 2
    figure.legend(
        title=_title(compared),
        title_fontsize=9,
        fontsize=8,
        frameon=False,
        loc="outside upper center",
        ncols=columns,
    )


def _title(compared: SeveralCompared) -> str:
    counts = sorted({len(one.runs) for one in compared.sets})
    seeds = " or ".join(map(str, counts)) + (" seeds each" if counts[-1] > 1 else " seed each")
    whiskers = "standard deviation over seeds" if counts[0] > 1 else "Wilson 95 % over clips"
    if len(counts) > 1 and counts[0] == 1:
        whiskers = "standard deviation over seeds, of one seed Wilson 95 % over clips"
    first = compared.sets[0].runs[0]
    return f"{first.dataset.name}, {compared.split}, {compared.protocol}, {seeds}; whiskers: {whiskers}"


def _whisker(network: Accuracy) -> tuple[float, float]:
    """Lengths below and above; what lies beyond 0 or 100 % is not drawn."""
    if network.sd is not None:
        return min(network.sd, network.mean), min(network.sd, 100 - network.mean)
    assert network.low is not None and network.high is not None
    return max(0.0, network.mean - network.low), max(0.0, network.high - network.mean)
