"""What of a paper is run where: the rows of each place, and their settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vidrepro.ablation.setting import Setting, settings_of_tables
from vidrepro.ablation.start import start_from
from vidrepro.config import RunConfig
from vidrepro.errors import ConfigError
from vidrepro.experiments.lookup import load_paper
from vidrepro.experiments.overrides import FOLD_KEY, replaces_start, require_some_row_takes
from vidrepro.experiments.papers import Row
from vidrepro.experiments.resolution import load_preset, select_rows
from vidrepro.files import is_prepared

if TYPE_CHECKING:
    from vidrepro.data.manifest import Manifest


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
        parts.append(Part(setting, own, under, [pair for one in under.values() for pair in resolve_rows(one, trained)]))
    return parts


def resolve_rows(
    setting: Setting, rows: Sequence[Row], *, options_checked: bool = False
) -> list[tuple[str, RunConfig]]:
    """Every row's id and config, before anything is written.

    Args:
        setting: how they are resolved.
        rows: those that are trained.
        options_checked: whether it is known that each option is taken by some row, of these or of others.

    Raises:
        VidreproError: for a setting or option that nobody takes, with the nearest name, or a network that cannot be
            built.
    """
    from vidrepro.models import check_config

    if not options_checked:
        require_some_row_takes(rows, setting.overrides)
    _check_backbones(setting.preset)
    resolved = [(row.id, setting.resolve(row.id)) for row in rows]
    for _, config in resolved:
        check_config(config.model)
    return resolved


def _check_backbones(preset: str) -> None:
    """Refuse a preset that is about a backbone nobody knows, or gives one an option that it has not.

    Raises:
        UnknownNameError: with the nearest name.
        ModelError: for a value that an option does not take.
    """
    from vidrepro.models.backbones import resolve_backbone

    content = load_preset(preset)
    for name in (*content.replace_backbone, *content.replace_backbone.values(), *content.for_backbone):
        resolve_backbone(name, {})
    for name, options in content.backbone_options.items():
        resolve_backbone(name, options)


def _settings_of_folds(setting: Setting, folds: str | None) -> dict[str | None, Setting]:
    """The setting once for each fold of ``--folds``, by the fold's name; without ``--folds`` as it is.

    The fold that the dataset was prepared with is the manifest's own: its runs are those made without naming a fold.

    Raises:
        ConfigError: if the dataset has no official folds that ``all`` could mean, or ``--set`` names a fold too.
    """
    from vidrepro.data.sources.lists import OFFICIAL_FOLDS

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
    own = own_fold(setting)
    return {
        name: setting if name == own else replace(setting, overrides=(*setting.overrides, f"{FOLD_KEY}{name}"))
        for name in names
    }


def own_fold(setting: Setting) -> str | None:
    """The fold that the dataset was prepared with; None if it has no folds or is not prepared."""
    from vidrepro.data.dataset_info import read_info

    if not is_prepared(setting.data, setting.dataset):
        return None
    return read_info(setting.data / setting.dataset / "dataset.json", setting.dataset).get("fold")


def fingerprint_under(manifest: Manifest) -> Callable[[RunConfig], str]:
    """The dataset's fingerprint as a run sees it: under the fold and the task of its config."""
    return lambda config: manifest.selection_fingerprint(fold=config.data.fold, task=config.data.task)


def prepared_fingerprint(setting: Setting) -> Callable[[RunConfig], str] | None:
    """The same of the setting's dataset; None if that is not prepared."""
    from vidrepro.data.manifest import load_manifest

    if not is_prepared(setting.data, setting.dataset):
        return None
    return fingerprint_under(load_manifest(setting.dataset, setting.data))
