"""The faithfulness probe of a finished run: its accuracy as it is and with its attention replaced, clip by clip.

Both score files lie in the run's ``scores/``; what they come to lies in its ``probes/``, small and to be versioned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidrepro.errors import ModelError, ResultsError
from vidrepro.evaluation.metrics import accuracies, pair_representatives
from vidrepro.evaluation.paired import RESAMPLES, SEED, PairedDifference, paired_difference
from vidrepro.evaluation.probe import ALL, Probe, Selection, choose_taps, probing
from vidrepro.evaluation.probe_records import PROBES, probe_stem, probed_scores_path
from vidrepro.evaluation.rerun import Trained, evaluate_run, load_trained, score_clips, with_protocol
from vidrepro.evaluation.scores import Scores, load_scores, save_scores, scores_path
from vidrepro.files import atomic_write_json
from vidrepro.runs.folder import code_version


def probe_run(
    folder: Path,
    *,
    data: Path,
    what: str = ALL,
    how: str = "invert",
    seed: int = 0,
    protocol: str | None = None,
    split: str | None = None,
    which: str = "best",
    device: str = "auto",
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Score a run's checkpoint with its attention replaced, beside the same without, and keep both.

    The scores without are read where the run keeps them, and made where it does not.

    Args:
        folder: the run's.
        data: folder of prepared datasets.
        what, how, seed: see `vidrepro.evaluation.probe`.
        protocol, split, which, device, workers: as for `evaluate_run`.
        progress: called with (clips done, clips in all).

    Returns:
        What the file in ``probes/`` holds: run, what, how, taps, ``plain`` and ``probed`` accuracies, and ``drop``: by
        top-1 and (where classes come in reversal pairs) pair accuracy the points lost, with the paired bootstrap
        interval over clips.

    Raises:
        UnknownNameError, ModelError: see `probing`; also if a chosen attention is never computed.
        VidreproError: see `evaluate_run`.
    """
    trained = load_trained(folder, data=data, which=which)
    with probing(trained.model, what, how, seed):  # refuses what cannot be probed before anything is scored
        pass
    config = with_protocol(trained.config, protocol)
    trained = replace(trained, config=config)
    split = split or trained.manifest.eval_split(config.data.fold)
    named = str(config.data.protocol)
    plain = _plain_scores(folder, trained, data, split, protocol, which, device, workers)
    selection = choose_taps(trained.model, what)
    probed, probe = _probed_scores(trained, split, what, how, seed, device, workers, progress)
    if not np.array_equal(plain.ids, probed.ids):
        raise ResultsError(
            "the run keeps scores of other clips",
            given=f"{len(plain.ids)} clips",
            allowed=f"{len(probed.ids)}, those of split '{split}'",
            hint=f"vidrepro evaluate {trained.record.id} --split {split} --protocol {named} --checkpoint {which}",
        )
    default_split = trained.manifest.eval_split(config.data.fold)
    stem = probe_stem(selection.name, how, named, which, seed=seed, split=None if split == default_split else split)
    scores = scores_path(folder, split, named, which, config.data.eval_average)
    target = probed_scores_path(scores, selection.name, how, seed)
    save_scores(target, probed)
    pairs = trained.manifest.reversal_pairs(config.data.task)
    record = {
        "schema": 1,
        "run": trained.record.id,
        "run_seed": trained.record.seed,
        "what": selection.name,
        "how": how,
        "probe_seed": seed if how == "shuffle" else None,
        "split": split,
        "protocol": named,
        "checkpoint": which,
        "dataset": trained.manifest.name,
        "dataset_fingerprint": trained.selection,
        "completeness": trained.manifest.info.get("completeness"),
        "taps": _tap_records(probe, selection),
        "plain": accuracies(plain.labels, plain.logits, pairs),
        "probed": accuracies(probed.labels, probed.logits, pairs),
        "drop": {key: asdict(value) for key, value in drops(plain, probed, pairs).items()},
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED},
        "code": code_version(),
    }
    path = folder / PROBES / f"{stem}.json"
    atomic_write_json(path, record)
    return record | {"file": str(path), "scores": {"plain": str(scores), "probed": str(target)}}


def drops(plain: Scores, probed: Scores, pairs: Sequence[Sequence[int]]) -> dict[str, PairedDifference]:
    """Points of accuracy lost, over the same clips: ``top1`` and, where there are reversal pairs, ``pair``.

    A loss is positive; the interval is that of `paired_difference` over clips.
    """
    alike: dict[str, Sequence[Sequence[int]]] = {"top1": (), **({"pair": pairs} if len(pairs) else {})}
    found = {}
    for kind, of_kind in alike.items():
        before, after = (_right(scores, of_kind)[None] for scores in (plain, probed))
        found[kind] = paired_difference(before, after, np.random.default_rng(SEED), same_seeds=True)
    return found


def _right(scores: Scores, pairs: Sequence[Sequence[int]]) -> NDArray[np.bool_]:
    """Which clips are right where the classes of a pair count as one, (N,)."""
    representative = pair_representatives(scores.logits.shape[1], pairs)
    return np.asarray(representative[scores.logits.argmax(1)] == representative[scores.labels])


def _plain_scores(
    folder: Path,
    trained: Trained,
    data: Path,
    split: str,
    protocol: str | None,
    which: str,
    device: str,
    workers: int,
) -> Scores:
    """The run's own scores, made first where they are missing or of another preparation."""
    named = str(trained.config.data.protocol)
    path = scores_path(folder, split, named, which, trained.config.data.eval_average)
    if path.is_file():
        scores = load_scores(path)
        if (scores.dataset_fingerprint, scores.protocol) == (trained.selection, named):
            return scores
    evaluate_run(folder, data=data, protocol=protocol, split=split, which=which, device=device, workers=workers)
    return load_scores(path)


def _probed_scores(
    trained: Trained,
    split: str,
    what: str,
    how: str,
    seed: int,
    device: str,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[Scores, Probe]:
    with probing(trained.model, what, how, seed) as probe:
        scores = score_clips(trained, split, device=device, workers=workers, progress=progress)
    if not any(probe.calls.values()):
        raise ModelError(
            "the attention that was to be replaced is never computed",
            given=", ".join(probe.calls),
            hint="choose other taps with --what",
        )
    return scores, probe


def _tap_records(probe: Probe, selection: Selection) -> list[dict[str, Any]]:
    """Every chosen tap; `moved` None where nothing was replaced: never computed, or no axis of time to shuffle."""
    return [
        {
            "name": name,
            "what": tap.what,
            "axes": list(tap.axes),
            "distribution": tap.distribution,
            "moved": probe.moved.get(name),
        }
        for name, tap in selection.taps.items()
    ]
