"""What moves: each class's action, applied to class-blind draws.

An action sets poses around the mid-clip pose as a function of `Draws.progress`, which rises from -1 to 1. Of a
reversal pair only the member named first in `presets` is described; a clip of the other is that clip played
backwards, every pixel of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vidrepro.data.synthetic import presets
from vidrepro.data.synthetic.draws import Draws
from vidrepro.data.synthetic.shapes import MOUTH_HEIGHT
from vidrepro.data.synthetic.stage import Scene, contact, unit
from vidrepro.data.synthetic.textures import FloatArray

LID_OPEN = 2.0  # radians: an open lid leans back beyond upright
FOLDED = 2.9


@dataclass(frozen=True)
class Action:
    """How a class moves.

    Attributes:
        apply: changes the resting scene.
        reverse: whether the clip is then played backwards: "never", "always" (second member of a pair) or "by draw"
            (an unpaired action that is as natural either way).
    """

    apply: Callable[[Scene, Draws], None]
    reverse: str = "never"

    def is_reversed(self, draws: Draws) -> bool:
        """Whether this clip is played backwards."""
        return self.reverse == "always" or (self.reverse == "by draw" and draws.backwards)


# --- one thing moves -------------------------------------------------------------------------------------------


def move_right(scene: Scene, draws: Draws) -> None:
    """The main object crosses from left to right."""
    scene.track("main").x += draws.amplitude * scene.progress


def move_up(scene: Scene, draws: Draws) -> None:
    """The main object rises."""
    scene.track("main").y -= draws.amplitude * scene.progress


def move_towards_camera(scene: Scene, draws: Draws) -> None:
    """The main object, not the scene, grows as it comes closer."""
    scene.track("main").radius *= np.exp(2 * draws.zoom * scene.progress)


def open_lid(scene: Scene, draws: Draws) -> None:
    """The main object's lid turns about its hinge and shows the inside."""
    main = scene.track("main")
    main.flap, main.flap_angle = "lid", LID_OPEN / 2 * (1 + scene.progress)


def fold(scene: Scene, draws: Draws) -> None:
    """One half of the main object turns over onto the other."""
    main = scene.track("main")
    main.flap, main.flap_angle = "fold", FOLDED / 2 * (1 + scene.progress)


# --- the camera moves ------------------------------------------------------------------------------------------


def approach(scene: Scene, draws: Draws) -> None:
    """The camera comes closer: the whole scene grows."""
    scene.zoom *= np.exp(draws.zoom * scene.progress)


def turn_left(scene: Scene, draws: Draws) -> None:
    """The camera turns left: the whole scene moves right."""
    scene.camera_x -= draws.pan * scene.progress


def turn_up(scene: Scene, draws: Draws) -> None:
    """The camera turns upwards: the whole scene moves down."""
    scene.camera_y -= draws.pan * scene.progress


# --- two things ------------------------------------------------------------------------------------------------


def cover(scene: Scene, draws: Draws) -> None:
    """The second object slides over the main one until it hides it."""
    main, second = scene.track("main"), scene.track("second")
    away = (contact(draws) + draws.gap) / 2 * (1 - scene.progress)
    across, down = unit(draws.bearing)
    second.x, second.y = main.x + away * across, main.y + away * down
    scene.bring_to_front("second")


def bring_together(scene: Scene, draws: Draws) -> None:
    """Both objects approach each other until they touch."""
    across, down = unit(draws.bearing)
    step = draws.gap / 2 * scene.progress
    for role, sign in (("main", 1), ("second", -1)):
        track = scene.track(role)
        track.x, track.y = track.x + sign * step * across, track.y + sign * step * down


def bring_closer(scene: Scene, draws: Draws) -> None:
    """The main object approaches the second, which stays."""
    across, down = unit(draws.bearing)
    main = scene.track("main")
    main.x, main.y = (
        main.x + draws.gap * scene.progress * across,
        main.y + draws.gap * scene.progress * down,
    )


def put_into(scene: Scene, draws: Draws) -> None:
    """The main object sinks through the second's mouth until it is gone."""
    main, second = scene.track("main"), scene.track("second")
    across, down = -np.sin(draws.tilt), np.cos(draws.tilt)
    depth = 1.15 * draws.radius + draws.gap / 2
    second.x = draws.middle[0] - MOUTH_HEIGHT * second.radius * across
    second.y = draws.middle[1] - MOUTH_HEIGHT * second.radius * down
    main.x = draws.middle[0] + depth * scene.progress * across
    main.y = draws.middle[1] + depth * scene.progress * down
    main.inside = second
    scene.bring_to_front("second", "main")


def collide(scene: Scene, draws: Draws) -> None:
    """Both objects meet at mid-clip and bounce back."""
    _meet(scene, draws, along=-np.abs(scene.progress), aside=0.0)


def pass_by(scene: Scene, draws: Draws) -> None:
    """Both objects come from opposite sides and go past each other."""
    _meet(scene, draws, along=scene.progress, aside=1.05)


def _meet(scene: Scene, draws: Draws, *, along: FloatArray, aside: float) -> None:
    """Both objects on opposite sides of a point: `along` (T,) in [-1, 1], `aside` in contact distances."""
    across, down = unit(draws.bearing)
    touching, reach = contact(draws), (draws.amplitude + draws.gap) / 2
    halfway = (touching + draws.gap) / 2
    centre_x, centre_y = draws.middle[0] + halfway * across, draws.middle[1] + halfway * down
    for role, sign in (("main", 1), ("second", -1)):
        track = scene.track(role)
        # with nothing aside the outlines touch at along = 0, so half the contact distance stays between the centres
        distance = reach * along - (touching / 2 if aside == 0 else 0)
        offset = aside * touching / 2
        track.x = centre_x + sign * (distance * across - offset * down)
        track.y = centre_y + sign * (distance * down + offset * across)


# --- a hand acts -----------------------------------------------------------------------------------------------


def push_right(scene: Scene, draws: Draws) -> None:
    """A hand at the object's left side moves with it to the right (backwards: pulls it to the left)."""
    move_right(scene, draws)
    _touch(scene, draws, bearing=draws.tilt)


def push_left(scene: Scene, draws: Draws) -> None:
    """A hand at the object's right side moves with it to the left (backwards: pulls it to the right)."""
    scene.track("main").x -= draws.amplitude * scene.progress
    _touch(scene, draws, bearing=np.pi + draws.tilt)


def hold(scene: Scene, draws: Draws) -> None:
    """A hand holds the object nearly still."""
    main = scene.track("main")
    main.x, main.y = main.x + 0.01 * draws.sway, main.y + 0.01 * draws.sway_turn
    _touch(scene, draws, bearing=draws.hand_bearing)


def show(scene: Scene, draws: Draws) -> None:
    """A hand holds the object up and turns it this way and that."""
    main = scene.track("main")
    main.angle = main.angle + 0.9 * draws.sway_turn
    main.radius = main.radius * np.exp(0.3 * draws.sway)
    _touch(scene, draws, bearing=draws.hand_bearing)


def poke(scene: Scene, draws: Draws) -> None:
    """A finger comes, pushes the object a little, and goes back; the object stays where it was pushed."""
    main, nudge = scene.track("main"), draws.nudge * draws.radius
    travel = _poke_travel(draws, turning_point=nudge)
    across, down = unit(draws.hand_bearing)
    pushed = np.maximum.accumulate(np.clip(travel, 0, None)) - nudge / 2
    _reach(scene, draws, travel - nudge / 2)
    main.x, main.y = main.x + pushed * across, main.y + pushed * down


def pretend_poke(scene: Scene, draws: Draws) -> None:
    """A finger comes, stops short of the object, and goes back; the object stays."""
    _reach(scene, draws, _poke_travel(draws, turning_point=-0.03 - draws.gap / 4))


def _poke_travel(draws: Draws, *, turning_point: float) -> FloatArray:
    """(T,) the fingertip's way along its bearing, 0 at the outline: from afar to the turning point and back."""
    distance = draws.amplitude + draws.gap
    travel: FloatArray = turning_point - distance * np.abs(draws.progress)
    return travel


def _touch(scene: Scene, draws: Draws, *, bearing: float) -> None:
    """Let the hand point along `bearing` with its tip on the main object's rim, all the time."""
    main, hand = scene.track("main"), scene.track("hand")
    across, down = unit(bearing)
    hand.x, hand.y = main.x - 0.75 * main.radius * across, main.y - 0.75 * main.radius * down
    hand.angle = np.full_like(hand.angle, bearing)
    scene.bring_to_front("hand")


def _reach(scene: Scene, draws: Draws, travel: FloatArray) -> None:
    """Let the hand's tip be `travel` (T,) beyond the main object's rim, coming along its bearing."""
    main, hand = scene.track("main"), scene.track("hand")
    across, down = unit(draws.hand_bearing)
    hand.x = main.x + (travel - 0.85 * main.radius) * across
    hand.y = main.y + (travel - 0.85 * main.radius) * down
    scene.bring_to_front("hand")


_FORWARDS: dict[presets.Pair, Callable[[Scene, Draws], None]] = {
    presets.LEFT_RIGHT: move_right,
    presets.UP_DOWN: move_up,
    presets.TOWARDS_AWAY: move_towards_camera,
    presets.APPROACH_LEAVE: approach,
    presets.TURN_SIDEWAYS: turn_left,
    presets.TURN_UPRIGHT: turn_up,
    presets.COVER_UNCOVER: cover,
    presets.TOGETHER_APART: bring_together,
    presets.CLOSER_AWAY: bring_closer,
    presets.INTO_OUT: put_into,
    presets.OPEN_CLOSE: open_lid,
    presets.FOLD_UNFOLD: fold,
    presets.PUSH_RIGHT_PULL_LEFT: push_right,
    presets.PUSH_LEFT_PULL_RIGHT: push_left,
}

ACTIONS: dict[str, Action] = {
    **{pair[0]: Action(apply) for pair, apply in _FORWARDS.items()},
    **{pair[1]: Action(apply, "always") for pair, apply in _FORWARDS.items()},
    presets.POKE: Action(poke),
    presets.PRETEND_POKE: Action(pretend_poke, "by draw"),
    presets.COLLIDE: Action(collide, "by draw"),
    presets.PASS: Action(pass_by, "by draw"),
    presets.HOLD: Action(hold, "by draw"),
    presets.SHOW: Action(show, "by draw"),
}
"""Class name → how it moves."""
