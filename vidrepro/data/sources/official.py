"""What a module of an official dataset says: where the download comes from, what its annotations list, how clips lie.

One module per dataset (`ssv1`, `ssv2`, `diving48`, ...) answers these questions and nothing else; unpacking, joining
annotations with files, checking clips and writing the manifest are the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

VIDEO_SUFFIXES = (".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp")
"""Of video files: what the datasets have, then what others make of it; the first of several is taken for a clip."""


@dataclass(frozen=True)
class Guide:
    """What `prepare list` and `prepare NAME --help` tell about a download.

    Attributes:
        title: the dataset's name in the literature.
        page: the official page.
        licence: under which terms it is given out.
        registration: what has to be done before it can be downloaded.
        files: names and sizes expected, one line each, e.g. "20bn-something-something-v1-00 .. (about 25 GB in all)".
        content: one line for the list: classes and clips per split.
        certainty: what of this was not verified against an official source.
    """

    title: str
    page: str
    licence: str
    registration: str
    files: tuple[str, ...]
    content: str
    certainty: str = ""


@dataclass(frozen=True)
class Entry:
    """One clip as an annotation lists it.

    Attributes:
        id: unique in the dataset; the manifest's id.
        split: ``train``, ``val`` or ``test`` in the default fold.
        label: 0-based class index in the annotations's label order.
        media: key of its file: relative POSIX path without extension below the media root, e.g. ``"1"``,
            ``"rgb/-mmq0"``, ``"Basketball/v_Basketball_g01_c01"``.
        where: annotation file and 1-based line; in JSON the line on which the object starts.
        span: first and last frame number, inclusive, as the files are numbered, if the clip is part of a longer video
            (EPIC).
    """

    id: str
    split: str
    label: int
    media: str
    where: tuple[Path, int]
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class Task:
    """A further label set of the same clips, e.g. EPIC's nouns: its classes, and the label of each clip id."""

    classes: tuple[str, ...]
    labels: Mapping[str, int]


@dataclass(frozen=True)
class Annotations:
    """What the annotations say.

    Attributes:
        classes: class names, index = label.
        label_order: the name of that order, e.g. ``"sorted"``.
        version: the dataset's version, e.g. ``"V2"``.
        entries: every clip with a label, in the order of the annotations.
        folds: fold name (``"split1"``) -> clip id -> split; holds the default fold too. Empty without folds.
        tasks: further label sets.
        expected: official number of clips per split in the default fold.
        expected_folds: the same for each fold, where folds differ.
        expected_classes: official number of classes; 0 if unknown.
        left_out: reason -> count of annotated clips that are no entries, e.g. ``{"test clips without labels": 10960}``.
        notes: sentences for the user and for dataset.json.
        fps: frame rate of image sequences (SSv1 12, EPIC 60); None where the video says it.
        label_orders: names that ``--label-order`` accepts, the first is the default.
        class_problems: how the class list differs from the official one, a sentence each; a mismatch in the sense of
            ``--allow-missing``.
        foreign: why these are the lists of another dataset or version, a sentence each; never accepted.
    """

    classes: tuple[str, ...]
    label_order: str
    version: str
    entries: tuple[Entry, ...]
    folds: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    expected: Mapping[str, int] = field(default_factory=dict)
    expected_folds: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    expected_classes: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    fps: float | None = None
    label_orders: tuple[str, ...] = ()
    class_problems: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArchiveSet:
    """Files of a download that belong together.

    Attributes:
        parts: one archive, or all parts in order.
        into: folder below the unpack target; ``""`` is the target itself.
        what: for messages, e.g. "video parts of Something-Something V1".
    """

    parts: tuple[Path, ...]
    into: str
    what: str


@dataclass(frozen=True)
class MediaLayout:
    """How a clip's file or folder of frames is found from `Entry.media` below a media root.

    Attributes:
        first_suffix: of the dataset's own videos, which go before copies beside them.
        frames: whether clips may be folders of frames.
        videos: whether clips may be video files.
        ignore_case: names may differ from the key in capitals.
        numbered: names are numbers, with or without leading zeros.
        flat: a clip may also lie directly in the media root, under the last part of its key.
    """

    first_suffix: str = ".mp4"
    frames: bool = True
    videos: bool = True
    ignore_case: bool = False
    numbered: bool = False
    flat: bool = False


class OfficialDataset(Protocol):
    """A module of `vidrepro.data.sources` that describes an official dataset."""

    NAME: str
    LAYOUT: MediaLayout

    def guide(self) -> Guide:
        """Where the download comes from and what belongs to it."""

    def archives(self, root: Path) -> list[ArchiveSet]:
        """What in `root` is still packed, told by magic bytes.

        Raises:
            DataError: naming the file, for gaps in the numbering of parts, missing parts and HTML pages.
        """

    def read(self, root: Path, unpacked: Path | None, label_order: str | None) -> Annotations:
        """The annotations found below `root`, or below `unpacked` if they came in an archive.

        Raises:
            DataError: with file and line, for anything malformed, whatever share of clips may be missing.
            UnknownNameError: if `label_order` is none of the dataset's.
        """

    def media_roots(self, root: Path, unpacked: Path | None) -> list[Path]:
        """All folders that hold clips, best first: copies of the dataset, or the branches of a divided one.

        Raises:
            DataError: if there is none, with what was looked for and the folders searched.
        """
