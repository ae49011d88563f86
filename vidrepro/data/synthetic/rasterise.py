"""From a scene to pixels, all frames at once, together with what is known about every thing in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidrepro.data.synthetic.draws import Draws
from vidrepro.data.synthetic.ground_truth import Annotations
from vidrepro.data.synthetic.shapes import BOUND, MOUTH_HEIGHT, MOUTH_RADII, mouth_distance
from vidrepro.data.synthetic.stage import Scene, Track
from vidrepro.data.synthetic.textures import FloatArray, paint

WORLD = 2.0  # side of the painted background, centred on the resting picture, in sides of the picture
_FLAP_BOUND = {"": BOUND, "lid": 2.0, "fold": 1.3}  # reach of a thing with its flap, in radii
_LEAN = 0.2  # perspective: how much larger a flap's edge appears when it points at the camera
_RIM = 0.82  # darker outline, so that things stand off whatever is behind them


@dataclass(frozen=True)
class Rendering:
    """A clip: (T, S, S, 3) uint8 RGB, and what is known about it."""

    frames: NDArray[np.uint8]
    annotations: Annotations

    def reversed(self) -> Rendering:
        """The same clip played backwards."""
        return Rendering(np.ascontiguousarray(self.frames[::-1]), self.annotations.reversed())


def render(scene: Scene, draws: Draws, side: int) -> Rendering:
    """Draw a scene.

    Args:
        scene: what is where.
        draws: for the background and the light.
        side: of the square picture, pixels.
    """
    canvas = _background(scene, draws, side)
    masks = np.zeros((draws.frames, len(scene.tracks), side, side), dtype=bool)
    boxes = np.zeros((draws.frames, len(scene.tracks), 4), dtype=np.int16)
    placed = [_Placed(track, scene, side) for track in scene.tracks]
    by_track = {id(thing.track): thing for thing in placed}
    for index, thing in enumerate(placed):
        vessel = by_track[id(thing.track.inside)] if thing.track.inside is not None else None
        whole, (time, row, column) = _draw(canvas, thing, vessel)
        masks[time, :, row, column] = False
        masks[time, index, row, column] = True
        boxes[:, index] = _boxes(whole, thing)
    centres = np.stack([thing.centre for thing in placed], axis=1)
    annotations = Annotations(
        roles=tuple(track.role for track in scene.tracks),
        masks=masks,
        boxes=boxes,
        centres=centres,
        sizes=np.stack([2 * thing.radius / side for thing in placed], axis=1).astype(np.float32),
        speeds=np.linalg.norm(np.gradient(centres, axis=0), axis=2).astype(np.float32),
        camera=np.stack([scene.camera_x, scene.camera_y, scene.zoom], axis=1).astype(np.float32),
    )
    return Rendering(_develop(canvas, draws), annotations)


class _Placed:
    """A thing as the camera sees it: centre and radius in pixels, and the window of pixels that can hold it."""

    def __init__(self, track: Track, scene: Scene, side: int) -> None:
        zoom = scene.zoom.astype(np.float32) * side
        x = (track.x - scene.camera_x) * zoom + side / 2
        y = (track.y - scene.camera_y) * zoom + side / 2
        self.track, self.side = track, side
        self.centre: FloatArray = np.stack([x, y], axis=1).astype(np.float32)
        self.radius: FloatArray = (track.radius * zoom).astype(np.float32)
        reach = side if track.role == "hand" else float(self.radius.max()) * _FLAP_BOUND[track.flap] + 1
        width = min(side, int(np.ceil(2 * reach)) + 1)
        # a window pushed back into the picture still holds every visible pixel of the thing
        self.columns = _window(x, width, side)
        self.rows = _window(y, width, side)

    def coordinates(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        """The thing's own coordinates (unit: its radius, turned with it) at pixels, each (T, h, w)."""
        dx = ((columns + np.float32(0.5) - self.centre[:, :1]) / self.radius[:, None]).astype(np.float32)[:, None, :]
        dy = ((rows + np.float32(0.5) - self.centre[:, 1:]) / self.radius[:, None]).astype(np.float32)[:, :, None]
        cosine = np.cos(self.track.angle).astype(np.float32)[:, None, None]
        sine = np.sin(self.track.angle).astype(np.float32)[:, None, None]
        return dx * cosine + dy * sine, dy * cosine - dx * sine


def _window(centre: FloatArray, width: int, side: int) -> NDArray[np.int64]:
    start = np.clip(np.floor(centre - width / 2).astype(np.int64), 0, side - width)
    return start[:, None] + np.arange(width)


def _draw(
    canvas: FloatArray, thing: _Placed, vessel: _Placed | None
) -> tuple[NDArray[np.bool_], tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Blend a thing into the canvas (in place).

    Returns:
        (T, h, w) its whole mask over its window, hidden parts included; and the frames, rows and columns of the
        pixels where it is now seen.
    """
    x, y = thing.coordinates(thing.rows, thing.columns)
    unit = thing.radius[:, None, None]
    look, flap = thing.track.look, thing.track.flap
    distance = look.shape.distance(x, y)
    if flap == "fold":
        distance = np.maximum(distance, x)  # the right half is the flap
    coverage = _coverage(distance, unit)
    turned = _Flap(thing, x, y) if flap else None
    alpha = np.maximum(coverage, turned.coverage) if turned else coverage
    seen = alpha * _above_rim(vessel, thing) if vessel else alpha
    # colours are needed only where the thing is, which for a hand is a small part of its window
    time, line, place = hit = np.nonzero(seen)
    colour = _body_colour(thing, x[hit], y[hit], distance[hit], thing.radius[time])
    if turned:
        colour += turned.coverage[hit][:, None] * (turned.colour(hit) - colour)
    row, column = thing.rows[time, line], thing.columns[time, place]
    below = canvas[time, row, column]
    canvas[time, row, column] = below + seen[hit][:, None] * (colour - below)
    solid = seen[hit] > 0.5
    return alpha > 0.5, (time[solid], row[solid], column[solid])


def _body_colour(thing: _Placed, x: FloatArray, y: FloatArray, distance: FloatArray, radius: FloatArray) -> FloatArray:
    """(n, 3) at n points in the thing's own coordinates, `radius` pixels being its unit there."""
    look = thing.track.look
    if thing.track.flap == "lid":  # below the lid is the plain inside, within a lighter edge
        return np.where(distance * radius > -1.5, 1.0, 0.6).astype(np.float32)[:, None] * look.back
    colour = _surface(thing, x, y, distance)
    if look.shape.name == "vessel":
        mouth = _coverage(mouth_distance(x, y), radius)
        colour += mouth[:, None] * (look.back * np.float32(0.5) - colour)
    return colour


class _Flap:
    """The turning part: a whole outline hinged at its left edge (lid), or the right half (fold).

    Attributes:
        coverage: (T, h, w) over the thing's window.
    """

    def __init__(self, thing: _Placed, x: FloatArray, y: FloatArray) -> None:
        angle = thing.track.flap_angle
        assert angle is not None
        cosine = np.cos(angle).astype(np.float32)
        self.thing = thing
        self.sine: FloatArray = np.sin(angle).astype(np.float32)
        self.cosine: FloatArray = np.where(np.abs(cosine) < 0.02, np.float32(0.02), cosine)
        hinge = np.float32(-1 if thing.track.flap == "lid" else 0)
        from_hinge = (x - hinge) / self.cosine[:, None, None]
        lean = np.float32(_LEAN) * np.clip(from_hinge, 0, 2) * self.sine[:, None, None]
        self.x, self.y = hinge + from_hinge, y / (1 + lean)  # where on the flat outline each pixel looks
        self.distance = thing.track.look.shape.distance(self.x, self.y)
        if thing.track.flap == "fold":
            self.distance = np.maximum(self.distance, -self.x)
        narrowed = np.abs(self.cosine) * thing.radius
        self.coverage = _coverage(self.distance, narrowed[:, None, None])

    def colour(self, hit: tuple[NDArray[np.int64], ...]) -> FloatArray:
        """(n, 3) at n pixels of the window: the front, darker when nearly edge-on; the back beyond upright."""
        front = _surface(self.thing, self.x[hit], self.y[hit], self.distance[hit])
        front *= (1 - np.float32(0.35) * self.sine[hit[0]])[:, None]
        return np.where(self.cosine[hit[0]][:, None] > 0, front, self.thing.track.look.back)


def _surface(thing: _Placed, x: FloatArray, y: FloatArray, distance: FloatArray) -> FloatArray:
    """(n, 3) textured colour at the thing's own coordinates, darker along the outline."""
    pixels = int(np.clip(2 * thing.radius.max(), 8, 64))
    texture = paint(thing.track.look.texture, pixels, 2.0)
    colour = texture[_texel(y, pixels), _texel(x, pixels)]
    rim = np.clip(-distance / np.float32(0.22), 0, 1)
    shaded: FloatArray = colour * (np.float32(_RIM) + np.float32(1 - _RIM) * rim)[:, None]
    return shaded


def _texel(coordinate: FloatArray, pixels: int) -> NDArray[np.int32]:
    return np.clip((coordinate + 1) * np.float32(pixels / 2), 0, pixels - 1).astype(np.int32)


def _coverage(distance: FloatArray, unit: FloatArray) -> FloatArray:
    """Share of a pixel inside an outline at a signed distance in radii; `unit` pixels make one radius."""
    covered: FloatArray = np.clip(np.float32(0.5) - distance * unit, 0, 1)
    return covered


def _above_rim(vessel: _Placed, thing: _Placed) -> FloatArray:
    """(T, h, w) how far the thing's pixels are in front of the vessel's front wall: above its mouth's lower edge."""
    x, y = vessel.coordinates(thing.rows, thing.columns)
    across, high = MOUTH_RADII
    edge = MOUTH_HEIGHT + np.float32(high) * np.sqrt(np.clip(1 - (x / across) ** 2, 0, 1))
    return _coverage(y - edge, vessel.radius[:, None, None])


def _boxes(present: NDArray[np.bool_], thing: _Placed) -> NDArray[np.int16]:
    """(T, 4) tight boxes around masks over the thing's window."""
    width = present.shape[1]
    edges = []
    for axis, pixels in ((1, thing.columns), (2, thing.rows)):
        along: NDArray[np.bool_] = np.any(present, axis=axis)
        first, last = along.argmax(axis=1), width - along[:, ::-1].argmax(axis=1)
        edges.append((pixels[:, 0] + first, pixels[:, 0] + last))
    boxes = np.stack([edges[0][0], edges[1][0], edges[0][1], edges[1][1]], axis=1).astype(np.int16)
    boxes[~present.any(axis=(1, 2))] = 0
    return boxes


def _background(scene: Scene, draws: Draws, side: int) -> FloatArray:
    """(T, side, side, 3): the painted world sampled bilinearly, rows and columns apart (the camera does not roll)."""
    pixels = round(WORLD * side * 1.2)
    world = paint(draws.background, pixels, WORLD).reshape(pixels, -1)
    steps = np.diff(world, axis=0)
    row, row_weight = _sample_points(scene.camera_y, scene.zoom, side, pixels)
    column, column_weight = _sample_points(scene.camera_x, scene.zoom, side, pixels)
    channels = (3 * column[:, :, None] + np.arange(3)).reshape(len(column), -1)
    channel_weight = np.repeat(column_weight, 3, axis=1)
    canvas = np.empty((draws.frames, side, side, 3), dtype=np.float32)
    for time in range(draws.frames):  # one frame at a time stays in the processor's cache: twice as fast as all at once
        lines = world[row[time]]
        lines += row_weight[time, :, None] * steps[row[time]]
        left, right = lines.take(channels[time], axis=1), lines.take(channels[time] + 3, axis=1)
        right -= left
        right *= channel_weight[time]
        np.add(left, right, out=canvas[time].reshape(side, -1))
    return canvas


def _sample_points(
    camera: FloatArray, zoom: FloatArray, side: int, pixels: int
) -> tuple[NDArray[np.int64], FloatArray]:
    """Lower texel and weight of the upper one for each pixel along one axis, both (T, side)."""
    screen = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    world = screen / zoom[:, None] + camera[:, None] - 0.5
    position = np.clip((world / WORLD + 0.5) * pixels - 0.5, 0, pixels - 1.001)
    lower = np.floor(position).astype(np.int64)
    return lower, (position - lower).astype(np.float32)


def _develop(canvas: FloatArray, draws: Draws) -> NDArray[np.uint8]:
    """Light, sensor noise, and rounding to 8 bits."""
    frames, side = canvas.shape[:2]
    ramp = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    light = 1 + draws.light[0] * ramp[None, :] + draws.light[1] * ramp[:, None]
    canvas *= (np.float32(255) * draws.brightness.astype(np.float32))[:, None, None, None]
    canvas *= light.astype(np.float32)[:, :, None]
    canvas += _noise(draws, frames, side)[..., None]
    np.clip(canvas, 0, 255, out=canvas)
    return (canvas + np.float32(0.5)).astype(np.uint8)


def _noise(draws: Draws, frames: int, side: int) -> FloatArray:
    """(frames, side, side) sensor noise: windows at random places of one larger field, which is cheap."""
    rng = np.random.default_rng(draws.noise_seed)
    field = rng.standard_normal((2 * side, 2 * side), dtype=np.float32) * np.float32(draws.noise)
    top, left = rng.integers(side, size=(2, frames))
    rows, columns = top[:, None] + np.arange(side), left[:, None] + np.arange(side)
    noise: FloatArray = field[rows[:, :, None], columns[:, None, :]]
    return noise
