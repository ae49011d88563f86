"""ST-ABN's Figure 3 for any network with taps: frames, colour bars over time, maps over the picture, and the classes.

As a picture (PNG), moving (GIF and MP4), as arrays (.npz) and as numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vidrepro.errors import ConfigError, unknown_name
from vidrepro.explain.attention import AttentionMap, ClipAttention, read_attention, taps_to_show
from vidrepro.explain.chosen_frames import check_frames
from vidrepro.explain.clip_files import ClipPicture, write_clip
from vidrepro.explain.gradcam import BACKBONE
from vidrepro.explain.scaling import SCALES, scale_maps, scale_weights
from vidrepro.explain.shown_clips import Network, ShownClip, file_stem
from vidrepro.explain.strip import PALETTES, BarRow, StripRow

MOST_ROWS = 8


@dataclass(frozen=True)
class Drawing:
    """How attention is drawn.

    Attributes:
        colours: one of `PALETTES`.
        scale: one of `SCALES`.
        frames: places of the frames in the picture, 0-based; None for some of them, evenly spread.
        moving: whether GIF and MP4 are written too, which always show all frames.
    """

    colours: str = "turbo"
    scale: str = "range"
    frames: tuple[int, ...] | None = None
    moving: bool = True


@dataclass(frozen=True)
class ShownAttention:
    """One network's attention for one clip."""

    network: Network
    clip: ShownClip
    attention: ClipAttention

    def record(self) -> dict[str, Any]:
        """What it says, as plain data."""
        return self.network.verdict(self.clip, self.attention.predicted, self.attention.probability) | {
            "run": self.network.run,
            "clip": self.clip.id,
            "taps": [_tap_record(one, len(self.clip.pixels)) for one in self.attention.taps],
        }


def check_drawing(network: Network, drawing: Drawing, what: str | None) -> None:
    """Refuse what cannot be drawn, before anything is written.

    Raises:
        UnknownNameError: for other colours, another scale or unknown attention.
        ConfigError: for frames that the network does not see, or more taps than rows.
        ModelError: if the network has no taps.
    """
    if drawing.colours not in PALETTES:
        raise unknown_name("colours", drawing.colours, PALETTES)
    if drawing.scale not in SCALES:
        raise unknown_name("scale", drawing.scale, SCALES)
    check_frames(network, drawing.frames)
    taps = taps_to_show(network.trained.model, what)
    if len(taps) > MOST_ROWS:
        raise ConfigError(
            "more attention than rows in a picture",
            given=f"{len(taps)} taps: {', '.join(list(taps)[:4])}, …",
            allowed=f"at most {MOST_ROWS}",
            hint=f"choose by a pattern of names, such as --what '{next(iter(taps))}'",
        )


def show_attention(network: Network, clip_id: str, what: str | None = None) -> ShownAttention:
    """Read a network's attention for one clip.

    Raises:
        UnknownNameError: if there is no such clip or attention.
        ModelError: if the network has no taps.
    """
    clip, model = network.clip(clip_id), network.trained.model
    attention = read_attention(model, network.input(clip), taps_to_show(model, what))
    network.require_finite(clip, {"logits": attention.logits} | {tap.name: tap.values for tap in attention.taps})
    return ShownAttention(network, clip, attention)


def write_attention(shown: ShownAttention, folder: Path, drawing: Drawing, what: str | None = None) -> dict[str, str]:
    """Write the picture, the animation and the arrays of one clip.

    Args:
        what: the attention asked for, which becomes part of the files' names.

    Returns:
        Their paths by ``picture``, ``gif``, ``mp4`` and ``arrays``.

    Raises:
        ResultsError: if the folder cannot be written.
    """
    of_what = f"-{file_stem(what)}" if what else ""
    stem = folder / f"{shown.network.run}_{file_stem(shown.clip.id)}_attention{of_what}"
    drawn = ClipPicture(
        rows_of(shown, drawing.scale), [_verdict(shown)], SCALES[drawing.scale], PALETTES[drawing.colours]
    )
    return write_clip(
        stem, shown.network, shown.clip, drawn, _arrays(shown), frames=drawing.frames, moving=drawing.moving
    )


def rows_of(shown: ShownAttention, scale: str) -> list[StripRow | BarRow]:
    """Figure 3 from top to bottom: frames, bars over time, maps, and the classes beneath the last row."""
    frames = shown.clip.pictures
    rows: list[StripRow | BarRow] = [StripRow(frames, "frames")]
    for one in shown.attention.temporal:
        values = one.bar(len(frames))
        scaled = scale_weights(values, scale)
        notes = [f"{value:.2f}" for value in values]
        rows.append(BarRow(scaled.values, _title(one, shown), notes=notes))
    for one in shown.attention.spatial:
        heat = one.heat(len(frames), frames.shape[1:3])
        scaled = scale_maps(heat, scale)
        notes = [f"{value:.2f}" for value in heat.mean((1, 2))]
        title = f"{_title(one, shown)}\n{_span(scaled.low, scaled.high)}"
        rows.append(StripRow(frames, title, scaled.values, notes=notes))
    right = shown.attention.predicted == shown.clip.label
    caption = f"{_verdict(shown)}\ntrue: {shown.network.classes[shown.clip.label]}"
    return [*rows[:-1], replace(rows[-1], caption=caption, right=right)]


def _verdict(shown: ShownAttention) -> str:
    attention = shown.attention
    return f"predicted: {shown.network.classes[attention.predicted]} ({100 * attention.probability:.0f} %)"


def _title(one: AttentionMap, shown: ShownAttention) -> str:
    """What it is, where in the network, and how large: ``gate``, ``layer2.0``, ``8x8``, ``mean of 16 channels``."""
    place, _, inside = one.name.removeprefix(BACKBONE).partition(".mechanism.")
    if not inside:
        place, _, inside = place.rpartition(".")
    alike = [other for other in shown.attention.taps if other.what == one.what and f"{place}." in other.name]
    details = []
    if one.maps is not None:
        details.append(f"{one.maps.shape[1]}x{one.maps.shape[2]}")
    if "C" in one.axes and one.values.shape[one.axes.index("C")] > 1:
        details.append(f"mean of {one.values.shape[one.axes.index('C')]} channels")
    positions = len(one.maps if one.maps is not None else one.weights if one.weights is not None else ())
    if positions not in (0, len(shown.clip.pixels)):
        details.append(f"{positions} in time" if positions > 1 else "for all frames")
    lines = (one.what, place, inside if place and len(alike) > 1 else "", *details)
    return "\n".join(line for line in lines if line)


def _span(low: float, high: float) -> str:
    return f"{low:.3g} to {high:.3g}" if high > low else f"{low:.3g} everywhere"


def _tap_record(one: AttentionMap, frames: int) -> dict[str, Any]:
    by_frame = None
    if one.weights is not None:
        by_frame = one.bar(frames)
    elif one.maps is not None:
        by_frame = one.heat(frames, one.maps.shape[1:]).mean((1, 2))  # type: ignore[arg-type]
    return {
        "name": one.name,
        "what": one.what,
        "axes": list(one.axes),
        "size": list(one.values.shape),
        "drawn": "maps" if one.maps is not None else "bar" if one.weights is not None else None,
        "least": float(one.values.min()),
        "largest": float(one.values.max()),
        "mean": float(one.values.mean(dtype=np.float64)),
        "by_frame": None if by_frame is None else [float(value) for value in by_frame],
    }


def _arrays(shown: ShownAttention) -> dict[str, Any]:
    """Names of the taps in their order, and of each with its number ``values_0``, and ``maps_0`` or ``weights_0``."""
    taps = shown.attention.taps
    arrays: dict[str, Any] = {
        "clip": np.array(shown.clip.id),
        "run": np.array(shown.network.run),
        "true": np.array(shown.clip.label),
        "logits": shown.attention.logits,
        "positions": shown.clip.positions,
        "frames": shown.clip.pictures,
        "taps": np.array([one.name for one in taps]),
        "what": np.array([one.what for one in taps]),
        "axes": np.array([",".join(one.axes) for one in taps]),
    }
    for number, one in enumerate(taps):
        arrays[f"values_{number}"] = one.values
        if one.maps is not None:
            arrays[f"maps_{number}"] = one.maps
        if one.weights is not None:
            arrays[f"weights_{number}"] = one.weights
    return arrays
