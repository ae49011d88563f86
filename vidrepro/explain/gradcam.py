"""Grad-CAM on a whole clip, one heat map per frame (Selvaraju et al. 2020, with captum; M2A's Figure 4).

A map is relu(sum over channels k of w_k * A_k), where A is the layer's output and w_k the gradient of the class's logit
with respect to A_k, averaged over its positions. Behind a 2-D backbone a layer sees the frames one by one, so each
frame has weights and a map of its own; but the logit is the clip's, so a frame's gradient includes what other frames
make of it through the mechanisms behind the layer. Behind a 3-D backbone the average runs over time too: a clip has one
set of weights, and as many maps as the layer has temporal positions T', which are interpolated to the T frames.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vidrepro.errors import ModelError, UnknownNameError, closest
from vidrepro.explain.prediction import Predicting

BACKBONE = "backbone."
DEFAULT_LAYER = "layer2"  # of a ResNet, 2-D or 3-D: the second of four stages, which the figure shows
MOBILENETV2_LAYER = "features.6"  # the last layer at the same stride as a ResNet's layer2


@dataclass(frozen=True)
class GradCam(Predicting):
    """What one network sees in one clip.

    Attributes:
        maps: as the layer gives them, (P, h, w) with P frames or temporal positions; none is negative.
        heat: the same, interpolated to the clip, (T, H, W).
        logits: of the clip, (K,).
        target: the class that the maps are about.
    """

    maps: NDArray[np.float32]
    heat: NDArray[np.float32]
    logits: NDArray[np.float32]
    target: int

    @property
    def frame_shares(self) -> NDArray[np.float64]:
        """Share of each frame in all heat, (T,), summing to 1; zeros where there is no heat."""
        sums = self.heat.sum((1, 2), dtype=np.float64)
        return sums / sums.sum() if sums.sum() > 0 else sums

    @property
    def relative(self) -> NDArray[np.float32]:
        """The heat as a share of its largest value in the clip, 0 to 1, so that frames can be told apart."""
        largest = self.heat.max()
        return self.heat / largest if largest > 0 else self.heat

    @property
    def interpolated_in_time(self) -> bool:
        """Whether there are fewer maps than frames."""
        return len(self.maps) != len(self.heat)


def grad_cam(model: nn.Module, clip: Tensor, layer: str, target: int | None = None) -> GradCam:
    """The heat maps of one clip.

    Args:
        model: maps (1, T, C, H, W) to (1, K). It is put into evaluation mode, and in-place activations are made
            ordinary ones, because they would overwrite what the layer gave; outputs do not change.
        clip: normalised, (T, C, H, W), on the model's device.
        layer: see `find_layer`.
        target: class; None for the predicted one.

    Raises:
        UnknownNameError: if there is no such layer.
        ModelError: if the layer's output is no stack of maps over the frames, or no such class exists.
    """
    module = find_layer(model, layer)
    model.eval()
    for part in model.modules():
        if getattr(part, "inplace", False):
            part.inplace = False  # type: ignore[assignment]
    with torch.no_grad():
        logits = _checked_logits(model, module, clip, layer)
    chosen = int(logits.argmax()) if target is None else target
    if not 0 <= chosen < len(logits):
        raise ModelError("there is no such class", given=chosen, allowed=f"0 to {len(logits) - 1}")
    attributed = LayerGradCam(model, module).attribute(clip[None], target=chosen, relu_attributions=True)
    assert isinstance(attributed, Tensor)
    # (P, 1, h, w) of a 2-D layer, (1, 1, P, h, w) of a 3-D one
    maps = attributed.detach()[:, 0] if attributed.dim() == 4 else attributed.detach()[0, 0]
    size = (clip.shape[0], *clip.shape[-2:])
    heat = functional.interpolate(maps[None, None].float(), size=size, mode="trilinear", align_corners=False)[0, 0]
    return GradCam(_array(maps), _array(heat), _array(logits), chosen)


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """A part of the network by its dotted name; names inside the backbone may leave out ``backbone.``.

    Raises:
        UnknownNameError: with the closest names.
    """
    modules = dict(model.named_modules())
    for candidate in (BACKBONE + name, name):
        if name and candidate in modules:
            return modules[candidate]
    names = [key.removeprefix(BACKBONE) for key in modules if key.startswith(BACKBONE)]
    near = closest(name, names, count=3)
    raise UnknownNameError(
        f"unknown layer '{name}'",
        given=name,
        allowed=f"{', '.join(key for key in names if re.fullmatch(r'[^.]+([.][0-9]+)?', key))}, or a part of these",
        hint=f"did you mean {' or '.join(repr(one) for one in near)}?" if near else None,
    )


def default_layer(model: nn.Module) -> str:
    """The layer that is shown if none is named.

    Raises:
        UnknownNameError: for a backbone that has neither, with its layers.
    """
    names = {name for name, _ in model.named_modules()}
    layer = MOBILENETV2_LAYER if BACKBONE + MOBILENETV2_LAYER in names else DEFAULT_LAYER
    find_layer(model, layer)
    return layer


def _checked_logits(model: nn.Module, module: nn.Module, clip: Tensor, layer: str) -> Tensor:
    """The clip's logits (K,), once it is clear that the layer gives maps: (P, C, h, w) or (1, C, P, h, w)."""
    seen: list[Any] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        logits = model(clip[None])[0]
    finally:
        handle.remove()
    output = seen[0] if len(seen) == 1 else None
    shape = tuple(output.shape) if isinstance(output, Tensor) else ()
    if getattr(model, "takes_clips", False):  # mechanisms inside a 3-D backbone see its T' positions as frames
        is_maps = len(shape) == 4 or (len(shape) == 5 and shape[0] == 1)
    else:
        is_maps = len(shape) == 4 and shape[0] == len(clip)
    if not is_maps:
        given = f"{shape}" if shape else f"{len(seen)} outputs" if len(seen) != 1 else type(output).__name__
        raise ModelError(
            f"layer '{layer}' gives no maps over a clip's frames",
            given=given,
            allowed="one output (frames, channels, h, w); of a 3-D backbone (1, channels, positions in time, h, w)",
            hint="choose a stage or a convolution, such as layer2",
        )
    return logits


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.float().cpu().numpy()
