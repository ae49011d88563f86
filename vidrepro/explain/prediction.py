"""What a network takes a clip for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Predicting:
    """Base of whatever holds a clip's logits (K,)."""

    logits: NDArray[np.float32]

    @property
    def predicted(self) -> int:
        """The class with the largest logit."""
        return int(self.logits.argmax())

    @property
    def probability(self) -> float:
        """Softmax of the predicted class."""
        return float(1 / np.exp(self.logits.astype(np.float64) - self.logits.max()).sum())
