"""Memory layout of weights and maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv3d_weight_memory_format


def to_channels_last(model: nn.Module) -> None:
    """Lay out a network's weights with their channels last, in place: those of 2-D and of 3-D convolutions alike.

    `nn.Module.to(memory_format=torch.channels_last)` refuses a network that holds a 3-D convolution.
    """
    if any(parameter.dim() == 5 for parameter in model.parameters()):
        convert_conv3d_weight_memory_format(model, torch.channels_last_3d)
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.to(memory_format=torch.channels_last)
    else:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def layout_of(x: Tensor) -> torch.memory_format:
    """How a map ``(B, C, H, W)`` lies in memory: with its pixels last, or with its channels last."""
    return torch.channels_last if x.stride(1) == 1 and x.shape[1] > 1 else torch.contiguous_format
