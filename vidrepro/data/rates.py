"""How many frames a video shows a second: what its container says, where its timestamps agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import av

from vidrepro.data.containers import open_container, video_stream

# How far a stated rate may be from the timestamps' before it is taken for an invention: containers round timestamps,
# and 30 is said where 29.97 is meant.
_FRAMES, _SHARE = 0.5, 0.01


def mean_rate(stated: float | None, times: Sequence[float | None]) -> float | None:
    """Frames a second; None if neither container nor timestamps tell.

    Containers without a frame rate of their own (Matroska, FLV, ASF) make FFmpeg guess one from the clock they count
    in, 1000 or 90000 a second, or from the first few frames.

    Args:
        stated: by the container, if it does.
        times: seconds at which the frames are shown, in display order; None where one has no timestamp.
    """
    known = [time for time in times if time is not None and math.isfinite(time)]
    steps = len(known) - 1
    if steps < 1 or len(known) < len(times) or any(two <= one for one, two in pairwise(known)):
        return stated
    span = known[-1] - known[0]
    if stated is not None and abs(stated * span - steps) <= _FRAMES + _SHARE * steps:
        return stated
    return steps / span


def packet_times(path: Path) -> list[float | None]:
    """Seconds at which a video's frames are shown, from one look at its packets, nothing decoded; in display order.

    Empty for a file that cannot be read to its end this way.
    """
    times: list[float | None] = []
    try:
        with open_container(path) as container:
            for packet in container.demux(video_stream(container)):
                if packet.size and not packet.is_discard:
                    stamp = packet.pts if packet.pts is not None else packet.dts
                    times.append(float(stamp * packet.time_base) if stamp is not None and packet.time_base else None)
    except (av.error.FFmpegError, OSError, ValueError):
        return []
    known = sorted(time for time in times if time is not None)
    return [*known] if len(known) == len(times) else [None]
