"""What became of every tensor when weights were loaded."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class LoadReport:
    """Every key of a file and of the network, in one of these lists.

    Attributes:
        loaded: tensors of the network that took the file's values (the network's names).
        missing: tensors of the network the file does not have (the network's names).
        unexpected: tensors of the file the network has no place for (the file's names).
        wrong_shape: tensors both have, in different shapes (the network's name, and both shapes).
        inflated: those of `loaded` that were 2-D kernels, repeated over time to fit a 3-D network.
        unused: tensors of the file that the code which wrote it makes and never uses (the file's names).
        counted_anew: BatchNorm's counts of batches, which old files do not have and nothing depends on (the network's).
        entry: where in the file the tensors were; empty if it holds nothing else.
        left_out: what else the file holds that could have been meant, such as averaged weights.
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong_shape: list[str] = field(default_factory=list)
    inflated: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    counted_anew: list[str] = field(default_factory=list)
    entry: str = ""
    left_out: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every tensor of the file that its code uses met one of the network, and the other way round."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    def __str__(self) -> str:
        counts = f"{len(self.loaded)} tensors loaded"
        if self.inflated:
            counts += f" ({len(self.inflated)} inflated over time)"
        if self.entry:
            counts += f" from its entry '{self.entry}'"
        parts = [
            f"{len(names)} {what} ({_some(names)})"
            for what, names in (
                ("missing", self.missing),
                ("unexpected", self.unexpected),
                ("of another shape", self.wrong_shape),
                ("that the released code never uses", self.unused),
                ("in the file left out", self.left_out),
            )
            if names
        ]
        return ", ".join([counts, *parts])


def _some(names: list[str], count: int = 3) -> str:
    more = len(names) - count
    return "; ".join(names[:count]) + (f"; and {more} more" if more > 0 else "")
