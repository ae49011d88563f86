"""What is kept of faithfulness probes: small files in a run's ``probes/``; how they are named and found again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vidrepro.files import read_json_object

PROBES = "probes"
CHECKPOINT = "best"  # what tables are made from


def probe_stem(what: str, how: str, protocol: str, checkpoint: str, *, seed: int = 0, split: str | None = None) -> str:
    """A probe's file name: ``<what>-<how>-<protocol>-<checkpoint>``, then a split and a seed that are not the usual."""
    stem = f"{_slug(what)}-{how}-{protocol}-{checkpoint}"
    return stem + (f"-{split}" if split else "") + _seed_suffix(how, seed)


def probed_scores_path(plain: Path, what: str, how: str, seed: int) -> Path:
    """Where probed scores lie: beside the plain ones, ``<plain>-<what>-<how>.npz``; a seed as in `probe_stem`."""
    return plain.with_name(f"{plain.stem}-{_slug(what)}-{how}{_seed_suffix(how, seed)}.npz")


def probe_record(run_folder: Path, probe: tuple[str, str], split: str, protocol: str) -> dict[str, Any] | None:
    """What ``vidrepro invert`` kept of a run's best checkpoint; None if it has not been probed so.

    Args:
        run_folder: the run's.
        probe: (what, how), as ``--what`` and ``--how`` take them.
        split, protocol: of the evaluation.
    """
    what, how = probe
    for file in sorted((run_folder / PROBES).glob("*.json")):
        record = read_json_object(file) or {}
        of_record = (record.get("how"), record.get("checkpoint"), record.get("protocol"), record.get("split"))
        if of_record == (how, CHECKPOINT, protocol, split) and _words(str(record.get("what"))) == _words(what):
            return record
    return None


def _words(what: str) -> set[str]:
    """The attentions a probe is of; "both" is what ``invert`` writes down as "all"."""
    return {"all" if word == "both" else word for word in re.split(r"[,+]", what)}


def _seed_suffix(how: str, seed: int) -> str:
    return f"_p{seed}" if how == "shuffle" and seed else ""


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+]+", "_", name.replace("*", "any"))
