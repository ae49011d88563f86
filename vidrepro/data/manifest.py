"""The one table between preparation and training: which clips there are, where, how long, and what they show.

A prepared dataset is the folder ``<data folder>/<name>`` with ``manifest.csv`` (a row per clip), ``dataset.json``
(classes and what else gives the rows their meaning) and, where the dataset has them, ``splits/<fold>.csv`` and
``labels/<task>.csv`` (further folds and label sets).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vidrepro.data.dataset_info import MEANING, READING, check_info, complete_info, read_info
from vidrepro.data.journal import Journal, has_journal, remove_journal
from vidrepro.data.known import SOURCES, how_to_prepare, prepare_command
from vidrepro.data.manifest_rows import (
    COLUMNS,
    SPLITS,
    Clip,
    canonical_text,
    check_ids,
    iterate_clips,
    parse_rows,
    read_text,
    read_text_table,
    split_text,
    table_text,
)
from vidrepro.errors import ManifestError, VidreproError, unknown_name
from vidrepro.files import atomic_write_json, atomic_write_text, fingerprint

__all__ = [
    "COLUMNS",
    "SPLITS",
    "Clip",
    "Journal",
    "Manifest",
    "list_prepared",
    "load_manifest",
    "write_manifest",
]

MANIFEST_NAME = "manifest.csv"
INFO_NAME = "dataset.json"


@dataclass(frozen=True, eq=False)
class Manifest:
    """A prepared dataset.

    Attributes:
        name: the dataset's name, which is its folder's.
        folder: where manifest.csv lies.
        root: the folder that the rows' paths are relative to.
        table: one row per clip, `COLUMNS`; not to be changed.
        info: the content of dataset.json.
        fingerprint: 16 hexadecimal digits over the rows and what of `info` changes their meaning; the same wherever
            the folder lies.
        lines: each row's line number in manifest.csv, for messages.
    """

    name: str
    folder: Path
    root: Path
    table: pd.DataFrame
    info: dict[str, Any]
    fingerprint: str
    lines: NDArray[np.int64]

    @property
    def path(self) -> Path:
        """The file the rows were read from."""
        return self.folder / MANIFEST_NAME

    @property
    def read_as_now(self) -> bool:
        """Whether the rows were recorded from frames as this version reads them; see `dataset_info.READING`."""
        return self.info.get("reading") == READING

    @property
    def classes(self) -> list[str]:
        """Class names by label."""
        return self.info["classes"]

    def clips(self, split: str, *, fold: str | None = None, task: str | None = None) -> pd.DataFrame:
        """The usable clips of a split, in the manifest's order.

        Args:
            split: train, val or test.
            fold: another division into splits, from ``splits/<fold>.csv``; clips it leaves out are in no split.
            task: another label set, from ``labels/<task>.csv``.

        Returns:
            `COLUMNS` with ``split`` and ``label`` as the fold and the task say; index 0 to n - 1.

        Raises:
            UnknownNameError: if there is no such split, fold or task.
            ManifestError: if the fold's or the task's file is malformed, or lacks a label for one of these clips.
        """
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        table = self.table
        if fold is not None:
            table = table.assign(split=table["id"].map(self._fold(fold)))
        chosen = table[(table["split"] == split) & (table["status"] == "ok")]
        if task is not None:
            labels = chosen["id"].map(self._task(task))
            if labels.isna().any():
                raise ManifestError(
                    f"clip '{chosen['id'][labels.isna()].iloc[0]}' has no label for task '{task}'",
                    allowed=f"a label for every clip of '{split}'",
                    where=self.folder / "labels" / f"{task}.csv",
                )
            chosen = chosen.assign(label=labels.astype("int64"))
        return chosen.reset_index(drop=True)

    def counts(self, fold: str | None = None) -> dict[str, dict[str, int]]:
        """Number of usable and of bad clips in each split that has any: ``{"train": {"ok": 4000, "bad": 0}, ...}``."""
        table = self.table if fold is None else self.table.assign(split=self.table["id"].map(self._fold(fold)))
        sizes = table.groupby(["split", "status"]).size()
        return {
            split: {status: int(sizes.get((split, status), 0)) for status in ("ok", "bad")}
            for split in SPLITS
            if split in sizes.index.get_level_values("split")
        }

    def eval_split(self, fold: str | None = None) -> str:
        """The split that training is evaluated on: val, or test in a dataset (or fold) that has no val."""
        counts = self.counts(fold)
        return "test" if "val" not in counts and "test" in counts else "val"

    def clip(self, clip_id: str) -> Clip:
        """The row of one clip.

        Raises:
            UnknownNameError: if there is no such clip.
        """
        if clip_id not in self._positions:
            raise unknown_name("clip", clip_id, self.table["id"].head(1000), hint=f"see {self.path}")
        position = self._positions[clip_id]
        return next(iterate_clips(self.table.iloc[position : position + 1]))

    def folds(self) -> list[str]:
        """Names of the further divisions into splits."""
        return sorted(path.stem for path in (self.folder / "splits").glob("*.csv"))

    def tasks(self) -> list[str]:
        """Names of the further label sets."""
        return sorted(path.stem for path in (self.folder / "labels").glob("*.csv"))

    def classes_of(self, task: str | None) -> list[str] | None:
        """Class names of a label set (``tasks`` in dataset.json; None if it names none); without a task `classes`."""
        return self.classes if task is None else self.info["tasks"].get(task)

    def num_classes(self, task: str | None = None) -> int:
        """Number of classes of a label set: of its names, or, where it has none, what its labels need."""
        names = self.classes_of(task)
        if task is None or names is not None:
            return len(names or self.classes)
        return 1 + max(self._task(task).values(), default=0)

    def reversal_pairs(self, task: str | None = None) -> list[list[int]]:
        """Classes that are each other's time reversal; of the manifest's own labels only."""
        return self.info.get("reversal_pairs", []) if task is None else []

    def selection_fingerprint(self, *, fold: str | None = None, task: str | None = None) -> str:
        """The fingerprint of these rows under a fold and a task: `fingerprint` itself where neither is given."""
        if fold is None and task is None:
            return self.fingerprint
        parts = [self.fingerprint]
        parts.append("" if fold is None else fingerprint(sorted(self._fold(fold).items())))
        parts.append("" if task is None else fingerprint(sorted(self._task(task).items())))
        return fingerprint(parts)[:16]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {clip: position for position, clip in enumerate(self.table["id"])}

    def _fold(self, name: str) -> dict[str, str]:
        path = self._beside("splits", "fold", name, self.folds())
        text, lines = self._side_table(path, ("id", "split"))
        for clip, value, line in zip(text["id"], text["split"], lines, strict=True):
            if value not in SPLITS:
                raise ManifestError(
                    f"bad split of clip '{clip}'", given=repr(value), allowed=SPLITS, where=(path, int(line))
                )
        return dict(zip(text["id"], text["split"], strict=True))

    def _task(self, name: str) -> dict[str, int]:
        path = self._beside("labels", "task", name, self.tasks())
        text, lines = self._side_table(path, ("id", "label"))
        names = self.classes_of(name)
        for clip, value, line in zip(text["id"], text["label"], lines, strict=True):
            if not (value.isascii() and value.isdigit()) or (names is not None and int(value) >= len(names)):
                raise ManifestError(
                    f"bad label of clip '{clip}'",
                    given=repr(value),
                    allowed="a whole number, 0 or more" if names is None else f"0 to {len(names) - 1}",
                    where=(path, int(line)),
                )
        return {clip: int(value) for clip, value in zip(text["id"], text["label"], strict=True)}

    def _beside(self, folder: str, kind: str, name: str, names: list[str]) -> Path:
        if name not in names:
            raise unknown_name(kind, name, names)
        return self.folder / folder / f"{name}.csv"

    def _side_table(self, path: Path, columns: tuple[str, str]) -> tuple[pd.DataFrame, NDArray[np.int64]]:
        text, lines = read_text_table(path, columns)
        check_ids(text, lines, path)
        for clip, line in zip(text["id"], lines, strict=True):
            if clip not in self._positions:
                raise ManifestError(
                    "a clip that the manifest does not know",
                    given=clip,
                    allowed=f"the ids in {self.path}",
                    where=(path, int(line)),
                )
        return text, lines


def load_manifest(name: str, data_folder: Path) -> Manifest:
    """Read a prepared dataset and check every line of it.

    Args:
        name: the dataset's name.
        data_folder: where prepared datasets lie (`files.data_folder`).

    Raises:
        ManifestError: if it is not prepared, or malformed (file and line); the hint is the command that makes it, if
            this version has one.
    """
    folder = Path(data_folder) / name
    if Path(name).name != name or not (folder / MANIFEST_NAME).is_file() or not (folder / INFO_NAME).is_file():
        begun = Path(name).name == name and has_journal(folder)
        prepared = _prepared_names(Path(data_folder))
        raise ManifestError(
            f"preparation of dataset '{name}' is not finished" if begun else f"dataset '{name}' is not prepared",
            given=folder,
            allowed=prepared or "(nothing is prepared there)",
            hint=how_to_prepare(name, prepared),
        )
    try:
        info = read_info(folder / INFO_NAME, name)
        path = folder / MANIFEST_NAME
        content = read_text(path)
        text, lines = split_text(content, path, COLUMNS)
        table = parse_rows(text, lines, path, len(info["classes"]))
        return _build(folder, info, table, lines, canonical_text(content, text, table))
    except ManifestError as error:
        hint = (
            "to make it anew: " + prepare_command(name, " --force") if name in SOURCES else "put back what was prepared"
        )
        raise ManifestError(
            error.problem, given=error.given, allowed=error.allowed, hint=error.hint or hint, where=error.where
        ) from error


def write_manifest(folder: Path, rows: pd.DataFrame | Iterable[Mapping[str, Any]], info: Mapping[str, Any]) -> Manifest:
    """Finish a preparation: check the rows, write dataset.json and then manifest.csv, and remove the journal.

    The rows go through the same checks as when they are read, so what is written can be loaded. Each file is there
    as a whole or not at all, and a manifest never stands beside another preparation's dataset.json.

    Args:
        folder: ``<data folder>/<name>``.
        rows: one mapping per clip with `COLUMNS` (the last three may be left out for videos), or a table of them, in
            the order they are to have.
        info: the content of dataset.json; at least name, root, classes, label_order and version.

    Returns:
        The manifest, as `load_manifest` gives it.

    Raises:
        ManifestError: if a row or the info is malformed.
        ResultsError: if the folder cannot be written.
    """
    folder = Path(folder)
    path = folder / MANIFEST_NAME
    complete = complete_info(info)
    check_info(complete, folder / INFO_NAME, folder.resolve().name)
    text = table_text(rows)
    texts, lines = split_text(text, path, COLUMNS)
    table = parse_rows(texts, lines, path, len(complete["classes"]))
    if path.exists() and path.read_bytes() != text.encode():
        path.unlink()  # killed between the two writes, the old rows must not be read with the new classes
    atomic_write_json(folder / INFO_NAME, complete)
    atomic_write_text(path, text)
    remove_journal(folder)
    return _build(folder.resolve(), complete, table, lines, canonical_text(text, texts, table))


def list_prepared(data_folder: Path) -> list[tuple[str, Manifest | VidreproError]]:
    """Every dataset in the data folder by name, with its manifest or the reason it cannot be used."""
    found: list[tuple[str, Manifest | VidreproError]] = []
    for name in _prepared_names(Path(data_folder), unfinished=True):
        try:
            found.append((name, load_manifest(name, data_folder)))
        except VidreproError as error:
            found.append((name, error))
    return found


def _build(folder: Path, info: dict[str, Any], table: pd.DataFrame, lines: NDArray[np.int64], content: str) -> Manifest:
    rows = hashlib.sha256(content.encode()).hexdigest()
    meaning = {key: info[key] for key in MEANING}
    if info.get("turned"):  # a half turn changes what the rows stand for, and nothing in them
        meaning["turned"] = info["turned"]
    return Manifest(
        name=info["name"],
        folder=folder,
        root=folder / info["root"],
        table=table,
        info=info,
        fingerprint=fingerprint({"rows": rows, "meaning": meaning})[:16],
        lines=lines,
    )


def _prepared_names(data_folder: Path, *, unfinished: bool = False) -> list[str]:
    if not data_folder.is_dir():
        return []
    return sorted(
        folder.name
        for folder in data_folder.iterdir()
        if (folder / MANIFEST_NAME).is_file()
        or (unfinished and folder.is_dir() and (has_journal(folder) or (folder / INFO_NAME).is_file()))
    )
