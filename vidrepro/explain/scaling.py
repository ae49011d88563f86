"""From attention values to the 0 to 1 that colours stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidrepro.errors import unknown_name

# What 0 and 1 are drawn for, and the words beside the colours. ``range``: a row's least and largest value in the clip;
# ``absolute``: 0 and 1; ``released``: as the released ST-ABN draws, maps absolute, bars see `scale_weights`.
SCALES = {
    "range": "from the row's least to its largest value",
    "absolute": "attention",
    "released": "attention; bars from least to largest",
}


@dataclass(frozen=True)
class Scaled:
    """Values drawn as 0 to 1 with the values that these two stand for."""

    values: NDArray[np.float32]
    low: float
    high: float


def scale_maps(values: NDArray[np.float32], scale: str) -> Scaled:
    """Maps (T, H, W) for drawing.

    Args:
        scale: one of `SCALES`.

    Raises:
        UnknownNameError: for another scale.
    """
    _require(scale)
    return _stretched(values) if scale == "range" else Scaled(np.clip(values, 0, 1), 0.0, 1.0)


def scale_weights(values: NDArray[np.float32], scale: str) -> Scaled:
    """Weights of frames (T,) for drawing.

    ``released`` is what test_recognizer.py of ST-ABN's release draws: the first and last weight are replaced by the
    mean (edge frames stand out, because of the zero padding in time), all are stretched to 0..1, and the two are put
    back. They are numpy views there, so that the mean comes back and not the weight; so it does here.

    Args:
        scale: one of `SCALES`.

    Raises:
        UnknownNameError: for another scale.
    """
    _require(scale)
    if scale == "absolute":
        return Scaled(np.clip(values, 0, 1), 0.0, 1.0)
    if scale == "range":
        return _stretched(values)
    replaced = values.copy()
    for edge in (0, -1):
        replaced[edge] = replaced.mean()
    scaled = _stretched(replaced)
    scaled.values[[0, -1]] = np.clip(replaced[[0, -1]], 0, 1)
    return scaled


def _stretched(values: NDArray[np.float32]) -> Scaled:
    low, high = float(values.min()), float(values.max())
    spread = high - low
    stretched = (values - low) / spread if spread > 0 else np.zeros_like(values)
    return Scaled(stretched.astype(np.float32), low, high)


def _require(scale: str) -> None:
    if scale not in SCALES:
        raise unknown_name("scale", scale, SCALES)
