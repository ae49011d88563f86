"""An input that goes two ways, into a mechanism and past it: who takes it there can let the other add the gradients.

By itself autograd adds them in a pass of its own, over a map as wide as the block's input.
"""

from __future__ import annotations

from torch import Tensor


class Sharing:
    """Between a mechanism and the block that it stands at the entrance of; both hold the same one.

    The mechanism leaves its input as it is to be taken past it (`leave`), or nothing; the block asks for it (`taken`).
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: tuple[Tensor, Tensor] | None = None

    def leave(self, x: Tensor, other: Tensor) -> None:
        """Offer `other` in place of `x`: the same numbers, of another way back."""
        self._left = x, other

    def taken(self, x: Tensor) -> Tensor:
        """What to take in place of `x`: what was left for it, if anything was."""
        left, self._left = self._left, None
        return left[1] if left is not None and left[0] is x else x
