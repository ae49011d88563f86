"""Where datasets come from: a name → the module that turns the official layout (or nothing) into a manifest.

A source module has `describe() -> Description` and `prepare(options) -> Manifest`; it is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from vidrepro.errors import UnknownNameError, closest, unknown_name

if TYPE_CHECKING:
    from vidrepro.data.manifest import Manifest


@dataclass(frozen=True)
class Description:
    """What `vidrepro prepare list` says about a dataset."""

    name: str
    content: str
    origin: str


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


class Source(Protocol):
    """A module of this package."""

    def describe(self) -> list[Description]:
        """The datasets it prepares."""

    def prepare(self, options: Options) -> Manifest:
        """Prepare one of them."""


SOURCES: dict[str, str] = {
    "synthetic": "vidrepro.data.sources.synthetic",
    "synthetic-small": "vidrepro.data.sources.synthetic",
    "synthetic-full": "vidrepro.data.sources.synthetic",
}
"""Dataset name → module."""

NOT_YET = ("ssv1", "ssv2", "diving48", "egtea", "epic55", "ucf101", "hmdb51")
"""The papers' datasets that this version cannot prepare yet."""


def find_source(name: str) -> Source:
    """The source of a dataset.

    Raises:
        UnknownNameError: if there is none, or none yet.
    """
    if name in NOT_YET:
        raise UnknownNameError(
            f"this version of vidrepro cannot prepare '{name}' yet",
            given=name,
            allowed=SOURCES,
            hint="vidrepro prepare synthetic needs no download; vidrepro prepare list tells what each one is",
        )
    if name not in SOURCES:
        raise unknown_name("dataset", name, SOURCES)
    return cast(Source, importlib.import_module(SOURCES[name]))


def how_to_prepare(name: str, prepared: Iterable[str] = ()) -> str:
    """What to do about a dataset that is missing: the command that makes it, where there is one.

    Args:
        prepared: the datasets that are there, one of which may be meant.
    """
    if name in SOURCES:
        return f"vidrepro prepare {name}"
    if name in NOT_YET:
        return f"this version of vidrepro cannot prepare '{name}' yet; it can prepare {', '.join(SOURCES)}"
    near = [other for other in closest(name, [*prepared, *SOURCES, *NOT_YET], count=1) if other != name]
    question = f"did you mean '{near[0]}'? " if near else ""
    return f"{question}vidrepro prepare list tells what can be prepared"


def describe_all() -> list[Description]:
    """Every dataset that can be prepared."""
    modules = dict.fromkeys(SOURCES.values())
    return [
        description for module in modules for description in cast(Source, importlib.import_module(module)).describe()
    ]
