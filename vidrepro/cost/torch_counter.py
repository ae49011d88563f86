"""torch's own counter of MACs, completed by what the running version has no formula for, or saying that it has none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from vidrepro.cost.macs import no_fused_attention_layer

aten = torch.ops.aten

# The kernels that `F.scaled_dot_product_attention` may end in. Which of them a torch has, has a formula for or takes
# apart before counting changes from version to version (2.14 neither counts nor takes apart the CPU's).
_FUSED_ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
# Operators of several tensors that move or scale values: nothing in them is a product of a convolution's kind.
_NO_PRODUCTS = ("norm", "cat", "stack", "copy", "scatter", "index_", "prelu", "where", "fill", "grid_sampler")

Shape = Sequence[int]


@dataclass(frozen=True)
class TorchCount:
    """What torch's counter finds: half of its FLOPs. It cannot tell a linear layer from another matrix product.

    Attributes:
        conv: MACs of convolutions; None where it has no formula for one that ran.
        products: MACs of linear layers, matrix products and attention; None likewise.
        uncounted: operators that may multiply and have no formula, with the number of calls.
    """

    conv: int | None
    products: int | None
    uncounted: dict[str, int]


@contextmanager
def counting_with_torch() -> Iterator[list[TorchCount]]:
    """Count what runs inside the block; the list holds the one result when the block has ended."""
    result: list[TorchCount] = []
    counter = FlopCounterMode(display=False, custom_mapping=_lacking_formulas())
    executed = _ExecutedProducts()  # entered first, it sees what the counter has taken apart and hands on
    with no_fused_attention_layer(), executed, counter:
        yield result
    flops: Counter[str] = Counter()
    for operator, count in counter.get_flop_counts().get("Global", {}).items():
        flops[_kind(str(operator))] += count
    uncounted = {
        str(operator).replace(".", "::"): calls
        for operator, calls in executed.calls.items()
        if operator not in counter.flop_registry
    }
    unknown = {_kind(name) for name in uncounted}
    conv, products = (None if kind in unknown else flops[kind] // 2 for kind in ("conv", "products"))
    result.append(TorchCount(conv, products, uncounted))


def _kind(operator: str) -> str:
    return "conv" if "conv" in operator else "products"


class _ExecutedProducts(TorchDispatchMode):
    """Notes the operators that may multiply tensors with one another: of two or more, and not element by element."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[Any] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        operands = [item for item in tree_iter((args, kwargs)) if isinstance(item, Tensor) and item.is_floating_point()]
        if len(operands) > 1 and torch.Tag.pointwise not in func.tags and not _moves_or_scales(func):
            self.calls[func._overloadpacket] += 1
        return func(*args, **(kwargs or {}))


def _moves_or_scales(func: Any) -> bool:
    return any(word in func._overloadpacket.__name__ for word in _NO_PRODUCTS)


def _lacking_formulas() -> dict[Any, Callable[..., int]]:
    """FLOPs by the shapes of the operands, of the operators that torch's counter takes for free here."""
    known = FlopCounterMode(display=False).flop_registry
    formulas: dict[Any, Callable[..., int]] = {
        aten.dot: _first_operand_flops,
        aten.mv: _first_operand_flops,
        aten.addmv: _second_operand_flops,
    }
    formulas |= {getattr(aten, name): _attention_flops for name in _FUSED_ATTENTION if hasattr(aten, name)}
    return {operator: formula for operator, formula in formulas.items() if operator not in known}


def _attention_flops(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    scores = math.prod(query[:-1]) * key[-2]
    return 2 * scores * query[-1] + 2 * scores * value[-1]


def _first_operand_flops(left: Shape, *_: Any, **__: Any) -> int:
    return 2 * math.prod(left)  # a vector's or matrix' every element meets one of the other operand


def _second_operand_flops(summand: Shape, matrix: Shape, *_: Any, **__: Any) -> int:
    return 2 * math.prod(matrix)
