"""Trained networks and the clips they are shown, one clip at a time and as the network sees it in evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidrepro.data.augment import normalise
from vidrepro.data.loading import ClipDataset
from vidrepro.data.manifest import Manifest
from vidrepro.data.sampling import eval_positions
from vidrepro.errors import ConfigError, UnknownNameError, closest
from vidrepro.evaluation.rerun import Trained, load_trained
from vidrepro.files import fingerprint
from vidrepro.finite import require_finite
from vidrepro.report.run_sets import RunSet

_DIVERGED = "the network has diverged, or overflows on this clip: choose another run, --checkpoint or clip"


@dataclass(frozen=True)
class ShownClip:
    """One clip as one network sees it: a single view, the centre crop of its evaluation frames.

    Attributes:
        pixels: uint8 (T, C, S, S).
        label: true class.
        positions: of the frames in the clip, 0-based, (T,).
        frames_in_all: of the clip.
    """

    id: str
    pixels: Tensor
    label: int
    positions: NDArray[np.int64]
    frames_in_all: int

    @property
    def pictures(self) -> NDArray[np.uint8]:
        """The frames, (T, S, S, C)."""
        return self.pixels.permute(0, 2, 3, 1).contiguous().numpy()

    def input(self, device: torch.device) -> Tensor:
        """What the network is given, float (T, C, S, S)."""
        return normalise(self.pixels.to(device))


@dataclass(frozen=True, eq=False)
class Network:
    """A finished run's network with a name for pictures."""

    label: str
    trained: Trained
    split: str

    @property
    def run(self) -> str:
        """The run's id."""
        return self.trained.record.id

    @property
    def manifest(self) -> Manifest:
        """The dataset it was trained on."""
        return self.trained.manifest

    @cached_property
    def classes(self) -> list[str]:
        """Class names by label; their numbers where the label set names none."""
        task = self.trained.config.data.task
        names = self.manifest.classes_of(task)
        return names or [f"class {label}" for label in range(self.manifest.num_classes(task))]

    def clip(self, clip_id: str) -> ShownClip:
        """One clip of the split.

        Raises:
            UnknownNameError: if there is no such clip, with the closest ones, or it is in another split.
            DecodeError: if it does not decode.
        """
        index = self._indices.get(clip_id)
        if index is None:
            raise self._unknown(clip_id)
        sample = self._dataset[index]
        frames = self.manifest.clip(clip_id).frames
        config = self._dataset.config
        positions = eval_positions(config.eval_sampling, frames, config.frames, stride=config.stride)
        return ShownClip(clip_id, sample["clip"][0], sample["label"], positions, frames)

    def input(self, clip: ShownClip) -> Tensor:
        """A clip on the network's device, float (T, C, S, S)."""
        return clip.input(next(self.trained.model.parameters()).device)

    def require_finite(self, clip: ShownClip, values: Mapping[str, Tensor | NDArray[Any]]) -> None:
        """Refuse what cannot be drawn: NaN or infinite values that the network computes for a clip.

        Raises:
            NotFiniteError: naming run, clip and what is not finite.
        """
        require_finite(f"what {self.run} computes for clip '{clip.id}': values", values, hint=_DIVERGED)

    def verdict(self, clip: ShownClip, predicted: int, probability: float) -> dict[str, Any]:
        """What it takes a clip for, and what the clip is, as plain data."""
        return {
            "predicted": self.classes[predicted],
            "probability": probability,
            "true": self.classes[clip.label],
            "right": predicted == clip.label,
        }

    @cached_property
    def _dataset(self) -> ClipDataset:
        one_view = {"eval_crops": 1, "eval_clips": 1}
        config = self.trained.config.data.model_copy(update=one_view)
        return ClipDataset(
            self.manifest, self.split, config, seed=0, training=False, fold=config.fold, task=config.task
        )

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {clip_id: index for index, clip_id in enumerate(self._dataset.ids)}

    def _unknown(self, clip_id: str) -> UnknownNameError:
        ids = list(self._indices)
        elsewhere = self.manifest.table[self.manifest.table["id"] == clip_id]
        if len(elsewhere):
            row = elsewhere.iloc[0]
            hint = f"it is in split '{row['split']}', {row['status']}: --split {row['split']} if it is usable"
        else:
            hint = " or ".join(repr(one) for one in closest(clip_id, ids)) or f"see {self.manifest.path}"
        return UnknownNameError(
            f"no usable clip '{clip_id}' in split '{self.split}' of {self.manifest.name}",
            given=clip_id,
            allowed=f"{len(ids):,} clips: {', '.join(ids[:4])}, …; all ids: {self.manifest.path}",
            hint=hint,
        )


def load_networks(
    sets: list[RunSet], *, data: Path, device: torch.device, split: str | None = None, checkpoint: str = "best"
) -> list[Network]:
    """The networks of single runs, on a device.

    Raises:
        ConfigError: if they were trained on different datasets, or take different numbers of frames.
        VidreproError: see `load_trained`.
    """
    networks = []
    for one in sets:
        trained = load_trained(one.folders[0], data=data, which=checkpoint)
        trained.model.to(device).eval()
        networks.append(Network(one.label, trained, split or trained.manifest.eval_split(trained.config.data.fold)))
    for kind, found in {
        "datasets, folds or label sets": {network.trained.selection for network in networks},
        "numbers of frames": {str(network.trained.config.data.frames) for network in networks},
    }.items():
        if len(found) > 1:
            raise ConfigError(
                f"the runs are of different {kind}, so they cannot be shown side by side",
                given="; ".join(network.run for network in networks),
            )
    return networks


def file_stem(clip_id: str) -> str:
    """A clip's id as part of a file name; changed ids keep apart by a digest."""
    plain = re.sub(r"[^A-Za-z0-9_.@-]+", "-", clip_id).strip("-.")
    return plain if plain == clip_id else f"{plain}-{fingerprint(clip_id)[:6]}"
