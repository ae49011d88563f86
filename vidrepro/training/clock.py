"""Where an epoch's time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch


class Clock:
    """Waiting for data, or computing; and how long ago the last checkpoint was.

    Attributes:
        waited: seconds that batches were waited for.
        batches: that came.
    """

    def __init__(self) -> None:
        self._start = self._saved = time.monotonic()
        self.waited = 0.0
        self.batches = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the epoch began."""
        return time.monotonic() - self._start

    def waiting(self, batches: Any) -> Iterator[dict[str, torch.Tensor]]:
        """Pass batches through, timing how long each took to arrive."""
        iterator = iter(batches)
        while True:
            asked = time.monotonic()
            batch = next(iterator, None)
            self.waited += time.monotonic() - asked
            if batch is None:
                return
            self.batches += 1
            yield batch

    def since_save(self) -> float:
        """Seconds since the epoch began or the last checkpoint in it."""
        return time.monotonic() - self._saved

    def saved(self) -> None:
        """A checkpoint has just been written."""
        self._saved = time.monotonic()
