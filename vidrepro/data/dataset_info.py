"""dataset.json, the manifest's sidecar: classes, origin, encoding, and what the rows alone do not say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidrepro.errors import ManifestError
from vidrepro.files import read_json

# What changes the meaning of the rows, and so takes part in the manifest's fingerprint. Where the root lies does not.
MEANING = (
    "name",
    "classes",
    "label_order",
    "version",
    "preset",
    "seed",
    "encoding",
    "reversal_pairs",
    "order_blind_ceiling",
    "tasks",
)
# How the clips were read when their rows were recorded, as "reading" in dataset.json: 2 turns frames as a player shows
# them and believes what decoders say of damage. What was prepared before says nothing.
READING = 2
_DEFAULTS: dict[str, Any] = {
    "preset": None,
    "seed": None,
    "encoding": {},
    "reversal_pairs": [],
    "order_blind_ceiling": None,
    "tasks": {},
}
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), "a text"),
    "root": ((str,), "a folder: '.' for the dataset's own"),
    "classes": ((list,), "a list of class names"),
    "label_order": ((str,), "a text: where the order of the labels comes from"),
    "version": ((str,), "a text"),
    "preset": ((str, type(None)), "a text or null"),
    "seed": ((int, type(None)), "a whole number or null"),
    "encoding": ((dict,), "an object"),
    "reversal_pairs": ((list,), "a list of pairs of labels"),
    "order_blind_ceiling": ((int, float, type(None)), "a share between 0 and 1, or null"),
    "tasks": ((dict,), "an object: class names of each further label set"),
}


def complete_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """`info` with the optional entries that are not given, in plain JSON types, as of a dataset prepared now."""
    try:
        return json.loads(json.dumps({**_DEFAULTS, **info, "reading": READING}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ManifestError(f"dataset.json cannot hold this: {error}", given=dict(info)) from error


def is_embedded(info: Mapping[str, Any]) -> bool:
    """Whether our generator made the dataset, so that it is known where its objects are: no download has a seed."""
    return info.get("seed") is not None


def read_info(path: Path, name: str) -> dict[str, Any]:
    """The checked content of a dataset.json.

    Raises:
        ManifestError: if it is no JSON, lacks an entry, or an entry cannot be; the file and the entry are named.
    """
    try:
        info = read_json(path)
    except json.JSONDecodeError as error:
        raise ManifestError(f"not JSON: {error.msg}", where=(path, error.lineno)) from error
    except (OSError, ValueError) as error:
        raise ManifestError(f"cannot be read: {error}", where=path) from error
    if not isinstance(info, dict):
        raise ManifestError("dataset.json must hold one object", given=type(info).__name__, where=path)
    complete = {**_DEFAULTS, **info}
    check_info(complete, path, name)
    return complete


def check_info(info: Mapping[str, Any], path: Path, name: str) -> None:
    """Refuse a dataset.json whose entries are missing, of the wrong kind, or contradict each other.

    Args:
        info: its content, completed by `complete_info`.
        path: the file, for messages.
        name: the name of the folder it lies in, which must be the dataset's.

    Raises:
        ManifestError: naming the entry.
    """
    for key, (kinds, allowed) in _TYPES.items():
        if key not in info:
            raise ManifestError(f"missing entry '{key}'", given=", ".join(info), allowed=allowed, where=path)
        if not isinstance(info[key], kinds) or isinstance(info[key], bool):
            raise _bad(key, info[key], allowed, path)
    if info["name"] != name:
        raise _bad("name", info["name"], f"'{name}', the name of its folder", path)
    classes = info["classes"]
    _check_classes("classes", classes, path)
    for task, names in info["tasks"].items():
        _check_classes(f"tasks: {task}", names, path)
    _check_pairs(info["reversal_pairs"], len(classes), path)
    ceiling = info["order_blind_ceiling"]
    if ceiling is not None and not 0 < ceiling <= 1:
        raise _bad("order_blind_ceiling", ceiling, "a share above 0, at most 1", path)


def _check_classes(key: str, names: Any, path: Path) -> None:
    good = isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)
    if not good or len(set(names)) != len(names):
        raise _bad(key, names, "different non-empty names, one per label", path)


def _check_pairs(pairs: list[Any], classes: int, path: Path) -> None:
    allowed = f"pairs of different labels 0 to {classes - 1}, each label in one pair at most"
    seen: set[int] = set()
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(label) is int for label in pair):
            raise _bad("reversal_pairs", pair, allowed, path)
        if pair[0] == pair[1] or not all(0 <= label < classes for label in pair) or seen & set(pair):
            raise _bad("reversal_pairs", pair, allowed, path)
        seen |= set(pair)


def _bad(key: str, given: Any, allowed: str, path: Path) -> ManifestError:
    return ManifestError(f"bad entry '{key}'", given=repr(given), allowed=allowed, where=path)
