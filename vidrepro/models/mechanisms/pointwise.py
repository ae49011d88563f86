"""1x1 convolutions as matrix products where that is faster: eager training on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution with a bias: ``(B, C, H, W)`` to ``(B, C', H, W)``, the weights and the results of `nn.Conv2d`.

    torch's convolution on a CPU copies its maps into a layout of its own and back, forward and backward. That is most
    of what a convolution to or from an eighth of the channels costs; one matrix product per frame works on the maps as
    they lie. Elsewhere (inference, autocast, other layouts, compiled, traced, on a GPU) it is the convolution, which
    MAC counters know.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.by_products(x):
            return super().forward(x)
        assert self.bias is not None
        frames, _, height, width = x.shape
        matrix = self.weight.flatten(1).expand(frames, -1, -1)
        return torch.baddbmm(self.bias[:, None], matrix, x.flatten(2)).view(frames, -1, height, width)

    def by_products(self, x: Tensor) -> bool:
        """Whether it takes matrix products for this input."""
        return (
            torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()
            and not torch.is_autocast_enabled("cpu")
            and x.device.type == "cpu"
            and x.dtype == self.weight.dtype
            and x.dtype in (torch.float32, torch.float64)
            and x.dim() == 4
            and x.is_contiguous()
        )
