"""Attention read at taps: what is kept, how it is reduced and scaled, and its pictures, on made-up maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image
from torch import nn

from tests.tapped import CHANNELS, FRAMES, SIDE, Tapped, random_clips
from vidrepro.errors import ModelError, UnknownNameError
from vidrepro.explain import strip
from vidrepro.explain.animation import compose, frame_rate, write_animation
from vidrepro.explain.attention import read_attention, reduce_attention, taps_to_show
from vidrepro.explain.scaling import SCALES, scale_maps, scale_weights
from vidrepro.explain.strip import PALETTES, BarRow, StripRow, draw_strip
from vidrepro.models.taps import taps_of

rng = np.random.default_rng(0)


def test_what_is_kept_is_what_came_through_and_nothing_changes() -> None:
    model, clips = Tapped().eval(), random_clips(1)
    seen: dict[str, torch.Tensor] = {}
    for name, tap in taps_of(model).items():
        tap.register_forward_hook(lambda _m, _i, output, name=name: seen.update({name: output}))
    logits = model(clips)[0].detach()
    found = read_attention(model, clips[0])
    assert np.allclose(found.logits, logits, atol=1e-6) and found.predicted == int(logits.argmax())
    assert found.probability == pytest.approx(float(logits.softmax(0).max()), abs=1e-6)
    for one in found.taps:
        assert np.array_equal(one.values, seen[one.name].detach().numpy())
    drawn = {one.name: (one.maps is not None, one.weights is not None) for one in found.taps}
    assert drawn == {
        "spatial": (True, False),
        "temporal": (False, True),
        "channel": (False, False),
        "matrix": (False, True),
    }
    by_name = {one.name: one for one in found.taps}
    assert np.allclose(by_name["matrix"].weights, seen["matrix"].detach()[0].mean(0), atol=1e-6)  # how much attended to
    assert by_name["spatial"].heat(FRAMES, (SIDE, SIDE)).shape == (FRAMES, SIDE, SIDE)
    assert np.allclose(by_name["spatial"].heat(FRAMES, (SIDE, SIDE)), by_name["spatial"].maps)
    assert all(len(tap._forward_hooks) == 1 for tap in taps_of(model).values())  # the test's own
    assert by_name["channel"].values.shape[1] == CHANNELS


def test_reading_refuses_what_gives_nothing() -> None:
    with pytest.raises(ModelError, match="no attention"):
        taps_to_show(nn.Linear(2, 2))
    with pytest.raises(ModelError, match="is computed"):
        read_attention(Tapped(), random_clips(1)[0], {})


def test_reducing_takes_the_mean_over_all_that_is_not_drawn() -> None:
    gate = rng.random((4, 3, 5, 6)).astype(np.float32)
    maps, weights = reduce_attention(gate, ("N*T", "C", "H", "W"), 4)
    assert weights is None and maps is not None and np.allclose(maps, gate.mean(1), atol=1e-6)
    maps, _ = reduce_attention(np.moveaxis(gate, 0, -1)[None], ("N", "C", "H", "W", "T"), 4)
    assert maps is not None and np.allclose(maps, gate.mean(1), atol=1e-6)
    maps, _ = reduce_attention(gate[:1, 0][:, None], ("N", "1", "H", "W"), 4)  # one for all frames
    assert maps is not None and np.allclose(maps, gate[:1, 0])
    columns, _ = reduce_attention(gate[None, :, :, :1], ("N", "T", "C", "1", "W"), 4)  # H pooled away
    assert columns is not None and np.allclose(columns, gate[:, :, :1].mean(1), atol=1e-6)
    _, weights = reduce_attention(gate[None, :, :, 0, 0], ("N", "T", "C"), 4)
    assert weights is not None and np.allclose(weights, gate[:, :, 0, 0].mean(1), atol=1e-6)
    assert reduce_attention(gate[:, :, 0, 0], ("N", "C"), 4) == (None, None)


def test_reducing_attention_among_positions() -> None:
    among_frames = rng.random((2, 4, 4)).astype(np.float32)  # at two places of the picture
    _, weights = reduce_attention(among_frames, ("N", "query", "key"), 4)
    assert weights is not None and np.allclose(weights, among_frames.mean((0, 1)), atol=1e-6)
    among_patches = rng.random((4, 9, 9)).astype(np.float32)
    maps, _ = reduce_attention(among_patches, ("N*T", "query", "key"), 4)
    assert maps is not None and np.allclose(maps, among_patches.mean(1).reshape(4, 3, 3), atol=1e-6)
    at_places = rng.random((1, 2, 3, 4, 4)).astype(np.float32)
    maps, _ = reduce_attention(at_places, ("N", "H", "W", "query", "key"), 4)
    assert maps is not None and np.allclose(maps, np.moveaxis(at_places[0].mean(2), -1, 0), atol=1e-6)
    kernels = rng.random((1, 5, 3)).astype(np.float32)  # of a temporal convolution: no frames
    assert reduce_attention(kernels, ("N", "C", "key"), 4) == (None, None)
    assert reduce_attention(rng.random((1, 32, 32)).astype(np.float32), ("N", "query", "key"), 4) == (None, None)


def test_fewer_positions_than_frames_are_spread_over_them() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Tapped()

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            return self.inner(clips[:, ::2])  # type: ignore[no-any-return]

    found = read_attention(Half(), torch.cat([random_clips(1)[0]] * 2))
    weights = next(one for one in found.temporal if one.what == "temporal")
    assert np.array_equal(weights.bar(8), np.repeat(weights.weights, 2))  # type: ignore[arg-type]
    assert found.spatial[0].heat(8, (12, 12)).shape == (8, 12, 12)


def test_scales() -> None:
    values = np.array([0.9, 0.2, 0.4, 0.3, 0.1], np.float32)
    stretched = scale_weights(values, "range")
    assert np.allclose(stretched.values, (values - 0.1) / 0.8) and (stretched.low, stretched.high) == pytest.approx(
        (0.1, 0.9)
    )
    assert np.array_equal(scale_weights(values, "absolute").values, values)
    released = scale_weights(values, "released")
    first = values.mean()
    last = (first + 0.2 + 0.4 + 0.3 + 0.1) / 5  # the last one's mean is taken when the first is replaced already
    assert np.allclose(released.values[1:-1], (values[1:-1] - 0.2) / 0.2, atol=1e-6)  # of 0.38, 0.2, 0.4, 0.3, 0.276
    assert released.values[[0, -1]] == pytest.approx([first, last])
    maps = np.linspace(0.25, 0.75, 8, dtype=np.float32).reshape(2, 2, 2)
    assert np.array_equal(scale_maps(maps, "released").values, maps)
    assert (scale_maps(maps, "range").values.min(), scale_maps(maps, "range").values.max()) == (0, 1)
    assert not scale_maps(np.full((1, 2, 2), 0.4, np.float32), "range").values.any()
    with pytest.raises(UnknownNameError, match="absolute"):
        scale_weights(values, "log")
    assert set(SCALES) == {"range", "absolute", "released"}


def rows() -> list[StripRow | BarRow]:
    frames = rng.integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
    heat = rng.uniform(size=(3, 8, 12)).astype(np.float32)
    bar = BarRow(np.array([0, 0.5, 1], np.float32), "when", notes=["0.1", "0.2", "0.3"])
    return [StripRow(frames, "frames"), bar, StripRow(frames, "where", heat, "predicted: up\ntrue: down", right=False)]


def test_bars_have_the_colours_of_their_values_and_the_width_of_the_frames(tmp_path: Path, drawn: list[Any]) -> None:
    made = rows()
    for name in ("one.png", "two.png"):
        draw_strip(tmp_path / name, "a clip", made, scale="attention", palette=PALETTES["jet"])
    axes = np.array(drawn[0].axes[:9]).reshape(3, 3)
    for place, value in zip(axes[1], (0, 0.5, 1), strict=True):
        assert np.allclose(place.images[0].get_array()[0, 0], colormaps["jet"](float(value))[:3])
    for above, place in zip(axes[0], axes[1], strict=True):
        frame, bar = above.get_position(), place.get_position()
        assert (bar.x0, bar.width) == pytest.approx((frame.x0, frame.width)) and bar.y1 < frame.y0
        assert bar.height * drawn[0].get_figheight() == pytest.approx(strip.BAR)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_the_released_palette_keeps_the_frames_colours() -> None:
    frames = np.zeros((1, 1, 1, 3), np.uint8)
    frames[0, 0, 0] = (200, 100, 50)
    mixed = strip.overlay(frames, np.ones((1, 1, 1), np.float32), palette=PALETTES["jet"])
    expected = 0.6 * frames[0, 0, 0] + 0.4 * 255 * np.array(colormaps["jet"](1.0)[:3])
    assert np.abs(mixed[0, 0, 0] - expected).max() <= 0.5


def test_the_animation_has_all_frames_panels_and_marks_the_current_one(tmp_path: Path) -> None:
    made = rows()
    pictures = compose(made, ["a clip", "predicted: up"], PALETTES["turbo"])
    factor = 24  # 8 rows are enlarged to 192
    assert len(pictures) == 3 and pictures.shape[1] % 2 == 0 == pictures.shape[2] % 2
    assert pictures.shape[2] >= 2 * 12 * factor and pictures.shape[1] >= 8 * factor
    frames, heat = made[0].frames, made[2].heat  # type: ignore[union-attr]
    assert heat is not None
    beneath = strip.overlay(frames, heat, palette=PALETTES["turbo"])
    found = []
    for panel in (frames[1], beneath[1]):
        large = np.repeat(np.repeat(panel, factor, 0), factor, 1)
        windows = np.lib.stride_tricks.sliding_window_view(pictures[1], large.shape)[:, :, 0]
        corners = np.argwhere((windows[:, :, 0, 0] == large[0, 0]).all(-1))
        found.append([(y, x) for y, x in corners.tolist() if np.array_equal(windows[y, x], large)])
    ((top, left),), ((below, right),) = found  # the frame itself and what is seen in it, once each, side by side
    assert top == below and left == 8 and right >= 8 + 12 * factor
    cold, hot = (np.rint(255 * np.array(colormaps["turbo"](value)[:3])) for value in (0.0, 1.0))
    bar = [(picture == colour).all(-1).sum() for colour in (cold, hot) for picture in pictures]
    assert min(bar) > 100 and bar[0] < bar[1] and bar[5] < bar[4]  # a black frame around the current one's colour
    gif, mp4 = write_animation(tmp_path / "clip.with.dots", pictures, 4)
    with Image.open(gif) as moving:
        assert (moving.n_frames, moving.size, moving.info["duration"]) == (3, pictures.shape[2:0:-1], 250)
        moving.seek(1)
        assert np.abs(np.asarray(moving.convert("RGB")).astype(int) - pictures[1]).mean() < 4
    with av.open(str(mp4)) as video:
        decoded = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert video.streams.video[0].average_rate == 4
    assert len(decoded) == 3 and np.abs(decoded[1].astype(int) - pictures[1]).mean() < 6


def test_frames_last_as_long_as_in_the_clip_within_limits() -> None:
    assert frame_rate(12, 8, 24) == 4 and frame_rate(30, 32, 40) == 12 and frame_rate(12, 4, 300) == 2
    assert frame_rate(None, 8, 8) == 12
