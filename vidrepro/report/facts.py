"""The sentences below a table: what the numbers were measured on, with what, and how to fill what is empty."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from vidrepro.evaluation.scores import incomplete_text
from vidrepro.experiments import Paper, Table, default_preset
from vidrepro.experiments.papers import NOT_BUILT, QUOTED
from vidrepro.report.fold_groups import FoldGroup, missing_runs
from vidrepro.report.records import Cost, trained_text
from vidrepro.report.sections import Section, SettingKey
from vidrepro.runs.record import DatasetFacts


def section_facts(paper: Paper, table: Table, section: Section, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What holds for the accuracies of one setting."""
    measured = [record for record in records if record["runs"]]
    facts = []
    if section.dataset is not None and measured:
        facts += _measured_facts(paper, table, section.key, [section.dataset], measured)
    missing = [record["experiment"].rsplit("/", 1)[1] for record in records if _can_be_run(record)]
    if missing:
        facts.append(f"Not run: {_command(paper, table, section.key, missing, everything=not measured)}")
    return facts


def group_facts(
    paper: Paper,
    table: Table,
    group: FoldGroup,
    means: Sequence[Mapping[str, Any]],
    by_fold: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[str]:
    """What holds for accuracies on official folds, each fold's own ones, and the commands for those that are missing.

    Args:
        paper, table: what is printed.
        group: the setting with its folds.
        means, by_fold: see `vidrepro.report.fold_groups.group_records`.
    """
    measured = [record for records in by_fold.values() for record in records if record["runs"]]
    facts = _measured_facts(paper, table, group.key, group.datasets, measured)
    facts.append(
        f"Mean over exactly the official folds {', '.join(group.official)}, each weighing the same, then over seeds; "
        "±: standard deviation of the seeds' means. None unless every fold is there for every seed of a row."
    )
    texts = [f"{record['label']}: {record['by_fold']}" for record in means if record["by_fold"]]
    facts.append(f"Top-1 by fold: {'; '.join(texts)}.")
    for (folds, seeds), rows in missing_runs(group, table).items():
        more = ("--folds", ",".join(folds), *(() if seeds == (0,) else ("--seeds", ",".join(map(str, seeds)))))
        everything = len(rows) == len(table.rows)
        facts.append(f"Not run: {_command(paper, table, group.key, rows, everything=everything, more=more)}")
    return facts


def _measured_facts(
    paper: Paper,
    table: Table,
    key: SettingKey,
    datasets: Sequence[DatasetFacts],
    measured: Sequence[Mapping[str, Any]],
) -> list[str]:
    """What holds for what was measured, `datasets` being one dataset as its folds divide it."""
    facts = [_dataset_text(dataset) for dataset in datasets]
    if key.dataset not in table.datasets:
        facts.append(
            f"{key.dataset} is not the paper's dataset ({titles(paper, table)}): "
            "its accuracies stand beside the printed ones, not against them."
        )
    facts += _ceiling_texts(datasets[0], measured)
    facts += [_network_text(measured), _statistics_text(measured, datasets[0])]
    return [*facts, _provenance_text(key, measured)]


def titles(paper: Paper, table: Table) -> str:
    """The datasets a table is printed for, in words."""
    return "; ".join(paper.title_of(dataset) for dataset in table.datasets)


def cost_facts(costs: Sequence[Cost]) -> list[str]:
    """What holds for the counted costs."""
    uncounted = sorted({name for cost in costs for name in cost.get("uncounted") or ()})
    facts = ["Counted in eval mode on the paper's own backbone and input, whatever was trained above."]
    if uncounted:
        facts.append(f"Operators fvcore does not count: {', '.join(uncounted)}.")
    other_views = any((cost.get("views") or 1) != 1 for cost in costs)
    facts += ["A view is one crop of one clip; a video costs the views' number times as much."] if other_views else []
    differing = [cost["label"] for cost in costs if cost.get("matches_printed") is False]
    if differing:
        facts.append(f"The printed convention does not give the printed digits for: {', '.join(differing)}.")
    elif any(cost.get("matches_printed") for cost in costs):
        facts.append("Rounded, the printed convention gives every printed digit.")
    disagreements = sorted(
        {text for cost in costs for text in (cost.get("cross_check") or {}).get("disagreements", ())}
    )
    params = [cost["label"] for cost in costs if cost.get("matches_printed_params") is False]
    facts += [f"Parameters differ from the printed digits for: {', '.join(params)}."] if params else []
    if not params and any(cost.get("matches_printed_params") for cost in costs):
        facts.append("Rounded, the counted parameters are every printed number of them.")
    unbuilt = [str(cost["label"]) for cost in costs if cost.get("quoted") and cost.get("not_measured")]
    facts += [f"Quoted, and not built here: {', '.join(unbuilt)}."] if unbuilt else []
    own = [str(cost["label"]) for cost in costs if cost.get("not_built")]
    facts += [f"The authors' own run of a network that is not built here: {', '.join(own)}."] if own else []
    return facts + [f"Counters disagree on {text}." for text in disagreements]


def _can_be_run(record: Mapping[str, Any]) -> bool:
    reason = record["empty_because"]
    return reason not in (None, QUOTED, NOT_BUILT) and not record["runs"]


def _dataset_text(dataset: DatasetFacts) -> str:
    about = [f"preset {dataset.preset}"] if dataset.preset else []
    about += [f"version {dataset.version}"] if dataset.version is not None else []
    about += [f"{kind} {name}" for kind, name in (("fold", dataset.fold), ("task", dataset.task)) if name is not None]
    named = f"{dataset.name} ({', '.join(about)})" if about else dataset.name
    counts = []
    for split, count in dataset.counts.items():
        bad = count.get("bad", 0)
        counts.append(f"{split} {count.get('ok', 0):,} clips{f' and {bad:,} bad left out' if bad else ''}")
    none_bad = "; no bad clips" if not any(count.get("bad") for count in dataset.counts.values()) else ""
    size = f"{dataset.classes} classes: {', '.join(counts)}{none_bad}"
    lacking = incomplete_text(dataset.completeness)
    text = f"Dataset {named}, fingerprint {dataset.fingerprint}, {size}."
    return text if lacking is None else f"{text} {lacking[0].upper()}{lacking[1:]}."


def _ceiling_texts(dataset: DatasetFacts, measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ceiling, where it holds, and why not, where it does not; rows are named where they differ."""
    share = dataset.order_blind_ceiling
    if share is None:
        return []
    rows: dict[str | None, list[str]] = {}
    for record in measured:
        rows.setdefault(record["no_order_blind_ceiling"], []).append(record["label"])
    texts = []
    for reason, labels in rows.items():
        concerned = f" for {', '.join(labels)}" if len(rows) > 1 else ""
        if reason is None:
            ceiling = f"Order-blind ceiling{concerned}: {100 * share:.1f} % top-1"
            texts.append(f"{ceiling} is the most a network that ignores frame order can expect.")
        else:
            texts.append(f"No order-blind ceiling is stated{concerned}: {reason}.")
    chance = 100 / dataset.classes
    pair = f"pair {(1 + 2 * (1 - share)) * chance:.1f} %"
    texts[-1] += f" Pair: the right class or its time reversal. Chance: top-1 {chance:.1f} %, {pair}."
    return texts


def _network_text(measured: Sequence[Mapping[str, Any]]) -> str:
    parameters = sorted({record["trained_params"] for record in measured})
    sizes = sorted(
        {f"{record['frames']} frames of {record['input_size']}x{record['input_size']}" for record in measured}
    )
    span = f"{parameters[0]:,}" + (f" to {parameters[-1]:,}" if parameters[1:] else "")
    names = sorted({trained_text(record) for record in measured})
    return f"Backbone really trained: {', '.join(names)}, {span} parameters, {', '.join(sizes)}."


def _statistics_text(measured: Sequence[Mapping[str, Any]], dataset: DatasetFacts) -> str:
    several = [record for record in measured if record["top1_sd"] is not None]
    single = "[ ]: Wilson 95 % interval over the clips of one run" if len(several) < len(measured) else ""
    seeds = sorted({int(seed) for record in measured for seed in record["seeds"].split()})
    spread = f"±: standard deviation over seeds {', '.join(map(str, seeds))}" if several else ""
    clips = sorted({record["clips"] for record in measured})
    kind = "test" if "val" not in dataset.counts and "test" in dataset.counts else "validation"
    split = f"Best epoch on {' or '.join(f'{count:,}' for count in clips)} {kind} clips"
    return f"{split}, the last epoch beside it. {'; '.join(text for text in (single, spread) if text)}."


def _provenance_text(key: SettingKey, measured: Sequence[Mapping[str, Any]]) -> str:
    commits = sorted({commit for record in measured for commit in record["commits"].split()})
    torch = sorted({version for record in measured for version in record["torch"].split()})
    asked = [f"preset {key.preset}"]
    asked += [f"backbone {key.backbone} asked for"] if key.backbone else []
    asked += [f"overrides {' '.join(key.overrides)}"] if key.overrides else []
    return f"Made with {', '.join(asked)}; commit {', '.join(commits)}; torch {', '.join(torch)}."


def _command(
    paper: Paper, table: Table, key: SettingKey, rows: Sequence[str], *, everything: bool, more: Sequence[str] = ()
) -> str:
    words = ["vidrepro", "ablate", paper.name, "--table", table.id]
    words += [] if everything else ["--rows", ",".join(rows)]
    words += ["--dataset", key.dataset]
    words += ["--preset", key.preset] if key.preset != default_preset(key.dataset) else []
    words += ["--backbone", key.backbone] if key.backbone else []
    for override in key.overrides:
        words += ["--set", override]
    return shlex.join([*words, *more])
