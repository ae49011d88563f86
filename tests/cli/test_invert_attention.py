"""``invert`` and ``explain attention|energy`` on a run with attention that was really trained, for a moment."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.command_line import invoke
from tests.short_runs import MICRO, train_shortly
from tests.tapped import TappedGates
from vidrepro.data.augment import normalise
from vidrepro.data.loading import ClipDataset
from vidrepro.data.manifest import load_manifest
from vidrepro.data.sources.synthetic import prepare_synthetic
from vidrepro.data.synthetic.presets import LEFT_RIGHT, Preset
from vidrepro.errors import ModelError, UnknownNameError, VidreproError
from vidrepro.evaluation.rerun import load_trained
from vidrepro.evaluation.scores import load_scores
from vidrepro.models.taps import taps_of

TINIER = Preset(
    name="tinier",
    dataset="tinier",
    pairs=(LEFT_RIGHT,),
    unpaired=(),
    clips=(("train", 6), ("val", 5)),
    side=32,
    radius=(0.2, 0.3),
    props=False,
    frame_counts=(8,),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare_synthetic(folder, TINIER, workers=1)
    return folder


@pytest.fixture(scope="module")
def results(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a run of gates that have taps, and one without any mechanism, an epoch each."""
    folder = tmp_path_factory.mktemp("results")
    for mechanism in ("tests.tapped:TappedGates", "none"):
        train_shortly(folder, data, "tinier", MICRO | {"mechanism": mechanism})
    return folder


def run_folder(results: Path, mechanism: str) -> Path:
    return next(path.parent for path in results.glob(f"runs/*_{mechanism}*/run.json"))


def test_invert_keeps_scores_and_a_record_of_what_was_lost(results: Path, data: Path) -> None:
    folder = run_folder(results, "tests-tapped")
    where = ["--results", results, "--data", data, "--device", "cpu"]
    record = json.loads(invoke("invert", folder.name, "--what", "spatial,temporal", *where, "--json"))
    assert record["what"] == "all"  # of this network these two are all
    assert record["file"] == str(folder / "probes" / "all-invert-4x1x1@24-best.json")
    kept = json.loads(Path(record["file"]).read_text())
    assert {key: record[key] for key in kept} == kept
    plain, probed = (load_scores(Path(record["scores"][side])) for side in ("plain", "probed"))
    assert plain.ids.tolist() == probed.ids.tolist() and not np.allclose(plain.logits, probed.logits, atol=1e-4)
    for scores, side in ((plain, "plain"), (probed, "probed")):
        assert kept[side]["top1"] == pytest.approx(100 * (scores.logits.argmax(1) == scores.labels).mean())
    drop = kept["drop"]["top1"]
    assert drop["difference"] == pytest.approx(kept["plain"]["top1"] - kept["probed"]["top1"])
    assert drop["low"] <= drop["difference"] <= drop["high"] and kept["drop"]["pair"]["difference"] == 0  # one pair
    assert len(kept["taps"]) == len(taps_of(load_trained(folder, data=data).model))

    # A second implementation of the same: the gates' own modules made to give 1 - M.
    model = load_trained(folder, data=data).model.eval()
    for module in model.modules():
        if isinstance(module, TappedGates):  # 1 - sigmoid(x) = sigmoid(-x)
            for layer in (module.where, module.when):
                layer.weight.data.neg_()
                layer.bias.data.neg_()
    config = load_trained(folder, data=data).config.data
    dataset = ClipDataset(load_manifest("tinier", data), "val", config, seed=0, training=False)
    with torch.no_grad():
        logits = torch.cat([model(normalise(dataset[index]["clip"])) for index in range(len(dataset))])
    assert np.allclose(probed.logits, logits, atol=1e-5)


def test_every_way_and_choice_has_a_file_of_its_own(results: Path, data: Path) -> None:
    folder = run_folder(results, "tests-tapped")
    where = ["--results", results, "--data", data]
    text = invoke("invert", folder.name, "--what", "temporal", "--how", "shuffle", "--seed", 3, *where)
    assert "top-1" in text and "temporal in 4 places: changed by 0." in text
    invoke("invert", folder.name, "--what", "*layer2*", "--how", "mean", "--split", "train", *where)
    names = {path.name for path in (folder / "probes").iterdir()}
    assert {"temporal-shuffle-4x1x1@24-best_p3.json", "anylayer2any-mean-4x1x1@24-best-train.json"} <= names
    record = json.loads((folder / "probes" / "anylayer2any-mean-4x1x1@24-best-train.json").read_text())
    of_layer = [name for name in taps_of(load_trained(folder, data=data).model) if "layer2" in name]
    assert [tap["name"] for tap in record["taps"]] == of_layer != []
    assert record["plain"]["clips"] == 12


def test_invert_refuses(results: Path, data: Path) -> None:
    gated, plain = (run_folder(results, name).name for name in ("tests-tapped", "none"))
    where = ["--results", results, "--data", data]
    for words, kind, expected in (
        ([gated, "--what", "spatail"], UnknownNameError, "spatial, temporal"),
        ([gated, "--how", "revert"], UnknownNameError, "invert, mean, shuffle"),
        ([plain], ModelError, "no attention"),
        ([gated, "--protocol", "8x1x1@24"], VidreproError, "another number of frames"),
    ):
        with pytest.raises(kind, match=expected):
            invoke("invert", *words, *where)


def test_attention_is_drawn_moved_and_kept(results: Path, data: Path, tmp_path: Path) -> None:
    folder = run_folder(results, "tests-tapped")
    where = ["--results", results, "--data", data, "--out", tmp_path]
    words = ["explain", "attention", folder.name, "val-000000", "val-000003", *where]
    records = json.loads(invoke(*words, "--json"))
    assert [record["clip"] for record in records] == ["val-000000", "val-000003"]
    trained = load_trained(folder, data=data)
    kept: dict[str, torch.Tensor] = {}
    for name, tap in taps_of(trained.model).items():
        tap.register_forward_hook(lambda _m, _i, output, name=name: kept.update({name: output}))
    for record in records:
        assert [tap["what"] for tap in record["taps"]] == ["temporal", "spatial"]  # as they are computed
        assert all(tap["name"].startswith("backbone.layer2.") for tap in record["taps"])  # as Grad-CAM's default
        files = record["files"]
        assert Image.open(files["picture"]).format == "PNG"
        with Image.open(files["gif"]) as gif, av.open(files["mp4"]) as video:
            assert gif.n_frames == 4 == sum(1 for _ in video.decode(video=0))
            assert gif.size == (video.streams.video[0].width, video.streams.video[0].height)
        with np.load(files["arrays"], allow_pickle=False) as arrays:
            clip = torch.from_numpy(arrays["frames"]).permute(0, 3, 1, 2)
            with torch.no_grad():
                logits = trained.model.eval()(normalise(clip)[None])
            assert np.allclose(arrays["logits"], logits[0], atol=1e-5)
            scores = load_scores(next((folder / "scores").glob("val-*-best.npz")))
            assert np.allclose(arrays["logits"], scores.logits[scores.ids.tolist().index(record["clip"])], atol=1e-5)
            for number, name in enumerate(arrays["taps"].tolist()):
                assert np.allclose(arrays[f"values_{number}"], kept[name].detach(), atol=1e-6)
            assert arrays["weights_0"].shape == (4,) and arrays["maps_1"].shape == (4, 12, 12)
        (measured,) = record["energy"]
        assert 0 < measured["mask_area"] < measured["box_area"] < 1 and 0 < measured["mask_share"] < 1
    few = ["--frames", "2,4", "--colours", "jet", "--scale", "released", "--still", "--what", "temporal"]
    alone = json.loads(invoke(*words[:4], *where[:4], "--out", tmp_path / "few", *few, "--json"))
    assert set(alone[0]["files"]) == {"picture", "arrays"} and len(alone[0]["taps"]) == 4
    assert alone[0]["energy"] == []


def test_attention_refuses_before_anything_is_written(results: Path, data: Path, tmp_path: Path) -> None:
    name, plain = (run_folder(results, mechanism).name for mechanism in ("tests-tapped", "none"))
    where = ["--results", results, "--data", data, "--out", tmp_path / "out"]
    for words, expected in (
        ([name, "val-000000", "val-9"], "no usable clip"),
        ([name, "val-000000", "--colours", "rainbow"], "turbo"),
        ([name, "val-000000", "--scale", "log"], "range"),
        ([name, "val-000000", "--frames", "5,1"], "1 to 4"),
        ([name, "val-000000", "--frames", "all"], "1,4,7"),
        ([name, "val-000000", "--what", "channel"], "spatial"),
        ([plain, "val-000000"], "no attention"),
    ):
        with pytest.raises(VidreproError, match=re.escape(expected)):
            invoke("explain", "attention", *words, *where)
    assert not (tmp_path / "out").exists()


def test_energy_is_that_of_the_clips_masks(results: Path, data: Path) -> None:
    name = run_folder(results, "tests-tapped").name
    where = ["--results", results, "--data", data]
    record = json.loads(invoke("explain", "energy", name, "--clips", 4, *where, "--json"))
    (tap,) = record["taps"]
    ratios = [one["mask_share"] / one["mask_area"] for one in record["by_clip"]]
    found = record["taps"][tap]["mask"]["ratio"]
    assert found["mean"] == pytest.approx(np.mean(ratios)) and found["clips"] == record["clips"] == 4
    assert found["low"] <= found["mean"] <= found["high"]
    assert "ratio" in invoke("explain", "energy", name, "--clips", 2, *where)
    with pytest.raises(VidreproError, match="main"):
        invoke("explain", "energy", name, "--object", "hand", *where)
    with pytest.raises(VidreproError, match="no map over the picture"):
        invoke("explain", "energy", name, "--what", "temporal", *where)


def test_gradcam_moves_in_the_same_layout(results: Path, data: Path, tmp_path: Path) -> None:
    name = run_folder(results, "none").name
    where = ["--results", results, "--data", data, "--out", tmp_path]
    (record,) = json.loads(invoke("explain", "gradcam", name, "val-000001", "--animate", *where, "--json"))
    with Image.open(record["gif"]) as gif:
        assert gif.n_frames == 4
    with av.open(record["mp4"]) as video:
        assert sum(1 for _ in video.decode(video=0)) == 4
