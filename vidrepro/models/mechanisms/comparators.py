"""The modules AIA's Table I compares with: image attention carried over to clips (AIA, section 4.3, figure 4).

No code of these was released. What the text leaves open, and AIA's printed parameters and FLOPs (ResNet-50, 8 frames of
224x224) decide:

============  ==========================================================================================================
SE3D          on the block's output; FC C -> C/16 -> C without bias; run once per frame, on the clip's pooled vector
GE3D-G        on the block's output; no parameters
GE3D-DW       on the block's output; three depthwise convolutions of stride (1, 2, 2), each with a batch norm
S3D-G         on the second convolution's output; FC C -> C with bias, once per clip
CBAM3D        on the block's output; as CBAM was released: both FCs with bias, a batch norm behind the spatial
              convolution. 26.397 and 26.400 M parameters, 26.39 and 26.40 printed: the first is one digit off. Without
              the biases both would be 26.38. FLOPs fit, with the shared FCs once per clip and pool.
============  ==========================================================================================================

"On the block's output" is behind its last batch norm, before the skip path is added, as in SE-ResNet. All but
GE3D-DW333 and CBAM3D-377 only see single frames and the mean or maximum over all of them: frames in another order give
the same outputs in that other order.

All take ``(N*T, C, H, W)`` to the same shape; ``x * gate`` with gates in (0, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidrepro.models.mechanisms.clip_frames import split_frames
from vidrepro.models.taps import AttentionTap


def clip_mean(x: Tensor, frames: int) -> Tensor:
    """The mean over a clip, ``(N*T, C, H, W)`` to ``(N, C)``: of each frame (a pooling, for fvcore), then over T."""
    return split_frames(functional.adaptive_avg_pool2d(x, 1).flatten(1), frames).mean(1)


def clip_gate(gate: Tensor, frames: int) -> Tensor:
    """A gate of each clip, ``(N, C)``, for each of its frames: ``(N*T, C, 1, 1)``."""
    return gate.repeat_interleave(frames, 0)[..., None, None]


def _channel_tap() -> AttentionTap:
    """For a gate ``(N, C)`` of each clip's channels."""
    return AttentionTap("channel", ("N", "C"))


def _squeeze_excite(channels: int, reduction: int, bias: bool) -> nn.Sequential:
    inner = max(1, channels // reduction)  # narrow networks have fewer channels than the paper's smallest 256
    return nn.Sequential(
        nn.Linear(channels, inner, bias=bias), nn.ReLU(inplace=True), nn.Linear(inner, channels, bias=bias)
    )


class SqueezeExcite3D(nn.Module):
    """SE3D: channels gated by the clip's mean (SE-Net, Hu et al. 2018, its pooling taken over time too).

    Args:
        channels: C.
        frames: T.
        reduction: the inner layer has C // reduction channels, at least 1.
    """

    def __init__(self, channels: int, frames: int, reduction: int = 16) -> None:
        super().__init__()
        self.frames = frames
        self.excite = _squeeze_excite(channels, reduction, bias=False)
        self.tap = AttentionTap("channel", ("N*T", "C"), frames=frames)

    def forward(self, x: Tensor) -> Tensor:
        # for every frame anew, as the printed FLOPs say: 32.94 G (once per clip would be 32.93)
        pooled = clip_mean(x, self.frames).repeat_interleave(self.frames, 0)
        return x * self.tap(self.excite(pooled).sigmoid())[..., None, None]


class GlobalGather3D(nn.Module):
    """GE3D-G: channels gated by the sigmoid of the clip's mean itself (GE-Net's GE-theta-minus, Hu et al. 2018).

    Args:
        channels: C; any number, nothing depends on it.
        frames: T.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.tap = _channel_tap()

    def forward(self, x: Tensor) -> Tensor:
        return x * clip_gate(self.tap(clip_mean(x, self.frames).sigmoid()), self.frames)


class DepthwiseGather3D(nn.Module):
    """GE3D-DW: a gate for every place, from depthwise convolutions down to 1/8 of height and width (GE-Net's GE-theta).

    Three of them, each with a batch norm, ReLU between; the nearest value is taken back at full size.

    Args:
        channels: C.
        frames: T.
        time: length of the kernels in frames: 1 (GE3D-DW133) or 3 (GE3D-DW333).
    """

    def __init__(self, channels: int, frames: int, time: int) -> None:
        super().__init__()
        self.frames = frames
        layers: list[nn.Module] = []
        for number in range(3):
            conv = nn.Conv3d(
                channels,
                channels,
                (time, 3, 3),
                stride=(1, 2, 2),
                padding=(time // 2, 1, 1),
                groups=channels,
                bias=False,
            )
            layers += [conv, nn.BatchNorm3d(channels), *([nn.ReLU(inplace=True)] if number < 2 else [])]
        self.gather = nn.Sequential(*layers)
        self.tap = AttentionTap("gate", ("N*T", "C", "H", "W"), frames=frames)

    def forward(self, x: Tensor) -> Tensor:
        clips = split_frames(x, self.frames).transpose(1, 2)  # (N, C, T, H, W)
        gate = functional.interpolate(self.gather(clips).sigmoid(), clips.shape[2:], mode="nearest")
        return x * self.tap(gate.transpose(1, 2).flatten(0, 1))


class SelfGating3D(nn.Module):
    """S3D-G: channels gated by one linear layer on the clip's mean (feature gating, Xie et al. 2018).

    Args:
        channels: C.
        frames: T.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.gate = nn.Linear(channels, channels)
        self.tap = _channel_tap()

    def forward(self, x: Tensor) -> Tensor:
        return x * clip_gate(self.tap(self.gate(clip_mean(x, self.frames)).sigmoid()), self.frames)


class CBAM3D(nn.Module):
    """CBAM3D: channels gated by the clip's mean and maximum, then places by those over channels (Woo et al. 2018).

    Args:
        channels: C.
        frames: T.
        time: length of the 7x7 spatial kernel in frames: 1 (CBAM3D-177) or 3 (CBAM3D-377).
        reduction: the inner layer has C // reduction channels, at least 1.
    """

    def __init__(self, channels: int, frames: int, time: int, reduction: int = 16) -> None:
        super().__init__()
        self.frames = frames
        self.shared = _squeeze_excite(channels, reduction, bias=True)
        self.conv = nn.Conv3d(2, 1, (time, 7, 7), padding=(time // 2, 3, 3), bias=False)
        self.norm = nn.BatchNorm3d(1)
        self.channel_tap = _channel_tap()
        self.spatial_tap = AttentionTap("spatial", ("N*T", "1", "H", "W"), frames=frames)

    def forward(self, x: Tensor) -> Tensor:
        x = x * clip_gate(self.channel_tap(self._channel_gate(x)), self.frames)
        pooled = split_frames(torch.stack([x.amax(1), x.mean(1)], 1), self.frames)  # (N, T, 2, H, W)
        gate = self.norm(self.conv(pooled.transpose(1, 2))).sigmoid()
        return x * self.spatial_tap(gate.transpose(1, 2).flatten(0, 1))

    def _channel_gate(self, x: Tensor) -> Tensor:
        highest = split_frames(x.amax((2, 3)), self.frames).amax(1)
        from_mean, from_max = self.shared(torch.cat([clip_mean(x, self.frames), highest])).chunk(2)
        return (from_mean + from_max).sigmoid()
