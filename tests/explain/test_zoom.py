"""The zoom of sparse spatial attention: what is shown is what the network does, and the pictures say where it looks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tests.short_runs import SIDE, TCNN, train_shortly
from vidrepro.cli.app import app
from vidrepro.data.augment import normalise
from vidrepro.data.sources.synthetic import prepare_synthetic
from vidrepro.data.synthetic.presets import PRESETS
from vidrepro.devices import choose_device
from vidrepro.errors import ConfigError, ModelError, UnknownNameError
from vidrepro.explain.attention_energy import object_masks
from vidrepro.explain.shown_clips import Network, load_networks
from vidrepro.explain.zoom import ShownZoom, show_zoom
from vidrepro.explain.zoom_strip import COLOURS, rows_of, with_grid, with_peaks
from vidrepro.report.run_sets import find_one_run

FRAMES = 4
TINIER = replace(
    PRESETS["tiny"], name="tinier", dataset="tinier", clips=(("train", 2), ("val", 1)), side=32, frame_counts=(8,)
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare_synthetic(folder, TINIER, workers=1)
    return folder


@pytest.fixture(scope="module")
def results(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that zooms, and one that does not, an epoch each."""
    folder = tmp_path_factory.mktemp("results")
    for mechanism in ("sparse-spatial", "none"):
        model = TCNN | {"mechanism": mechanism, "head_std": 0.5}
        train_shortly(folder, data, "tinier", model, learning_rate=0.02, frames=FRAMES)
    return folder


def network(results: Path, data: Path, mechanism: str = "sparse-spatial") -> Network:
    (folder,) = results.glob(f"runs/*_tcnn_{mechanism}_*")
    return load_networks([find_one_run(results, folder.name)], data=data, device=choose_device("cpu"))[0]


@pytest.fixture(scope="module")
def shown(results: Path, data: Path) -> ShownZoom:
    return show_zoom(network(results, data), "val-000003")


def test_shown_frames_are_the_networks_own_new_videos(shown: ShownZoom) -> None:
    for branch, video in (("D", shown.zoom.video_dis), ("C", shown.zoom.video_com)):
        pixels = torch.from_numpy(shown.pictures(branch)).permute(0, 3, 1, 2)
        assert torch.allclose(normalise(pixels), video[0], atol=0.011)  # half a grey value, in deviations
    model = shown.network.trained.model.eval()
    with torch.no_grad():
        logits = model.all_logits(shown.clip.input(torch.device("cpu"))[None])
    assert {name: one.label for name, one in shown.predictions.items()} == {
        name: int(value.argmax()) for name, value in logits.items()
    }


def test_peaks_lie_where_the_response_map_has_them(shown: ShownZoom) -> None:
    maps = shown.maps
    assert maps.shape == (FRAMES, SIDE, SIDE) and maps.min() >= 0 and maps.max() <= 1
    peaks = shown.peaks("D")
    assert len(peaks) == FRAMES
    for frame, ((x, y), *more) in enumerate(peaks):  # at test time the largest peak alone
        assert not more and 0 <= x <= SIDE - 1 and 0 <= y <= SIDE - 1
        row, column = np.unravel_index(maps[frame].argmax(), maps[frame].shape)
        assert abs(row - y) <= 1 and abs(column - x) <= 1


def test_a_grid_that_changes_nothing_is_the_picture_itself_under_straight_lines(shown: ShownZoom) -> None:
    axis = torch.linspace(-1, 1, SIDE)
    plain = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).expand(1, FRAMES, SIDE, SIDE, 2)
    still = replace(shown, zoom=replace(shown.zoom, grid_dis=plain))
    assert np.array_equal(still.pictures("D"), shown.clip.pictures)
    places = still.grid("D")
    assert np.allclose(places[..., 0], np.arange(SIDE), atol=1e-4)
    assert np.allclose(places[..., 1], np.arange(SIDE)[:, None], atol=1e-4)
    black = np.zeros((FRAMES, SIDE, SIDE, 3), np.uint8)
    drawn = (with_grid(black, places, (255, 0, 0))[..., 0] > 0).any(0)
    rows = np.flatnonzero(drawn.all(1))
    assert rows.size >= 12 and np.array_equal(rows, np.flatnonzero(drawn.all(0)))


def test_dots_have_the_colour_of_their_set_and_halves_where_in_both(shown: ShownZoom) -> None:
    masks = torch.zeros((2, 1, FRAMES, 31, 31), dtype=torch.bool)
    masks[0, :, :, 15, 5], masks[1, :, :, 15, 25], masks[:, :, :, 28, 15] = True, True, True
    marked = replace(shown, zoom=replace(shown.zoom, discriminative=masks[0], complementary=masks[1]))
    factor = 8
    black = np.zeros((FRAMES, SIDE * factor, SIDE * factor, 3), np.uint8)
    picture = with_peaks(black, marked, factor)[0]

    def at(row: int, column: int, right: int = 0) -> tuple[int, ...]:
        y, x = (round((place / 30 * (SIDE - 1) + 0.5) * factor - 0.5) for place in (row, column))
        return tuple(picture[y, x + right].tolist())

    assert at(15, 5) == COLOURS["D"] and at(15, 25) == COLOURS["C"]
    assert {at(28, 15, -3), at(28, 15, 3)} == set(COLOURS.values())


def test_the_object_fills_more_where_the_grid_is_denser_on_it(shown: ShownZoom) -> None:
    areas = shown.object_areas()
    assert areas is not None and set(areas) == {"original", "discriminative", "complementary"}
    mask = torch.as_tensor(object_masks(shown.network, shown.clip)[0])
    axis = torch.linspace(-0.5, 0.5, SIDE)  # half the frame along each side: what is in there is twice as large
    grids = []
    for frame in mask:
        middle = 2 * frame.nonzero().float().mean(0) / (SIDE - 1) - 1  # of the object, y and x in [-1, 1]
        rows, columns = torch.meshgrid(axis + middle[0], axis + middle[1], indexing="ij")
        grids.append(torch.stack((columns, rows), -1))
    zoomed = replace(shown, zoom=replace(shown.zoom, grid_dis=torch.stack(grids)[None])).object_areas()
    assert zoomed is not None and zoomed["original"] == areas["original"] == pytest.approx(float(mask.float().mean()))
    assert zoomed["discriminative"] == pytest.approx(4 * areas["original"], rel=0.1)
    assert [row.frames.shape for row in rows_of(shown)] == [(FRAMES, 192, 192, 3)] * 6


def test_the_command_writes_pictures_arrays_and_numbers(results: Path, data: Path, tmp_path: Path) -> None:
    words = ["explain", "zoom", network(results, data).run, "val-000003", "--frames", "1,4", "--json"]
    where = ["--results", str(results), "--data", str(data), "--device", "cpu", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, *where])
    assert done.exit_code == 0, done.output
    (record,) = json.loads(done.stdout)
    files = {kind: Path(name) for kind, name in record["files"].items()}
    assert set(files) == {"picture", "gif", "mp4", "arrays"} and all(file.is_file() for file in files.values())
    with Image.open(files["gif"]) as moving:
        assert moving.n_frames == FRAMES
    with np.load(files["arrays"]) as arrays:
        assert arrays["grid_dis"].shape == (FRAMES, SIDE, SIDE, 2) and arrays["maps"].shape == (FRAMES, 31, 31)
        assert arrays["discriminative"].sum() == sum(record["peaks"]["discriminative"])
        assert arrays["branches"].tolist() == ["O", "D", "C", "total"] and set(record["branches"]) == {*"ODC", "total"}
    before = {kind: file.read_bytes() for kind, file in files.items()}
    assert CliRunner().invoke(app, [*words, *where]).exit_code == 0
    assert files["picture"].read_bytes() == before["picture"]


def test_zoom_refuses_before_it_writes(results: Path, data: Path, tmp_path: Path) -> None:
    plain, zooming = (network(results, data, name).run for name in ("none", "sparse-spatial"))
    where = ["--results", str(results), "--data", str(data), "--out", str(tmp_path)]
    for words, kind, expected in (
        ([plain, "val-000003"], ModelError, "does not zoom"),
        ([zooming, "val-000003", "val-nobody"], UnknownNameError, "val-nobody"),
        ([zooming, "val-000003", "--frames", "1,9"], ConfigError, "sees no such frames"),
    ):
        done = CliRunner().invoke(app, ["explain", "zoom", *words, *where])
        assert isinstance(done.exception, kind), done.output
        assert expected in str(done.exception)
    assert not list(tmp_path.iterdir())
