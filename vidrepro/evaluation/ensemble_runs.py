"""An ensemble of finished runs: their saved scores are read, combined, measured and saved as one score file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidrepro.config import Protocol, RunConfig
from vidrepro.errors import ConfigError, ResultsError
from vidrepro.evaluation.ensemble import ensemble_scores
from vidrepro.evaluation.metrics import accuracies
from vidrepro.evaluation.scores import Averaged, Scores, load_scores, save_scores, scores_path
from vidrepro.files import fingerprint
from vidrepro.runs.folder import require_checkpoint_name
from vidrepro.runs.record import read_record


def ensemble_runs(
    folders: Sequence[Path],
    *,
    weights: Sequence[float] | None = None,
    average: Averaged | None = None,
    protocol: str | None = None,
    split: str | None = None,
    which: str = "best",
    out: Path,
) -> dict[str, Any]:
    """Combine runs by the scores they keep.

    Args:
        folders: of the runs, two or more.
        weights: see `ensemble_scores`.
        average: see `ensemble_scores`; None for logits, unless the runs keep means of softmaxes.
        protocol: one for all, ``8x3x2@224``; or, for networks of several lengths, ``(8+16)x3x2@224`` in the order of
            the runs; None for each run's own.
        split: None for the one training was evaluated on.
        which: ``best`` or ``last`` checkpoint.
        out: a file, or a folder in which the file gets a name of its own.

    Returns:
        The accuracies of `accuracies`, with ``members`` (each with its weight, views and its own
        accuracies), ``averaged``, split, protocol, checkpoint, completeness, and the score file.

    Raises:
        VidreproError: see `ensemble_scores`; also if a run keeps no such scores, with the command that makes them.
    """
    require_checkpoint_name(which)
    records = [read_record(folder) for folder in folders]
    names = [record.id for record, _ in records]
    if len(set(names)) < len(names):
        raise ConfigError("a run is named twice", given=", ".join(names), hint="weigh it with --weights instead")
    split = split or records[0][0].best.split
    protocols = _protocols(protocol, [config for _, config in records], names)
    members = [
        _read(folder, name, config, text, split, which)
        for folder, name, (_, config), text in zip(folders, names, records, protocols, strict=True)
    ]
    if average is None:
        average = "softmax" if any(scores.averaged == "softmax" for scores in members) else "logits"
    scores = ensemble_scores(members, weights, average=average, names=names)
    assert scores.ensemble is not None
    path = out if out.suffix == ".npz" else out / _file_name(records[0][1].dataset, scores, split, which)
    save_scores(path, scores)
    return {
        **accuracies(scores.labels, scores.logits),
        "members": [
            entry | {"views": Protocol.parse(text).views} | accuracies(member.labels, member.logits)
            for entry, member, text in zip(scores.ensemble, members, protocols, strict=True)
        ],
        "averaged": average,
        "split": split,
        "protocol": scores.protocol,
        "checkpoint": which,
        "completeness": scores.completeness,
        "scores": str(path),
    }


def _protocols(text: str | None, configs: Sequence[RunConfig], names: Sequence[str]) -> list[str]:
    """Each run's protocol; a joint text is taken apart, and the frames must be the networks' own."""
    own = [config.data.protocol for config in configs]
    if text is None:
        return [str(protocol) for protocol in own]
    joint = re.fullmatch(r"\s*\((\d+(?:\s*\+\s*\d+)*)\)\s*([x×].*)", text)
    texts = [frames.strip() + joint[2] for frames in joint[1].split("+")] if joint else [text] * len(own)
    wanted = [Protocol.parse(one) for one in texts]
    if [one.frames for one in wanted] != [one.frames for one in own]:
        raise ConfigError(
            "the protocol's frames are not those of the runs' networks",
            given=text,
            allowed=", ".join(f"{one.frames} of {name}" for one, name in zip(own, names, strict=True)),
            hint="for networks of several lengths, in their order: (8+16)x3x2@224",
        )
    return [str(one) for one in wanted]


def _read(folder: Path, name: str, config: RunConfig, protocol: str, split: str, which: str) -> Scores:
    path = scores_path(folder, split, protocol, which, config.data.eval_average)
    if not path.is_file():
        more = f" --checkpoint {which}" if which != "best" else ""
        raise ResultsError(
            f"run '{name}' keeps no scores of single clips for {split}, {protocol}, {which} checkpoint",
            given=path,
            hint=f"vidrepro evaluate {name} --protocol {protocol} --split {split}{more}",
        )
    return load_scores(path)


def _file_name(dataset: str, scores: Scores, split: str, which: str) -> str:
    identity = fingerprint([scores.averaged, scores.dataset_fingerprint, scores.ensemble])[:8]
    plain = re.sub(r"[^A-Za-z0-9_.@+]+", "-", f"{dataset}-{split}-{scores.protocol}-{which}")
    return f"{plain}-{identity}.npz"
