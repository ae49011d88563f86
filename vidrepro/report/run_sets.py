"""Runs as a command's words name them: one run by its id or folder, or all seeds of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidrepro.errors import ConfigError, ResultsError, UnknownNameError, unknown_name
from vidrepro.experiments import Row, find_row, load_paper, paper_names
from vidrepro.report.describe import network_text
from vidrepro.report.finished_runs import load_runs
from vidrepro.report.sections import SettingKey, collect_sections
from vidrepro.runs.folder import RUN_FILE, find_run, runs_folder
from vidrepro.runs.record import RunRecord, read_run


@dataclass(frozen=True)
class RunSet:
    """Runs that differ in their seed only.

    Attributes:
        name: as asked for, e.g. ``m2a/table1/m2a``.
        label: a few words for headings, e.g. ``M2A``.
        runs: in the order of their seeds.
        folders: of the runs, in the same order.
        key: the setting an experiment's runs were made under; None for a run named by its id.
    """

    name: str
    label: str
    runs: tuple[RunRecord, ...]
    folders: tuple[Path, ...]
    key: SettingKey | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, ascending."""
        return tuple(run.seed for run in self.runs)


def find_run_sets(results: Path, name: str, *, dataset: str | None = None, preset: str | None = None) -> list[RunSet]:
    """What a name may mean: one run, or the runs of an experiment once for each setting it was run under.

    Args:
        results: the results folder.
        name: a run's id, an unambiguous beginning of one, its folder, or an experiment's id.
        dataset, preset: of an experiment, keep only what was run on this dataset, with this preset.

    Raises:
        UnknownNameError: if there is no such run or experiment, with the closest ones.
        ResultsError: if an experiment has no finished run, or a record is damaged.
    """
    if name.split("/")[0] in paper_names() and name.count("/") >= 2:
        return _of_experiment(results, find_row(name), dataset, preset)
    try:
        folder = find_run(results, name)
    except UnknownNameError as error:
        if "/" in name and not Path(name).exists():
            find_row(name)  # an experiment of a misspelt paper
        raise error
    run = read_run(folder / RUN_FILE)
    if run is None:
        raise ResultsError("the run is not finished", given=name, where=folder / RUN_FILE)
    return [RunSet(name, _run_label(run), (run,), (folder,))]


def find_one_run(
    results: Path, name: str, *, seed: int = 0, dataset: str | None = None, preset: str | None = None
) -> RunSet:
    """A single run; of an experiment, the one with this seed.

    Raises:
        UnknownNameError, ResultsError: see `find_run_sets`; also for an experiment without this seed.
        ConfigError: if an experiment was run under several settings.
    """
    sets = find_run_sets(results, name, dataset=dataset, preset=preset)
    if len(sets) > 1:
        raise _several_settings(name, sets)
    (found,) = sets
    if found.key is None:
        return found
    if seed not in found.seeds:
        raise unknown_name(f"seed of {name}", str(seed), [str(one) for one in found.seeds])
    position = found.seeds.index(seed)
    return replace(found, runs=found.runs[position : position + 1], folders=found.folders[position : position + 1])


def choose_pair(a: Sequence[RunSet], b: Sequence[RunSet]) -> tuple[RunSet, RunSet]:
    """Of what two names may mean, the one pair that was made under the same setting.

    Raises:
        ConfigError: if there are several such pairs, or both names mean the same runs.
    """
    pairs = [(one, two) for one in a for two in b]
    if len(pairs) > 1:
        matching = [pair for pair in pairs if _alike(*pair)]
        if len(matching) > 1:
            raise _several_settings(f"{a[0].name} and {b[0].name}", [one for one, _ in matching])
        if not matching:
            raise ConfigError(
                "the two were not run under the same setting",
                given="; ".join(_setting_text(one) for one in (*a, *b)),
                hint="name runs by their ids, or run one of them under the other's setting (vidrepro runs)",
            )
        pairs = matching
    one, two = pairs[0]
    if {run.id for run in one.runs} & {run.id for run in two.runs}:
        raise ConfigError(
            "both names mean the same runs", given=f"{one.name} and {two.name}", allowed="two different networks"
        )
    if one.label == two.label:
        return replace(one, label=one.name), replace(two, label=two.name)
    return one, two


def _of_experiment(results: Path, row: Row, dataset: str | None, preset: str | None) -> list[RunSet]:
    paper = load_paper(row.paper)
    runs = load_runs(results).runs
    sections = collect_sections(paper, paper.table(row.table), runs, dataset=dataset, preset=preset)
    found = [
        RunSet(row.id, row.label, section.runs[row.id], _folders(results, section.runs[row.id]), section.key)
        for section in sections
        if row.id in section.runs
    ]
    if not found:
        command = f"vidrepro ablate {row.paper} --table {row.table} --rows {row.name}"
        raise ResultsError(
            f"experiment '{row.id}' has no finished run"
            + "".join(f" {word} {name}" for word, name in (("on", dataset), ("with preset", preset)) if name),
            given=results,
            hint=f"{command}; 'vidrepro runs' lists what there is",
        )
    return found


def _folders(results: Path, runs: Sequence[RunRecord]) -> tuple[Path, ...]:
    """Folders of runs, which a user may have renamed."""
    folders = []
    for run in runs:
        folder = runs_folder(results) / run.id
        if not (folder / RUN_FILE).is_file():
            files = runs_folder(results).glob(f"*/{RUN_FILE}")
            folder = next(file.parent for file in files if (read := read_run(file)) and read.id == run.id)
        folders.append(folder)
    return tuple(folders)


def _alike(one: RunSet, two: RunSet) -> bool:
    if one.key is None or two.key is None:
        first, second = one.runs[0], two.runs[0]
        return (first.dataset.fingerprint, first.protocol) == (second.dataset.fingerprint, second.protocol)
    return one.key == two.key


def _run_label(run: RunRecord) -> str:
    model = run.config.get("model", {})
    wanted = {key: model[key] for key in ("mechanism", "temporal_shift") if key in model}
    return f"{run.backbone.name} {network_text(wanted)} s{run.seed}"


def _several_settings(name: str, sets: Sequence[RunSet]) -> ConfigError:
    return ConfigError(
        f"{name}: run under several settings",
        given="; ".join(_setting_text(one) for one in sets),
        allowed="one",
        hint="choose with --dataset and --preset, or name runs by their ids (vidrepro runs)",
    )


def _setting_text(one: RunSet) -> str:
    if one.key is None:
        return f"{one.name} ({one.runs[0].dataset.name}, {one.runs[0].protocol})"
    key = one.key
    words = [f"dataset {key.dataset} {(key.fingerprint or '')[:8]}", f"preset {key.preset}"]
    words += [f"backbone {key.backbone}"] if key.backbone else []
    words += [f"--set {override}" for override in key.overrides]
    return f"{one.name} ({', '.join(words)})"
