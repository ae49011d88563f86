"""Outlines of things as signed distances, so that one smooth step gives anti-aliased edges.

Every outline lies within the unit disc (`vessel` within `BOUND`). Distances are exact or slightly too small near
corners, which only rounds them by a fraction of a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vidrepro.data.synthetic.textures import FloatArray

BOUND = 1.05
MOUTH_HEIGHT = -0.55  # y of the vessel's opening, in its own coordinates (y points down)
MOUTH_RADII = (0.82, 0.24)


@dataclass(frozen=True)
class Shape:
    """An outline: a name of `OUTLINES` and up to four numbers in [0, 1] that vary it."""

    name: str
    numbers: tuple[float, float, float, float]

    def distance(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Signed distance to the outline, negative inside.

        Args:
            x: coordinate to the right, any shape, the outline's own unit.
            y: coordinate downwards, same shape.
        """
        return OUTLINES[self.name](x, y, *self.numbers)


def draw_shape(rng: np.random.Generator) -> Shape:
    """Draw the outline of a thing (any but the vessel)."""
    name = THINGS[int(rng.integers(len(THINGS)))]
    first, second, third, fourth = rng.random(4).tolist()
    return Shape(name, (first, second, third, fourth))


def draw_vessel(rng: np.random.Generator) -> Shape:
    """Draw a vessel: a tapered body with an opening at the top."""
    first, second, third, fourth = rng.random(4).tolist()
    return Shape("vessel", (first, second, third, fourth))


def _disc(x: FloatArray, y: FloatArray, *_: float) -> FloatArray:
    return np.hypot(x, y) - 1


def _ellipse(x: FloatArray, y: FloatArray, a: float, *_: float) -> FloatArray:
    ratio = 0.55 + 0.3 * a
    return (np.hypot(x, y / ratio) - 1) * ratio


def _polygon(x: FloatArray, y: FloatArray, a: float, *_: float) -> FloatArray:
    sides = 3 + int(a * 4)
    directions = [2 * math.pi * side / sides for side in range(sides)]
    distance = np.full_like(x, -np.inf)
    for direction in directions:
        np.maximum(distance, x * math.cos(direction) + y * math.sin(direction), out=distance)
    return distance - math.cos(math.pi / sides)


def _star(x: FloatArray, y: FloatArray, a: float, b: float, *_: float) -> FloatArray:
    points, inner = 4 + int(a * 3), 0.45 + 0.2 * b
    half = float(np.pi / points)
    angle = np.abs(np.remainder(np.arctan2(y, x) + half, 2 * half) - half)
    radius = np.hypot(x, y)
    # the edge from a point (1, 0) to the neighbouring notch, as a half-plane
    notch_x, notch_y = inner * math.cos(half), inner * math.sin(half)
    normal_x, normal_y = notch_y, 1 - notch_x
    length = math.hypot(normal_x, normal_y)
    normal_x, normal_y = normal_x / length, normal_y / length
    return radius * (np.cos(angle) * normal_x + np.sin(angle) * normal_y) - normal_x


def _ring(x: FloatArray, y: FloatArray, a: float, *_: float) -> FloatArray:
    width = 0.22 + 0.08 * a
    return np.abs(np.hypot(x, y) - (1 - width)) - width


def _box(x: FloatArray, y: FloatArray, a: float, b: float, *_: float) -> FloatArray:
    angle, corner = math.pi / 4 * (0.55 + 0.45 * a), 0.1 + 0.25 * b
    return _rounded_box(x, y, math.cos(angle), math.sin(angle), corner)


def _cross(x: FloatArray, y: FloatArray, a: float, *_: float) -> FloatArray:
    width = 0.28 + 0.12 * a
    return np.minimum(_rounded_box(x, y, 0.93, width, 0.06), _rounded_box(x, y, width, 0.93, 0.06))


def _blob(x: FloatArray, y: FloatArray, a: float, b: float, c: float, d: float) -> FloatArray:
    angle = np.arctan2(y, x)
    wave = 0.14 * np.cos(2 * angle + 6.28 * a) + 0.1 * np.cos(3 * angle + 6.28 * b)
    wave += (0.03 + 0.05 * c) * np.cos(5 * angle + 6.28 * d)
    return np.hypot(x, y) - (1 + wave) / 1.32


def _vessel(x: FloatArray, y: FloatArray, a: float, b: float, *_: float) -> FloatArray:
    taper, bottom = 0.35 * a, 0.62 + 0.13 * b
    centre, half = (bottom + MOUTH_HEIGHT) / 2, (bottom - MOUTH_HEIGHT) / 2
    body = _rounded_box(x * (1 + taper * np.clip((y - MOUTH_HEIGHT) / (2 * half), 0, 1)), y - centre, 0.82, half, 0.08)
    return np.minimum(body, mouth_distance(x, y))


def mouth_distance(x: FloatArray, y: FloatArray) -> FloatArray:
    """Signed distance (approximate) to the elliptic opening of a vessel, in the vessel's coordinates."""
    across, high = MOUTH_RADII
    return (np.hypot(x / across, (y - MOUTH_HEIGHT) / high) - 1) * high


def _finger(x: FloatArray, y: FloatArray, a: float, *_: float) -> FloatArray:
    """A finger with its arm behind it, pointing to +x: the tip at the origin, widening backwards without end."""
    behind = np.maximum(-x - 1, 0)
    width = 1 + (0.05 + 0.1 * a) * np.minimum(behind, 15)
    return np.where(x > -1, np.hypot(x + 1, y) - 1, np.abs(y) - width)


def _rounded_box(x: FloatArray, y: FloatArray, half_x: float, half_y: float, corner: float) -> FloatArray:
    corner = min(corner, half_x, half_y)
    dx, dy = np.abs(x) - (half_x - corner), np.abs(y) - (half_y - corner)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return outside + np.minimum(np.maximum(dx, dy), 0) - corner


OUTLINES: dict[str, Callable[..., FloatArray]] = {
    "disc": _disc,
    "ellipse": _ellipse,
    "polygon": _polygon,
    "star": _star,
    "ring": _ring,
    "box": _box,
    "cross": _cross,
    "blob": _blob,
    "vessel": _vessel,
    "finger": _finger,
}
THINGS = ("disc", "ellipse", "polygon", "star", "ring", "box", "cross", "blob")
