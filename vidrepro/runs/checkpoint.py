"""Checkpoints: plain tensors and numbers, loaded without executing anything, bound to the run they belong to."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vidrepro.errors import CheckpointError
from vidrepro.files import atomic_file
from vidrepro.models.load_tensors import load
from vidrepro.models.weight_files import read_checkpoint

FORMAT = "vidrepro-checkpoint-1"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint as a whole or not at all.

    Args:
        path: the file.
        content: tensors, numbers, strings, lists and dicts only.
    """
    with atomic_file(path) as file:
        torch.save({"format": FORMAT, **content}, file)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint written by `save_checkpoint`, tensors on the CPU.

    Raises:
        CheckpointError: if the file is missing, damaged, of another kind, or a pickle that would execute code
            (nothing of it is executed).
    """
    content = read_checkpoint(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            "not a checkpoint of vidrepro",
            given=path,
            allowed=f"a file in the format {FORMAT}",
            hint="weights of other projects are loaded with --weights FILE",
            where=path,
        )
    return content


def load_network(model: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load a network's state, every key of it.

    Raises:
        CheckpointError: naming the keys that are missing, left over or of another shape.
    """
    load(
        model,
        state,
        {key: key for key in model.state_dict()},
        accept=lambda report: report.complete,
        refusal="the checkpoint belongs to another architecture",
        where=path,
    )


def random_state() -> dict[str, Any]:
    """The state of every global random generator, as plain values."""
    version, internal, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=True)  # noqa: NPY002 - a library below us may use the global generator
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(internal), gauss],
        "numpy": [legacy[0], legacy[1].tolist(), *legacy[2:]],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
