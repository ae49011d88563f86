"""Where datasets come from: a name → the module that turns the official layout (or nothing) into a manifest.

A source module has `describe() -> Description` and `prepare(options) -> Manifest`; it is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from vidrepro.data.known import OFFICIAL, SOURCES
from vidrepro.data.sources.contract import Description, Options, Source
from vidrepro.errors import unknown_name

if TYPE_CHECKING:
    from vidrepro.data.manifest import Manifest
    from vidrepro.data.sources.estimate import Estimate
    from vidrepro.data.sources.official import OfficialDataset


@dataclass(frozen=True)
class OfficialSource:
    """A dataset's module as a source of `vidrepro.data.sources`."""

    module: str

    @property
    def dataset(self) -> OfficialDataset:
        """The module."""
        return importlib.import_module(self.module)  # type: ignore[return-value]

    def describe(self) -> list[Description]:
        """One entry."""
        guide = self.dataset.guide()
        return [Description(self.dataset.NAME, guide.content, guide.page, guide)]

    def prepare(self, options: Options) -> Manifest:
        """See `vidrepro.data.sources.prepare.prepare`."""
        from vidrepro.data.sources.prepare import prepare

        return prepare(self.dataset, options)

    def estimate(self, options: Options) -> Estimate:
        """See `vidrepro.data.sources.estimate.estimate`."""
        from vidrepro.data.sources.estimate import estimate

        return estimate(self.dataset, options)


def find_source(name: str) -> Source:
    """The source of a dataset.

    Raises:
        UnknownNameError: if there is none.
    """
    if name not in SOURCES:
        raise unknown_name("dataset", name, SOURCES)
    if name in OFFICIAL:
        return OfficialSource(SOURCES[name])
    return cast(Source, importlib.import_module(SOURCES[name]))


def describe_all() -> list[Description]:
    """Every dataset that can be prepared, the embedded one first."""
    names = {SOURCES[name]: name for name in reversed(SOURCES)}
    return [description for name in reversed(names.values()) for description in find_source(name).describe()]
