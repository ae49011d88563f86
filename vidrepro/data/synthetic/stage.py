"""The resting scene before any action, the same for every class. World coordinates: the resting picture is [0, 1]²,
x to the right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vidrepro.data.synthetic.draws import Distractor, Draws, Look
from vidrepro.data.synthetic.textures import FloatArray


@dataclass
class Track:
    """A thing in the world, with one value per frame (arrays of length T).

    Attributes:
        role: main, second, hand or distractor.
        flap: "lid" (hinged at the outline's left edge, the inside below), "fold" (the right half turns over) or "".
        flap_angle: 0 closed or flat, up to pi.
        inside: a vessel this thing may sink into.
    """

    role: str
    look: Look
    x: FloatArray
    y: FloatArray
    radius: FloatArray
    angle: FloatArray
    flap: str = ""
    flap_angle: FloatArray | None = None
    inside: Track | None = None


@dataclass
class Scene:
    """All that is seen: things in drawing order (later ones in front) and the camera, arrays of length T."""

    tracks: list[Track]
    camera_x: FloatArray
    camera_y: FloatArray
    zoom: FloatArray
    progress: FloatArray = field(repr=False)

    def track(self, role: str) -> Track:
        """The thing in that role (the first of them)."""
        return next(track for track in self.tracks if track.role == role)

    def bring_to_front(self, *roles: str) -> None:
        """Draw these last, in the given order."""
        for role in roles:
            track = self.track(role)
            self.tracks.remove(track)
            self.tracks.append(track)


def stage(draws: Draws, *, props: bool) -> Scene:
    """The resting scene, the same for every class: the main object stirs a little, distractors go their way."""
    progress, still = draws.progress, np.ones_like(draws.progress)
    (x, y), (stray_x, stray_y) = draws.middle, draws.stray
    main = Track(
        "main",
        draws.main,
        x + stray_x * progress,
        y + stray_y * progress,
        draws.radius * still,
        draws.angle + draws.spin * progress,
    )
    tracks = [_idle_distractor(distractor, progress, still) for distractor in draws.distractors]
    if props:
        distance = contact(draws) + draws.gap
        second = Track(
            "second",
            draws.second,
            (x + distance * np.cos(draws.bearing)) * still,
            (y + distance * np.sin(draws.bearing)) * still,
            draws.radius * draws.ratio * still,
            draws.tilt * still,
        )
        tracks += [_idle_hand(draws, still), second]
    return Scene([*tracks, main], 0.5 + draws.jitter[:, 0], 0.5 + draws.jitter[:, 1], still.copy(), progress)


def _idle_distractor(distractor: Distractor, progress: FloatArray, still: FloatArray) -> Track:
    return Track(
        "distractor",
        distractor.look,
        distractor.place[0] + distractor.wander[0] * progress,
        distractor.place[1] + distractor.wander[1] * progress,
        distractor.radius * still,
        distractor.angle * still,
        distractor.flap[0],
        distractor.flap[1] * still,
    )


def _idle_hand(draws: Draws, still: FloatArray) -> Track:
    return Track(
        "hand",
        draws.hand,
        draws.hand_place[0] + draws.hand_wander[0] * draws.progress,
        draws.hand_place[1] + draws.hand_wander[1] * draws.progress,
        draws.hand_width * still,
        draws.hand_bearing * still,
    )


def contact(draws: Draws) -> float:
    """Distance at which the main and the second object touch (outlines are smaller than their radii)."""
    return draws.radius * (0.9 + 0.85 * draws.ratio)


def unit(angle: float) -> tuple[float, float]:
    return float(np.cos(angle)), float(np.sin(angle))
