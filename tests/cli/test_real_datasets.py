"""Every ``explain`` command, and what else draws or names clips, on a dataset that was filmed, with awkward names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from tests.command_line import invoke, run_here
from tests.short_runs import MICRO, TCNN, train_shortly
from tests.small_ucf import CLASSES, write_small_ucf
from vidrepro.errors import DataError

CLIPS = [f"{name}/v_{name}_g03_c01" for name in CLASSES]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Options that lead to the prepared download and to two runs on it, an epoch each."""
    folder = tmp_path_factory.mktemp("place") / "a [v2] {x} %d [/x] :smile:"
    root, data, results = write_small_ucf(folder / "root #1"), folder / "data", folder / "results"
    words = ["--root", root, "--data", data, "--allow-missing", "1", "--workers", "1"]
    assert run_here("prepare", "ucf101", *words).returncode == 0
    for model in (MICRO | {"mechanism": "m2a"}, TCNN | {"mechanism": "sparse-spatial"}):
        train_shortly(results, data, "ucf101", model)
    return ["--data", data, "--results", results]


def run_named(where: list[object], part: str) -> Path:
    (folder,) = (path for path in (Path(str(where[-1])) / "runs").iterdir() if part in path.name)
    return folder


def explained(command: str, where: list[object], part: str) -> dict[str, Any]:
    """What a command says about one clip, its picture and its arrays looked at."""
    (record,) = json.loads(invoke("explain", command, run_named(where, part).name, CLIPS[2], *where, "--json"))
    assert record["clip"] == CLIPS[2]
    files = record.get("files", record)
    assert len(np.unique(np.asarray(Image.open(files["picture"])))) > 50
    assert all(Path(files[kind]).stat().st_size > 500 for kind in ("arrays", "gif", "mp4") if kind in files)
    return record


def test_gradcam_is_drawn_of_filmed_clips(where: list[object]) -> None:
    assert explained("gradcam", where, "_m2a_")["networks"][0]["true"] == CLASSES[2]


def test_maps_of_attention_are_drawn_of_filmed_clips(where: list[object]) -> None:
    record = explained("attention", where, "_m2a_")
    assert record["energy"] == [] and record["taps"] and {"gif", "mp4"} <= record["files"].keys()


def test_zooms_are_drawn_of_filmed_clips(where: list[object]) -> None:
    record = explained("zoom", where, "_sparse-spatial_")
    assert record["object_areas"] is None and {"gif", "mp4"} <= record["files"].keys()


@pytest.mark.parametrize("part", ["_m2a_", "_sparse-spatial_"])
def test_of_filmed_clips_nobody_knows_where_the_objects_are(where: list[object], part: str) -> None:
    with pytest.raises(DataError, match="of 'ucf101' nobody knows where its objects are"):
        invoke("explain", "energy", run_named(where, part).name, *where)


def test_names_are_told_as_they_are_for_people_too(where: list[object]) -> None:
    name = run_named(where, "_m2a_").name
    text = invoke("explain", "attention", name, *CLIPS, "--still", *where)
    assert all(f"{clip}: {label}; predicted" in text for clip, label in zip(CLIPS, CLASSES, strict=True))
    assert f"{CLIPS[2]}: {CLASSES[2]}\n" in invoke("explain", "gradcam", name, CLIPS[2], *where)
    assert str(where[-1]) in text
    for words in (["invert", name], ["evaluate", name]):
        assert f"{where[-1]}/runs/{name}" in invoke(*words, *where)


def test_a_class_is_drawn_by_its_name_and_chosen_by_a_part_of_it(
    where: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: set[str] = set()
    save = matplotlib.figure.Figure.savefig

    def watch(figure: matplotlib.figure.Figure, *args: object, **how: object) -> None:
        drawn.update(text.get_text() for text in figure.findobj(Text) if text.get_parse_math() is False)
        save(figure, *args, **how)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", watch)
    words = ["show", "ucf101", "--sheet", tmp_path / "s [/x] %d.png", "--out", tmp_path / "f [/x]", "--classes", "[v2]"]
    text = invoke(*words, *where)
    assert any("$a$_%d" in one for one in drawn)  # not as a formula
    assert all(f"{tmp_path}/f [/x]/{name}.png" in text for name in ("clips", "classes", "lengths"))
    assert (tmp_path / "s [/x] %d.png").is_file()
    runs = [run_named(where, part).name for part in ("_m2a_", "_sparse-spatial_")]
    out = tmp_path / "o [/x] %d"
    compared = invoke("compare", *runs, "--per-class", "--classes", "$a$", "--out", out, *where)
    assert CLASSES[1] in compared and CLASSES[0] not in compared
    assert len(list(out.iterdir())) == 3
