"""What ``vidrepro ablate`` says about what it runs where, and the plan that --dry-run prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from vidrepro.ablation.parts import Part


def print_plans(out: Console, parts: Sequence[Part], seeds: list[int], results: Path, json: bool) -> None:
    from vidrepro.cli.output import print_json

    plans = [_plan_cells(part, seeds, results) for part in parts]
    if json:
        print_json([cell for cells in plans for cell in cells])
        return
    for part, cells in zip(parts, plans, strict=True):
        _print_plan(out, part, cells, len(seeds))


def _plan_cells(part: Part, seeds: list[int], results: Path) -> list[dict[str, Any]]:
    from vidrepro.ablation.parts import own_fold, prepared_fingerprint
    from vidrepro.runs.folder import RUN_FILE, run_id, runs_folder

    fingerprint, prepared = prepared_fingerprint(part.setting), own_fold(part.setting)
    cells = []
    for experiment, config in part.resolved:
        for seed in seeds:
            name = run_id(config, fingerprint(config), seed) if fingerprint else None
            finished = name is not None and (runs_folder(results) / name / RUN_FILE).is_file()
            state = "finished" if finished else "to run" if name else f"{config.dataset} not prepared"
            cells.append(
                {
                    "experiment": experiment,
                    "seed": seed,
                    "fold": config.data.fold or prepared,
                    "run": name,
                    "state": state,
                    "config_fingerprint": config.fingerprint,
                    "config": config.model_dump(mode="json"),
                }
            )
    return cells


def _print_plan(out: Console, part: Part, cells: list[dict[str, Any]], seeds: int) -> None:
    from rich.table import Table

    shown = Table(title=f"{len(cells)} runs", title_justify="left")
    for column in ("experiment", "seed", "fold", "backbone", "mechanism", "protocol", "epochs", "config", "state"):
        shown.add_column(column)
    runs = [item for item in part.resolved for _ in range(seeds)]
    for (experiment, config), cell in zip(runs, cells, strict=True):
        mechanism = config.model.mechanism + (" + shift" if config.model.temporal_shift else "")
        shown.add_row(
            experiment,
            str(cell["seed"]),
            str(cell["fold"] or "-"),
            config.model.backbone,
            mechanism,
            str(config.data.protocol),
            str(config.train.epochs),
            config.fingerprint,
            str(cell["state"]),
        )
    out.print(shown)
    derived = [row for row in part.rows if row.derived is not None]
    if derived:
        out.print(f"Had from these runs: {', '.join(row.id for row in derived)}")


def print_part(out: Console, part: Part, folds: str | None, seeds: str, results: Path) -> None:
    out.print(part.setting.sentence, style="bold")
    names = [name for name in part.under if name is not None]
    named = f"; folds {', '.join(names)}" if folds is not None or names else ""
    out.print(f"Preset '{part.setting.preset}'; seeds {seeds}{named}; results in {results}.")
