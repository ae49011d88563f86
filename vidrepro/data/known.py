"""The datasets that can be prepared: their names, the modules that do it, and the commands that ask for it."""

from __future__ import annotations

from collections.abc import Iterable

from vidrepro.errors import closest

OFFICIAL = ("ssv1", "ssv2", "diving48", "egtea", "epic55", "ucf101", "hmdb51", "kinetics400")
"""The datasets of the papers, made from downloads of the user's; each is the module of its name."""

SOURCES: dict[str, str] = {
    "synthetic": "vidrepro.data.sources.synthetic",
    "synthetic-small": "vidrepro.data.sources.synthetic",
    "synthetic-full": "vidrepro.data.sources.synthetic",
    **{name: f"vidrepro.data.sources.{name}" for name in OFFICIAL},
}
"""Dataset name → module."""


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
