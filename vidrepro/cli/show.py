"""``vidrepro show``: what there is to know about a paper, a row, a prepared dataset or a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidrepro.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from vidrepro.experiments import Paper, Row


def show(
    target: Annotated[str, typer.Argument(help="A paper (m2a), a row (m2a/table1/m2a), a prepared dataset, or a run.")],
    differences: Annotated[
        bool, typer.Option("--differences", help="Paper: only where its text and its released code differ.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Prepared dataset: also draw a clip of each class into this picture.")
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Prepared dataset: draw example clips, classes and clip lengths (PNG).")
    ] = False,
    figures_out: Annotated[
        Path | None, typer.Option("--out", help="Folder of --figures (default: <results>/figures/<dataset>).")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--classes", help="Of --figures: clips of these; numbers 0,5, a name or part of it, or figure3."),
    ] = None,
    clips: Annotated[int, typer.Option("--clips", min=1, help="Of --figures: clips of each class.")] = 1,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Of --figures: where the clips are taken from (default: val, else test)."),
    ] = None,
    dataset: options.Dataset = "auto",
    preset: options.Preset = None,
    backbone: options.Backbone = None,
    overrides: options.Overrides = None,
    data: options.Data = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Show a paper's tables, rows and settings; a row's resolved settings; a prepared dataset; or a run.

    Examples:

      vidrepro show m2a

      vidrepro show m2a --differences

      vidrepro show m2a/table1/m2a --preset paper

      vidrepro show synthetic --sheet synthetic.png

      vidrepro show ssv1 --figures --classes figure3 --clips 2
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.experiments import find_row, load_paper, paper_names

    out = console(for_json=json)
    kind, printer = _kind_of(target, files.data_folder(data), files.results_folder(results))
    if differences and kind != "paper":
        raise typer.BadParameter(f"--differences is about a paper ({', '.join(paper_names())}), not about '{target}'")
    if sheet is not None and kind != "dataset":
        raise typer.BadParameter(f"--sheet is about a prepared dataset, not about '{target}'")
    figures = figures or figures_out is not None
    if figures and kind != "dataset":
        raise typer.BadParameter(f"--figures is about a prepared dataset, not about '{target}'")
    if (classes or clips > 1 or split is not None) and not figures:
        raise typer.BadParameter("--classes, --clips and --split would have no effect without --figures")
    asked = {"--dataset": dataset != "auto", "--preset": preset, "--backbone": backbone, "--set": overrides}
    if kind != "row":
        _refuse_settings(asked, f"'{target}' is a {kind}; only a row (m2a/table1/m2a) is resolved under settings")
    content: Any
    if kind == "paper":
        from vidrepro.report.describe import describe_paper

        paper = load_paper(target)
        content = _differences(out, paper, files.results_folder(results)) if differences else describe_paper(paper)
        printer = _print_differences if differences else _print_paper
    elif kind == "row":
        row = find_row(target)
        content = _row(row, dataset, preset, backbone, overrides, files.data_folder(data))
    elif kind == "dataset":
        from vidrepro.cli.show_dataset import describe_with_examples, write_figures
        from vidrepro.data.manifest import load_manifest

        manifest = load_manifest(target, files.data_folder(data))
        content = describe_with_examples(manifest)
        if sheet is not None:
            from vidrepro.data.contact_sheet import write_contact_sheet

            write_contact_sheet(manifest, sheet)
        if figures:
            folder = figures_out or files.results_folder(results) / "figures" / manifest.name
            written = write_figures(
                manifest, folder, split=split or manifest.eval_split(), classes=classes, clips=clips
            )
            content["figures"] = [str(path) for path in written]
    else:
        content = _run_record(target, files.results_folder(results))
    if json:
        print_json(content)
    else:
        printer(out, content)


def _differences(out: Console, paper: Paper, results: Path) -> list[dict[str, Any]]:
    from vidrepro.cost.costs_file import KnownCosts
    from vidrepro.report.describe import describe_differences
    from vidrepro.report.effects import difference_effects
    from vidrepro.report.finished_runs import load_runs

    runs, costs = load_runs(results).runs, KnownCosts(results, paper)

    def say(what: str) -> None:
        out.print(f"counting the cost of {what}", style="dim")

    effects = [difference_effects(paper, difference, runs, costs, say) for difference in paper.differences]
    return [item | {"effects": found} for item, found in zip(describe_differences(paper), effects, strict=True)]


def _kind_of(target: str, data: Path, results: Path) -> tuple[str, Any]:
    """What the name names, and how that is printed; papers come first, then rows, datasets and runs."""
    from vidrepro.errors import unknown_name
    from vidrepro.experiments import known_datasets, paper_names
    from vidrepro.runs.folder import RUN_FILE

    papers = paper_names()
    datasets = known_datasets(data)
    runs = [path.parent.name for path in (results / "runs").glob(f"*/{RUN_FILE}")]
    if target in papers:
        return "paper", _print_paper
    if target.split("/")[0] in papers and target.count("/") == 2:
        return "row", _print_row
    if target in datasets:
        return "dataset", _print_dataset
    if any(name.startswith(target) for name in runs) or (Path(target) / RUN_FILE).is_file():
        return "run", _print_run
    raise unknown_name("paper, row, dataset or run", target, {*papers, *datasets, *runs})


def _refuse_settings(asked: dict[str, Any], reason: str) -> None:
    """Options that would change nothing are refused rather than ignored."""
    given = [option for option, value in asked.items() if value]
    if given:
        raise typer.BadParameter(f"{', '.join(given)} would have no effect: {reason}")


def _row(
    row: Row, dataset: str, preset: str | None, backbone: str | None, overrides: list[str] | None, data: Path
) -> dict[str, Any]:
    from vidrepro.ablation.parts import resolve_rows
    from vidrepro.ablation.setting import select_setting
    from vidrepro.report.describe import describe_row, describe_unrun_row

    setting = select_setting(
        row.paper, dataset=dataset, preset=preset, backbone=backbone, overrides=overrides, data=data, experiment=row.id
    )
    if not row.is_trained:
        return describe_unrun_row(row) | {"sentence": setting.sentence}
    ((_, config),) = resolve_rows(setting, [row])
    return describe_row(row, config) | {
        "preset": setting.preset,
        "dataset": setting.dataset,
        "sentence": setting.sentence,
    }


def _run_record(name: str, results: Path) -> dict[str, Any]:
    import json

    from vidrepro.runs.folder import RUN_FILE, find_run
    from vidrepro.runs.record import read_run

    file = find_run(results, name) / RUN_FILE
    read_run(file)  # refuses a damaged record with everything that is wrong
    return json.loads(file.read_text(encoding="utf-8"))


def _print_paper(out: Console, content: dict[str, Any]) -> None:
    from rich.table import Table

    from vidrepro.report.describe import network_text

    out.print(content["title"], style="bold")
    out.print(
        f"{content['authors']}. Code: {content['code']}. Dataset: {content['dataset_title']} ({content['dataset']})."
    )
    for table in content["tables"]:
        named = f"Table {table['table']} (section {table['section']}): {table['caption']}"
        out.print(f"\n{named}", style="bold")
        shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for head in ("  experiment", "printed as", "top-1", "backbone", "mechanism"):
            shown.add_column(head, style="", header_style="dim")
        for row in table["rows"]:
            network = row["kind"] if row["kind"] != "trained" else network_text(row["model"])
            network += f", {row['frames']} frames" if row["frames"] else ""
            cells = (row["label"], str(row["top1"] if row["top1"] is not None else ""), row["backbone"], network)
            shown.add_row(f"  {row['experiment']}", *cells)
        out.print(shown)
        for doubt in table["doubts"]:
            out.print(f"  doubt: {doubt['text']}", style="dim")
    _print_presets(out, content["presets"])
    differing = "Where the text and the released code differ" if content["code"] else "What the text leaves open"
    out.print(f"\n{differing}", style="bold")
    _print_differences(out, content["differences"])


def _print_presets(out: Console, presets: list[dict[str, Any]]) -> None:
    from rich.table import Table

    out.print("\nPresets: the settings a row is run with, where the row does not say otherwise", style="bold")
    for preset in presets:
        used = f" (default for {', '.join(preset['used_for'])})" if preset["used_for"] else ""
        out.print(f"  {preset['preset']}: {preset['about']}{used}")
        if preset["replace_backbone"]:
            replaced = ", ".join(f"{old} → {new}" for old, new in preset["replace_backbone"].items())
            out.print(f"    replaces the table's backbone: {replaced}")
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("  setting", header_style="dim")
    for preset in presets:
        shown.add_column(preset["preset"], header_style="dim")
    for key in dict.fromkeys(key for preset in presets for key in preset["settings"]):
        shown.add_row(f"  {key}", *(_value(preset["settings"].get(key)) for preset in presets))
    out.print(shown)


def _print_differences(out: Console, content: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from vidrepro.report.describe import describe_effect

    for item in content:
        option = item["option"]
        here = item["ours"]
        if option:
            here += f"; --set {option['key']}={option['official']} (the code) or {option['paper']} (the text)"
        code = "the released code" if item["released"] else "works it follows"
        lines = [("the text", item["paper"]), (code, item["code"]), ("here", here)]
        lines += [("can change", ", ".join(item["changes"]) or "nothing that is counted or measured")]
        for effect in item["effects"]:
            lines += describe_effect(effect) if "cost" in effect else []
        out.print(Text(f"\n{item['id']}: {item['topic']}", style="bold"))
        shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        shown.add_column(min_width=len("  the released code"), no_wrap=True)
        shown.add_column(overflow="fold")
        for name, text in lines:
            shown.add_row(Text(f"  {name}", style="dim"), Text(text))
        out.print(shown)


def _print_row(out: Console, content: dict[str, Any]) -> None:

    from vidrepro.report.describe import flat_settings

    printed = ", ".join(f"{name} {value}" for name, value in content["printed"].items() if value is not None)
    out.print(f"{content['experiment']}: Table {content['table']}, {content['label']}", style="bold")
    out.print(f"printed: {printed}")
    if "config" not in content:
        out.print(f"Not trained here: {content['kind']}")
        return
    out.print(content["sentence"])
    out.print(f"Preset '{content['preset']}', config {content['config_fingerprint']}:")
    _print_pairs(out, flat_settings(content["config"]))
    out.print("What the mechanism and the backbone can be told with --set:")
    _print_pairs(out, {o["key"]: f"{_value(o['value'])}: {o['meaning']} ({o['allowed']})" for o in content["options"]})


_SHOWN_APART = ("classes", "reversal_pairs", "counts", "figures")


def _print_dataset(out: Console, content: dict[str, Any]) -> None:
    from rich.table import Table

    classes = content["classes"]
    pairs = content["reversal_pairs"]
    facts = {key: value for key, value in content.items() if key not in _SHOWN_APART}
    for split, count in content["counts"].items():
        facts[split] = f"{count['ok']:,} clips" + (f", {count['bad']:,} bad" if count["bad"] else "")
    _print_pairs(out, facts)
    reversed_to = {first: second for pair in pairs for first, second in (pair, reversed(pair))}
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("  label", "class", *content["counts"], *(["reversed it is"] if pairs else []), "a clip"):
        shown.add_column(head, header_style="dim")
    for entry in classes:
        counts = [str(entry[split]) for split in content["counts"]]
        other = [str(reversed_to.get(entry["label"], "-"))] if pairs else []
        shown.add_row(f"  {entry['label']}", entry["name"], *counts, *other, entry["example"] or "-")
    out.print(shown)
    for path in content.get("figures", []):
        out.print(f"written: {path}")
    if "figures" not in content:
        out.print(f"\nPictures of it: vidrepro show {content['dataset']} --figures", style="dim")


def _print_run(out: Console, content: dict[str, Any]) -> None:
    from vidrepro.report.describe import flat_settings

    out.print(content["id"], style="bold")
    shown = {key: content[key] for key in ("best", "last", "protocol", "seed", "dataset", "backbone", "environment")}
    shown |= {key: content.get(key) for key in ("seconds", "paper_setting", "config_fingerprint")}
    _print_pairs(out, shown)
    out.print("settings:")
    _print_pairs(out, flat_settings(content["config"]))


def _print_pairs(out: Console, pairs: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for key, value in pairs.items():
        shown.add_row(Text(f"  {key}", style="dim"), Text(_value(value)))
    out.print(shown)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value) or "-"
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None else str(value)
