"""M2A's Figure 4: Grad-CAM of several networks on one clip, as a picture, as arrays and as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidrepro.errors import unknown_name
from vidrepro.explain.gradcam import GradCam, default_layer, find_layer, grad_cam
from vidrepro.explain.shown_clips import Network, ShownClip, file_stem
from vidrepro.explain.strip import StripRow, draw_strip
from vidrepro.files import atomic_file

TARGETS = ("predicted", "true")


@dataclass(frozen=True)
class Explained:
    """One network's maps of one clip."""

    network: Network
    clip: ShownClip
    layer: str
    cam: GradCam

    def record(self) -> dict[str, Any]:
        """What it says, as plain data."""
        return self.network.verdict(self.clip, self.cam.predicted, self.cam.probability) | {
            "run": self.network.run,
            "label": self.network.label,
            "layer": self.layer,
            "map_size": list(self.cam.maps.shape),
            "interpolated_in_time": self.cam.interpolated_in_time,
            "class_explained": self.network.classes[self.cam.target],
            "any_heat": bool(self.cam.heat.max() > 0),
            "frame_shares": [float(share) for share in self.cam.frame_shares],
        }


def check_layers(networks: Sequence[Network], layer: str | None) -> list[str]:
    """The layer to show of each network: the one named, else the network's default.

    Raises:
        UnknownNameError: if one of them has no such layer.
    """
    for network in networks:
        if layer is not None:
            find_layer(network.trained.model, layer)
    return [layer or default_layer(network.trained.model) for network in networks]


def explain_clip(
    networks: Sequence[Network], layers: Sequence[str], clip_id: str, about: str = "predicted"
) -> list[Explained]:
    """Maps of one clip from every network.

    Args:
        about: ``predicted``: the class each network predicts; ``true``: the clip's own.

    Raises:
        UnknownNameError: for another `about`, or a clip that is not there.
        ModelError: if a layer gives no maps.
    """
    if about not in TARGETS:
        raise unknown_name("class to explain", about, TARGETS)
    explained = []
    for network, layer in zip(networks, layers, strict=True):
        clip = network.clip(clip_id)
        target = clip.label if about == "true" else None
        cam = grad_cam(network.trained.model, network.input(clip), layer, target)
        network.require_finite(clip, {"logits": cam.logits, f"Grad-CAM at {layer}": cam.maps})
        explained.append(Explained(network, clip, layer, cam))
    return explained


def write_explained(explained: Sequence[Explained], folder: Path, about: str) -> tuple[Path, Path]:
    """Write the picture and the arrays of one clip, and return their paths.

    Raises:
        ResultsError: if the folder cannot be written.
    """
    first = explained[0]
    layers = "-".join(dict.fromkeys(one.layer for one in explained))
    stem = f"{first.network.manifest.name}_{file_stem(first.clip.id)}_{layers}_{about}"
    picture, arrays = folder / f"{stem}.png", folder / f"{stem}.npz"
    rows = [StripRow(first.clip.pictures, "frames")] + [_row(one, about) for one in explained]
    draw_strip(
        picture,
        f"{first.network.manifest.name}, clip {first.clip.id}: {first.network.classes[first.clip.label]}",
        rows,
        heads=[f"frame {position + 1}" for position in first.clip.positions],
        scale="Grad-CAM, share of the row's largest value",
    )
    with atomic_file(arrays) as file:
        np.savez_compressed(file, **_arrays(explained))
    return picture, arrays


def _row(one: Explained, about: str) -> StripRow:
    names = one.network.classes
    right = one.cam.predicted == one.clip.label
    caption = f"predicted: {names[one.cam.predicted]} ({100 * one.cam.probability:.0f} %)"
    caption += f"   true: {names[one.clip.label]}"
    if about == "true" and not right:
        caption += "   (heat: for the true class)"
    if one.cam.heat.max() <= 0:
        caption += "   no heat: nothing speaks for the class"
    title = f"{one.network.label}\n{one.layer}, {one.cam.maps.shape[1]}x{one.cam.maps.shape[2]}"
    if one.cam.interpolated_in_time:
        title += f"\n{len(one.cam.maps)} of {len(one.cam.heat)} in time"
    notes = [f"{100 * share:.0f} %" for share in one.cam.frame_shares]
    return StripRow(one.clip.pictures, title, one.cam.relative, caption, right, notes)


def _arrays(explained: Sequence[Explained]) -> dict[str, Any]:
    """Names of the runs in their order, and the arrays of each with its number: ``maps_0``, ``heat_0``, ..."""
    clip = explained[0].clip
    arrays: dict[str, Any] = {
        "clip": np.array(clip.id),
        "true": np.array(clip.label),
        "positions": clip.positions,
        "runs": np.array([one.network.run for one in explained]),
        "layers": np.array([one.layer for one in explained]),
        "targets": np.array([one.cam.target for one in explained]),
    }
    for number, one in enumerate(explained):
        arrays |= {
            f"frames_{number}": one.clip.pictures,
            f"maps_{number}": one.cam.maps,
            f"heat_{number}": one.cam.heat,
            f"logits_{number}": one.cam.logits,
        }
    return arrays
