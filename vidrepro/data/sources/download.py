"""A download as it lies on disk: what its annotations list, and which of its folders the clips are taken from."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidrepro.data.sources.annotations import UNPACKED
from vidrepro.data.sources.completeness import Lost, check_entries
from vidrepro.data.sources.locate import Located, find_clips, list_clips
from vidrepro.data.sources.official import Annotations, Entry, MediaLayout, OfficialDataset
from vidrepro.data.sources.trees import LeftOut, Tree, choose_tree, fullest, notes_on_choice

_SHOWN_FOLDERS = 100
_DEFAULT_FPS = 25.0  # of pictures whose dataset does not say; nothing but the manifest's column uses it
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Download:
    """A download as it lies on disk: what the annotations say, and where each clip is.

    Attributes:
        annotations: what the annotations list.
        media_root: the folder that the clips' paths are relative to.
        located: the clips' files.
        searched: the folders in which clips of the dataset were looked for.
        left_out: those that could serve too.
    """

    annotations: Annotations
    media_root: Path
    located: Located
    searched: tuple[Path, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def fps(self) -> float:
        """Frames per second of its pictures, as the manifest's column says."""
        return self.annotations.fps or _DEFAULT_FPS


def read_download(dataset: OfficialDataset, root: Path, folder: Path, label_order: str | None) -> Download:
    """Read the annotations and find the clips of a download that is unpacked.

    Raises:
        DataError: see `prepare`.
    """
    place = (folder / UNPACKED).resolve()  # as the root is: one may lie in the other
    unpacked = place if place.is_dir() else None
    annotations = dataset.read(root, unpacked, label_order)
    check_entries(annotations, lambda text: not _UNWRITABLE.search(text))
    folders = dataset.media_roots(root, unpacked)
    tree = find_tree(annotations.entries, folders, [base for base in (unpacked, root) if base], dataset.LAYOUT)
    located = list_clips(annotations.entries, tree, tree.root, dataset.LAYOUT)
    notes = [*annotations.notes, *notes_on_choice(tree, len(annotations.entries))]
    if located.flow:
        notes.append(f"{located.flow:,} pictures beside the frames were left out: optical flow, or another sequence")
    download = Download(
        dataclasses.replace(annotations, notes=tuple(notes)), tree.root, located, tuple(folders), tuple(tree.left_out)
    )
    return _with_frame_rate_note(download)


def find_tree(entries: Sequence[Entry], folders: Sequence[Path], bases: Sequence[Path], layout: MediaLayout) -> Tree:
    """The tree of clips that lacks the fewest, below one of the places a download lies in."""
    found = find_clips(entries, folders, layout)
    trees = []
    for base in bases:
        inside = {folder: clips for folder, clips in found.items() if folder.is_relative_to(base)}
        found = {folder: clips for folder, clips in found.items() if folder not in inside}
        if inside:
            trees.append(choose_tree(base, inside))
    return fullest(Path(os.path.commonpath(bases)), trees)


def _with_frame_rate_note(download: Download) -> Download:
    """Say so where pictures are given a frame rate that neither they nor their dataset tell."""
    annotations = download.annotations
    pictures = any(media.kind == "frames" for media in download.located.media.values())
    if annotations.fps is not None or not pictures:
        return download
    note = (
        f"the frame rate of these pictures is not known; the manifest says {download.fps:g}, which nothing depends on"
    )
    return dataclasses.replace(download, annotations=dataclasses.replace(annotations, notes=(*annotations.notes, note)))


def missing_clips(download: Download) -> list[Lost]:
    """The clips without a file."""
    return [Lost(one.entry, "missing", one.reason) for one in download.located.missing]


def folders_of(download: Download) -> dict[str, Any]:
    """Which folders were looked into, for the report."""
    return {
        "media_root": str(download.media_root),
        "folders_searched": [str(folder) for folder in download.searched[:_SHOWN_FOLDERS]],
        "folders_left_out": [{"folder": str(one.folder), "clips": one.clips} for one in download.left_out],
    }
