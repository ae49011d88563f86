"""Rows that have no runs of their own: the runs they are had from, looked at as they ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vidrepro.ablation.setting import Setting
from vidrepro.config import RunConfig
from vidrepro.evaluation.probe_records import CHECKPOINT, probe_record
from vidrepro.evaluation.probe_run import probe_run
from vidrepro.evaluation.rerun import evaluate_run
from vidrepro.evaluation.scores import scores_path
from vidrepro.experiments.papers import Ensemble, Evaluation, Paper, Row
from vidrepro.runs.folder import RUN_FILE, run_id, runs_folder


def evaluate_rows(
    paper: Paper,
    rows: Sequence[Row],
    settings: Sequence[Setting],
    seeds: Sequence[int],
    results: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    say: Callable[[str], None] | None = None,
) -> list[str]:
    """Make what derived rows are had from: scores under other views, probes. What is there already is kept.

    Args:
        paper: the paper.
        rows: its rows; those with runs of their own are passed over.
        settings: under which their runs were made.
        seeds: of the runs.
        results: the results folder.
        device, workers: see `evaluate_run`.
        say: told what is being done.

    Returns:
        A text for each evaluation that was made.

    Raises:
        VidreproError: see `evaluate_run` and `probe_run`, e.g. where a run's checkpoint is not there.
    """
    wanted = list(dict.fromkeys(one for row in rows for one in _evaluations(paper, row)))
    made: list[str] = []
    for setting in settings if wanted else ():
        manifest = setting.load_manifest()
        for evaluation in wanted:
            config = setting.resolve(evaluation.of)
            selection = manifest.selection_fingerprint(fold=config.data.fold, task=config.data.task)
            for seed in seeds:
                folder = runs_folder(results) / run_id(config, selection, seed)
                if not (folder / RUN_FILE).is_file():
                    continue
                lacking = _lacking(folder, config, evaluation, manifest.eval_split(config.data.fold))
                if lacking is None:
                    continue
                text = f"{folder.name}: {lacking}"
                if say:
                    say(f"{'evaluating' if evaluation.probe is None else 'probing'} {text}")
                _evaluate(folder, config, evaluation, setting.data, device, workers)
                made.append(text)
    return made


def _evaluations(paper: Paper, row: Row) -> list[Evaluation]:
    """What a row needs, an ensemble what its members need: the scores of runs as they were made, too."""
    if isinstance(row.derived, Ensemble):
        members = [paper.row(name) for name in row.derived.members]
        return [one for member in members for one in _evaluations(paper, member) or [Evaluation(member.id)]]
    return [row.derived] if row.derived is not None else []


def _lacking(folder: Path, config: RunConfig, evaluation: Evaluation, split: str) -> str | None:
    """What of an evaluation of a run is not there yet, in words; None if nothing is lacking."""
    protocol = str(evaluation.protocol(config.data.protocol))
    if evaluation.probe is not None:
        what, how = evaluation.probe
        return None if probe_record(folder, evaluation.probe, split, protocol) else f"{what} attention, {how}"
    scores = scores_path(folder, split, protocol, CHECKPOINT, config.data.eval_average)
    return None if scores.is_file() else protocol


def _evaluate(folder: Path, config: RunConfig, evaluation: Evaluation, data: Path, device: str, workers: int) -> None:
    protocol = str(evaluation.protocol(config.data.protocol))
    if evaluation.probe is None:
        evaluate_run(folder, data=data, protocol=protocol, device=device, workers=workers)
    else:
        what, how = evaluation.probe
        probe_run(folder, data=data, what=what, how=how, protocol=protocol, device=device, workers=workers)
