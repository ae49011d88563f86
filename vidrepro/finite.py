"""Whatever is saved, scored, drawn or loaded is finite, or refused by the name of what made it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vidrepro.errors import NotFiniteError, VidreproError

if TYPE_CHECKING:
    from torch import Tensor

NAMED = 3  # of the parts that are not finite, so many are named


def require_finite(
    what: str,
    parts: Mapping[str, Tensor | NDArray[Any]],
    *,
    error: type[VidreproError] = NotFiniteError,
    hint: str | None = None,
    where: Path | str | None = None,
) -> None:
    """Refuse NaN and infinite values by the names of the parts that hold them.

    Args:
        what: the parts together, as the refusal begins: "the weights after epoch 3".
        parts: tensors or arrays by name; what holds no floating-point numbers is finite.
        error, hint, where: of the refusal.
    """
    found = not_finite(parts)
    if found:
        named = [f"{name} ({_count(parts[name])})" for name in found[:NAMED]]
        raise _refusal(what, named, len(found), len(parts), error, hint, where)


def require_finite_clips(
    what: str,
    ids: Sequence[str] | NDArray[np.str_],
    values: NDArray[np.floating],
    *,
    hint: str | None = None,
    where: Path | str | None = None,
) -> None:
    """The same for one row of `values` a clip, shape (N, ...), by the clips' ids."""
    rows = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
    if len(rows):
        named = [f"clip '{ids[row]}'" for row in rows[:NAMED]]
        raise _refusal(what, named, len(rows), len(values), NotFiniteError, hint, where)


def not_finite(parts: Mapping[str, Tensor | NDArray[Any]]) -> list[str]:
    """The names of the parts that hold a NaN or an infinite value, in their order."""
    return [name for name, values in parts.items() if not bool(_finite(values).all())]


def _finite(values: Any) -> Any:
    """Which values are finite, as `values` has them: a tensor or an array."""
    if isinstance(values, np.ndarray | np.generic):
        return np.isfinite(values) if values.dtype.kind in "fc" else np.ones(1, np.bool_)
    if values.is_meta:  # shapes without values
        return np.ones(1, np.bool_)
    values = values.detach()
    return (values.float() if values.dtype.itemsize == 1 else values).isfinite()  # torch asks no 8-bit float


def _count(values: Any) -> str:
    finite = _finite(values)
    total = int(np.prod(finite.shape))
    return f"{total - int(finite.sum()):,} of {total:,} values"


def _refusal(
    what: str,
    named: Collection[str],
    found: int,
    total: int,
    error: type[VidreproError],
    hint: str | None,
    where: Path | str | None,
) -> VidreproError:
    more = f" and {found - len(named):,} more" if found > len(named) else ""
    return error(
        f"{what} are not finite",
        given=f"NaN or infinite in {', '.join(named)}{more}" + (f", of {total:,}" if total > 1 else ""),
        allowed="finite numbers",
        hint=hint,
        where=where,
    )
