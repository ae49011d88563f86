"""What `vidrepro show` and `vidrepro runs` say about papers, experiments, prepared datasets and runs, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vidrepro.config import ModelConfig, RunConfig
from vidrepro.experiments import Ensemble, Paper, Row, Table, default_preset, load_preset, preset_names, resolve_row
from vidrepro.experiments.schema import PrintedTable, SidedOption
from vidrepro.runs.record import RunRecord

if TYPE_CHECKING:
    from vidrepro.data.manifest import Manifest


def describe_paper(paper: Paper) -> dict[str, Any]:
    """Tables, rows and their settings, the presets they can be run with, and where text and code differ."""
    return {
        "paper": paper.name,
        "title": paper.title,
        "authors": paper.authors,
        "code": paper.code,
        "dataset": paper.dataset,
        "dataset_title": paper.dataset_title,
        "tables": [_describe_table(table) for table in paper.tables],
        "figures": [_printed(figure) for figure in paper.figures],
        "claims": [claim.model_dump() for claim in paper.claims],
        "presets": [_describe_preset(name, paper) for name in preset_names()],
        "differences": describe_differences(paper),
    }


def describe_differences(paper: Paper) -> list[dict[str, Any]]:
    """Where the paper's text and its released code disagree; `vidrepro.report.effects` says how much it matters.

    Of a paper without code: what its text leaves open, beside what the works do that it follows.
    """
    return [
        difference.model_dump()
        | {
            "option": _option(difference.option) if difference.option else None,
            "released": paper.code is not None,  # else `code` is about the works that the paper follows
        }
        for difference in paper.differences
    ]


def describe_effect(effect: Mapping[str, Any]) -> list[tuple[str, str]]:
    """An entry of `vidrepro.report.effects.difference_effects` in lines: (what, how much)."""
    change = f"{effect['row']} with {' '.join(effect['set'])}"
    cost = effect["cost"]
    if "not_measured" in cost:
        counted = f"not counted: {cost['not_measured']}"
    else:
        (before, after), (few, many) = cost["gmacs_fvcore"], cost["params"]
        same = " (no change)" if (before, few) == (after, many) else ""
        counted = f"{before:.3f} → {after:.3f} GMACs by fvcore, {few:,} → {many:,} parameters{same}"
    lines = [("effect of", change), ("  on cost", counted)]
    for score in effect["accuracy"]:
        delta = score["delta_top1"]
        seeds = ["seed " + ", ".join(map(str, side)) for side in score["seeds"]]
        text = f"top-1 {delta['mean']:+.1f} [{delta['low']:+.1f}, {delta['high']:+.1f}] pp on {score['dataset']} "
        text += (
            f"with {score['backbone']}, preset {score['preset']}; {' against '.join(reversed(dict.fromkeys(seeds)))}"
        )
        lines.append(("  on accuracy", f"{text}; interval {delta['how']}"))
    return lines if effect["accuracy"] else [*lines, ("  on accuracy", "no runs")]


def describe_row(row: Row, config: RunConfig) -> dict[str, Any]:
    """An experiment: what is printed for it, and the settings it resolves to."""
    return _printed_row(row) | {
        "config_fingerprint": config.fingerprint,
        "options": describe_options(config.model),
        "config": config.model_dump(mode="json"),
    }


def describe_unrun_row(row: Row) -> dict[str, Any]:
    """An experiment without runs of its own: what is printed for it, and what it is had from."""
    return _printed_row(row) | {"kind": row_kind(row)}


def describe_options(model: ModelConfig) -> list[dict[str, Any]]:
    """Every option of a network's mechanism and backbone: as ``--set`` takes it, its value, what is allowed, meaning.

    Raises:
        UnknownNameError, ModelError: for a network that cannot be built.
    """
    from vidrepro.models.backbones import backbone_entry, resolve_backbone
    from vidrepro.models.mechanisms import mechanism_entry, parse_spec, resolve_mechanism

    resolved = resolve_mechanism(model.mechanism, model.variant, model.options)
    owners = (
        ("options", mechanism_entry(parse_spec(model.mechanism)[0]).options, resolved.options),
        (
            "backbone_options",
            backbone_entry(model.backbone).options,
            resolve_backbone(model.backbone, model.backbone_options),
        ),
    )
    return [
        {
            "key": f"model.{section}.{name}",
            "value": values.get(name, option.default),
            "allowed": option.allowed,
            "meaning": option.meaning,
        }
        for section, declared, values in owners
        for name, option in declared.items()
    ]


def describe_dataset(manifest: Manifest) -> dict[str, Any]:
    """A prepared dataset: its clips, classes, sizes and fingerprint."""
    rows = manifest.table
    info = manifest.info
    ok = rows[rows["status"] == "ok"]
    by_class = ok.groupby(["label", "split"]).size()
    sizes = sorted({f"{width}x{height}" for width, height in zip(ok["width"], ok["height"], strict=True)})
    return {
        "dataset": manifest.name,
        "folder": str(manifest.folder),
        "root": str(manifest.root),
        "fingerprint": manifest.fingerprint,
        "version": info.get("version"),
        "preset": info.get("preset"),
        "seed": info.get("seed"),
        "encoding": info.get("encoding"),
        "counts": manifest.counts(),
        "frames": _range(ok["frames"].tolist()),
        "fps": _range(ok["fps"].tolist()),
        "sizes": sizes if len(sizes) <= 8 else [sizes[0], "…", sizes[-1]],
        "bytes": int(ok["bytes"].sum()),
        "folds": manifest.folds(),
        "tasks": manifest.tasks(),
        "order_blind_ceiling": info.get("order_blind_ceiling"),
        "reversal_pairs": info.get("reversal_pairs", []),
        "classes": [
            {
                "label": label,
                "name": name,
                **{split: int(by_class.get((label, split), 0)) for split in manifest.counts()},
            }
            for label, name in enumerate(manifest.classes)
        ],
    }


def describe_run(run: RunRecord) -> dict[str, Any]:
    """A finished run on one line of a list."""
    model: Mapping[str, Any] = run.config.get("model", {})
    asked = run.paper_setting
    return {
        "run": run.id,
        "state": "finished",
        "paper": asked.paper if asked else None,
        "preset": asked.preset if asked else None,
        "dataset": run.dataset.name,
        "dataset_fingerprint": run.dataset.fingerprint,
        "backbone": run.backbone.name,
        "mechanism": network_text(
            {key: value for key, value in model.items() if key in ("mechanism", "temporal_shift")}
        ),
        "protocol": run.protocol,
        "seed": run.seed,
        "clips": run.best.clips,
        "top1": run.best.top1,
        "top5": run.best.top5,
        "pair": run.best.pair,
        "best_epoch": run.best.epoch,
        "last_top1": run.last.top1,
        "seconds": run.seconds,
        "commit": run.environment.commit,
        "dirty": run.environment.dirty,
        "commits": run.environment.commit_texts(),
        "torch": run.environment.torch,
        "device": run.environment.device,
    }


def network_text(model: Mapping[str, Any]) -> str:
    """Model settings in a few words: ``m2a + temporal shift, variant=official``."""
    text = str(model.get("mechanism", "none")) + (" + temporal shift" if model.get("temporal_shift") else "")
    rest = [f"{key}={value}" for key, value in model.items() if key not in ("mechanism", "temporal_shift", "backbone")]
    return ", ".join([text, *rest])


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key, as ``--set`` takes them."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _describe_table(table: Table) -> dict[str, Any]:
    column = table.column("top1")
    named = "top1" if table.is_matrix or column is None else column.name
    rows = [
        {
            "experiment": row.id,
            "label": row.label,
            "model": row.model if row.built and row.derived is None else {},
            "frames": row.frames if row.is_trained else None,
            "backbone": str(row.model.get("backbone", "")) if row.built else "",
            "kind": row_kind(row),
            "printed": dict(row.printed),
            "top1": row.printed.get(named),
        }
        for row in table.rows
    ]
    return {
        "table": table.id,
        "backbone": table.backbone,
        "baseline": table.baseline,
        "datasets": list(table.datasets),
        **_printed(table.printed),
        "rows": rows,
    }


def row_kind(row: Row) -> str:
    """How a row's accuracy is had here: ``trained``, or in a few words from what."""
    if row.why_not_run is not None:
        return row.why_not_run
    if isinstance(row.derived, Ensemble):
        return f"ensemble of {', '.join(name.rpartition('/')[2] for name in row.derived.members)}"
    if row.derived is None:
        return "trained"
    source = row.derived.of.rpartition("/")[2]
    if row.derived.probe is not None:
        return f"{source} with {' attention: '.join(row.derived.probe)}"
    return f"{source} with {row.derived.crops} crops x {row.derived.clips} clips"


def _printed_row(row: Row) -> dict[str, Any]:
    return {
        "experiment": row.id,
        "label": row.label,
        "paper": row.paper,
        "table": row.table,
        "printed": dict(row.printed),
    }


def _option(option: SidedOption) -> dict[str, Any]:
    return option.model_dump() | {"key": option.key}


def _printed(table: PrintedTable) -> dict[str, Any]:
    return {
        "section": table.section,
        "caption": table.caption,
        "columns": [column.model_dump() for column in table.columns],
        "rows": table.rows,
        "doubts": [doubt.model_dump(exclude_none=True) for doubt in table.doubts],
    }


def _describe_preset(name: str, paper: Paper) -> dict[str, Any]:
    preset = load_preset(name)
    datasets = preset.for_datasets or [paper.dataset]
    first = next(row for table in paper.tables for row in table.rows if row.is_trained)
    config = resolve_row(first, dataset=datasets[0], preset=name).model_dump(mode="json")
    model = {key: config["model"].get(key) for key in ("dropout", "weights")}
    return {
        "preset": name,
        "about": preset.about,
        "used_for": datasets if default_preset(datasets[0]) == name else [],
        "replace_backbone": preset.replace_backbone,
        "backbone_options": preset.backbone_options,
        "settings": flat_settings({"model": model, "data": config["data"], "train": config["train"]}),
    }


def _range(values: list[float]) -> dict[str, float] | None:
    return {"least": min(values), "most": max(values)} if values else None
