"""How much the embedded dataset holds, how large its pictures are, and how hard it is: data, one entry per preset."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vidrepro.errors import unknown_name

Range = tuple[float, float]
Pair = tuple[str, str]

LEFT_RIGHT: Pair = ("Moving something from left to right", "Moving something from right to left")
UP_DOWN: Pair = ("Moving something up", "Moving something down")
TOWARDS_AWAY: Pair = ("Moving something towards the camera", "Moving something away from the camera")
APPROACH_LEAVE: Pair = ("Approaching something with your camera", "Moving away from something with your camera")
TURN_SIDEWAYS: Pair = (
    "Turning the camera left while filming something",
    "Turning the camera right while filming something",
)
TURN_UPRIGHT: Pair = (
    "Turning the camera upwards while filming something",
    "Turning the camera downwards while filming something",
)
COVER_UNCOVER: Pair = ("Covering something with something", "Uncovering something")
TOGETHER_APART: Pair = (
    "Moving something and something closer to each other",
    "Moving something and something away from each other",
)
CLOSER_AWAY: Pair = ("Moving something closer to something", "Moving something away from something")
INTO_OUT: Pair = ("Putting something into something", "Taking something out of something")
OPEN_CLOSE: Pair = ("Opening something", "Closing something")
FOLD_UNFOLD: Pair = ("Folding something", "Unfolding something")
PUSH_RIGHT_PULL_LEFT: Pair = ("Pushing something from left to right", "Pulling something from right to left")
PUSH_LEFT_PULL_RIGHT: Pair = ("Pushing something from right to left", "Pulling something from left to right")

POKE = "Poking something so it slightly moves"
PRETEND_POKE = "Pretending to poke something"
COLLIDE = "Moving something and something so they collide with each other"
PASS = "Moving something and something so they pass each other"
HOLD = "Holding something"
SHOW = "Showing something to the camera"


@dataclass(frozen=True)
class Preset:
    """One version of the embedded dataset. Lengths are fractions of the picture's side unless said otherwise.

    Attributes:
        name: as given on the command line.
        dataset: name of the dataset's folder.
        pairs: classes that are each other's time reversal, the one `scenes` describes forwards first.
        unpaired: the other classes.
        clips: clips per class, by split.
        side: of the square video, pixels.
        fps: frames per second.
        frame_counts: a clip's length is one of these, equally likely; multiples of the sampled T keep TSM's training
            rule from missing the clip's end.
        crf: x264's quality; the key-frame interval is always 1.
        radius: of the main object (its diameter is twice this); log-uniform.
        middle: where the main object's centre may be at mid-clip, both axes.
        amplitude: how far the main object moves to either side of its mid-clip place.
        pan: how far the camera turns to either side.
        zoom: natural logarithm of the factor in size to either side.
        stray: unmeant movement of the main object, as a share of the meant one.
        props: whether every scene also holds a second object (a vessel) and a hand.
        distractors: most distractors in a scene.
        drift: most a distractor wanders.
        jitter: most the hand-held camera wanders.
        flicker: most the brightness wanders, as a share.
        noise: most sensor noise, standard deviation in grey levels of 255.
        contrast: least difference in luma (0 to 1) between an object's colours and the background's, on average.
        background_frequency: of the background's pattern, cycles per side.
        background_cells: the background's value noise has this many cells a side.
        background_spread: how far the background's two colours lie from their mean luma.
    """

    name: str
    dataset: str
    pairs: tuple[Pair, ...]
    unpaired: tuple[str, ...]
    clips: tuple[tuple[str, int], ...]
    side: int
    radius: Range
    fps: int = 12
    frame_counts: tuple[int, ...] = (24, 32, 48)
    crf: int = 20
    middle: Range = (0.36, 0.64)
    amplitude: Range = (0.18, 0.3)
    pan: Range = (0.15, 0.3)
    zoom: Range = (0.22, 0.42)
    stray: float = 0.15
    props: bool = True
    distractors: int = 2
    drift: float = 0.12
    jitter: float = 0.02
    flicker: float = 0.06
    noise: float = 2.0
    contrast: float = 0.15
    background_frequency: Range = (2.0, 6.0)
    background_cells: tuple[int, int] = (10, 26)
    background_spread: float = 0.15

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label: sorted, so that a label tells nothing about pairs or direction."""
        return tuple(sorted({name for pair in self.pairs for name in pair} | set(self.unpaired)))

    @property
    def reversal_pairs(self) -> list[list[int]]:
        """Labels of classes that are each other's time reversal, each pair and the list ascending."""
        index = {name: label for label, name in enumerate(self.classes)}
        return sorted(sorted(index[name] for name in pair) for pair in self.pairs)

    @property
    def order_blind_ceiling(self) -> float:
        """Best expected accuracy of anything that ignores frame order.

        The frames of a paired clip are, as a set, equally likely under either member, so half of the paired clips is
        the most one can get; clips of unpaired classes could all be told. Classes are balanced, so shares of classes
        are shares of clips.
        """
        paired = 2 * len(self.pairs) / len(self.classes)
        return 0.5 * paired + (1 - paired)

    def settings(self) -> dict[str, Any]:
        """Everything that decides about the clips, as plain data."""
        return asdict(self)


_TINY = Preset(
    name="tiny",
    dataset="synthetic",
    pairs=(LEFT_RIGHT, UP_DOWN, APPROACH_LEAVE, TURN_SIDEWAYS),
    unpaired=(),
    clips=(("train", 400), ("val", 100)),
    side=64,
    radius=(0.14, 0.24),
    props=False,
    distractors=1,
    stray=0.08,
    drift=0.05,
    jitter=0.004,
    flicker=0.02,
    noise=0.5,
    contrast=0.3,
    background_frequency=(1.0, 3.0),
    background_cells=(5, 12),
    background_spread=0.08,
)
_SMALL = Preset(
    name="small",
    dataset="synthetic-small",
    pairs=(LEFT_RIGHT, TOWARDS_AWAY, COVER_UNCOVER, TURN_SIDEWAYS),
    unpaired=(POKE, PRETEND_POKE, COLLIDE, PASS, HOLD, SHOW),
    clips=(("train", 400), ("val", 100), ("test", 100)),
    side=96,
    radius=(0.04, 0.13),
)
_FULL = Preset(
    name="full",
    dataset="synthetic-full",
    pairs=(
        LEFT_RIGHT,
        UP_DOWN,
        TOWARDS_AWAY,
        APPROACH_LEAVE,
        TURN_SIDEWAYS,
        TURN_UPRIGHT,
        COVER_UNCOVER,
        TOGETHER_APART,
        CLOSER_AWAY,
        INTO_OUT,
        OPEN_CLOSE,
        FOLD_UNFOLD,
        PUSH_RIGHT_PULL_LEFT,
        PUSH_LEFT_PULL_RIGHT,
    ),
    unpaired=(POKE, PRETEND_POKE, COLLIDE, PASS, HOLD, SHOW),
    clips=(("train", 500), ("val", 60), ("test", 60)),
    side=144,
    radius=(0.04, 0.13),
)

PRESETS = {preset.name: preset for preset in (_TINY, _SMALL, _FULL)}
DEFAULT_PRESET = _TINY.name


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UnknownNameError: if there is none.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise unknown_name("preset of the synthetic dataset", name, PRESETS) from None
