"""What a command was asked to run a paper's rows with: dataset, preset, backbone, overrides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidrepro.config import RunConfig
from vidrepro.experiments.lookup import load_paper
from vidrepro.experiments.overrides import with_weights_digest
from vidrepro.experiments.papers import Paper
from vidrepro.experiments.resolution import choose_dataset, default_preset, load_preset, resolve_row

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
        from vidrepro.data.manifest import load_manifest, require_files

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
) -> Setting:
    """Resolve ``auto`` and the defaults.

    Args:
        paper: its name.
        dataset: a dataset's name, or ``auto``.
        preset: a preset's name, or None for the dataset's default one.
        backbone: what ``--backbone`` says.
        overrides: ``key=value`` texts.
        data: folder of prepared datasets.

    Raises:
        UnknownNameError: if the paper or the preset is unknown.
    """
    loaded = load_paper(paper)
    choice = choose_dataset(dataset, loaded, data)
    name = preset or default_preset(choice.name)
    load_preset(name)  # refuse a wrong name before anything is done
    return Setting(loaded, choice.name, name, backbone, with_weights_digest(overrides or ()), choice.reason, data)
