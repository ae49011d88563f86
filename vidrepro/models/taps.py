"""Where a mechanism shows its attention: a probe reads it there, draws it, or puts another in its place.

A mechanism passes each gate or attention map it computes through an `AttentionTap` of its own before it uses it. The
tap returns it unchanged and holds no weights, so that a state dict does not know it is there. Whoever wants to see or
change the attention registers a forward hook on the tap. A faster way of computing that never forms the map asks
`in_use` first and steps aside.
"""

from __future__ import annotations

from torch import Tensor, nn

# One word per dimension of the map: N clips, T frames, N*T both in one, C channels, H and W, query and key positions of
# an attention matrix, 1 where the map is broadcast.
AXES = ("N", "T", "N*T", "C", "H", "W", "query", "key", "1")


class AttentionTap(nn.Module):
    """Passes an attention map on unchanged.

    Args:
        what: its name within the mechanism: ``gate``, ``attention``, ``channel``, ``spatial``, ``temporal``, ``C``, ...
        axes: what the map's dimensions are, from `AXES`, e.g. ``("N*T", "C", "H", "W")``.
        frames: T, where clips and frames share the dimension ``N*T``; None elsewhere.
        distribution: the axis along which the values sum to one (``key`` of a softmax); None for gates in (0, 1).
    """

    def __init__(
        self, what: str, axes: tuple[str, ...], *, frames: int | None = None, distribution: str | None = None
    ) -> None:
        super().__init__()
        assert all(axis in AXES for axis in axes), axes
        assert ("N*T" in axes) == (frames is not None), (axes, frames)
        self.what, self.axes, self.frames, self.distribution = what, axes, frames, distribution

    @property
    def in_use(self) -> bool:
        """Whether somebody listens: the map must then be formed, and its returned value used."""
        return bool(self._forward_hooks)

    def forward(self, attention: Tensor) -> Tensor:
        return attention

    def extra_repr(self) -> str:
        return f"{self.what}, ({', '.join(self.axes)})"


def taps_of(model: nn.Module) -> dict[str, AttentionTap]:
    """Every tap of a network by its dotted name, in the order of the modules."""
    return {name: module for name, module in model.named_modules() if isinstance(module, AttentionTap)}
