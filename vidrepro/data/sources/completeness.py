"""What a download holds, against what the annotations list and what the dataset officially has.

A difference is refused unless ``--allow-missing`` covers it, and is recorded either way: in ``report.json`` with every
clip, in dataset.json as counts that travel with each score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from vidrepro.data.manifest_rows import SPLITS
from vidrepro.data.sources.official import Annotations, Entry
from vidrepro.data.sources.search import named
from vidrepro.errors import DataError
from vidrepro.files import atomic_write_json

REPORT_NAME = "report.json"
REFUSED_NAME = "report.refused.json"
REPORTED = 1000  # entries of a list in the report; a longer one lies in a file of its own, which the report names
_SHOWN = 5  # clips named in an error; all are in the report


class Lost(NamedTuple):
    """A clip that an annotation lists and that cannot be used.

    Attributes:
        entry: the annotation.
        kind: ``missing`` (no file) or ``bad``.
        reason: a clause.
    """

    entry: Entry
    kind: str
    reason: str

    def line(self) -> str:
        """One line: where the annotation stands, the clip, what is wrong."""
        path, number = self.entry.where
        return f"{path.name}, line {number}: clip '{self.entry.id}' is {self.kind}: {self.reason}"

    def record(self) -> dict[str, Any]:
        """As the report has it."""
        path, number = self.entry.where
        return {
            "id": self.entry.id,
            "split": self.entry.split,
            "file": path.name,
            "line": number,
            "kind": self.kind,
            "reason": self.reason,
        }


@dataclass
class Completeness:
    """The comparison.

    Attributes:
        dataset: its name.
        annotations: what the annotations list.
        fold: the fold whose splits are counted; None where there is one division only.
        allow_missing: share of each split's official clips that may be lacking; 1 accepts any subset and class list.
        lost: missing and bad clips, in the annotations' order.
        searched: the folders in which clips were looked for.
    """

    dataset: str
    annotations: Annotations
    fold: str | None
    allow_missing: float
    lost: list[Lost] = field(default_factory=list)
    searched: Sequence[Path] = ()

    def split_of(self, entry: Entry) -> str:
        """A clip's split in the fold; empty if the fold leaves it out."""
        if self.fold is None or self.fold not in self.annotations.folds:
            return entry.split
        return self.annotations.folds[self.fold].get(entry.id, "")

    def expected(self) -> Mapping[str, int]:
        """Official clips by split."""
        if self.fold is not None and self.fold in self.annotations.expected_folds:
            return self.annotations.expected_folds[self.fold]
        default = next(iter(self.annotations.folds), None)
        return self.annotations.expected if self.fold is None or self.fold == default else {}

    def counts(self) -> dict[str, dict[str, int | None]]:
        """By split: expected (None if no official number is known), listed, ok, missing, bad."""
        expected = self.expected()
        counts: dict[str, dict[str, int | None]] = {}
        for split, listed in _count(self.split_of(entry) for entry in self.annotations.entries).items():
            counts[split] = {"expected": expected.get(split), "listed": listed}
        for split, number in expected.items():
            counts.setdefault(split, {"expected": number, "listed": 0})
        for kind in ("missing", "bad"):
            number_of = _count(self.split_of(one.entry) for one in self.lost if one.kind == kind)
            for split, row in counts.items():
                row[kind] = number_of.get(split, 0)
        for row in counts.values():
            row["ok"] = (row["listed"] or 0) - (row["missing"] or 0) - (row["bad"] or 0)
        return {split: counts[split] for split in SPLITS if split in counts}

    def problems(self) -> list[str]:
        """What differs, a sentence each: class list, official counts, missing and bad clips."""
        found = [*self.annotations.foreign, *self.annotations.class_problems]
        for split, row in self.counts().items():
            if row["expected"] is not None and row["expected"] != row["listed"]:
                found.append(f"{split}: the annotations list {row['listed']:,} clips, officially {row['expected']:,}")
            if row["missing"] or row["bad"]:
                found.append(
                    f"{split}: {row['missing']:,} clips are missing and {row['bad']:,} bad of {row['listed']:,}"
                )
        return found

    def foreign(self) -> list[str]:
        """Why these cannot be the dataset's lists, a sentence each: no share of missing clips explains that."""
        too_many = [
            f"{split}: {row['listed']:,} clips are listed, and the dataset has {row['expected']:,}"
            for split, row in self.counts().items()
            if row["expected"] is not None and (row["listed"] or 0) > row["expected"]
        ]
        return [*self.annotations.foreign, *too_many]

    def share_lacking(self) -> float:
        """The largest share of a split's official clips that cannot be used."""
        shares = [0.0]
        for row in self.counts().values():
            wanted = row["expected"] if row["expected"] is not None else row["listed"]
            if wanted:
                shares.append((wanted - (row["ok"] or 0)) / wanted)
        return max(shares)

    def accepted(self) -> bool:
        """Whether ``--allow-missing`` covers what differs."""
        if self.foreign():
            return False
        if self.allow_missing >= 1:
            return True
        return not self.annotations.class_problems and self.share_lacking() <= self.allow_missing

    def where_searched(self) -> list[str]:
        """The folders that were searched, a line, if clips are missing."""
        missing = any(one.kind == "missing" for one in self.lost)
        return [f"searched: {named(self.searched)}"] if missing and self.searched else []

    def require(self, report: Path | None) -> None:
        """Refuse a download that is not complete enough.

        Args:
            report: where the full list was written, for the message.

        Raises:
            DataError: with present, expected, bad and missing clips, and the first few by file and line.
        """
        if self.accepted():
            return
        foreign = self.foreign()
        official = f"take the lists that vidrepro prepare {self.dataset} --help names"
        share = self.share_lacking()
        table = "; ".join(
            f"{split}: {row['ok']:,} usable of "
            + (f"{row['expected']:,} expected" if row["expected"] is not None else f"{row['listed']:,} listed")
            + f" ({row['listed']:,} listed, {row['missing']:,} missing, {row['bad']:,} bad)"
            for split, row in self.counts().items()
        )
        lines = [one.line() for one in self.lost[:_SHOWN]]
        if len(self.lost) > _SHOWN:
            lines.append(f"and {len(self.lost) - _SHOWN:,} more" + (f", all in {report}" if report else ""))
        lines += self.where_searched()
        classes = list(self.annotations.class_problems)
        if foreign:
            raise DataError(
                f"these are not the lists of {self.dataset}: {foreign[0]}",
                given="\n  ".join([table, *foreign[1:], *classes[:_SHOWN]]),
                allowed="the official lists, or fewer clips of them",
                hint=official,
                where=self.annotations.entries[0].where[0] if self.annotations.entries else report,
            )
        needed = 1.0 if classes else _rounded_up(share)
        raise DataError(
            f"the download of {self.dataset} is not the official dataset: "
            + ("its class list differs" if classes and not share else "clips are lacking" if share else "it differs"),
            given="\n  ".join([table, *classes[:_SHOWN], *lines]),
            allowed="every official clip"
            + (f", or all but a share of {self.allow_missing:g}" * (self.allow_missing > 0)),
            hint=official
            if 0 < self.annotations.expected_classes < len(self.annotations.classes)
            else f"complete the download, or accept what is there with --allow-missing {needed:g}; "
            "the counts are then shown with every score",
            where=self.lost[0].entry.where if self.lost else report,
        )

    def summary(self) -> dict[str, Any]:
        """The counts, for dataset.json."""
        return {
            "allow_missing": self.allow_missing,
            "fold": self.fold,
            "splits": self.counts(),
            "classes": {
                "expected": self.annotations.expected_classes or None,
                "listed": len(self.annotations.classes),
                "problems": list(self.annotations.class_problems),
            },
            "left_out": dict(self.annotations.left_out),
            "complete": not self.problems(),
        }


def write_report(folder: Path, completeness: Completeness, result: str, more: Mapping[str, Any]) -> Path:
    """Write ``report.json``: the counts, and every clip that cannot be used, with its line and the reason.

    A refusal leaves the report of a finished dataset as it is and goes to ``report.refused.json`` beside it. Of a list
    with more than `REPORTED` entries the report has the number only, and the name of the file that has the entries:
    ``report.clips.json`` for the clips.

    Args:
        folder: the dataset's folder.
        completeness: the comparison.
        result: ``prepared`` or ``refused``.
        more: further entries.
    """
    finished = (folder / "manifest.csv").is_file()
    path = folder / (REFUSED_NAME if result == "refused" and finished else REPORT_NAME)
    content: dict[str, Any] = {
        "dataset": completeness.dataset,
        "result": result,
        **completeness.summary(),
        "problems": completeness.problems(),
        "notes": list(completeness.annotations.notes),
        "clips": [one.record() for one in completeness.lost],
        **more,
    }
    beside = {key: value for key, value in content.items() if isinstance(value, list | dict) and len(value) > REPORTED}
    files = {key: path.with_name(f"{path.stem}.{key}.json") for key in beside}
    for key, value in beside.items():
        atomic_write_json(files[key], value)
        content[key] = {"count": len(value), "file": files[key].name}
    atomic_write_json(path, content)
    for stale in folder.glob(f"{path.stem}.*.json"):  # a finished report does away with a refusal, too
        if stale not in files.values():
            stale.unlink(missing_ok=True)
    return path


def check_entries(annotations: Annotations, well_formed: Callable[[str], bool]) -> None:
    """Refuse annotations that no manifest can hold, by the line of the annotation that is at fault.

    Args:
        annotations: what a dataset's module read.
        well_formed: whether a text may stand in a manifest.

    Raises:
        DataError: for an id given twice or not printable, or a label that is no class's.
    """
    seen: dict[str, Entry] = {}
    for entry in annotations.entries:
        if not entry.id or entry.id != entry.id.strip() or not well_formed(entry.id) or not well_formed(entry.media):
            raise DataError(
                "bad clip id", given=repr(entry.id), allowed="text without control characters", where=entry.where
            )
        if entry.id in seen:
            path, line = seen[entry.id].where
            raise DataError(
                "duplicate clip id",
                given=entry.id,
                allowed=f"each id once; it stands in {path.name}, line {line} already",
                where=entry.where,
            )
        seen[entry.id] = entry
        if not 0 <= entry.label < len(annotations.classes):
            raise DataError(
                f"bad label of clip '{entry.id}'",
                given=entry.label,
                allowed=f"0 to {len(annotations.classes) - 1}",
                where=entry.where,
            )


def _count(splits: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for split in splits:
        counts[split] = counts.get(split, 0) + 1
    return counts


def _rounded_up(share: float) -> float:
    """A share as a short number not below it."""
    for digits in (2, 3, 4, 6):
        short = round(share + 0.5 * 10**-digits, digits)
        if short >= share and short - share <= 0.1 * share + 1e-9:
            return min(1.0, short)
    return 1.0
