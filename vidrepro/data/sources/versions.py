"""Lists of another version of a dataset, or of another dataset, told by how long they are and by their classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from vidrepro.data.sources.annotations import official_classes, some
from vidrepro.data.sources.official import Entry

_WITH_CLASSES = {
    "ucf101": "UCF101",
    "hmdb51": "HMDB51",
    "kinetics400": "Kinetics-400",
    "something_something": "Something-Something",
}


def another_version(entries: Iterable[Entry], version: str, counts: Mapping[str, int]) -> tuple[str, ...]:
    """Whether a split is as long as in another version of the dataset; a sentence, or none.

    Args:
        entries: the clips.
        version: the other one's name.
        counts: its clips by split.
    """
    listed = Counter(entry.split for entry in entries)
    same = [split for split, number in counts.items() if listed[split] == number]
    return tuple(
        f"the lists of {version} are not accepted: its {split} has {counts[split]:,} clips too" for split in same[:1]
    )


def another_dataset(classes: Sequence[str], own: str) -> tuple[str, ...]:
    """Whether the classes are those of another dataset; a sentence, or none.

    Args:
        classes: as they are listed.
        own: the dataset's name in `official_classes`.
    """
    listed = set(classes)
    if listed & set(official_classes(own)):
        return ()
    for name, title in _WITH_CLASSES.items():
        known = listed & set(official_classes(name))
        if 2 * len(known) > len(listed):
            return (f"the lists of {title} are not accepted: {some(sorted(known))} are classes of it",)
    return ()
