"""The faithfulness probe of a finished run: its accuracy as it is and with its attention replaced, clip by clip.

Both score files lie in the run's ``scores/``; what they come to lies in its ``probes/``, small and to be versioned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidrepro.data.cache import open_cache
from vidrepro.data.loading import ClipDataset
from vidrepro.data.manifest import require_files
from vidrepro.devices import choose_device
from vidrepro.errors import ModelError, ResultsError
from vidrepro.evaluation.evaluate import evaluate
from vidrepro.evaluation.metrics import accuracies
from vidrepro.evaluation.probe import ALL, Probe, Selection, choose_taps, probing
from vidrepro.evaluation.rerun import Trained, evaluate_run, load_trained
from vidrepro.evaluation.rerun import _with_protocol as with_protocol
from vidrepro.evaluation.scores import Scores, load_scores, save_scores, scores_path
from vidrepro.files import atomic_write_json
from vidrepro.report.compare_statistics import RESAMPLES, SEED, PairedDifference, paired_difference
from vidrepro.runs.folder import code_version

PROBES = "probes"


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
            hint=f"vidrepro evaluate {trained.record['id']} --split {split} --protocol {named} --checkpoint {which}",
        )
    default_split = trained.manifest.eval_split(config.data.fold)
    stem = probe_stem(selection, how, named, which, seed=seed, split=None if split == default_split else split)
    scores = scores_path(folder, split, named, which, config.data.eval_average)
    target = scores.with_name(f"{scores.stem}-{_slug(selection.name)}-{how}{_seed_suffix(how, seed)}.npz")
    save_scores(target, probed)
    pairs = trained.manifest.reversal_pairs(config.data.task)
    record = {
        "schema": 1,
        "run": trained.record["id"],
        "run_seed": trained.record["seed"],
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
    kinds: dict[str, NDArray[np.int64] | None] = {"top1": None}
    if len(pairs):
        representative = np.arange(plain.logits.shape[1])
        for first, second in pairs:
            representative[second] = first
        kinds["pair"] = representative
    found = {}
    for kind, classes in kinds.items():
        before, after = (_right(scores, classes)[None] for scores in (plain, probed))
        found[kind] = paired_difference(before, after, np.random.default_rng(SEED), same_seeds=True)
    return found


def probe_stem(
    selection: Selection, how: str, protocol: str, checkpoint: str, *, seed: int = 0, split: str | None = None
) -> str:
    """A probe's file name: ``<what>-<how>-<protocol>-<checkpoint>``, then a split and a seed that are not the usual."""
    stem = f"{_slug(selection.name)}-{how}-{protocol}-{checkpoint}"
    return stem + (f"-{split}" if split else "") + _seed_suffix(how, seed)


def _seed_suffix(how: str, seed: int) -> str:
    return f"_p{seed}" if how == "shuffle" and seed else ""


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+]+", "_", name.replace("*", "any"))


def _right(scores: Scores, representative: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    predicted = scores.logits.argmax(1)
    if representative is None:
        return np.asarray(predicted == scores.labels)
    return np.asarray(representative[predicted] == representative[scores.labels])


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
    evaluate_run(
        folder, data=data, protocol=protocol, split=split, which=which, device=device, workers=workers
    )  # fmt: skip
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
    config, manifest = trained.config, trained.manifest
    require_files(manifest, splits=[split] if config.data.fold is None else None)
    where = choose_device(device)
    dataset = ClipDataset(manifest, split, config.data, seed=0, training=False, cache=open_cache(manifest, "auto"))
    model = trained.model.to(where)
    with probing(model, what, how, seed) as probe:
        logits = evaluate(
            model,
            dataset,
            device=where,
            batch_size=2 * config.train.batch_size,
            workers=workers,
            precision=config.train.precision,
            progress=progress,
        )
    if not any(probe.calls.values()):
        raise ModelError(
            "the attention that was to be replaced is never computed",
            given=", ".join(probe.calls),
            hint="choose other taps with --what",
        )
    scores = Scores(
        np.asarray(dataset.ids),
        dataset.labels,
        logits,
        trained.selection,
        str(config.data.protocol),
        manifest.info.get("completeness"),
        config.data.eval_average,
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
