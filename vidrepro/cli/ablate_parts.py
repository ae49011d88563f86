"""What ``vidrepro ablate`` runs where: the rows of each place, their settings, and the plan that --dry-run prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from vidrepro.config import RunConfig
    from vidrepro.data.manifest import Manifest
    from vidrepro.experiments import Row
    from vidrepro.experiments.setting import Setting


@dataclass(frozen=True)
class Part:
    """The rows that are run in one place: one dataset under one label set.

    Attributes:
        setting: how they are resolved.
        rows: as selected, those without runs of their own included.
        under: the setting once for each official fold that is run, by its name.
        resolved: (experiment, config) of everything that is trained.
    """

    setting: Setting
    rows: tuple[Row, ...]
    under: dict[str | None, Setting]
    resolved: list[tuple[str, RunConfig]]


def find_parts(
    paper: str,
    tables: str | None,
    rows: str | None,
    folds: str | None,
    *,
    dataset: str,
    preset: str | None,
    backbone: str | None,
    overrides: list[str] | None,
    start: str | None,
    data: Path,
    results: Path,
) -> list[Part]:
    """What is run where, checked before anything is prepared, written or trained."""
    from vidrepro.cli.train import start_from
    from vidrepro.experiments import load_paper, select_rows
    from vidrepro.experiments.overrides import replaces_start
    from vidrepro.experiments.setting import settings_of_tables

    source = load_paper(paper)
    selected = select_rows(source, tables, rows, backbone)
    concerned = [source.table(name) for name in dict.fromkeys(row.table for row in selected)]
    found = settings_of_tables(
        source, concerned, dataset=dataset, preset=preset, backbone=backbone, overrides=overrides, data=data
    )
    parts = []
    for setting, of_tables in found:
        names = {table.id for table in of_tables}
        own = tuple(row for row in selected if row.table in names)
        under = {
            fold: start_from(one, start, results)
            for fold, one in _settings_of_folds(setting, folds or ",".join(setting.folds) or None).items()
        }
        setting = start_from(setting, start, results)
        needed = source.trained_rows if replaces_start(setting.overrides) else source.runs_needed
        trained = list({row.id: row for chosen in own for row in needed(chosen)}.values())
        parts.append(Part(setting, own, under, [pair for one in under.values() for pair in _resolve(one, trained)]))
    return parts


def _resolve(setting: Setting, rows: Sequence[Row]) -> list[tuple[str, RunConfig]]:
    """Every row's config."""
    from vidrepro.experiments.overrides import require_some_row_takes
    from vidrepro.models import check_config

    require_some_row_takes(rows, setting.overrides)
    resolved = [(row.id, setting.resolve(row.id)) for row in rows]
    for _, config in resolved:
        check_config(config.model)
    return resolved


def _settings_of_folds(setting: Setting, folds: str | None) -> dict[str | None, Setting]:
    """The setting once for each fold of ``--folds``, by the fold's name; without ``--folds`` as it is.

    The fold that the dataset was prepared with is the manifest's own: its runs are those made without naming a fold.

    Raises:
        ConfigError: if the dataset has no official folds that ``all`` could mean, or ``--set`` names a fold too.
    """
    from vidrepro.errors import ConfigError
    from vidrepro.report.fold_groups import FOLD_KEY
    from vidrepro.report.folds import OFFICIAL_FOLDS

    if folds is None:
        return {None: setting}
    if any(text.startswith(FOLD_KEY) for text in setting.overrides):
        raise ConfigError("--folds and --set data.fold=... both name a fold", given=folds, allowed="one of them")
    names = [name.strip() for name in folds.split(",")]
    if names == ["all"]:
        names = list(OFFICIAL_FOLDS.get(setting.dataset, ()))
    if not all(names) or not names:
        raise ConfigError(
            f"--folds names no fold of '{setting.dataset}'",
            given=folds,
            allowed=f"names such as split1,split2; all, of {', '.join(OFFICIAL_FOLDS)}",
        )
    own = _own_fold(setting)
    return {
        name: setting if name == own else replace(setting, overrides=(*setting.overrides, f"{FOLD_KEY}{name}"))
        for name in names
    }


def _own_fold(setting: Setting) -> str | None:
    """The fold that the dataset was prepared with; None if it has no folds or is not prepared."""
    from vidrepro.data.dataset_info import read_info
    from vidrepro.files import is_prepared

    if not is_prepared(setting.data, setting.dataset):
        return None
    return read_info(setting.data / setting.dataset / "dataset.json", setting.dataset).get("fold")


def fingerprint_under(manifest: Manifest) -> Callable[[RunConfig], str]:
    """The dataset's fingerprint as a run sees it: under the fold and the task of its config."""
    return lambda config: manifest.selection_fingerprint(fold=config.data.fold, task=config.data.task)


def _prepared_fingerprint(setting: Setting) -> Callable[[RunConfig], str] | None:
    from vidrepro.data.manifest import load_manifest
    from vidrepro.files import is_prepared

    if not is_prepared(setting.data, setting.dataset):
        return None
    return fingerprint_under(load_manifest(setting.dataset, setting.data))


def print_plans(out: Console, parts: Sequence[Part], seeds: list[int], results: Path, json: bool) -> None:
    from vidrepro.cli.output import print_json

    plans = [_plan_cells(part, seeds, results) for part in parts]
    if json:
        print_json([cell for cells in plans for cell in cells])
        return
    for part, cells in zip(parts, plans, strict=True):
        _print_plan(out, part, cells, len(seeds))


def _plan_cells(part: Part, seeds: list[int], results: Path) -> list[dict[str, Any]]:
    from vidrepro.runs.folder import RUN_FILE, run_id, runs_folder

    fingerprint, own_fold = _prepared_fingerprint(part.setting), _own_fold(part.setting)
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
                    "fold": config.data.fold or own_fold,
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
    out.print(f"[bold]{part.setting.sentence}[/bold]")
    names = [name for name in part.under if name is not None]
    named = f"; folds {', '.join(names)}" if folds is not None or names else ""
    out.print(f"Preset '{part.setting.preset}'; seeds {seeds}{named}; results in {results}.")
