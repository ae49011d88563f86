"""The attention a network computes for one clip, read at its taps: maps over the picture, weights over the frames.

What a tap shows depends on the axes it names:

- H and W (one of them may be pooled away): a map per frame, the mean over channels and whatever else there is;
- time without H and W: a weight per frame, the mean over everything else;
- query and key of frames: how much each frame is attended to, the mean over queries, and that at each place where it
  also has H and W. Query and key of square patches within a frame: a map per frame, likewise.

Anything else is kept as values and not drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vidrepro.errors import ModelError
from vidrepro.evaluation.probe import choose_taps
from vidrepro.explain.gradcam import BACKBONE, default_layer
from vidrepro.explain.prediction import Predicting
from vidrepro.models.taps import AttentionTap, taps_of

Array = NDArray[np.float32]
FEW = 4  # taps that are all drawn if none are named


@dataclass(frozen=True)
class AttentionMap:
    """What one tap gave for one clip.

    Attributes:
        name: dotted, of the tap in the network; ``#2`` behind it for the second of several calls.
        what, axes: of the tap; the sizes of ``N`` and ``N*T`` are those of one clip.
        values: as the tap gave them.
        maps: over the picture, (P, h, w) for P frames or temporal positions (1 where it is the same for all frames);
            None if it has no H and W.
        weights: over time, (P,); None if it has H and W, or no time.
    """

    name: str
    what: str
    axes: tuple[str, ...]
    values: Array
    maps: Array | None
    weights: Array | None

    def heat(self, frames: int, side: tuple[int, int]) -> Array:
        """The maps interpolated to the clip, (T, H, W)."""
        assert self.maps is not None
        maps = torch.from_numpy(self.maps)[None, None]
        return functional.interpolate(maps, size=(frames, *side), mode="trilinear", align_corners=False)[0, 0].numpy()

    def bar(self, frames: int) -> Array:
        """The weights of the T frames: each frame has that of the temporal position it belongs to."""
        assert self.weights is not None
        return self.weights[np.arange(frames) * len(self.weights) // frames]


@dataclass(frozen=True)
class ClipAttention(Predicting):
    """What a network computed for one clip: its attention, and the logits (K,) that came of it."""

    taps: tuple[AttentionMap, ...]
    logits: Array

    @property
    def spatial(self) -> list[AttentionMap]:
        """Those with maps over the picture."""
        return [one for one in self.taps if one.maps is not None]

    @property
    def temporal(self) -> list[AttentionMap]:
        """Those with weights over the frames alone."""
        return [one for one in self.taps if one.weights is not None]


def taps_to_show(model: nn.Module, what: str | None = None) -> dict[str, AttentionTap]:
    """The taps that are drawn, by name.

    Args:
        what: see `choose_taps`. None: all if there are few; else of each kind the last one in the layer that Grad-CAM
            shows (a ResNet's layer2), or, where there is none, the last one of all.

    Raises:
        ModelError, UnknownNameError: see `choose_taps`.
    """
    taps = choose_taps(model, what or "all").taps
    if what is not None or len(taps) <= FEW:
        return taps
    shown: dict[str, str] = {}
    for inside in (False, True):
        prefix = BACKBONE + default_layer(model) + "." if inside else ""
        shown |= {tap.what: name for name, tap in taps.items() if name.startswith(prefix)}
    return {name: tap for name, tap in taps.items() if name in shown.values()}


@torch.no_grad()
def read_attention(model: nn.Module, clip: Tensor, taps: Mapping[str, AttentionTap] | None = None) -> ClipAttention:
    """Run the network on one clip and keep what comes through its taps; nothing is changed.

    Args:
        model: maps (1, T, C, H, W) to (1, K); put into evaluation mode.
        clip: normalised, (T, C, H, W), on the model's device.
        taps: which, by name; None for all.

    Raises:
        ModelError: if nothing comes through them, or values of another shape than a tap says.
    """
    model.eval()
    seen: list[AttentionMap] = []
    handles = []
    chosen = taps_of(model) if taps is None else taps
    try:
        for name, tap in chosen.items():
            handles.append(tap.register_forward_hook(_keeping(seen, name, clip.shape[0])))
        logits = model(clip[None])[0]
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise ModelError("none of the chosen attention is computed for this clip", given=", ".join(chosen) or "no taps")
    return ClipAttention(tuple(seen), logits.float().cpu().numpy())


def reduce_attention(values: Array, axes: tuple[str, ...], frames: int) -> tuple[Array | None, Array | None]:
    """Maps (P, h, w) and weights (P,) of one clip's values; see the module. At most one of them is not None.

    Args:
        values: of one clip; its axes ``N`` (whatever shares it) and ``N*T`` (then T) belong to it.
        axes: of the tap.
        frames: T of the clip.
    """
    time = next((axis for axis in ("T", "N*T") if axis in axes), None)
    among = "query" in axes and "key" in axes
    if "H" in axes or "W" in axes:
        return _over(values, axes, (time or ("key" if among else None), "H", "W")), None
    if among:
        received = _over(values, axes, (time, "key"))
        places = received.shape[1]
        if time is None:
            return None, received[0] if places <= frames else None
        side = round(places**0.5)
        return (received.reshape(-1, side, side), None) if side * side == places else (None, None)
    return None, None if time is None else _over(values, axes, (time,))


def _over(values: Array, axes: tuple[str, ...], kept: tuple[str | None, ...]) -> Array:
    """The mean over all axes but `kept`, in their order; one that is not there has size 1."""
    mean = values.mean(tuple(number for number, axis in enumerate(axes) if axis not in kept), dtype=np.float64)
    left = [axis for axis in axes if axis in kept]
    mean = np.transpose(mean, [left.index(axis) for axis in kept if axis in left])
    sizes = [values.shape[axes.index(axis)] if axis in axes else 1 for axis in kept]
    return mean.reshape(sizes).astype(np.float32)


def _keeping(seen: list[AttentionMap], name: str, frames: int) -> Any:
    def keep(module: nn.Module, _inputs: Any, attention: Tensor) -> None:
        assert isinstance(module, AttentionTap)
        if attention.dim() != len(module.axes):
            raise ModelError(
                f"tap '{name}' does not give what it says",
                given=tuple(attention.shape),
                allowed=", ".join(module.axes),
            )
        calls = sum(one.name.split("#")[0] == name for one in seen)
        values = attention.detach().float().cpu().numpy()
        maps, weights = reduce_attention(values, module.axes, frames)
        called = name if not calls else f"{name}#{calls + 1}"
        seen.append(AttentionMap(called, module.what, module.axes, values, maps, weights))

    return keep
