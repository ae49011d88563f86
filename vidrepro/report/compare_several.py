"""Several networks class by class, as data and as a report: AIA's Figure 5."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidrepro.data.class_names import find_labels, split_numbers
from vidrepro.errors import ConfigError
from vidrepro.files import fingerprint
from vidrepro.report.compare import class_names, seeds_text, side_record, signed
from vidrepro.report.compare_scores import set_scores
from vidrepro.report.grid import Cell, Grid, TableReport
from vidrepro.report.run_sets import RunSet, choose_pair
from vidrepro.report.statistics import Accuracy, accuracy

DEFAULT_TOP = 5  # of ten classes, as many as the figure shows


@dataclass(frozen=True)
class ClassAccuracies:
    """Top-1 of every network on one class; of all clips `label` is None.

    Attributes:
        clips: of the class.
        networks: in the order of the compared sets.
    """

    label: int | None
    name: str
    clips: int
    networks: tuple[Accuracy, ...]

    @property
    def gain(self) -> float:
        """What the networks after the first one gain over it in the mean, in percentage points."""
        first, *others = (one.mean for one in self.networks)
        return float(np.mean(others)) - first


@dataclass(frozen=True)
class SeveralCompared:
    """Networks on the same clips, the first one being what the others are measured against.

    Attributes:
        overall: over all clips.
        classes: every class with clips, by label.
        shown: those of them that were chosen, in the order they are shown.
        named: whether the classes' names are known; else they are called by their label.
    """

    sets: tuple[RunSet, ...]
    split: str
    protocol: str
    checkpoint: str
    overall: ClassAccuracies
    classes: tuple[ClassAccuracies, ...]
    shown: tuple[ClassAccuracies, ...]
    named: bool

    @property
    def slug(self) -> str:
        """For file names: which networks on what; other runs, splits and classes get other names."""
        labels = "-vs-".join(one.label for one in self.sets)
        on = f"{self.sets[0].runs[0].dataset.name}-{self.split}-{self.protocol}-{self.checkpoint}"
        identity = fingerprint([[run.id for one in self.sets for run in one.runs], [one.label for one in self.shown]])
        plain = [re.sub(r"[^A-Za-z0-9_.@]+", "-", text).strip("-").lower() for text in (labels, on)]
        return f"{plain[0][:80]}-{plain[1]}-{identity[:6]}"

    def record(self) -> dict[str, Any]:
        """Everything as plain data."""
        first = self.sets[0].runs[0]
        return {
            "networks": [side_record(one) for one in self.sets],
            "dataset": first.dataset.name,
            "dataset_fingerprint": first.dataset.fingerprint,
            "split": self.split,
            "protocol": self.protocol,
            "checkpoint": self.checkpoint,
            "overall": asdict(self.overall),
            "classes": [asdict(one) for one in self.classes],
            "shown": [one.label for one in self.shown],
        }


def choose_alike(candidates: Sequence[Sequence[RunSet]]) -> list[RunSet]:
    """Of what several names may mean, the sets that were made under the first one's setting.

    Raises:
        ConfigError: see `choose_pair`; also if the others go with different settings of the first.
    """
    pairs = [choose_pair(candidates[0], others) for others in candidates[1:]]
    firsts = {tuple(run.id for run in first.runs) for first, _ in pairs}
    chosen = [candidates[0][0] if not pairs else pairs[0][0], *(other for _, other in pairs)]
    runs = [run.id for one in chosen for run in one.runs]
    if len(firsts) > 1 or len(set(runs)) < len(runs):
        raise ConfigError(
            "the names do not mean one set of runs each, made under one setting",
            given=", ".join(one.name for one in chosen),
            allowed="different networks under the same setting",
            hint="choose with --dataset and --preset, or name runs by their ids (vidrepro runs)",
        )
    # of two with the same label `choose_pair` has renamed both; here all of that label are, or none
    chosen = [
        next(one for one in found if one.runs == pick.runs) for pick, found in zip(chosen, candidates, strict=True)
    ]
    labels = [one.label for one in chosen]
    return [replace(one, label=one.name) if labels.count(one.label) > 1 else one for one in chosen]


def compare_several(
    sets: Sequence[RunSet],
    *,
    data: Path,
    classes: Sequence[str] | None = None,
    top: int | None = None,
    split: str | None = None,
    checkpoint: str = "best",
    protocol: str | None = None,
) -> SeveralCompared:
    """Accuracies of several networks on every class, and the classes to show.

    Args:
        sets: two or more, the one to measure against first.
        data: folder of prepared datasets, asked for the classes' names only.
        classes: to show, by number, name, or part of the name; numbers may be joined by commas.
        top: without `classes`: so many on which the others gain most over the first, and on which they gain least or
            lose; None for `DEFAULT_TOP`.
        split, checkpoint, protocol: see `set_scores`.

    Raises:
        UnknownNameError: for a class there is none of. VidreproError: see `set_scores`.
        ConfigError: for a class without clips.
    """
    scores = set_scores(sets, split=split, checkpoint=checkpoint, protocol=protocol)
    names = class_names(sets[0], data)
    number = sets[0].runs[0].dataset.classes
    called = names or [f"class {label}" for label in range(number)]
    of_label = {
        int(label): _accuracies(int(label), called[label], scores.right, scores.labels == label)
        for label in np.unique(scores.labels)
    }
    overall = _accuracies(None, "all clips", scores.right, np.ones(len(scores.labels), dtype=bool))
    measured = tuple(of_label.values())
    if classes is None:
        shown = _most_different(measured, top or DEFAULT_TOP)
    else:
        shown = _chosen(of_label, called, classes, sets[0].runs[0].dataset.name, scores.split)
    return SeveralCompared(
        tuple(sets), scores.split, scores.protocol, checkpoint, overall, measured, shown, names is not None
    )


def several_report(compared: SeveralCompared) -> TableReport:
    """The shown classes as a grid; its records, one per class and network, hold every class."""
    one = compared
    labels = [of_set.label for of_set in one.sets]
    heads = tuple(map(Cell, ("Class", "clips", *labels)))
    rows = tuple(
        (Cell(item.name), Cell(f"{item.clips:,}"), *(_cell(network) for network in item.networks))
        for item in (*one.shown, one.overall)
    )
    title = f"Top-1 in %, {len(one.shown)} of {len(one.classes)} classes, and all clips"
    return TableReport(
        paper="compare",
        table=one.slug,
        title=f"{', '.join(labels[:-1])} and {labels[-1]}, class by class",
        grids=(Grid(title, heads, rows, _facts(one)),),
        notes=(),
        remarks=(),
        records=tuple(_records(one)),
        measured=True,
    )


def _accuracies(
    label: int | None, name: str, tables: Sequence[NDArray[np.bool_]], chosen: NDArray[np.bool_]
) -> ClassAccuracies:
    clips = int(chosen.sum())
    counts = [table[:, chosen].sum(1).tolist() for table in tables]
    return ClassAccuracies(label, name, clips, tuple(accuracy(right, [clips] * len(right)) for right in counts))


def _most_different(measured: Sequence[ClassAccuracies], top: int) -> tuple[ClassAccuracies, ...]:
    ranked = sorted(measured, key=lambda one: (-one.gain, one.label))
    return tuple(ranked if 2 * top >= len(ranked) else [*ranked[:top], *ranked[-top:]])


def _chosen(
    measured: dict[int, ClassAccuracies], names: Sequence[str], wanted: Sequence[str], dataset: str, split: str
) -> tuple[ClassAccuracies, ...]:
    labels = find_labels(names, split_numbers(wanted), dataset)
    if empty := [names[label] for label in labels if label not in measured]:
        raise ConfigError(f"no clip of split {split} is of this class", given="; ".join(empty))
    return tuple(measured[label] for label in labels)


def _cell(network: Accuracy) -> Cell:
    text = f"{network.mean:.1f}"
    if network.sd is not None:
        return Cell(f"{text} ± {network.sd:.1f}")
    return Cell(f"{text} [{network.low:.1f}, {network.high:.1f}]")


def _facts(one: SeveralCompared) -> tuple[str, ...]:
    dataset = one.sets[0].runs[0].dataset
    spread = (
        "±: standard deviation over seeds" if len(one.sets[0].runs) > 1 else "[ ]: Wilson 95 % intervals over clips"
    )
    facts = [
        f"{dataset.name} ({dataset.fingerprint}), {one.split}, {one.protocol}, {one.checkpoint} checkpoints; {spread}."
    ]
    facts += [f"{of_set.label}: {seeds_text(of_set)}." for of_set in one.sets]
    first = one.sets[0].label
    for place, of_set in enumerate(one.sets[1:], 1):
        gains = [item.networks[place].mean - item.networks[0].mean for item in one.classes]
        better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        facts.append(
            f"{of_set.label} against {first}: better on {better}, worse on {worse} of all {len(gains)} classes, "
            f"{signed(float(np.mean(gains)))} percentage points in their mean."
        )
    if not one.named:
        facts.append("The dataset is not prepared here, so classes are called by their label.")
    return tuple(facts)


def _records(one: SeveralCompared) -> list[dict[str, Any]]:
    shown = {item.label for item in one.shown}
    return [
        {
            "label": item.label,
            "class": item.name,
            "clips": item.clips,
            "network": of_set.label,
            "name": of_set.name,
            "top1": network.mean,
            "low": network.low,
            "high": network.high,
            "sd": network.sd,
            "seeds": " ".join(map(str, of_set.seeds)),
            "shown": item.label in shown,
        }
        for item in (one.overall, *one.classes)
        for of_set, network in zip(one.sets, item.networks, strict=True)
    ]
