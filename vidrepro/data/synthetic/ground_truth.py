"""What the generator knows about a clip beside its pixels, and the file that keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidrepro.data.synthetic.textures import FloatArray
from vidrepro.errors import DataError
from vidrepro.files import BAD_ARCHIVE, atomic_file

_TRACKS = ("masks", "boxes", "centres", "sizes", "speeds", "camera")


@dataclass(frozen=True)
class Annotations:
    """Everything known about a clip of T frames, O things and side S.

    Attributes:
        roles: (O,) main, second, hand or distractor, in drawing order: later ones are in front.
        masks: (T, O, S, S) bool, the visible part of each thing.
        boxes: (T, O, 4) int16 x0, y0, x1, y1 in pixels (x1, y1 beyond the last pixel) of each thing, occluded parts
            included, cut at the picture's border; zeros where nothing of it is in the picture.
        centres: (T, O, 2) float32 x, y in pixels; may lie outside the picture. For a hand: the fingertip.
        sizes: (T, O) float32 diameter of each thing as a fraction of the side. For a hand: the finger's width.
        speeds: (T, O) float32 apparent speed of the centres in pixels per frame, camera included.
        camera: (T, 3) float32 x and y the camera looks at, in sides of the picture (0.5 at rest), and its zoom factor.
    """

    roles: tuple[str, ...]
    masks: NDArray[np.bool_]
    boxes: NDArray[np.int16]
    centres: FloatArray
    sizes: FloatArray
    speeds: FloatArray
    camera: FloatArray

    @property
    def frames(self) -> int:
        """T, the number of frames."""
        return len(self.masks)

    def reversed(self) -> Annotations:
        """The same clip's played backwards (speeds have no sign)."""
        return Annotations(self.roles, **{name: np.ascontiguousarray(getattr(self, name)[::-1]) for name in _TRACKS})


def save_annotations(path: Path, annotations: Annotations) -> None:
    """Write an ``.npz`` (masks as packed bits); the same content gives the same bytes.

    Raises:
        ResultsError: if the file cannot be written.
    """
    arrays = {name: getattr(annotations, name) for name in _TRACKS if name != "masks"}
    with atomic_file(path) as file:
        np.savez_compressed(
            file,
            roles=np.array(annotations.roles, dtype=np.str_),
            mask_bits=np.packbits(annotations.masks, axis=-1),
            side=np.int64(annotations.masks.shape[-1]),
            **arrays,
        )


def load_annotations(path: Path) -> Annotations:
    """Read what `save_annotations` wrote.

    Raises:
        DataError: if the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            side = int(file["side"])
            return Annotations(
                roles=tuple(file["roles"].tolist()),
                masks=np.unpackbits(file["mask_bits"], axis=-1, count=side).astype(bool),
                **{name: file[name] for name in _TRACKS if name != "masks"},
            )
    except BAD_ARCHIVE as error:
        raise DataError(
            f"cannot read the annotations of a clip: {error}", hint="vidrepro prepare synthetic", where=path
        ) from error
