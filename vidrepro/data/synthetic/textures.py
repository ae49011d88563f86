"""Procedural textures: a pattern that mixes two colours, with value noise over it so that motion shows everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

KINDS = ("noise", "stripes", "checks", "gradient", "dots")


@dataclass(frozen=True)
class Texture:
    """A texture before it is painted.

    Attributes:
        kind: one of `KINDS`.
        colours: (2, 3) RGB in [0, 1], the two colours the pattern mixes.
        frequency: cycles per unit length.
        angle: of the pattern, radians.
        phase: (2,) offset of the pattern, in cycles.
        sharpness: 1 is a sine, larger values approach hard edges.
        grain: amplitude of the value noise laid over the pattern, in [0, 1].
        lattice: (n, n) values in [0, 1] the noise interpolates over the painted square.
    """

    kind: str
    colours: FloatArray
    frequency: float
    angle: float
    phase: FloatArray
    sharpness: float
    grain: float
    lattice: FloatArray


def draw_texture(
    rng: np.random.Generator, colours: FloatArray, *, frequency: tuple[float, float], cells: tuple[int, int]
) -> Texture:
    """Draw a texture of the given colours.

    Args:
        rng: where the draws come from.
        colours: (2, 3) RGB.
        frequency: range of the pattern's frequency in cycles per unit length.
        cells: range (inclusive) of the noise lattice's side.
    """
    side = int(rng.integers(cells[0], cells[1] + 1))
    return Texture(
        kind=KINDS[int(rng.integers(len(KINDS)))],
        colours=colours,
        frequency=float(np.exp(rng.uniform(*np.log(frequency)))),
        angle=float(rng.uniform(0, np.pi)),
        phase=rng.random(2, dtype=np.float32),
        sharpness=float(rng.uniform(1, 6)),
        grain=float(rng.uniform(0.25, 0.5)),
        lattice=rng.random((side, side), dtype=np.float32),
    )


def paint(texture: Texture, pixels: int, extent: float) -> FloatArray:
    """Paint a texture over a centred square.

    Args:
        texture: what to paint.
        pixels: side of the picture.
        extent: side of the square in the texture's length unit.

    Returns:
        (pixels, pixels, 3) RGB in [0, 1].
    """
    axis = (((np.arange(pixels, dtype=np.float32) + 0.5) / pixels) - 0.5) * np.float32(extent)
    noise = _value_noise(texture.lattice, pixels)
    mix = noise if texture.kind == "noise" else _pattern(texture, axis, extent)
    mix = mix + np.float32(texture.grain) * (noise - np.float32(0.5))
    np.clip(mix, 0, 1, out=mix)
    first, second = texture.colours
    return first + mix[..., None] * (second - first)


def _pattern(texture: Texture, axis: FloatArray, extent: float) -> FloatArray:
    cosine, sine = np.float32(np.cos(texture.angle)), np.float32(np.sin(texture.angle))
    x, y = axis[None, :], axis[:, None]
    along, across = x * cosine + y * sine, y * cosine - x * sine
    if texture.kind == "gradient":
        return along / np.float32(extent) + np.float32(0.5)
    turn = np.float32(2 * np.pi)
    wave = np.sin(turn * (along * np.float32(texture.frequency) + texture.phase[0]))
    if texture.kind == "stripes":
        return _sharpen(wave, texture.sharpness)
    second = np.sin(turn * (across * np.float32(texture.frequency) + texture.phase[1]))
    if texture.kind == "checks":
        return _sharpen(wave * second, texture.sharpness)
    return _sharpen(wave + second - np.float32(0.6), texture.sharpness)  # dots: where both waves peak


def _sharpen(wave: FloatArray, sharpness: float) -> FloatArray:
    return np.clip(np.float32(0.5) + np.float32(0.5 * sharpness) * wave, 0, 1)


def _value_noise(lattice: FloatArray, pixels: int) -> FloatArray:
    """Interpolate the lattice over the square, with zero slope at its points (no visible cell borders)."""
    position = np.linspace(0, len(lattice) - 1, pixels, dtype=np.float32)
    lower = np.minimum(position.astype(np.int64), len(lattice) - 2)
    weight = position - lower
    weight = weight * weight * (3 - 2 * weight)
    rows = lattice[lower] + weight[:, None] * (lattice[lower + 1] - lattice[lower])
    noise: FloatArray = rows[:, lower] + weight * (rows[:, lower + 1] - rows[:, lower])
    return noise
