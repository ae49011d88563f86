"""Our own counter: closed forms on the shapes of the Python calls a forward pass makes, independent of fvcore."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CONV, LINEAR, MATMUL = "conv", "linear", "matmul"


class CallCounter(TorchFunctionMode):
    """Counts the MACs and the elements of some functions while active.

    Attributes:
        macs: MACs without bias under "conv", "linear" and "matmul" (products of activations, attention among them).
        elements: output elements of "sigmoid", "softmax" and "layer_norm", as modules or as functions.

    A convolution or product hidden inside a Python function of torch's (such as `F.multi_head_attention_forward`) is
    not seen; the cross-check then reports what is missing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs: Counter[str] = Counter()
        self.elements: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the function, then add what it costs."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in _MACS:
            kind, formula = _MACS[name]
            self.macs[kind] += formula(_operands(args, kwargs), result)
        elif name in _ELEMENTS:
            self.elements[_ELEMENTS[name]] += result.numel()
        return result


def _operands(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    # keywords keep the order of the call; only tensors and einsum's equation matter to the formulas
    return [*args, *kwargs.values()]


def _conv(operands: list[Any], result: Tensor) -> int:
    weight = operands[1]  # (outputs, inputs per group, *kernel)
    return result.numel() * math.prod(weight.shape[1:])


def _transposed_conv(operands: list[Any], result: Tensor) -> int:
    inputs, weight = operands[:2]  # weight: (inputs, outputs per group, *kernel)
    return inputs.numel() * math.prod(weight.shape[1:])


def _linear(operands: list[Any], result: Tensor) -> int:
    return result.numel() * operands[1].shape[-1]


def _matmul(operands: list[Any], result: Tensor) -> int:
    return result.numel() * operands[0].shape[-1]


def _product_of_sum(operands: list[Any], result: Tensor) -> int:
    return result.numel() * operands[1].shape[-1]  # operands: summand, left, right


def _einsum(operands: list[Any], result: Tensor) -> int:
    equation, *tensors = operands
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        tensors = list(tensors[0])
    if not isinstance(equation, str) or len(tensors) != 2 or "." in equation:
        return 0  # shows as a disagreement rather than as a guess
    labels = equation.replace(" ", "").split("->")[0].split(",")
    sizes = {
        label: size
        for word, tensor in zip(labels, tensors, strict=True)
        for label, size in zip(word, tensor.shape, strict=True)
    }
    return math.prod(sizes.values())


def _attention(operands: list[Any], result: Tensor) -> int:
    query, key, value = operands[:3]
    scores = query.shape[:-1].numel() * key.shape[-2]
    return scores * query.shape[-1] + scores * value.shape[-1]


_MACS: dict[str, tuple[str, Callable[[list[Any], Tensor], int]]] = {
    **{f"conv{n}d": (CONV, _conv) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": (CONV, _transposed_conv) for n in (1, 2, 3)},
    "linear": (LINEAR, _linear),
    **dict.fromkeys(("matmul", "__matmul__", "mm", "bmm"), (MATMUL, _matmul)),
    **dict.fromkeys(("addmm", "baddbmm"), (MATMUL, _product_of_sum)),
    "einsum": (MATMUL, _einsum),
    torch.nn.functional.scaled_dot_product_attention.__name__: (MATMUL, _attention),
}
_ELEMENTS = {
    **dict.fromkeys(("sigmoid", "sigmoid_", "expit", "special_expit"), "sigmoid"),
    "softmax": "softmax",
    "layer_norm": "layer_norm",
}
