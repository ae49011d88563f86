"""Everything random about a clip, drawn without knowing its class.

`draw` takes no class, so whatever it decides (looks, places, sizes, speed, lighting, length) is independent of the
class by construction; `scenes` then applies the class's motion to what was drawn, deterministically.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from vidrepro.data.synthetic.presets import Preset
from vidrepro.data.synthetic.shapes import Shape, draw_shape, draw_vessel
from vidrepro.data.synthetic.textures import FloatArray, Texture, draw_texture

GENERATOR_VERSION = "1"
"""Raised whenever the pixels of any clip change; part of every dataset's fingerprint."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_CANDIDATES = 12


@dataclass(frozen=True)
class Look:
    """How a thing looks: outline, front, and what shows where it opens or folds."""

    shape: Shape
    texture: Texture
    back: FloatArray  # (3,) RGB


@dataclass(frozen=True)
class Distractor:
    """Something beside the point: it stands still or wanders straight on at its own pace."""

    look: Look
    place: tuple[float, float]  # at mid-clip
    wander: tuple[float, float]  # displacement to either side of it
    radius: float
    angle: float
    flap: tuple[str, float]  # ("", 0) or a lid or fold left open at an angle


@dataclass(frozen=True)
class Draws:
    """One clip's random choices. Lengths are fractions of the side, angles radians, tracks have one value per frame.

    Attributes:
        frames: T, number of frames.
        progress: (T,) how far the action is, rising from -1 at the first frame to 1 at the last.
        middle: the main object's place at mid-clip.
        radius: its radius there.
        angle: its rotation there.
        spin: how far it turns to either side.
        amplitude, pan, zoom: how far things go to either side (see `Preset`).
        stray: (2,) unmeant displacement to either side.
        bearing: direction from the main to the second object.
        gap: free space between them at mid-clip.
        ratio: radius of the second object over the main one's.
        tilt: of the second object.
        hand_place, hand_wander, hand_bearing, hand_width: an idle hand's tip, its wandering, where it points, its size.
        nudge: how far a poke moves the thing, in radii of it.
        sway: (T,) smooth unit-size wandering for what is held or shown; `sway_turn` likewise.
        jitter: (T, 2) the camera's wandering.
        brightness: (T,) factor.
        light: (2,) brightness slope across the picture.
        noise: standard deviation, grey levels; `noise_seed` decides its pixels.
        backwards: plays a symmetric unpaired action from its end.
    """

    frames: int
    progress: FloatArray
    background: Texture
    main: Look
    second: Look
    hand: Look
    distractors: tuple[Distractor, ...]
    middle: tuple[float, float]
    radius: float
    angle: float
    spin: float
    amplitude: float
    pan: float
    zoom: float
    stray: tuple[float, float]
    bearing: float
    gap: float
    ratio: float
    tilt: float
    hand_place: tuple[float, float]
    hand_wander: tuple[float, float]
    hand_bearing: float
    hand_width: float
    nudge: float
    sway: FloatArray
    sway_turn: FloatArray
    jitter: FloatArray
    brightness: FloatArray
    light: tuple[float, float]
    noise: float
    noise_seed: int
    backwards: bool


def clip_generator(seed: int, clip_id: str) -> np.random.Generator:
    """The generator of one clip's draws: the same for any order of rendering and any number of workers."""
    key = hashlib.sha256(f"vidrepro-synthetic/{GENERATOR_VERSION}/{seed}/{clip_id}".encode()).digest()
    return np.random.default_rng(np.frombuffer(key, dtype=np.uint32).tolist())


def draw(rng: np.random.Generator, preset: Preset) -> Draws:
    """Draw everything a clip needs, whatever its class."""
    frames = int(rng.choice(preset.frame_counts))
    background_colours, background_luma = _background_colours(rng, preset.background_spread)
    middle = _point(rng, preset.middle)
    radius = float(np.exp(rng.uniform(*np.log(preset.radius))))
    towards_centre = np.arctan2(0.5 - middle[1], 0.5 - middle[0])

    def look(*, vessel: bool = False) -> Look:
        colours = _object_colours(rng, background_luma, preset.contrast)
        texture = draw_texture(rng, colours, frequency=(0.5, 1.5), cells=(3, 6))
        shape = draw_vessel(rng) if vessel else draw_shape(rng)
        return Look(shape, texture, np.float32(rng.uniform(0.15, 0.5)) * colours.mean(axis=0))

    return Draws(
        frames=frames,
        progress=_progress(rng, frames),
        background=draw_texture(
            rng, background_colours, frequency=preset.background_frequency, cells=preset.background_cells
        ),
        main=look(),
        second=look(vessel=True),
        hand=_hand_look(rng),
        distractors=tuple(_distractor(rng, preset, look()) for _ in range(int(rng.integers(preset.distractors + 1)))),
        middle=middle,
        radius=radius,
        angle=float(rng.uniform(-np.pi, np.pi)),
        spin=float(rng.uniform(-0.3, 0.3)),
        amplitude=float(rng.uniform(*preset.amplitude)),
        pan=float(rng.uniform(*preset.pan)),
        zoom=float(rng.uniform(*preset.zoom)),
        stray=_disc_point(rng, preset.stray * preset.amplitude[1]),
        bearing=float(towards_centre + rng.uniform(-1, 1)),
        gap=float(rng.uniform(0.1, 0.2)),
        ratio=float(rng.uniform(1.3, 1.6)),
        tilt=float(rng.uniform(-0.2, 0.2)),
        hand_place=_point(rng, (0.1, 0.9)),
        hand_wander=_disc_point(rng, preset.drift),
        hand_bearing=float(rng.uniform(-np.pi, np.pi)),
        hand_width=float(rng.uniform(0.018, 0.034)),
        nudge=float(rng.uniform(0.8, 1.4)),
        sway=_wander(rng, frames),
        sway_turn=_wander(rng, frames),
        jitter=np.stack([_wander(rng, frames), _wander(rng, frames)], axis=1)
        * np.float32(rng.uniform(0, preset.jitter)),
        brightness=np.float32(rng.uniform(0.85, 1.1))
        * (1 + _wander(rng, frames) * np.float32(rng.uniform(0, preset.flicker))),
        light=_disc_point(rng, 0.3),
        noise=float(rng.uniform(0, preset.noise)),
        noise_seed=int(rng.integers(2**32)),
        backwards=bool(rng.random() < 0.5),
    )


def _progress(rng: np.random.Generator, frames: int) -> FloatArray:
    """A speed profile: even, eased at both ends, or gathering or losing speed."""
    time = np.linspace(0, 1, frames, dtype=np.float64)
    kind, power = int(rng.integers(4)), float(rng.uniform(1.2, 1.8))
    if kind == 1:
        time = time * time * (3 - 2 * time)
    elif kind == 2:
        time = time**power
    elif kind == 3:
        time = 1 - (1 - time) ** power
    return (2 * time - 1).astype(np.float32)


def _wander(rng: np.random.Generator, frames: int) -> FloatArray:
    """A smooth track within [-1, 1] without a trend: three slow waves."""
    cycles, phases = rng.uniform(0.5, 4, size=3), rng.uniform(0, 2 * np.pi, size=3)
    time = np.linspace(0, 1, frames)[:, None]
    return (np.sin(2 * np.pi * cycles * time + phases).sum(axis=1) / 3).astype(np.float32)


def _distractor(rng: np.random.Generator, preset: Preset, look: Look) -> Distractor:
    moving = rng.random() < 0.5
    wander = _disc_point(rng, preset.drift)
    flap = ("", "", "lid", "fold")[int(rng.integers(4))]
    opened = float(rng.uniform(0.2, 2.6))
    return Distractor(
        look=look,
        place=_point(rng, (0.05, 0.95)),
        wander=wander if moving else (0.0, 0.0),
        radius=float(np.exp(rng.uniform(*np.log(preset.radius)))) * float(rng.uniform(0.5, 1)),
        angle=float(rng.uniform(-np.pi, np.pi)),
        flap=(flap, min(opened, 2.0) if flap == "lid" else opened) if preset.props and flap else ("", 0.0),
    )


def _hand_look(rng: np.random.Generator) -> Look:
    tone = rng.uniform(0.35, 0.95)
    skin = (np.array([1.0, 0.78, 0.64]) * tone).astype(np.float32)
    shape = Shape("finger", (float(rng.random()), 0.0, 0.0, 0.0))
    colours = np.stack([skin, skin * np.float32(0.92)])
    return Look(shape, draw_texture(rng, colours, frequency=(0.5, 1.0), cells=(3, 4)), skin)


def _background_colours(rng: np.random.Generator, spread: float) -> tuple[FloatArray, float]:
    luma = float(rng.uniform(0.2, 0.8))
    colours = _colours_of_luma(rng, np.array([luma - spread, luma + spread])[rng.permutation(2)])
    return colours, luma


def _object_colours(rng: np.random.Generator, background_luma: float, contrast: float) -> FloatArray:
    """Two colours whose mean luma stands off the background's by `contrast` at least."""
    candidates = rng.uniform(0.08, 0.92, size=_CANDIDATES)
    apart = np.abs(candidates - background_luma)
    luma = float(candidates[np.argmax(apart >= contrast) if (apart >= contrast).any() else np.argmax(apart)])
    spread = float(rng.uniform(0.04, 0.14))
    return _colours_of_luma(rng, np.array([luma - spread, luma + spread]))


def _colours_of_luma(rng: np.random.Generator, lumas: np.ndarray) -> FloatArray:
    """Random colours with the given lumas, as (n, 3) RGB in [0, 1]."""
    tint = rng.uniform(-0.3, 0.3, size=(len(lumas), 3))
    tint -= (tint @ LUMA)[:, None]
    return np.clip(lumas[:, None] + tint, 0, 1).astype(np.float32)


def _point(rng: np.random.Generator, limits: tuple[float, float]) -> tuple[float, float]:
    x, y = rng.uniform(*limits, size=2).tolist()
    return x, y


def _disc_point(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    distance, angle = radius * np.sqrt(rng.random()), rng.uniform(-np.pi, np.pi)
    return float(distance * np.cos(angle)), float(distance * np.sin(angle))
