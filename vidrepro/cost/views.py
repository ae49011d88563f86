"""What one view of a clip costs a trained network."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from vidrepro.config import Protocol
from vidrepro.cost.call_counter import CallCounter
from vidrepro.errors import VidreproError
from vidrepro.models import build_from_config
from vidrepro.models.mechanisms.external_faults import OwnCodeError
from vidrepro.runs.record import read_record


def gmacs_of_run(folder: Path, protocol: str) -> float | None:
    """Convolutions and linear layers of one view of a run's network in 10⁹ MACs; None where that cannot be counted.

    Args:
        folder: the run's.
        protocol: ``frames×crops×clips@size``, under which it is evaluated.

    Raises:
        ResultsError: if the run's record cannot be read.
    """
    record, config = read_record(folder)
    views = Protocol.parse(protocol)
    classes = record.dataset.classes
    try:
        model = build_from_config(config.model, frames=views.frames, classes=classes, pretrained=False)
    except VidreproError:  # a mechanism of a user's own that is not to be had here
        return None
    return gmacs_per_view(model, views.frames, views.size)


def gmacs_per_view(model: nn.Module, frames: int, size: int) -> float | None:
    """Convolutions and linear layers of one view in 10⁹ MACs, counted without computing; None where that cannot be."""
    shapes = copy.deepcopy(model).to("meta").eval()
    counter = CallCounter()
    try:
        with torch.no_grad(), counter:
            shapes(torch.zeros((1, frames, 3, size, size), device="meta"))
    except (RuntimeError, OwnCodeError):  # a network that looks at values, such as where a map has its peaks
        return None
    return (counter.macs["conv"] + counter.macs["linear"]) / 1e9
