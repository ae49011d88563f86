"""Multiply-accumulates (MACs) of one forward pass, by fvcore.

One MAC is one multiplication with its addition: half of what "FLOPs" usually means. fvcore reads the traced graph;
torch's `FlopCounterMode` (`vidrepro.cost.torch_counter`) watches the dispatcher; `vidrepro.cost.call_counter` counts
the Python calls. Three places, three sets of formulas: what all of them agree on is hardly wrong.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidrepro.cost.shapes_only import off_meta, without_convolving

with warnings.catch_warnings():
    # fvcore compiles a TorchScript loss when imported, which newer torch calls deprecated: not the user's concern
    warnings.simplefilter("ignore")
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_handles import conv_flop_count, get_shape

FVCORE_LINEAR = ("linear",)
FVCORE_MATMUL = ("bmm", "matmul", "mm", "addmm", "einsum", "baddbmm", "scaled_dot_product_attention")

# move or repeat values without computing any, and are missing from fvcore's own list of such operators
_SHAPE_ONLY = tuple(
    f"aten::{name}"
    for name in [
        "alias",
        "clone",
        "expand_as",
        "flip",
        "lift_fresh",
        "movedim",
        "pad",
        "repeat",
        "reshape_as",
        "unflatten",
        "view_as",
    ]
)


@dataclass(frozen=True)
class FvcoreCount:
    """What fvcore counts in one forward pass.

    Attributes:
        by_operator: MACs of each operator it has a formula for. Not all are multiplications: it gives BatchNorm 2,
            LayerNorm 4 or 5 and pooling 1 per element.
        uncounted: operators it has no formula for, with the number of calls; they add nothing to the total.
    """

    by_operator: dict[str, int]
    uncounted: dict[str, int]

    @property
    def total(self) -> int:
        """Sum over all operators: what a table calls fvcore's MACs."""
        return sum(self.by_operator.values())

    @property
    def conv(self) -> int:
        """MACs of convolutions."""
        return self.by_operator.get("conv", 0)

    @property
    def linear(self) -> int:
        """MACs of linear layers, without bias."""
        return sum(self.by_operator.get(name, 0) for name in FVCORE_LINEAR)

    @property
    def matmul(self) -> int:
        """MACs of products of activations: matmul, bmm, einsum, attention."""
        return sum(self.by_operator.get(name, 0) for name in FVCORE_MATMUL)


def count_with_fvcore(model: nn.Module, inputs: Tensor) -> FvcoreCount:
    """Count with fvcore, completed by formulas for attention, `baddbmm` and ``padding="same"``.

    Args:
        model: counted as it stands: put it into eval mode first, BatchNorm counts 5 per element in training, 2 here.
        inputs: what the model is called with, e.g. (1, T, C, H, W). On the meta device, with the model, the same is
            counted without the convolutions' arithmetic, for networks that are too large to run.
    """
    if inputs.is_meta:
        real, zeros = off_meta(model), torch.zeros(inputs.shape, dtype=inputs.dtype)
        with without_convolving(), torch.no_grad():
            real(zeros)  # constants that a network makes at its first call here and keeps are no part of its cost
            return _trace_and_count(real, zeros)
    return _trace_and_count(model, inputs)


def _trace_and_count(model: nn.Module, inputs: Tensor) -> FvcoreCount:
    analysis = FlopCountAnalysis(model, inputs)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    analysis.set_op_handle(
        "aten::scaled_dot_product_attention",
        _attention_handle,
        "aten::matmul",
        _matmul_handle,
        "aten::baddbmm",
        _baddbmm_handle,
        "aten::_convolution_mode",
        _convolution_mode_handle,
    )
    for name in _SHAPE_ONLY:
        analysis.set_op_handle(name, None)
    with torch.no_grad(), no_fused_attention_layer():
        by_operator = analysis.by_operator()
        uncounted = analysis.unsupported_ops()
    return FvcoreCount(
        by_operator={name: int(count) for name, count in sorted(by_operator.items()) if count},
        uncounted={name: int(calls) for name, calls in sorted(uncounted.items())},
    )


def attention_macs(query: Sequence[int], key: Sequence[int], value: Sequence[int]) -> int:
    """MACs of scaled-dot-product attention: N·h·L·S·(E + Ev), softmax not counted.

    Args:
        query: shape (N, ..., h, L, E).
        key: shape (N, ..., h, S, E); fewer heads than the query's are shared, which saves no product.
        value: shape (N, ..., h, S, Ev).

    ``query @ key.T`` costs E per score, ``scores @ value`` costs Ev. A causal mask is not subtracted: the plain
    formula computes every score.
    """
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_handle(inputs: list[Any], outputs: list[Any]) -> int:
    query, key, value = (get_shape(item) for item in inputs[:3])
    return attention_macs(query, key, value)


def _matmul_handle(inputs: list[Any], outputs: list[Any]) -> int:
    # fvcore's own looks for a second axis, which a vector has not
    return math.prod(get_shape(outputs[0])) * get_shape(inputs[0])[-1]


def _baddbmm_handle(inputs: list[Any], outputs: list[Any]) -> int:
    return math.prod(get_shape(outputs[0])) * get_shape(inputs[1])[-1]


def _convolution_mode_handle(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    # nn.Conv with padding given as a word is traced under another name, which fvcore does not know
    shapes = [get_shape(item) for item in (inputs[0], inputs[1], outputs[0])]
    return Counter({"conv": int(conv_flop_count(*shapes))})


@contextmanager
def no_fused_attention_layer() -> Iterator[None]:
    """In eval mode `nn.MultiheadAttention` runs as one opaque operator that no counter looks into; not in the block."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
