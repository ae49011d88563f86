"""What networks cost, by network: read where it is known, else counted. Nothing here imports torch before it counts.

The costs of a paper's own rows are counted once, by ``vidrepro measure PAPER --save``, and lie in its folder. A cost is
found by all that determines it, so that a changed row or option is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import vidrepro
from vidrepro.config import ModelConfig
from vidrepro.errors import ConfigError, ResultsError
from vidrepro.experiments import Paper
from vidrepro.experiments.schema import CostInput, CostsFile
from vidrepro.files import atomic_write_json, atomic_write_text, fingerprint, read_json

Record = dict[str, Any]
COSTS_FILE = "costs.json"  # in a paper's folder
_CHANGE_NO_COUNT = {"weights", "weights_digest", "dropout", "head_std"}


class KnownCosts:
    """Costs by network and clip.

    Attributes:
        asked: every network and clip that was asked for, in that order, by the fingerprint of them.

    What is counted here is kept in memory and, given a results folder, as small files below it. Those are only a
    shortcut: a file that cannot be read is counted again, one that cannot be written is left out.
    """

    def __init__(self, results: Path | None = None, paper: Paper | None = None) -> None:
        """
        Args:
            results: results folder to keep counted costs in; None keeps nothing.
            paper: a paper whose kept costs are used; None counts those too.

        Raises:
            ConfigError: if the paper's costs cannot be read.
        """
        self.folder = results / ".cache" / "cost" if results is not None else None
        self.asked: dict[str, Record] = {}
        self._known = {} if paper is None else _kept_with(paper)

    def of(self, network: ModelConfig, clip: CostInput, begin: Callable[[], None] | None = None) -> Record:
        """A network's cost, as `vidrepro.cost.network_cost.CostReport.as_dict` has it.

        Args:
            network: its settings; of a mechanism of one's own with the digest of its source.
            clip: the clip that is counted.
            begin: called before anything is counted.

        Raises:
            ModelError, UnknownNameError: if the network cannot be built.
        """
        counted = _identity(network, clip)
        key = fingerprint(counted)
        self.asked[key] = counted
        if key not in self._known:
            cost = self._read(counted)
            if cost is None:
                if begin:
                    begin()
                cost = count(network, clip)
                self._write(counted, cost)
            self._known[key] = cost
        return self._known[key]

    def save(self, folder: Path) -> Path:
        """Write every cost that was asked for into a paper's folder, a line for each.

        Raises:
            ResultsError: if it cannot be written.
        """
        lines = [json.dumps(what | {"cost": self._known[key]}, sort_keys=True) for key, what in self.asked.items()]
        text = f'{{"counted_with": {json.dumps(_versions())},\n"costs": [\n' + ",\n".join(lines) + "\n]}\n"
        atomic_write_text(folder / COSTS_FILE, text)
        return folder / COSTS_FILE

    def _read(self, counted: Record) -> Record | None:
        if self.folder is not None:
            with suppress(OSError, ValueError):
                return read_json(self._file(self.folder, counted))  # type: ignore[no-any-return]
        return None

    def _write(self, counted: Record, cost: Record) -> None:
        if self.folder is not None:
            with suppress(ResultsError):
                atomic_write_json(self._file(self.folder, counted), cost)
                atomic_write_text(self.folder.parent / ".gitignore", "*\n")

    @staticmethod
    def _file(folder: Path, counted: Record) -> Path:
        """Named by the code that builds and counts networks too: unlike a paper's costs, no test counts these again."""
        key = fingerprint(counted | {"versions": _versions(), "code": _code_fingerprint()})
        return folder / f"{key[:24]}.json"


def kept_costs(file: Path) -> CostsFile:
    """Read a paper's kept costs.

    Raises:
        ConfigError: if it is damaged.
    """
    try:
        return CostsFile.model_validate(read_json(file))
    except ValidationError as error:
        fault = error.errors()[0]
        problem = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    except (OSError, ValueError) as error:
        problem = str(error)
    raise ConfigError(
        f"the costs kept with a paper cannot be used: {problem}",
        where=file,
        hint=f"'vidrepro measure {file.parent.name} --save' counts them again",
    )


def count(network: ModelConfig, clip: CostInput) -> Record:
    """Build a network and count it: on the meta device, or computed where it looks at values or the counters disagree.

    Raises:
        ModelError, UnknownNameError: if it cannot be built.
    """
    from vidrepro.models.mechanisms.external_faults import OwnCodeError

    with suppress(RuntimeError, OwnCodeError):
        counted = _count_on("meta", network, clip)
        if counted["cross_check"]["agrees"]:
            return counted
    return _count_on("cpu", network, clip)


def _count_on(device: str, network: ModelConfig, clip: CostInput) -> Record:
    import torch

    from vidrepro.cost.network_cost import measure_model
    from vidrepro.models import build_from_config

    with torch.device(device):
        model = build_from_config(network, frames=clip.frames, classes=clip.classes, pretrained=False)
    return measure_model(model, frames=clip.frames, size=clip.size).as_dict()


def _kept_with(paper: Paper) -> dict[str, Record]:
    file = paper.folder / COSTS_FILE
    if not file.exists():
        return {}
    entries = kept_costs(file).costs
    return {fingerprint(entry.model_dump(include={"network", "clip"})): entry.cost.model_dump() for entry in entries}


def _identity(network: ModelConfig, clip: CostInput) -> dict[str, Mapping[str, Any]]:
    """All that a count depends on but the code; settings at their defaults are left out."""
    settings = network.model_dump(mode="json", exclude=_CHANGE_NO_COUNT, exclude_defaults=True)
    return {"network": settings, "clip": clip.model_dump()}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "torchvision", "fvcore")}


@cache
def _code_fingerprint() -> str:
    package = Path(vidrepro.__file__).parent
    files = sorted(file for room in ("models", "cost") for file in (package / room).rglob("*.py"))
    return fingerprint({file.relative_to(package).as_posix(): file.read_text(encoding="utf-8") for file in files})
