"""Annotations joined with files: for each clip that an annotation lists, its video or its folder of pictures.

Each folder is listed once; no file is asked for by name, so 200,000 clips take seconds, and names with ``[``, ``#``,
``;`` or a leading ``-`` mean nothing to anyone.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vidrepro.data.sources.official import VIDEO_SUFFIXES, Entry, MediaLayout
from vidrepro.data.sources.picture_folders import Pictures, list_pictures
from vidrepro.data.sources.search import entries_of
from vidrepro.data.sources.trees import File, Tree
from vidrepro.errors import DataError

_SHOWN_GAPS = 3


@dataclass(frozen=True, slots=True)
class Media:
    """Where a clip lies.

    Attributes:
        path: relative to the media root, with ``/``.
        kind: video or frames.
        pattern: file name of the pictures, e.g. ``img_%05d.jpg``; empty for a video, or if there is no usable one.
        start_index: number of the sequence's first picture.
        first_frame: offset of the clip inside the sequence.
        count: pictures of the clip.
        gaps: why the pictures are no gapless sequence; empty if they are.
        clamped: by how many pictures the annotated span goes beyond the last one.
    """

    path: str
    kind: str
    pattern: str = ""
    start_index: int = 0
    first_frame: int = 0
    count: int = 0
    gaps: str = ""
    clamped: int = 0


class Missing(NamedTuple):
    """A clip without a file, and what was looked for."""

    entry: Entry
    reason: str


@dataclass
class Located:
    """What `locate` found.

    Attributes:
        media: by clip id.
        missing: clips without a file.
        stray: files among the pictures that are none of the clip's, such as Thumbs.db; ignored.
        flow: how many of these are pictures of something else, such as optical flow.
    """

    media: dict[str, Media]
    missing: list[Missing]
    stray: int = 0
    flow: int = 0


def locate(entries: Sequence[Entry], media_root: Path, layout: MediaLayout) -> Located:
    """Find every clip's file or folder below a media root.

    Raises:
        DataError: if an annotation's file name leads out of the media root.
    """
    tree = Tree(media_root, find_clips(entries, [media_root], layout)[media_root])
    return list_clips(entries, tree, media_root, layout)


def find_clips(entries: Sequence[Entry], folders: Sequence[Path], layout: MediaLayout) -> dict[Path, dict[str, File]]:
    """What lies in each of some folders, by clip id; the pictures of a clip are not looked at.

    Raises:
        DataError: if an annotation's file name leads out of its folder.
    """
    by_name: dict[str, list[Entry]] = {}
    for entry in entries:
        parts = entry.media.split("/")
        if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
            raise leads_out(entry)
        for name in {parts[0], parts[-1]} if layout.flat else parts[:1]:
            by_name.setdefault(alike(name, layout), []).append(entry)
    found: dict[Path, dict[str, File]] = {}
    for folder in folders:
        listed = _Folders(folder, layout)
        names = {alike(name, layout) for name in listed.names()}
        # a folder is asked for what it may hold only: there may be one for each class of 400
        candidates = entries if len(folders) == 1 else [one for name in names for one in by_name.get(name, ())]
        files = ((entry.id, listed.find(entry)) for entry in candidates)
        found[folder] = {clip: File(folder, *file) for clip, file in files if file is not None}
    return found


def list_clips(entries: Sequence[Entry], tree: Tree, media_root: Path, layout: MediaLayout) -> Located:
    """The clips of a tree, the pictures of each counted; paths are relative to the media root."""
    sequences: dict[str, Pictures] = {}
    found = Located({}, [])
    paths = tree.paths(media_root)
    for entry in entries:
        if entry.id not in paths:
            found.missing.append(Missing(entry, _looked_for(entry, layout)))
            continue
        path, kind = paths[entry.id]
        if kind == "video":
            found.media[entry.id] = Media(path, kind)
            continue
        pictures = sequences.get(path)
        if pictures is None:
            pictures = list_pictures(media_root / path)
            inner = f"{path}/{posixpath.basename(path)}"
            if not pictures.pattern and (media_root / inner).is_dir():  # unpacked into a folder of its own
                path, pictures = inner, list_pictures(media_root / inner)
            sequences[path] = pictures
            found.stray += pictures.stray
            found.flow += pictures.flow
        clip = _clip_of(path, pictures, entry.span)
        if isinstance(clip, str):
            found.missing.append(Missing(entry, clip))
        else:
            found.media[entry.id] = clip
    return found


def _clip_of(path: str, sequence: Pictures, span: tuple[int, int] | None) -> Media | str:
    """A clip of a sequence: all of it, or the pictures of a span, which may end beyond the last one.

    Returns:
        The clip; or why it is missing, where the sequence ends before it begins.
    """
    start, last = sequence.start, sequence.last
    if sequence.problem:
        return Media(path, "frames", sequence.pattern, start, gaps=sequence.problem)
    first, end = span or (start, last)
    # annotations count from 1 where a video begins: frame 0 does not exist in a sequence that starts at 1
    begin, stop = max(first, start), min(end, last)
    if stop < begin:
        return f"its frames {first} to {end} lie beyond the last picture, {last}"
    missing = [number for number in sequence.missing if begin <= number <= stop]
    gaps = ""
    if missing:
        shown = ", ".join(sequence.pattern % number for number in missing[:_SHOWN_GAPS])
        more = f" and {len(missing) - _SHOWN_GAPS} more" if len(missing) > _SHOWN_GAPS else ""
        gaps = f"pictures are missing in the middle: {shown}{more}"
    return Media(path, "frames", sequence.pattern, start, begin - start, stop - begin + 1, gaps, end - stop)


def alike(name: str, layout: MediaLayout) -> str:
    """What names that mean the same clip have in common."""
    if layout.numbered and name.isascii() and name.isdigit():
        return name.lstrip("0") or "0"
    return name.lower() if layout.ignore_case else name


def _looked_for(entry: Entry, layout: MediaLayout) -> str:
    kinds = [
        *([f"'{entry.media}{'|'.join(VIDEO_SUFFIXES)}'"] if layout.videos else []),
        *([f"folder '{entry.media}' of pictures"] if layout.frames else []),
    ]
    return f"there is no {' nor '.join(kinds)}"


class _Folder:
    """The names in a folder: clips by name without extension, and subfolders."""

    def __init__(self, path: Path, layout: MediaLayout) -> None:
        self._layout = layout
        self.folders: dict[str, str] = {}
        self.videos: dict[str, str] = {}
        ranks = {suffix: place for place, suffix in enumerate(dict.fromkeys((layout.first_suffix, *VIDEO_SUFFIXES)))}
        rank: dict[str, int] = {}
        for one in entries_of(path):
            stem, suffix = os.path.splitext(one.name)  # noqa: PTH122 - quicker, for 220,847 files
            place = ranks.get(suffix.lower())
            if place is not None and not (one.is_dir() and layout.frames):
                if place < rank.get(stem, len(ranks)):
                    rank[stem] = place
                    self.videos[stem] = one.name
            elif one.is_dir():
                self.folders[one.name] = one.name
        self._alike: dict[str, dict[str, list[str]]] = {}

    def look_up(self, kind: str, name: str) -> str | None:
        """The file or folder of a name: the very one, or the only one that means the same."""
        names = self.videos if kind == "video" else self.folders
        if name in names:
            return names[name]
        if not (self._layout.ignore_case or self._layout.numbered):
            return None
        if kind not in self._alike:
            same_names: dict[str, list[str]] = {}
            for stem, file in names.items():
                same_names.setdefault(alike(stem, self._layout), []).append(file)
            self._alike[kind] = same_names
        same = self._alike[kind].get(alike(name, self._layout), [])
        return same[0] if len(same) == 1 else None


class _Folders:
    """The folders below one that holds clips, each listed once."""

    def __init__(self, root: Path, layout: MediaLayout) -> None:
        self._root, self._layout = root, layout
        self._listed: dict[str, _Folder] = {"": _Folder(root, layout)}
        self._parents: dict[str, str | None] = {}

    def names(self) -> Iterable[str]:
        """Of what lies in the folder itself."""
        return self._listed[""].videos.keys() | self._listed[""].folders.keys()

    def find(self, entry: Entry) -> tuple[str, str] | None:
        """Path and kind of a clip."""
        parent, _, name = entry.media.rpartition("/")
        places = [self._folder_of(parent)]
        if self._layout.flat and places != [""]:
            places.append("")
        for folder in places:
            if folder is None:
                continue
            listed = self._listed[folder]
            for kind, wanted in (("video", self._layout.videos), ("frames", self._layout.frames)):
                file = listed.look_up(kind, name) if wanted else None
                if file is not None:
                    return (f"{folder}/{file}" if folder else file), kind
        return None

    def _folder_of(self, parent: str) -> str | None:
        """The folder that an annotation's path names, listed; None if there is none."""
        if parent in self._parents:
            return self._parents[parent]
        found: str | None = ""
        for part in parent.split("/") if parent else ():
            name = self._listed[found or ""].look_up("frames", part)
            if name is None:
                found = None
                break
            found = f"{found}/{name}" if found else name
            if found not in self._listed:
                self._listed[found] = _Folder(self._root / found, self._layout)
        self._parents[parent] = found
        return found


def leads_out(entry: Entry) -> DataError:
    """The error for an annotation whose file name is no plain relative one."""
    return DataError(
        f"the file name of clip '{entry.id}' leads out of the dataset's folder",
        given=entry.media,
        allowed="a name, or folders and a name, with /",
        where=entry.where,
    )
