"""A 3x3x3 convolution of two channels to one as a 3x3 one: the volume's first axis as channels, a banded weight.

No CPU library does the first well, its gradients least of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

# Pooled axis -> its place in maps (N, T, H, W, C), and where the axes left over, in that order, stand in the released
# convolution's volume.
_PLACE = {"T": 1, "H": 2, "W": 3, "C": 4}
_KERNEL_AXES = {"C": (0, 1, 2), "T": (1, 2, 0), "H": (0, 2, 1), "W": (0, 1, 2)}
# of a 3x3 convolution: stride, padding, dilation, transposed, output padding, groups
_PLAIN_CONVOLUTION = ((1, 1), (1, 1), (1, 1), False, (0, 0), 1)


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """How the convolution of one gate runs for maps of one shape.

    The volume ``(N, 2, A, B, C)`` has the maximum and the sum over the axis that was pooled. Its A slices are worked on
    at once, or cut into blocks, each with the slice before and behind it.

    Attributes:
        place: the pooled axis in maps ``(N, T, H, W, C)``.
        volume, response, gate: shapes: of the pooled maps; of what the convolution makes of them, ``(N, 1, A, B, C)``;
            and the same with 1 in place of the pooled axis.
        blocks: how many.
        banded: shape of the banded weight, (slices of a block, its channels, 3, 3).
        places: which of the 54 weights stands where in the banded one; any where none does.
        factors: by how much: 0 where none does, and those of a mean are divided by how many were added up.
    """

    place: int
    volume: tuple[int, ...]
    response: tuple[int, ...]
    gate: tuple[int, ...]
    blocks: int
    banded: tuple[int, ...]
    places: Tensor
    factors: Tensor

    def weight(self, weight: Tensor) -> Tensor:
        """The banded one."""
        return weight.reshape(54).index_select(0, self.places).mul_(self.factors).view(self.banded)

    def convolution(self, volume: Tensor, banded: Tensor) -> Tensor:
        """``(N, 1, A, B, C)``."""
        return F.conv2d(self._cut(volume), banded, padding=1).view(self.response)

    def convolution_backward(self, of_response: Tensor, volume: Tensor, banded: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of the volume and of the weight ``(1, 2, 3, 3, 3)``."""
        cut = self._cut(volume)
        of_cut, of_banded, _ = torch.ops.aten.convolution_backward(
            of_response.view(cut.shape[0], -1, *self.volume[3:]),
            *(cut, banded, None, *_PLAIN_CONVOLUTION, (True, True, False)),
        )
        of_banded = of_banded.view(-1).mul_(self.factors)
        of_weight = of_banded.new_zeros(54).index_add_(0, self.places, of_banded).view(1, 2, 3, 3, 3)
        return self._join(of_cut), of_weight

    def _cut(self, volume: Tensor) -> Tensor:
        """The volume as the banded weight takes it, ``(N * blocks, channels, B, C)``."""
        clips, _, length, height, width = self.volume
        if self.blocks == 1:
            return volume.view(clips, 2 * length, height, width)
        block = length // self.blocks
        padded = torch.constant_pad_nd(volume, (0, 0, 0, 0, 1, 1))
        return (
            padded.unfold(2, block + 2, block).permute(0, 2, 1, 5, 3, 4).reshape(-1, *self.banded[1:2], height, width)
        )

    def _join(self, of_cut: Tensor) -> Tensor:
        """The gradient of a volume from that of `_cut`."""
        clips, _, length, height, width = self.volume
        if self.blocks == 1:
            return of_cut.view(self.volume)
        block = length // self.blocks
        of_cut = of_cut.view(clips, self.blocks, 2, block + 2, height, width)
        padded = of_cut.new_zeros(clips, 2, length + 2, height, width)
        for number in range(self.blocks):
            padded[:, :, number * block : (number + 1) * block + 2] += of_cut[:, number]
        return padded[:, :, 1:-1]


@lru_cache(maxsize=256)
def band(axis: str, mean_first: bool, shape: tuple[int, ...], dtype: torch.dtype) -> Band:
    """That of the gate which pools `axis` of maps of this shape, ``(N, T, H, W, C)``."""
    place = _PLACE[axis]
    clips, *left = (size for number, size in enumerate(shape) if number != place)
    length = left[0]
    blocks = blocks_of(length)
    with torch.inference_mode(False):
        places, factors = _table(axis, mean_first, length // blocks, blocks > 1, shape[place])
        return Band(
            place=place,
            volume=(clips, 2, *left),
            response=(clips, 1, *left),
            gate=tuple(1 if number == place else size for number, size in enumerate(shape)),
            blocks=blocks,
            banded=(places.shape[0], prod(places.shape[1:3]), 3, 3),
            places=places.flatten(),
            factors=factors.flatten().to(dtype),
        )


def blocks_of(length: int) -> int:
    """Into how many blocks to cut so many channels: a band takes a full matrix product, which a long one wastes."""
    fitting = [length // block for block in range(16, 7, -1) if length % block == 0]
    return fitting[0] if length > 16 and fitting else 1


def _table(axis: str, mean_first: bool, outputs: int, margins: bool, pooled: int) -> tuple[Tensor, Tensor]:
    """`Band.places` and `Band.factors` as ``(outputs, 2, inputs, 3, 3)``."""
    order = (0, *(1 + number for number in _KERNEL_AXES[axis]))
    weights = torch.arange(54).view(2, 3, 3, 3).permute(order)
    weights = weights.flip(0) if mean_first else weights
    places = torch.zeros(outputs, 2, outputs + 2, 3, 3, dtype=torch.long)
    factors = torch.zeros(outputs, 2, outputs + 2, 3, 3, dtype=torch.float64)
    for output in range(outputs):
        places[output, :, output : output + 3] = weights
        factors[output, 0, output : output + 3] = 1
        factors[output, 1, output : output + 3] = 1 / pooled
    return (places, factors) if margins else (places[:, :, 1:-1], factors[:, :, 1:-1])
