"""Which of the folders that hold clips are taken: the branches of one tree together, of several trees the fullest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vidrepro.data.sources.search import is_split_name


class File(NamedTuple):
    """A clip's video or folder of pictures.

    Attributes:
        folder: one of those that hold clips.
        path: relative to it, with ``/``.
        kind: video or frames.
    """

    folder: Path
    path: str
    kind: str


class LeftOut(NamedTuple):
    """A folder whose clips lie in the tree that was taken too, or are of another kind.

    Attributes:
        folder: the folder.
        clips: how many listed clips lie in it.
        twice: how many of them lie in the tree that was taken too.
    """

    folder: Path
    clips: int
    twice: int


@dataclass
class Tree:
    """Clips that are taken together.

    Attributes:
        folder: the folder they all lie below.
        clips: each clip's file, by id.
        left_out: other folders that could serve.
        twice: clips that lie in two branches; the first one's is taken.
    """

    folder: Path
    clips: dict[str, File] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The folder that all that hold a clip have in common."""
        used = {file.folder for file in self.clips.values()}
        return Path(os.path.commonpath(used)) if used else self.folder

    def paths(self, root: Path) -> dict[str, tuple[str, str]]:
        """By clip id: path relative to a folder above, and kind."""
        names = {folder: folder.relative_to(root).as_posix() for folder in {one.folder for one in self.clips.values()}}
        prefix = {folder: "" if name == "." else f"{name}/" for folder, name in names.items()}
        return {clip: (prefix[file.folder] + file.path, file.kind) for clip, file in self.clips.items()}

    @property
    def kind(self) -> str:
        """What most of its clips are."""
        frames = sum(file.kind == "frames" for file in self.clips.values())
        return "frames" if 2 * frames > len(self.clips) else "video"


def choose_tree(base: Path, found: Mapping[Path, Mapping[str, File]]) -> Tree:
    """The tree with the most clips below a folder.

    Beside one another lie the branches of a tree (train/ and val/, one folder a class), which hold different clips, or
    copies of it (videos/ and rawframes/), which hold the same ones: of those the fullest is taken.

    Args:
        base: the folder.
        found: folders that hold clips, best first -> what lies in each, by clip id.
    """
    below: dict[str, dict[Path, Mapping[str, File]]] = {}
    parts = []
    for folder, clips in found.items():
        if folder == base:
            parts.append(Tree(base, dict(clips)))
        else:
            below.setdefault(folder.relative_to(base).parts[0], {})[folder] = clips
    parts += [choose_tree(base / name, inner) for name, inner in below.items()]
    return fullest(base, parts)


def fullest(base: Path, trees: Sequence[Tree]) -> Tree:
    """The tree with the most clips, and with it those that are other branches of the same one."""
    first, *others = sorted(trees, key=lambda tree: -len(tree.clips)) or [Tree(base)]
    taken = Tree(base, dict(first.clips), list(first.left_out), list(first.twice))
    for tree in others:
        both = [clip for clip in tree.clips if clip in taken.clips]  # one tree of 400 at a time: no copy of the whole
        if 2 * len(both) > len(tree.clips) or not _goes_with(first, tree):
            taken.left_out += [LeftOut(tree.root, len(tree.clips), len(both))] if tree.clips else []
            continue
        for clip, file in tree.clips.items():
            taken.clips.setdefault(clip, file)
        taken.left_out += tree.left_out
        taken.twice += [*tree.twice, *sorted(both)]
    return taken


def notes_on_choice(tree: Tree, listed: int) -> list[str]:
    """What the user should know of the choice of the clips' files, a sentence each."""
    notes = [
        f"the clips were taken from {tree.root}, where {listed - len(tree.clips):,} of {listed:,} are missing; "
        f"{one.folder} was left out: {listed - one.clips:,} are missing there, and {one.twice:,} are there twice"
        for one in tree.left_out
    ]
    if tree.twice:
        shown = f"{len(tree.twice):,} clips are there twice, in two folders below {tree.root}"
        notes.append(f"{shown}, and one of the two was taken: {tree.twice[0]}")
    return notes


def _goes_with(first: Tree, other: Tree) -> bool:
    """Whether two are of one kind; a split may have been extracted to pictures alone."""
    return first.kind == other.kind or (is_split_name(first.folder.name) and is_split_name(other.folder.name))
