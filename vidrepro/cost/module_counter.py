"""What ptflops 0.6 looks at: the modules of a network, counted call by call with hooks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_RELUS = (nn.ReLU, nn.ReLU6)
_POOLS = tuple(getattr(nn, f"{kind}{n}d") for kind in ("MaxPool", "AvgPool") for n in (1, 2, 3)) + tuple(
    getattr(nn, f"Adaptive{kind}{n}d") for kind in ("MaxPool", "AvgPool") for n in (1, 2, 3)
)


class ModuleCounter:
    """Counts the components ptflops 0.6 counts, from module hooks, once per call of a module.

    Attributes:
        components: conv_macs, conv_bias, linear_macs, linear_bias, batch_norm_elements, relu_elements,
            pool_input_elements.
    """

    def __init__(self) -> None:
        self.components: Counter[str] = Counter()

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Count the calls of the model's modules inside the block; the hooks are removed afterwards."""
        handles = []
        try:
            for module in model.modules():
                hook = self._hook_for(module)
                if hook is not None:
                    handles.append(module.register_forward_hook(hook))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook_for(self, module: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None] | None:
        for kinds, hook in (
            (_CONVOLUTIONS, self._convolution),
            (nn.Linear, self._linear),
            (_BATCH_NORMS, self._batch_norm),
            (_RELUS, self._relu),
            (_POOLS, self._pool),
        ):
            if isinstance(module, kinds):  # type: ignore[arg-type]
                return hook
        return None

    def _convolution(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        self.components["conv_macs"] += output.numel() * math.prod(weight.shape[1:])
        if module.bias is not None:
            self.components["conv_bias"] += output.numel()

    def _linear(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        self.components["linear_macs"] += output.numel() * weight.shape[-1]
        if module.bias is not None:
            self.components["linear_bias"] += output.shape[-1]  # once per call, not per row: ptflops's own slip

    def _batch_norm(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.components["batch_norm_elements"] += output.numel()

    def _relu(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.components["relu_elements"] += output.numel()

    def _pool(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.components["pool_input_elements"] += inputs[0].numel()
