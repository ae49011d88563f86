"""How much of a network's spatial attention lies on the moving object, measured with the embedded dataset's own masks.

Of a map over a clip's frames: ``share`` is the part of its sum inside the object's pixels, ``area`` the part of the
pixels; ``ratio = share / area`` is 1 for attention that does not care, more for attention on the object. A sigmoid's
maps stand on a floor, so the ratio is also given of what lies above the map's least value in the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidrepro.data.dataset_info import is_embedded
from vidrepro.data.synthetic.draws import GENERATOR_VERSION
from vidrepro.data.synthetic.generator import render_clip
from vidrepro.data.synthetic.ground_truth import Annotations, load_annotations
from vidrepro.data.synthetic.presets import Preset
from vidrepro.errors import DataError, ModelError
from vidrepro.evaluation.paired import CONFIDENCE, RESAMPLES
from vidrepro.explain.attention_strip import ShownAttention, show_attention
from vidrepro.explain.shown_clips import Network, ShownClip

MAIN = "main"

Mask = NDArray[np.bool_]  # (T, S, S)


@dataclass(frozen=True)
class Energy:
    """One map of one clip against the object's mask and box; ``floorless`` above the map's least value."""

    clip: str
    tap: str
    mask_area: float
    mask_share: float
    mask_floorless: float
    box_area: float
    box_share: float
    box_floorless: float


@dataclass(frozen=True)
class MeanRatio:
    """Mean over clips of share / area, with its percentile bootstrap interval over clips."""

    mean: float
    low: float
    high: float
    clips: int


def annotations_of(network: Network, clip_id: str) -> Annotations:
    """What the generator knows about a clip: from the dataset's annotations, or, where they are gone, made again.

    Raises:
        DataError: if the dataset is no embedded one, or was made by another version of the generator and keeps no
            annotations.
    """
    require_known_objects(network)
    manifest = network.manifest
    kept = manifest.root / "annotations" / f"{clip_id}.npz"
    if kept.is_file():
        return load_annotations(kept)
    return made_again(manifest.info, clip_id, manifest.clip(clip_id).label)[1]


def require_known_objects(network: Network) -> None:
    """Refuse a dataset that was filmed.

    Raises:
        DataError: if the network's dataset is no embedded one.
    """
    if not is_embedded(network.manifest.info):
        raise DataError(
            f"of '{network.manifest.name}' nobody knows where its objects are",
            given=f"{network.run}, trained on {network.manifest.name}",
            allowed="a run on an embedded dataset (vidrepro prepare synthetic)",
            hint="'vidrepro explain attention' shows where the attention lies",
        )


def objects_known(network: Network) -> bool:
    """Whether `annotations_of` can tell: the embedded generator made the clips, this version of it or with notes."""
    manifest = network.manifest
    kept = manifest.info["version"] == GENERATOR_VERSION or (manifest.root / "annotations").is_dir()
    return is_embedded(manifest.info) and kept


def made_again(info: dict[str, Any], clip_id: str, label: int) -> tuple[NDArray[np.uint8], Annotations]:
    """A clip of the embedded dataset rendered once more from its dataset's settings: frames (T, S, S, 3) and the rest.

    Args:
        info: the content of dataset.json.
        label: of the clip in the dataset's own label set.

    Raises:
        DataError: if another version of the generator made the dataset.
    """
    if info.get("version") != GENERATOR_VERSION:
        raise DataError(
            "another version of the generator made this dataset, and its annotations are gone",
            given=info.get("version"),
            allowed=GENERATOR_VERSION,
            hint="vidrepro prepare synthetic --force",
        )
    preset = Preset(**{key: _tuples(value) for key, value in info["settings"].items()})
    rendering = render_clip(preset.classes[label], clip_id, preset, info["seed"])
    return rendering.frames, rendering.annotations


def object_masks(network: Network, clip: ShownClip, role: str = MAIN) -> tuple[Mask, Mask]:
    """Visible pixels and box of a clip's object in the frames that the network sees, as it sees them, each (T, S, S).

    Raises:
        DataError: see `annotations_of`; also if no object has this role.
    """
    known = annotations_of(network, clip.id)
    numbers = [number for number, one in enumerate(known.roles) if one == role]
    if not numbers:
        raise DataError(f"clip '{clip.id}' has no object '{role}'", given=role, allowed=sorted(set(known.roles)))
    masks: Mask = np.asarray(known.masks[clip.positions][:, numbers].any(1))
    boxes = np.zeros_like(masks)
    for frame, position in enumerate(clip.positions):
        for x0, y0, x1, y1 in known.boxes[position, numbers]:
            boxes[frame, y0:y1, x0:x1] = True
    return _as_seen(network, masks), _as_seen(network, boxes)


def energy(clip: str, tap: str, heat: NDArray[np.float32], mask: Mask, box: Mask) -> Energy | None:
    """Shares and areas of one map, (T, S, S) like mask and box; None if the object is never in the picture."""
    if not mask.any():
        return None
    values = heat.astype(np.float64)
    raised = values - values.min()
    parts = {}
    for name, region in (("mask", mask), ("box", box)):
        parts[f"{name}_area"] = float(region.mean())
        parts[f"{name}_share"] = _share(values, region)
        parts[f"{name}_floorless"] = _share(raised, region)
    return Energy(clip, tap, **parts)


def mean_ratio(shares: Sequence[float], areas: Sequence[float], seed: int = 0) -> MeanRatio:
    """The mean of share / area over clips."""
    ratios = np.asarray(shares) / np.asarray(areas)
    drawn = np.random.default_rng(seed).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios[drawn].mean(1), (tail, 1 - tail))
    return MeanRatio(float(ratios.mean()), float(low), float(high), len(ratios))


def summary(energies: Sequence[Energy]) -> dict[str, Any]:
    """Mean shares, areas and ratios of one tap over clips, as plain data."""
    result: dict[str, Any] = {"clips": len(energies)}
    for region in ("mask", "box"):
        areas = [getattr(one, f"{region}_area") for one in energies]
        shares = [getattr(one, f"{region}_share") for one in energies]
        floorless = [getattr(one, f"{region}_floorless") for one in energies]
        result[region] = {
            "area": float(np.mean(areas)),
            "share": float(np.mean(shares)),
            "ratio": asdict(mean_ratio(shares, areas)),
            "share_above_floor": float(np.mean(floorless)),
            "ratio_above_floor": asdict(mean_ratio(floorless, areas)),
        }
    return result


def energies_of(shown: ShownAttention, role: str = MAIN) -> list[Energy]:
    """Of each of a clip's spatial maps; empty if the object is never in the picture.

    Raises:
        DataError: see `object_masks`.
    """
    mask, box = object_masks(shown.network, shown.clip, role)
    frames, *side = mask.shape
    found = []
    for one in shown.attention.spatial:
        measured = energy(shown.clip.id, one.name, one.heat(frames, (side[0], side[1])), mask, box)
        found += [measured] if measured else []
    return found


def measure_energy(network: Network, clips: int, *, what: str | None = None, role: str = MAIN) -> dict[str, Any]:
    """`summary` of each spatial attention over some clips of the network's split, with each clip's numbers.

    Args:
        clips: how many, class by class in turn.
        what: see `taps_to_show`.
        role: of the object.

    Raises:
        ModelError: if the network has no spatial attention.
        DataError: see `object_masks`; also if the object is in none of the clips.
    """
    require_known_objects(network)  # before any clip is decoded
    ids = some_clips(network, clips)
    shown = [show_attention(network, clip, what) for clip in ids]
    classes = {each.clip.id: network.classes[each.clip.label] for each in shown}
    if not shown[0].attention.spatial:
        raise ModelError(
            "the chosen attention has no map over the picture",
            given=", ".join(f"{one.name} ({', '.join(one.axes)})" for one in shown[0].attention.taps),
            hint="choose another with --what",
        )
    energies = [one for each in shown for one in energies_of(each, role)]
    if not energies:
        raise DataError(f"object '{role}' is in none of the clips", given=", ".join(ids))
    by_tap: dict[str, list[Energy]] = {}
    for one in energies:
        by_tap.setdefault(one.tap, []).append(one)
    return {
        "run": network.run,
        "split": network.split,
        "object": role,
        "clips": len(ids),
        "taps": {name: summary(found) for name, found in by_tap.items()},
        "by_clip": [asdict(one) | {"class": classes[one.clip]} for one in energies],
    }


def some_clips(network: Network, count: int) -> list[str]:
    """Ids of `count` clips of the network's split, class by class in turn, in the manifest's order."""
    config = network.trained.config.data
    table = network.manifest.clips(network.split, fold=config.fold, task=config.task)
    turn = table.groupby("label").cumcount()
    order = np.lexsort((table["label"].to_numpy(), turn.to_numpy()))
    return [str(one) for one in table["id"].to_numpy()[order][:count]]


def _share(heat: NDArray[np.float64], region: Mask) -> float:
    total = heat.sum()
    return float(heat[region].sum() / total) if total > 0 else float(region.mean())  # nothing anywhere: evenly spread


def _as_seen(network: Network, masks: Mask) -> Mask:
    """Masks resized and cropped as the network's evaluation does with frames; a pixel half covered counts."""
    import torch

    from vidrepro.data import augment

    config = network.trained.config.data
    grey = torch.from_numpy(masks.astype(np.uint8) * 255)[:, None].expand(-1, 3, -1, -1)
    seen = augment.centre_crop(augment.resize_short_side(grey, config.eval_short_side), config.eval_size)
    return seen[:, 0].numpy() >= 128


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
