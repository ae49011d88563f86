"""``--from``: what the runs of a setting start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vidrepro.ablation.setting import Setting
from vidrepro.config import START_RUN
from vidrepro.errors import ConfigError
from vidrepro.experiments.overrides import PRETRAINED, with_weights_digest
from vidrepro.runs.folder import find_run, weights_of_run
from vidrepro.runs.record import read_record


def start_from(setting: Setting, start: str | None, results: Path) -> Setting:
    """The setting with ``--from``: a run's checkpoint by its digest, or the row's run that has the same seed.

    A run on another dataset is pretraining: rows that start from another row start from that one all the same.

    Args:
        setting: without it. A row is resolved under the same dataset, preset, backbone and overrides, but for those of
            ``train``: it may have been trained longer than what starts from it.
        start: a row's id (``tcnn/table4/o``) or what `find_run` takes.
        results: where the run lies.

    Raises:
        ConfigError: if start weights are given in another way too.
        UnknownNameError: if there is no such row or run.
        CheckpointError: if the run is not finished or its checkpoint is gone.
    """
    if start is None:
        return setting
    if any(text.startswith("model.weights") for text in setting.overrides):
        raise ConfigError("--from and --weights both say what to start from", given=start, allowed="one of them")
    if start.startswith(f"{setting.paper.name}/") and not Path(start).is_dir():
        lasting = tuple(text for text in setting.overrides if not text.startswith("train."))
        weights = f"model.weights={START_RUN}{replace(setting, overrides=lasting).resolve(start).fingerprint}"
    else:
        folder = find_run(results, start)
        elsewhere = read_record(folder)[1].dataset != setting.dataset
        weights = f"model.weights={PRETRAINED if elsewhere else ''}{weights_of_run(folder)}"
    return replace(setting, overrides=with_weights_digest((*setting.overrides, weights)))
