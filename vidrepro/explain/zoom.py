"""What sparse spatial attention does to one clip: response maps, peaks, sampling grids, two resampled videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vidrepro.errors import ModelError
from vidrepro.explain.attention_energy import object_masks, objects_known
from vidrepro.explain.shown_clips import Network, ShownClip
from vidrepro.models.networks.saliency import resample
from vidrepro.models.networks.sparse_spatial import SparseSpatialNetwork, Zoom

BRANCHES = ("D", "C")  # discriminative, complementary
BRANCH_NAMES = {"O": "original", "D": "discriminative", "C": "complementary", "total": "total"}

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """A class and its probability, of one branch or of all together."""

    label: int
    probability: float


@dataclass(frozen=True)
class ShownZoom:
    """A network's zoom into one clip of T frames of H x W pixels; G is the side of the sampler's maps.

    Attributes:
        zoom: as the network gives it, for a batch of this one clip.
        predictions: by branch, ``O``, ``D``, ``C`` as far as active, and ``total``.
    """

    network: Network
    clip: ShownClip
    zoom: Zoom
    predictions: dict[str, Prediction]

    def grid(self, branch: str) -> Floats:
        """Where each pixel of a branch's frames looks in the original, x and y in pixels, (T, H, W, 2)."""
        found = self.zoom.grid_dis if branch == "D" else self.zoom.grid_com
        height, width = found.shape[2:4]
        ends = torch.tensor([width - 1, height - 1], dtype=found.dtype, device=found.device)
        return ((found[0] + 1) / 2 * ends).cpu().numpy().astype(np.float32)  # corners lie on corners

    def pictures(self, branch: str) -> NDArray[np.uint8]:
        """A branch's frames: the clip's own pixels, resampled; (T, H, W, 3)."""
        found = self.zoom.grid_dis if branch == "D" else self.zoom.grid_com
        pixels = self.clip.pixels.to(found)
        moved = resample(pixels, found[0]).round().clamp(0, 255)
        return moved.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()

    def peaks(self, branch: str) -> list[list[tuple[float, float]]]:
        """The peaks in a branch's set, by frame: x and y in pixels of the original."""
        mask = self.zoom.discriminative if branch == "D" else self.zoom.complementary
        rows, columns = mask.shape[2:]
        height, width = self.zoom.grid_dis.shape[2:4]
        scale = np.array([(width - 1) / max(1, columns - 1), (height - 1) / max(1, rows - 1)])
        by_frame = []
        for frame in mask[0].cpu().numpy():
            places = np.argwhere(frame)[:, ::-1] * scale
            by_frame.append([(float(x), float(y)) for x, y in places])
        return by_frame

    @property
    def maps(self) -> Floats:
        """Normalised response maps as large as the frames, (T, H, W), 0 to 1."""
        height, width = self.zoom.grid_dis.shape[2:4]
        large = functional.interpolate(
            self.zoom.maps.transpose(0, 1), (height, width), mode="bilinear", align_corners=True
        )
        return large[:, 0].float().cpu().numpy()

    def object_areas(self) -> dict[str, float] | None:
        """How much of the picture the moving object fills, in the original and in each branch's frames; shares.

        None for a dataset of which nobody knows where its objects are.
        """
        if not objects_known(self.network):
            return None
        mask = torch.as_tensor(object_masks(self.network, self.clip)[0]).to(self.zoom.grid_dis)[:, None]
        areas = {"original": float(mask.mean())}
        for branch, grid in (("D", self.zoom.grid_dis), ("C", self.zoom.grid_com)):
            areas[BRANCH_NAMES[branch]] = float(resample(mask, grid[0]).mean())
        return areas

    def record(self) -> dict[str, Any]:
        """What it says, as plain data."""
        names = self.network.classes
        total = self.predictions["total"]
        return {
            "run": self.network.run,
            "clip": self.clip.id,
            "true": names[self.clip.label],
            "predicted": names[total.label],
            "right": total.label == self.clip.label,
            "branches": {
                branch: {"predicted": names[one.label], "probability": one.probability}
                for branch, one in self.predictions.items()
            },
            "entropy": [float(value) for value in self.zoom.entropy[0]],
            "peaks": {BRANCH_NAMES[branch]: [len(frame) for frame in self.peaks(branch)] for branch in BRANCHES},
            "object_areas": self.object_areas(),
        }


def show_zoom(network: Network, clip_id: str) -> ShownZoom:
    """Let a network zoom into one clip, as it does in evaluation.

    Raises:
        UnknownNameError: if there is no such clip.
        ModelError: if the network has no sparse spatial attention.
    """
    model = require_zoom(network)
    clip = network.clip(clip_id)
    inputs = network.input(clip)[None]
    with torch.no_grad():
        found = model.zoom(inputs)
        logits = model.all_logits(inputs)
    drawn = {"response maps": found.maps, "sampling grid of D": found.grid_dis, "sampling grid of C": found.grid_com}
    network.require_finite(clip, {f"logits of {name}": one for name, one in logits.items()} | drawn)
    return ShownZoom(network, clip, found, {name: _prediction(one) for name, one in logits.items()})


def require_zoom(network: Network) -> SparseSpatialNetwork:
    """The network, if it zooms.

    Raises:
        ModelError: if it has no sparse spatial attention.
    """
    model = network.trained.model
    if not isinstance(model, SparseSpatialNetwork):
        raise ModelError(
            "this network does not zoom",
            given=f"{network.run}: {network.trained.config.model.mechanism} on {network.trained.config.model.backbone}",
            allowed="a run of mechanism sparse-spatial, e.g. of tcnn/table4/o+c+d",
            hint="'vidrepro explain attention' shows the attention of other networks",
        )
    return model


def _prediction(logits: Tensor) -> Prediction:
    probabilities = logits[0].float().softmax(0)
    label = int(probabilities.argmax())
    return Prediction(label, float(probabilities[label]))
