"""Clip-consistent transforms of uint8 frames: every frame of a clip gets the same crop and the same flip.

Chance and pixels are kept apart: a `draw_*` function takes our own generator and returns parameters, the others apply
them through `torchvision.transforms.v2.functional` (v2's random classes draw from torch's global generator, which
depends on the worker; where one of them is used, `_drawing_from` seeds that generator from ours). Frames are uint8
tensors (..., C, H, W); decoded ones, (T, H, W, C), are viewed that way without a copy, and torchvision resizes that
layout faster than a contiguous one.

Rules and quirks are those of TSM's `ops/transforms.py`, which M2A uses unchanged. PIL's bilinear filter is what torch
calls bilinear with antialiasing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import ColorJitter, RandomResizedCrop, functional

from vidrepro.errors import ConfigError, DataError, unknown_name

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of values in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)

FLIP_POLICIES = ("none", "swap", "always")
FLIP_PROBABILITY = 0.5

SNAP_DISTANCE = 3  # a crop side closer than this to the network's input is set to it

# Corners, centre, edge middles and quarter points, in quarters of the free space (x, y); TSM's more_fix_crop.
_CROP_GRID = (
    (0, 0), (4, 0), (0, 4), (4, 4), (2, 2),
    (0, 2), (4, 2), (2, 4), (2, 0),
    (1, 1), (3, 1), (1, 3), (3, 3),
)  # fmt: skip


class CropBox(NamedTuple):
    """A rectangle in pixels. It may stick out of the frame by a few pixels; black is seen there, as with PIL."""

    left: int
    top: int
    width: int
    height: int


def channels_first(frames: NDArray[np.uint8]) -> Tensor:
    """View decoded frames (..., H, W, C) as a tensor (..., C, H, W); no copy."""
    return torch.from_numpy(frames).movedim(-1, -3)


def draw_multi_scale_crop(
    width: int, height: int, size: int, scales: Sequence[float], max_distortion: int, rng: Generator
) -> CropBox:
    """TSM's GroupMultiScaleCrop with fix_crop and more_fix_crop: a size from a list, a place from a grid of 13.

    Side i is int(min(W, H) * scale_i), or `size` when less than 3 pixels away from it (which can exceed the frame by
    2: kept, see `CropBox`). A crop is side_j wide and side_i high, i and j at most `max_distortion` apart; its place
    is one of the corners, the centre, the middles of the edges and the quarter points, in steps of (W - w) // 4.

    Args:
        width: of the frames, pixels.
        height: of the frames, pixels.
        size: side of the network's input, which the crop is resized to afterwards.
        scales: of the shorter side, descending; (1, .875, .75, .66) for RGB, which makes 10 pairs.
        max_distortion: how far apart in `scales` width and height may be.
        rng: two draws: the pair, then the place.

    Raises:
        DataError: if the frames are so small that a side becomes 0.
    """
    sides = [int(min(width, height) * scale) for scale in scales]
    sides = [size if abs(side - size) < SNAP_DISTANCE else side for side in sides]
    if min(sides) < 1:
        raise DataError("the frames are too small to be cropped", given=f"{width}x{height} pixels")
    pairs = [
        (side_j, side_i)
        for i, side_i in enumerate(sides)
        for j, side_j in enumerate(sides)
        if abs(i - j) <= max_distortion
    ]
    crop_width, crop_height = pairs[rng.integers(len(pairs))]
    column, row = _CROP_GRID[rng.integers(len(_CROP_GRID))]
    return CropBox(column * ((width - crop_width) // 4), row * ((height - crop_height) // 4), crop_width, crop_height)


def draw_random_crop(width: int, height: int, size: int, rng: Generator) -> CropBox:
    """A `size` x `size` rectangle, every place as likely (T-CNN's training, on frames made 256x342).

    Args:
        width: of the frames, pixels.
        height: of the frames, pixels.
        size: side of the crop.
        rng: two draws: left, then top.

    Raises:
        DataError: if the frames are smaller.
    """
    free_height, free_width = _free_space(height, width, size)
    return CropBox(int(rng.integers(free_width + 1)), int(rng.integers(free_height + 1)), size, size)


def draw_resized_crop(
    width: int, height: int, area: tuple[float, float], aspect: tuple[float, float], rng: Generator
) -> CropBox:
    """torchvision's RandomResizedCrop (ST-ABN's released training): a random share of the frame, randomly stretched.

    Args:
        width: of the frames, pixels.
        height: of the frames, pixels.
        area: range of the crop's share of the frame.
        aspect: range of its width over its height, drawn on a logarithmic scale.
        rng: one draw, which seeds torchvision's.
    """
    transform = RandomResizedCrop(size=1, scale=area, ratio=aspect)  # the size is that of the resizing afterwards
    with _drawing_from(rng):
        box = transform.make_params([torch.empty(3, height, width, device="meta")])
    return CropBox(box["left"], box["top"], box["width"], box["height"])


def jitter_colours(frames: Tensor, shares: tuple[float, float, float, float], rng: Generator) -> Tensor:
    """torchvision's ColorJitter, the same for every frame of a clip.

    Args:
        frames: uint8 (..., C, H, W).
        shares: how far brightness, contrast and saturation may go from 1, and the hue from 0 (0.5: half the circle).
        rng: one draw, which seeds torchvision's: the order of the four, and how far each goes.
    """
    brightness, contrast, saturation, hue = shares
    with _drawing_from(rng):
        jittered: Tensor = ColorJitter(brightness, contrast, saturation, hue)(frames)
    return jittered


@contextmanager
def _drawing_from(rng: Generator) -> Iterator[None]:
    """Inside, torch's CPU generator is seeded by one draw of ours; afterwards it stands where it stood."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(int(rng.integers(2**63 - 1)))  # torch.manual_seed would seed every GPU too
    try:
        yield
    finally:
        torch.set_rng_state(state)


def draw_flip(rng: Generator) -> bool:
    """Whether to mirror a clip, with probability 0.5; one draw."""
    return bool(rng.random() < FLIP_PROBABILITY)


def crop(frames: Tensor, box: CropBox) -> Tensor:
    """Cut `box` out of frames (..., C, H, W): a view, or a copy padded with black where the box sticks out."""
    left, top, width, height = box
    if left >= 0 and top >= 0 and left + width <= frames.shape[-1] and top + height <= frames.shape[-2]:
        return frames[..., top : top + height, left : left + width]
    return functional.crop(frames, top, left, height, width)


def resize(frames: Tensor, height: int, width: int) -> Tensor:
    """Resize frames (..., C, H, W), bilinear with antialiasing as PIL does; frames of that size are returned as is."""
    if frames.shape[-2:] == (height, width):
        return frames
    return functional.resize(frames, [height, width], antialias=True)


def crop_and_resize(frames: Tensor, box: CropBox, size: int) -> Tensor:
    """Cut `box` out of frames (..., C, H, W), then make it `size` x `size`."""
    return resize(crop(frames, box), size, size)


def resize_short_side(frames: Tensor, size: int) -> Tensor:
    """Resize frames (..., C, H, W) so that the shorter side is `size`; the longer one is int(size * long / short).

    TSM's GroupScale. Frames that have it already are returned as they are.
    """
    height, width = frames.shape[-2:]
    if width <= height:
        return resize(frames, int(size * height / width), size)
    return resize(frames, size, int(size * width / height))


def centre_crop(frames: Tensor, size: int) -> Tensor:
    """The middle `size` x `size` of frames (..., C, H, W): a view. Odd remainders are rounded half to even.

    Raises:
        DataError: if the frames are smaller.
    """
    height, width = _free_space(frames.shape[-2], frames.shape[-1], size)
    return crop(frames, CropBox(round(width / 2), round(height / 2), size, size))


def three_crops(frames: Tensor, size: int) -> list[Tensor]:
    """Left, right, centre in this order, at the vertical middle of frames (..., C, H, W): views.

    TSM's GroupFullResSample. Places are multiples of a quarter of the free space, rounded down, so that the right crop
    can miss the last 3 columns and the centre can differ from `centre_crop` by a pixel or two.

    Raises:
        DataError: if the frames are smaller than `size`.
    """
    height, width = _free_space(frames.shape[-2], frames.shape[-1], size)
    step_x, step_y = width // 4, height // 4
    return [crop(frames, CropBox(column * step_x, 2 * step_y, size, size)) for column in (0, 4, 2)]


def flip(frames: Tensor) -> Tensor:
    """Mirror frames (..., C, H, W) left to right."""
    return functional.horizontal_flip(frames)


def flip_labels(policy: str, classes: Sequence[str]) -> NDArray[np.int64] | None:
    """What each label becomes when its clip is mirrored; None when the policy never mirrors.

    Args:
        policy: ``none``: never mirror. ``always``: mirror half of the clips whatever they show and keep the label.
            ``swap``: mirror half of the clips; labels that `swap_pairs` finds change into their partner, the others
            stay (so does a label that says left or right and has no partner among `classes`).
        classes: names by label.

    Returns:
        New label by label, shape (classes,), or None.

    Raises:
        ConfigError: if the policy is ``swap`` and no class has a partner. UnknownNameError: for another policy.
    """
    if policy not in FLIP_POLICIES:
        raise unknown_name("flip policy", policy, FLIP_POLICIES)
    if policy == "none":
        return None
    labels = np.arange(len(classes), dtype=np.int64)
    if policy == "swap":
        pairs = swap_pairs(classes)
        if not pairs:
            raise ConfigError(
                "flip policy 'swap' needs classes whose names differ by left and right only, and there are none",
                given=f"{len(classes)} classes",
                allowed="none, or always where no class depends on left and right",
                hint="--set data.flip=none",
            )
        labels[list(pairs)] = list(pairs.values())
    return labels


def swap_pairs(classes: Sequence[str]) -> dict[int, int]:
    """Labels that change into each other when a clip is mirrored, found from their wording.

    A class pairs with another only if exchanging the words left and right (and clockwise and anticlockwise or
    counterclockwise) gives a class that exists: "upright" and "pulling it right out" find nobody. On
    Something-Something's 174 sorted labels: 86-87, 93-94, 166-167.

    Args:
        classes: names by label; case, and spaces against underscores, do not matter.

    Returns:
        Partner by label, both directions.

    Raises:
        ConfigError: if two classes have the same name.
    """
    label_of = {_normal_text(name): label for label, name in enumerate(classes)}
    if len(label_of) < len(classes):
        raise ConfigError("two classes have the same name", given=f"{len(classes)} classes, {len(label_of)} names")
    pairs = {}
    for text, label in label_of.items():
        for mirrored in _mirrored_texts(text):
            partner = label_of.get(mirrored, label)
            if partner != label:
                pairs[label] = partner
    return {label: partner for label, partner in sorted(pairs.items()) if pairs.get(partner) == label}


def normalise(clip: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 RGB frames (..., C, H, W) on any device → float, scaled to 0..1, less ImageNet's mean, over its deviation.

    Args:
        clip: uint8, any memory layout.
        dtype: of the result; the arithmetic is done in float32.

    Returns:
        Contiguous, on the clip's device, same shape.
    """
    scale, offset = _scale_and_offset(clip.device)
    # Contiguous while still bytes, then in place: on a CPU twice as fast as addcmul, which mixes the types.
    return clip.contiguous().float().mul_(scale).add_(offset).to(dtype)


@functools.cache
def _scale_and_offset(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (1 / (255 * std)).float().to(device), (-mean / std).float().to(device)


def _free_space(height: int, width: int, size: int) -> tuple[int, int]:
    """What a `size` x `size` crop leaves of a frame: height, width."""
    if height < size or width < size:
        raise DataError(
            "the frames are smaller than the crop", given=f"{width}x{height} pixels", allowed=f"at least {size}x{size}"
        )
    return height - size, width - size


_LEFT_OR_RIGHT = re.compile(r"(?<![a-z])(left|right)(?![a-z])")
_TURN = re.compile(r"(?<![a-z])(clockwise|anti-?clockwise|counter-?clockwise)(?![a-z])")
_BACKWARD_TURNS = ("anticlockwise", "anti-clockwise", "counterclockwise", "counter-clockwise")


def _normal_text(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())


def _mirrored_texts(text: str) -> list[str]:
    """What a mirrored clip of this class could be called; empty if the wording says nothing about sides."""
    mirrored = _LEFT_OR_RIGHT.sub(lambda match: "right" if match[0] == "left" else "left", text)
    if _TURN.search(mirrored):
        return [
            _TURN.sub(lambda match, word=word: word if match[0] == "clockwise" else "clockwise", mirrored)  # type: ignore[misc]
            for word in _BACKWARD_TURNS
        ]
    return [mirrored] if mirrored != text else []
