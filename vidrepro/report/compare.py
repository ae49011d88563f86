"""Two sets of runs compared: overall, clip by clip, and class by class, as data and as a report."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vidrepro.errors import VidreproError
from vidrepro.evaluation.paired import (
    RESAMPLES,
    SEED,
    McNemar,
    PairedDifference,
    class_differences,
    mcnemar,
    paired_difference,
)
from vidrepro.report.compare_printed import PrintedGain, printed_gains
from vidrepro.report.compare_scores import set_scores
from vidrepro.report.grid import Cell, Grid, TableReport
from vidrepro.report.run_sets import RunSet

FEW_CLIPS = 10  # in a class with fewer, outcomes repeat so much that a bootstrap interval is too short


@dataclass(frozen=True)
class ClassDifference:
    """One class: its difference, and what a paper prints for it, as A minus B."""

    label: int
    name: str
    measured: PairedDifference
    printed: tuple[PrintedGain, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A against B on the same clips.

    Attributes:
        overall: over all clips.
        tests: McNemar's exact test by seed; of two single runs one, whatever their seeds.
        classes: those with clips, largest gain of A first; empty if not asked for.
        printed_elsewhere: printed gains of classes the dataset does not have.
        named: whether the classes' names are known; else they are called by their label.
        same_seeds: whether both sides have the same seeds, which are then resampled together.
    """

    a: RunSet
    b: RunSet
    split: str
    protocol: str
    checkpoint: str
    overall: PairedDifference
    tests: dict[str, McNemar]
    same_seeds: bool
    named: bool
    classes: tuple[ClassDifference, ...] = ()
    printed_elsewhere: tuple[PrintedGain, ...] = field(default=())
    resamples: int = RESAMPLES
    seed: int = SEED

    @property
    def slug(self) -> str:
        """For file names: what is compared with what; other runs, splits and protocols get other names."""
        runs = "-vs-".join(one.label if one.key else one.runs[0].id for one in (self.a, self.b))
        configs = "-".join(one.runs[0].config_fingerprint[:6] for one in (self.a, self.b))
        on = f"{self.a.runs[0].dataset.name}-{self.split}-{self.protocol}-{self.checkpoint}"
        return re.sub(r"[^A-Za-z0-9_.@]+", "-", f"{runs}-{on}-{configs}").strip("-").lower()

    def record(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "a": side_record(self.a),
            "b": side_record(self.b),
            "dataset": self.a.runs[0].dataset.name,
            "dataset_fingerprint": self.a.runs[0].dataset.fingerprint,
            "split": self.split,
            "protocol": self.protocol,
            "checkpoint": self.checkpoint,
            "overall": asdict(self.overall),
            "mcnemar": {seed: asdict(test) for seed, test in self.tests.items()},
            "bootstrap": {"resamples": self.resamples, "seed": self.seed, "seeds_paired": self.same_seeds},
            "classes": [
                {"label": one.label, "class": one.name, **asdict(one.measured)}
                | {"printed": [asdict(gain) for gain in one.printed]}
                for one in self.classes
            ],
            "printed_elsewhere": [asdict(gain) for gain in self.printed_elsewhere],
        }


def compare(
    a: RunSet,
    b: RunSet,
    *,
    data: Path,
    per_class: bool,
    split: str | None = None,
    checkpoint: str = "best",
    protocol: str | None = None,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare two sets of runs by the scores they keep.

    Args:
        a, b: see `vidrepro.report.run_sets.choose_pair`.
        data: folder of prepared datasets, asked for the classes' names only.
        per_class: also class by class.
        split, checkpoint, protocol: see `set_scores`.
        resamples: of the bootstrap.

    Raises:
        VidreproError: see `set_scores`.
    """
    scores = set_scores([a, b], split=split, checkpoint=checkpoint, protocol=protocol)
    right_a, right_b = scores.right
    same_seeds = a.seeds == b.seeds
    overall = paired_difference(
        right_a, right_b, np.random.default_rng(SEED), same_seeds=same_seeds, resamples=resamples
    )
    classes: list[ClassDifference] = []
    elsewhere: list[PrintedGain] = []
    names = class_names(a, data)
    if per_class:
        printed = printed_gains(a, b, names or [])
        elsewhere = [gain for gain in printed if not gain.known]
        measured = class_differences(right_a, right_b, scores.labels, same_seeds=same_seeds, resamples=resamples)
        for label, difference in measured.items():
            name = names[label] if names else f"class {label}"
            of_class = tuple(gain for gain in printed if gain.class_name.casefold() == name.casefold())
            classes.append(ClassDifference(label, name, difference, of_class))
        classes.sort(key=lambda one: (-one.measured.difference, one.label))
    return Comparison(
        a, b, scores.split, scores.protocol, checkpoint, overall, _tests(a, b, right_a, right_b), same_seeds,
        names is not None, tuple(classes), tuple(elsewhere), resamples,
    )  # fmt: skip


def comparison_report(comparison: Comparison, *, top: int | None = None) -> TableReport:
    """The comparison as grids; its records, one per class, are what the CSV file holds and are never cut.

    Args:
        top: show so many of the largest gains and as many of the largest losses; None for all classes.
    """
    one = comparison
    grids = [Grid("Overall, top-1 in %", _heads("", one), (_row("all clips", one.overall, None),), _overall_facts(one))]
    if one.classes:
        shown, left_out = _largest(one.classes, top)
        printed = any(item.printed for item in one.classes)
        heads = (*_heads("Class", one), *((Cell("printed"),) if printed else ()))
        rows = tuple(_row(item.name, item.measured, item.printed if printed else None) for item in shown)
        title = "Per class, largest gain first" + (f"; {left_out} classes in the middle left out" if left_out else "")
        grids.append(Grid(title, heads, rows, _class_facts(one)))
    return TableReport(
        paper="compare",
        table=one.slug,
        title=f"{one.a.label} minus {one.b.label}",
        grids=tuple(grids),
        notes=(),
        remarks=(),
        records=tuple(_records(one)),
        measured=True,
    )


def signed(value: float) -> str:
    """One decimal with its sign; zero has none."""
    text = f"{value:+.1f}"
    return "0.0" if float(text) == 0 else text


def _tests(a: RunSet, b: RunSet, right_a: np.ndarray, right_b: np.ndarray) -> dict[str, McNemar]:
    if len(a.runs) == len(b.runs) == 1:
        return {" and ".join(dict.fromkeys((str(a.seeds[0]), str(b.seeds[0])))): mcnemar(right_a[0], right_b[0])}
    common = [seed for seed in a.seeds if seed in b.seeds]
    return {str(seed): mcnemar(right_a[a.seeds.index(seed)], right_b[b.seeds.index(seed)]) for seed in common}


def class_names(one: RunSet, data: Path) -> list[str] | None:
    """Class names, if the runs' dataset is prepared here, or is the embedded one, whose classes are known."""
    from vidrepro.data.manifest import load_manifest
    from vidrepro.data.synthetic.presets import PRESETS

    facts = one.runs[0].dataset
    try:
        manifest = load_manifest(facts.name, data)
        if manifest.fingerprint == facts.fingerprint:
            return manifest.classes_of(facts.task)
    except VidreproError:
        pass
    preset = PRESETS.get(facts.preset or "")
    if preset and preset.dataset == facts.name and facts.task is None and len(preset.classes) == facts.classes:
        return list(preset.classes)
    return None


def side_record(one: RunSet) -> dict[str, Any]:
    return {"name": one.name, "label": one.label, "seeds": list(one.seeds), "runs": [run.id for run in one.runs]}


def _heads(first: str, one: Comparison) -> tuple[Cell, ...]:
    return tuple(map(Cell, (first, "clips", one.a.label, one.b.label, "A - B", "95 % interval")))


def _row(name: str, measured: PairedDifference, printed: tuple[PrintedGain, ...] | None) -> tuple[Cell, ...]:
    texts = [name, f"{measured.clips:,}", f"{measured.a:.1f}", f"{measured.b:.1f}", signed(measured.difference)]
    texts.append(f"[{signed(measured.low)}, {signed(measured.high)}]")
    if printed is not None:
        texts.append(", ".join(f"{gain.delta:+g}" for gain in printed))
    return tuple(map(Cell, texts))


def _largest(classes: tuple[ClassDifference, ...], top: int | None) -> tuple[tuple[ClassDifference, ...], int]:
    if top is None or 2 * top >= len(classes):
        return classes, 0
    return (*classes[:top], *classes[-top:]), len(classes) - 2 * top


def _overall_facts(one: Comparison) -> tuple[str, ...]:
    run = one.a.runs[0]
    facts = [
        f"{run.dataset.name} ({run.dataset.fingerprint}), {one.split}, {one.protocol}, {one.checkpoint} checkpoints. "
        f"A: {seeds_text(one.a)}; B: {seeds_text(one.b)}."
    ]
    drawn = "clips"
    if max(len(one.a.runs), len(one.b.runs)) > 1:
        drawn = "clips and seeds" + (" (the same for both)" if one.same_seeds else " (of each side on its own)")
    facts.append(f"Intervals: percentile bootstrap, {one.resamples:,} resamples of {drawn}, generator seed {one.seed}.")
    if 1 < max(len(one.a.runs), len(one.b.runs)) < 10:
        facts.append("So few seeds show only part of the spread between seeds: the intervals are rather too short.")
    facts += [
        f"McNemar's exact test, seed {seed}: A alone right on {test.only_a:,} clips, B alone on {test.only_b:,}, "
        f"p = {test.p:.2g}."
        for seed, test in one.tests.items()
    ]
    return tuple(facts)


def _class_facts(one: Comparison) -> tuple[str, ...]:
    measured = [item.measured for item in one.classes]
    gains, losses = (sum(sign * item.difference > 0 for item in measured) for sign in (1, -1))
    up, down = sum(item.low > 0 for item in measured), sum(item.high < 0 for item in measured)
    facts = [
        f"Of {len(measured)} classes A is better in {gains} (interval above zero: {up}), worse in {losses} "
        f"(below zero: {down}). Each interval is for its class alone: by chance 5 % of them would leave out zero."
    ]
    if any(item.low == item.high for item in measured):
        facts.append("An interval without width: no clip of the class has another outcome, so none is to be drawn.")
    few = sum(item.clips < FEW_CLIPS for item in measured)
    if few:
        facts.append(f"{few} classes have fewer than {FEW_CLIPS} clips; their intervals are too short to be trusted.")
    if not one.named:
        facts.append("The dataset is not prepared here, so classes are called by their label.")
    sources = sorted({gain.source for item in one.classes for gain in item.printed})
    if sources:
        facts.append(f"printed: {'; '.join(sources)}; on the paper's dataset, so beside ours and not against it.")
    facts += [
        f"Printed for a class this dataset does not have ({gain.source}): {gain.class_name} {gain.delta:+g}."
        for gain in one.printed_elsewhere
    ]
    return tuple(facts)


def seeds_text(one: RunSet) -> str:
    ids = one.runs[0].id if len(one.runs) == 1 else f"{one.runs[0].id} and {len(one.runs) - 1} more"
    return f"seed{'s' if len(one.seeds) > 1 else ''} {', '.join(map(str, one.seeds))} ({ids})"


def _records(one: Comparison) -> list[dict[str, Any]]:
    rows: list[tuple[Any, str, PairedDifference, tuple[PrintedGain, ...]]] = [(None, "all clips", one.overall, ())]
    rows += [(item.label, item.name, item.measured, item.printed) for item in one.classes]
    return [
        {
            "label": label,
            "class": name,
            **asdict(measured),
            "printed": " ".join(f"{gain.delta:g}" for gain in printed) or None,
            "printed_source": "; ".join(gain.source for gain in printed) or None,
        }
        for label, name, measured, printed in rows
    ]
