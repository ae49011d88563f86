"""Where datasets come from: a name → the module that turns the official layout (or nothing) into a manifest.

A source module has `describe() -> Description` and `prepare(options) -> Manifest`; it is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from vidrepro.errors import closest, unknown_name

if TYPE_CHECKING:
    from vidrepro.data.manifest import Manifest
    from vidrepro.data.sources.official import Guide


@dataclass(frozen=True)
class Description:
    """What `vidrepro prepare list` says about a dataset."""

    name: str
    content: str
    origin: str
    guide: Guide | None = None


@dataclass(frozen=True)
class Options:
    """What a user may say about a preparation.

    Attributes:
        data_folder: where prepared datasets lie; the dataset gets a folder of its name in it.
        dataset: the name asked for.
        root: where the user's download lies; a dataset made by ourselves puts its clips there instead.
        preset: which version of it, None for the usual one.
        seed: of whatever is random in it, None for the usual one.
        workers: processes, None for one per core.
        force: replace what was prepared with other settings, or is damaged.
        progress: called with (clips done, clips in all).
        say: called with a sentence for the user.
        split: which fold becomes the manifest's splits, None for the first.
        label_order: by its name, None for the one of the papers' code.
        allow_missing: share of a split's official clips that may be lacking; 1 takes whatever is there.
        reencode: short side of H.264 copies to be made, None for none.
        frames: short side of copies as JPEG pictures, None for none.
        quality: of the copies.
        unpack_progress: called with (bytes, bytes in all) while archives are unpacked.
    """

    data_folder: Path
    dataset: str
    root: Path | None = None
    preset: str | None = None
    seed: int | None = None
    workers: int | None = None
    force: bool = False
    progress: Callable[[int, int], None] | None = None
    say: Callable[[str], None] | None = None
    split: str | None = None
    label_order: str | None = None
    allow_missing: float = 0.0
    reencode: int | None = None
    frames: int | None = None
    quality: int | None = None
    unpack_progress: Callable[[int, int], None] | None = None


class PreparationInterrupted(KeyboardInterrupt):
    """Ctrl-C during a preparation; what is done stays, and the same call goes on.

    Attributes:
        done, total: clips finished, clips in all.
    """

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"interrupted: {done} of {total} clips are done; the same command goes on from there")
        self.done, self.total = done, total


class Source(Protocol):
    """A module of this package."""

    def describe(self) -> list[Description]:
        """The datasets it prepares."""

    def prepare(self, options: Options) -> Manifest:
        """Prepare one of them."""


OFFICIAL = ("ssv1", "ssv2", "diving48", "egtea", "epic55", "ucf101", "hmdb51", "kinetics400")
"""The datasets of the papers, made from downloads of the user's; each is the module of its name."""

SOURCES: dict[str, str] = {
    "synthetic": "vidrepro.data.sources.synthetic",
    "synthetic-small": "vidrepro.data.sources.synthetic",
    "synthetic-full": "vidrepro.data.sources.synthetic",
    **{name: f"vidrepro.data.sources.{name}" for name in OFFICIAL},
}
"""Dataset name → module."""


def find_source(name: str) -> Source:
    """The source of a dataset.

    Raises:
        UnknownNameError: if there is none.
    """
    if name not in SOURCES:
        raise unknown_name("dataset", name, SOURCES)
    if name in OFFICIAL:
        from vidrepro.data.sources.engine import OfficialSource

        return OfficialSource(SOURCES[name])
    return cast(Source, importlib.import_module(SOURCES[name]))


def how_to_prepare(name: str, prepared: Iterable[str] = ()) -> str:
    """What to do about a dataset that is missing: the command that makes it, where there is one.

    Args:
        prepared: the datasets that are there, one of which may be meant.
    """
    if name in SOURCES:
        return prepare_command(name)
    near = [other for other in closest(name, [*prepared, *SOURCES], count=1) if other != name]
    question = f"did you mean '{near[0]}'? " if near else ""
    return f"{question}vidrepro prepare list tells what can be prepared"


def prepare_command(name: str, options: str = "") -> str:
    """The command that prepares a dataset of `SOURCES`."""
    return f"vidrepro prepare {name}" + " --root FOLDER" * (name in OFFICIAL) + options


def describe_all() -> list[Description]:
    """Every dataset that can be prepared, the embedded one first."""
    names = {SOURCES[name]: name for name in reversed(SOURCES)}
    return [description for name in reversed(names.values()) for description in find_source(name).describe()]
