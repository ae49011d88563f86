"""Lists that are not the ones a dataset is read from: of another dataset or version, or made for another code base."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from vidrepro.data.sources.search import entries_of, list_folders, told

_SHOWN = 3
_LOADERS = "they hold paths and frame counts of somebody's machine; take the official lists instead"
_KINDS = (
    (r"(train|val|valid|validation|test)_videofolder\w*\.txt|category\.txt", f"made for TSM's loader; {_LOADERS}"),
    (
        r".+_(train|val|test)?_?(split_?\d_)?(list_)?(rawframes|videos|flow)\.txt|.+_split_\d_\w+\.txt",
        f"made for mmaction2; {_LOADERS}",
    ),
    (r"(train|val|test)(_?list)?\d?\.txt", f"made for another code base; {_LOADERS}"),
    (r"classInd\.txt|(train|test)list0\d\.txt", "of UCF101"),
    (r".+_test_split[123]\.txt", "of HMDB51"),
    (r"(action|verb|noun)_idx\.txt|(train|test)_split[123]\.txt", "of EGTEA Gaze+"),
    (r"EPIC_100_.+\.(csv|pkl)", "of EPIC-KITCHENS-100"),
    (r"EPIC_(train|test|verb|noun)_.+\.(csv|pkl)", "of EPIC-KITCHENS-55"),
    (r"something-something-v1-.+\.csv", "of Something-Something V1"),
    (r"something-something-v2-.+\.(json|csv)", "of Something-Something V2"),
    (r"Diving48_(train|test)\.json", "of Diving48 V1"),
    (r"Diving48_V2_(train|test)\.json|Diving48_vocab\.json", "of Diving48 V2"),
    (r"(kinetics[-_]?|k)([67]00)\w*[-_].+\.(csv|json)", "of Kinetics-600 or -700"),
    (r"(kinetics[-_]?|k)400[-_].+\.(csv|json)", "of Kinetics-400"),
)


def given_lists(tops: Iterable[Path | None]) -> str:
    """For a refusal of a missing list: the folders that were looked into, and what lists of other kinds lie there."""
    folders = list(list_folders(tops))
    found: dict[str, list[str]] = {}
    for folder in folders:
        for name in sorted(entry.name for entry in entries_of(folder)):
            kind = kind_of_list(name)
            if kind:
                found.setdefault(kind, []).append(name)
    lines = [f"searched: {told(folders)}"]
    for kind, names in found.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        lines.append(f"there are {', '.join(names[:_SHOWN])}{more}: {kind}")
    return "\n  ".join(lines)


def kind_of_list(name: str) -> str | None:
    """What a file's name says of the list in it; None if nothing."""
    return next((kind for pattern, kind in _KINDS if re.fullmatch(pattern, name, re.IGNORECASE)), None)
