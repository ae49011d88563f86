"""What a command was asked to run a paper's rows with: dataset, preset, backbone, overrides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidrepro.config import RunConfig
from vidrepro.errors import ConfigError
from vidrepro.experiments.lookup import load_paper
from vidrepro.experiments.overrides import TASK_KEY, with_weights_digest
from vidrepro.experiments.papers import Paper, Table
from vidrepro.experiments.resolution import (
    DatasetChoice,
    choose_dataset,
    choose_places,
    default_preset,
    load_preset,
    resolve_row,
)

if TYPE_CHECKING:
    from vidrepro.data.manifest import Manifest


@dataclass(frozen=True)
class Setting:
    """One choice of dataset, preset, backbone and overrides; every row is resolved under it in the same way."""

    paper: Paper
    dataset: str
    preset: str
    backbone: str | None
    overrides: tuple[str, ...]
    sentence: str  # which dataset is used, and why, for people
    data: Path
    folds: tuple[str, ...] = ()  # official ones that the table prints an accuracy for, each

    def resolve(self, experiment: str) -> RunConfig:
        """The run config of a row, e.g. ``m2a/table1/m2a``.

        Raises:
            UnknownNameError: if there is no such row.
            ConfigError, ModelError: see `resolve_row`.
        """
        return resolve_row(
            self.paper.row(experiment),
            dataset=self.dataset,
            preset=self.preset,
            backbone=self.backbone,
            overrides=self.overrides,
        )

    def load_manifest(self) -> Manifest:
        """The prepared dataset, its files checked to be there and as long as recorded.

        Raises:
            ManifestError: if it is not prepared, malformed, or does not describe what lies on disk.
        """
        from vidrepro.data.manifest import load_manifest
        from vidrepro.data.verify_files import require_files

        manifest = load_manifest(self.dataset, self.data)
        require_files(manifest)
        return manifest

    def provenance(self) -> dict[str, Any]:
        """What is written into a run's record, and what tables are grouped by."""
        return {
            "paper": self.paper.name,
            "preset": self.preset,
            "backbone": self.backbone,
            "overrides": sorted(self.overrides),
        }


def select_setting(
    paper: str,
    *,
    dataset: str,
    preset: str | None,
    backbone: str | None,
    overrides: list[str] | None,
    data: Path,
    experiment: str | None = None,
) -> Setting:
    """Resolve ``auto`` and the defaults.

    Args:
        paper: its name.
        experiment: a row of it, whose table says what ``auto`` may mean; None for the paper's main dataset.
        dataset: a dataset's name, or ``auto``.
        preset: a preset's name, or None for the dataset's default one.
        backbone: what ``--backbone`` says.
        overrides: ``key=value`` texts.
        data: folder of prepared datasets.

    Raises:
        UnknownNameError: if the paper, the row or the preset is unknown.
    """
    loaded = load_paper(paper)
    own = loaded.table(loaded.row(experiment).table).dataset if experiment else None
    choice = choose_dataset(dataset, loaded, data, own)
    return _setting(loaded, choice, preset, backbone, with_weights_digest(overrides or ()), data)


def settings_of_tables(
    paper: Paper,
    tables: Sequence[Table],
    *,
    dataset: str,
    preset: str | None,
    backbone: str | None,
    overrides: list[str] | None,
    data: Path,
) -> list[tuple[Setting, tuple[Table, ...]]]:
    """One setting for each place that tables are printed for and that can be run, with the tables it is for.

    A place's label set is an override of its setting, ``data.task=noun``, unless one is asked for.

    Args:
        paper: the paper.
        tables: some of its tables.
        dataset, preset, backbone, overrides, data: see `select_setting`.

    Raises:
        UnknownNameError: for an unknown dataset or preset.
    """
    asked = with_weights_digest(overrides or ())
    task_asked = any(text.startswith(TASK_KEY) for text in asked)
    found: dict[tuple[str, tuple[str, ...], tuple[str, ...]], tuple[Setting, list[Table]]] = {}
    for table in tables:
        for place, choice in choose_places(dataset, paper, table, data):
            with_task = asked if place.task is None or task_asked else (*asked, f"{TASK_KEY}{place.task}")
            identity = (choice.name, with_task, place.folds)
            if identity not in found:
                setting = _setting(paper, choice, preset, backbone, with_task, data, place.folds)
                found[identity] = (setting, [])
            of_setting = found[identity][1]
            of_setting += [table] if all(other.id != table.id for other in of_setting) else []
    return [(setting, tuple(of_setting)) for setting, of_setting in found.values()]


def _setting(
    paper: Paper,
    choice: DatasetChoice,
    preset: str | None,
    backbone: str | None,
    overrides: tuple[str, ...],
    data: Path,
    folds: tuple[str, ...] = (),
) -> Setting:
    if any(text.startswith("dataset=") for text in overrides):
        raise ConfigError(
            "--set cannot change the dataset, on which more depends", given=choice.name, hint="say --dataset"
        )
    name = preset or default_preset(choice.name)
    load_preset(name)  # refuse a wrong name before anything is done
    return Setting(paper, choice.name, name, backbone, overrides, choice.reason, data, folds)
