"""MobileNetV2 of torchvision's layers, with a width multiplier and a stem to choose; a plain network."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torchvision.models import MobileNetV2 as TorchvisionMobileNetV2

from vidrepro.models.declared_options import Option, choice, positive_number

STEMS = ("imagenet", "small")

OPTIONS: dict[str, Option] = {
    "width": positive_number(1.0, "multiplies the channels of every layer (rounded to multiples of 8)"),
    "stem": choice("imagenet", STEMS, "imagenet: 3x3 stride 2; small: 3x3 stride 1"),
}


class MobileNetV2(nn.Module):
    """MobileNetV2 without its classifier: ``(B, 3, H, W)`` to ``(B, feature_channels)`` (Sandler et al. 2018).

    Layers, names and initialisation are torchvision's, so that its weights fit key by key at width 1.

    Args:
        width: multiplier of every layer's channels.
        stem: stride 2 (``imagenet``, made for 224x224) or stride 1 (``small``) of the first convolution.
    """

    def __init__(self, *, width: float = 1.0, stem: Literal["imagenet", "small"] = "imagenet") -> None:
        super().__init__()
        network = TorchvisionMobileNetV2(num_classes=1, width_mult=width)
        self.in_channels = 3
        self.feature_channels: int = network.last_channel
        self.features = network.features
        if stem == "small":
            first = self.features[0][0]  # type: ignore[index]
            first.stride = (1, 1)  # type: ignore[assignment]

    def feature_map(self, x: Tensor) -> Tensor:
        """The last layer's output, ``(B, feature_channels, h, w)``."""
        return self.features(x)

    def forward(self, x: Tensor) -> Tensor:
        # A plain mean, no pooling layer: the released network has none to count either.
        return self.features(x).mean((2, 3))
