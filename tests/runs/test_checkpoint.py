"""Checkpoints: nothing is executed, and nothing of another architecture gets in."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vidrepro.errors import CheckpointError
from vidrepro.runs.checkpoint import (
    load_checkpoint,
    load_network,
    random_state,
    save_checkpoint,
    set_random_state,
)


class Bomb:
    """Unpickling this would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.write_text, (self.target, "executed")


@pytest.mark.parametrize("plain", [True, False])
def test_a_pickle_that_would_execute_code_is_refused_unexecuted(tmp_path: Path, plain: bool) -> None:
    trap, path = tmp_path / "trap", tmp_path / "evil.pt"
    if plain:
        path.write_bytes(pickle.dumps(Bomb(trap)))
    else:
        torch.save({"format": "vidrepro-checkpoint-1", "model": Bomb(trap)}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    with pytest.raises(CheckpointError, match="no weight file"):
        load_checkpoint(tmp_path / "none.pt")


def test_truncated_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    save_checkpoint(path, {"model": {"w": torch.randn(1000)}})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    torch.save({"w": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of vidrepro"):
        load_checkpoint(path)


def test_another_architecture_is_refused_by_key(tmp_path: Path) -> None:
    state = nn.Linear(3, 2).state_dict()
    load_network(nn.Linear(3, 2), state, tmp_path)
    with pytest.raises(CheckpointError, match=r"(?s)another architecture.*weight"):
        load_network(nn.Linear(4, 2), state, tmp_path)
    with pytest.raises(CheckpointError, match=r"(?s)another architecture.*bias"):
        load_network(nn.Sequential(nn.Linear(3, 2)), {"0.weight": state["weight"], "bias": state["bias"]}, tmp_path)


def test_random_state_round_trips_through_a_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x.pt", {"random": random_state()})
    drawn = torch.rand(3), random.random(), np.random.rand(), random.gauss(0, 1)  # noqa: NPY002
    set_random_state(load_checkpoint(tmp_path / "x.pt")["random"])
    again = torch.rand(3), random.random(), np.random.rand(), random.gauss(0, 1)  # noqa: NPY002
    assert torch.equal(drawn[0], again[0]) and drawn[1:] == again[1:]
