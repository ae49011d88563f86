"""What AIA's released code (haoyanbin918/Attention-in-Attention, ``ops/nets``) calls the tensors of its modules.

A block holds one module as ``eft``, or two as ``eft1`` and ``eft2``: a cascade's in running order; in parallel C and
ST, or STinC and CinST, in whichever order they are written here.
"""

from __future__ import annotations

import re

from vidrepro.compositions import Cascade, Parallel
from vidrepro.errors import ModelError
from vidrepro.models.mechanisms.aia import TABLE_COMPOSITIONS, AttentionInAttention

RELEASED_MODULES = ("C", "ST", "CinST", "STinC")
_CASCADES = {composition for composition in TABLE_COMPOSITIONS if "->" in composition}
_FIRST_IN_PARALLEL = {("C", "ST"): "C", ("CinST", "STinC"): "STinC"}  # the two branches, sorted -> which is eft1


def released_module_key(mechanism: AttentionInAttention, key: str) -> str:
    """The released name of one tensor of one module alone, e.g. ``C_conv.weight``.

    Raises:
        ModelError: for a composition that is no module of the released code.
    """
    attribute, name = released_block_key(mechanism, key)
    if attribute != "eft":
        raise _unreleased(mechanism, "one module alone", ", ".join(RELEASED_MODULES))
    return name


def released_block_key(mechanism: AttentionInAttention, key: str) -> tuple[str, str]:
    """The released name of one tensor of a mechanism in a residual block: ``("eft2", "C_conv.weight")``.

    Args:
        mechanism: one of `vidrepro.models.build_mechanism`.
        key: our name in its state dict, e.g. ``body.1.gates0.C_conv.weight``.

    Raises:
        ModelError: for a composition or an order of pooled values that the released code does not have.
    """
    if mechanism.pool_order != "max_mean":
        raise _unreleased(mechanism, f"pool_order={mechanism.pool_order}", "pool_order=max_mean")
    attributes = _attributes(mechanism)
    match = re.fullmatch(r"body\.(?:branches\.)?(?:(\d+)\.)?gates\d+\.(.+)", key)
    assert match is not None, key
    return attributes[int(match[1] or 0)], match[2]


def _attributes(mechanism: AttentionInAttention) -> list[str]:
    """The released attribute of each part of a composition, by its number."""
    spec = mechanism.spec
    if str(spec) in RELEASED_MODULES:
        return ["eft"]
    if isinstance(spec, Cascade) and str(spec) in _CASCADES:
        return ["eft1", "eft2"]
    if isinstance(spec, Parallel):
        branches = [str(branch) for branch in spec.branches]
        first = _FIRST_IN_PARALLEL.get(tuple(sorted(branches)))  # type: ignore[arg-type]
        if first is not None:
            return ["eft1" if branch == first else "eft2" for branch in branches]
    raise _unreleased(mechanism, str(spec), ", ".join(TABLE_COMPOSITIONS))


def _unreleased(mechanism: AttentionInAttention, given: str, allowed: str) -> ModelError:
    return ModelError(f"AIA's released code has nothing like this '{mechanism.spec}'", given=given, allowed=allowed)
