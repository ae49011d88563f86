"""The released networks around the blocks of `second_reading`, as plain functions of a released state dict."""

from __future__ import annotations

import second_reading as reading
import torch
import torch.nn.functional as F
from second_reading import State, batch_norm
from torch import Tensor

STRIDES = {1: 1, 2: 2, 3: 2, 4: 2}
MOBILE_STRIDED = {2, 4, 7, 14}
MOBILE_RESIDUAL = {3, 5, 6, 8, 9, 10, 12, 13, 15, 16}


def shift(x: Tensor, frames: int) -> Tensor:
    """TSM's shift of frames (N*T,C,H,W)."""
    return torch.cat([reading.tsm_shift(clip) for clip in x.split(frames)])


def before_conv(x: Tensor, frames: int, variant: str, state: State, at: str, patch: int | None) -> tuple[Tensor, str]:
    """M2A's release: what happens to a block's input, and where its first convolution's weight then lies."""
    if variant == "none":
        return x, f"{at}weight"
    if variant == "tsm":
        return shift(x, frames), f"{at}net.weight"
    shifted = variant.endswith("+use_tsm")
    x = reading.m2a(x, frames, variant.removesuffix("+use_tsm"), state, f"{at}0.", patch)
    return (shift(x, frames), f"{at}2.weight") if shifted else (x, f"{at}1.weight")


def head(x: Tensor, clips: int, state: State) -> Tensor:
    """Global average, the classifier, the mean over a clip's frames."""
    logits = F.linear(x.mean((2, 3)), state["new_fc.weight"], state["new_fc.bias"])
    return torch.stack([part.mean(0) for part in logits.split(len(x) // clips)])


def stem(x: Tensor, state: State) -> Tensor:
    """ResNet's first convolution and pooling."""
    x = F.conv2d(x, state["base_model.conv1.weight"], stride=2, padding=3)
    return F.max_pool2d(torch.relu(batch_norm(x, state, "base_model.bn1.")), 3, 2, 1)


def shortcut(x: Tensor, state: State, at: str, stride: int) -> Tensor:
    """The block's input, or its strided 1x1 convolution and BN."""
    weight = state.get(f"{at}downsample.0.weight")
    if weight is None:
        return x
    convolved = F.conv2d(x, weight, stride=stride) if x.ndim == 4 else inflated_conv(x, weight, stride)
    return batch_norm(convolved, state, f"{at}downsample.1.")


def m2a_resnet18(clips: Tensor, variant: str, state: State, patch: int | None = None) -> Tensor:
    """Logits of M2A's ResNet-18 for clips (N,T,3,H,W)."""
    frames = clips.shape[1]
    x = stem(clips.flatten(0, 1), state)
    for stage, stage_stride in STRIDES.items():
        for block in range(2):
            at, stride = f"base_model.layer{stage}.{block}.", 1 if block else stage_stride
            y, weight = before_conv(x, frames, variant, state, f"{at}conv1.", patch)
            y = torch.relu(batch_norm(F.conv2d(y, state[weight], stride=stride, padding=1), state, f"{at}bn1."))
            y = batch_norm(F.conv2d(y, state[f"{at}conv2.weight"], padding=1), state, f"{at}bn2.")
            x = torch.relu(y + shortcut(x, state, at, stride))
    return head(x, len(clips), state)


def m2a_mobilenetv2(clips: Tensor, variant: str, state: State) -> Tensor:
    """Logits of M2A's MobileNetV2 for clips (N,T,3,H,W)."""

    def conv(x: Tensor, at: str, index: int, stride: int = 1, weight: str | None = None) -> Tensor:
        kernel = state[weight or f"{at}{index}.weight"]
        groups = 1 if kernel.shape[1] > 1 else len(kernel)
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
        return batch_norm(x, state, f"{at}{index + 1}.")

    x = F.relu6(conv(clips.flatten(0, 1), "base_model.features.0.", 0, 2))
    for place in range(1, 18):
        at, stride = f"base_model.features.{place}.conv.", 2 if place in MOBILE_STRIDED else 1
        if place == 1:
            x = conv(F.relu6(conv(x, at, 0, stride)), at, 3)
            continue
        y, weight = x, f"{at}0.weight"
        if place in MOBILE_RESIDUAL:
            y, weight = before_conv(x, clips.shape[1], variant, state, f"{at}0.", None)
        y = F.relu6(conv(y, at, 0, weight=weight))
        y = conv(F.relu6(conv(y, at, 3, stride)), at, 6)
        x = x + y if place in MOBILE_RESIDUAL else y
    return head(F.relu6(conv(x, "base_model.features.18.", 0)), len(clips), state)


def inflated_conv(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A 3-D convolution of stride ``stride`` in time, too."""
    return F.conv3d(x, weight, stride=stride, padding=tuple(size // 2 for size in weight.shape[2:]))


def m2a_i3d_resnet18(clips: Tensor, variant: str, state: State, released_layout: bool = True) -> Tensor:
    """Logits of M2A's I3D-ResNet18; the released layout reads the frame-major clip as if it were colour-major."""
    n, frames, colours, height, width = clips.shape
    x = clips.transpose(1, 2)
    if released_layout:
        x = clips.reshape(n, colours, frames, height, width)
    x = F.conv3d(x, state["model.conv1.weight"], stride=(1, 2, 2), padding=(1, 3, 3))
    x = F.max_pool3d(torch.relu(batch_norm(x, state, "model.bn1.")), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage, stage_stride in STRIDES.items():
        for block in range(2):
            at, stride = f"model.layer{stage}.{block}.", 1 if block else stage_stride
            y, weight = x, f"{at}conv1.weight"
            if variant != "none":
                now = x.shape[2]
                flat = x.transpose(1, 2).flatten(0, 1)
                flat = reading.m2a(flat, now, variant, state, f"{at}conv1.0.m2a.")
                y, weight = flat.unflatten(0, (n, now)).transpose(1, 2), f"{at}conv1.1.weight"
            y = torch.relu(batch_norm(inflated_conv(y, state[weight], stride), state, f"{at}bn1."))
            y = batch_norm(inflated_conv(y, state[f"{at}conv2.weight"], 1), state, f"{at}bn2.")
            x = torch.relu(y + shortcut(x, state, at, stride))
    logits = F.linear(x.mean((3, 4)).transpose(1, 2), state["model.fc.weight"], state["model.fc.bias"])
    return logits.mean(1)


def aia_resnet50(clips: Tensor, variant: str, state: State) -> Tensor:
    """Logits of AIA's ResNet-50 for clips (N,T,3,H,W); ``variant``: ``TSM_CinST2STinC``, ``C2D``, ..."""
    base, _, units = variant.removesuffix("_BN").partition("_")
    frames = clips.shape[1]
    x = stem(clips.flatten(0, 1), state)
    for stage, stage_stride in STRIDES.items():
        for block in range({1: 3, 2: 4, 3: 6, 4: 3}[stage]):
            at, stride = f"base_model.layer{stage}.{block}.", 1 if block else stage_stride
            y = shift(x, frames) if base == "TSM" else x
            y = torch.relu(batch_norm(F.conv2d(y, state[f"{at}conv1.weight"]), state, f"{at}bn1."))
            y = F.conv2d(y, state[f"{at}conv2.weight"], stride=stride, padding=1)
            y = batch_norm(y, state, f"{at}bn2.")
            if units:
                y = reading.aia(y, frames, units, state, f"{at}eft")
            y = batch_norm(F.conv2d(torch.relu(y), state[f"{at}conv3.weight"]), state, f"{at}bn3.")
            x = torch.relu(y + shortcut(x, state, at, stride))
    return head(x, len(clips), state)
