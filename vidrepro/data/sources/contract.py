"""What a source of a dataset is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

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
    """What turns the official layout, or nothing, into a manifest."""

    def describe(self) -> list[Description]:
        """The datasets it prepares."""

    def prepare(self, options: Options) -> Manifest:
        """Prepare one of them."""
