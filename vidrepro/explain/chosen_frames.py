"""Which of a network's frames stand in a picture."""

from __future__ import annotations

import numpy as np

from vidrepro.errors import ConfigError
from vidrepro.explain.shown_clips import Network

USUAL_FRAMES = 8  # of a longer clip so many are in the picture


def usual_frames(frames: int) -> tuple[int, ...]:
    """Places, 0-based, of `USUAL_FRAMES` of so many frames, evenly spread."""
    return _evenly(frames, USUAL_FRAMES)


def chosen_frames(text: str | None, frames: int) -> tuple[int, ...] | None:
    """What ``--frames`` means: ``4`` is four of the network's frames, evenly spread; ``1,4,7`` are these, 1-based.

    Raises:
        ConfigError: for anything else.
    """
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ConfigError("no frames", given=text, allowed="a number such as 8, or frames such as 1,4,7")
    if len(words) == 1:
        return _evenly(frames, int(words[0]))
    return tuple(int(word) - 1 for word in words)


def check_frames(network: Network, places: tuple[int, ...] | None) -> None:
    """Refuse places, 0-based, of frames that the network does not see.

    Raises:
        ConfigError: naming them as ``--frames`` does.
    """
    frames = network.trained.config.data.frames
    if beyond := [place + 1 for place in places or () if not 0 <= place < frames]:
        raise ConfigError("the network sees no such frames", given=beyond, allowed=f"1 to {frames}")


def _evenly(frames: int, wanted: int) -> tuple[int, ...]:
    return tuple(np.unique(np.round(np.linspace(0, frames - 1, min(frames, wanted))).astype(np.int64)).tolist())
