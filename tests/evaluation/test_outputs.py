"""Networks with several predictions: each is scored in the same pass, and a run's record keeps what each comes to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.short_runs import TCNN
from vidrepro.config import RunConfig, resolve
from vidrepro.data.augment import normalise
from vidrepro.data.loading import ClipDataset
from vidrepro.data.manifest import Manifest
from vidrepro.evaluation.evaluate import OUTPUT, evaluate, evaluate_outputs
from vidrepro.models import VideoClassifier, build_model
from vidrepro.training.loop import Trainer

CPU = torch.device("cpu")


def network(frames: int, **options: object) -> VideoClassifier:
    torch.manual_seed(0)
    settings = {"backbone_options": TCNN["backbone_options"], "options": options}
    return build_model("tcnn", "sparse-spatial", frames=frames, classes=2, head_std=0.5, **settings).eval()


@pytest.fixture
def clips(toy: Manifest, toy_config: RunConfig) -> ClipDataset:
    return ClipDataset(toy, "val", toy_config.data, seed=0, training=False)


@pytest.mark.parametrize("prediction", ["total", "mean-softmax"])
def test_one_pass_gives_what_evaluate_gives_and_every_branch(clips: ClipDataset, prediction: str) -> None:
    model = network(clips.config.frames, branches="O+D", prediction=prediction)
    outputs = evaluate_outputs(model, clips, device=CPU, batch_size=3)
    alone = evaluate(model, clips, device=CPU, batch_size=8)
    assert set(outputs) == {OUTPUT, "O", "D", "total"}
    assert np.allclose(outputs[OUTPUT], alone, atol=1e-5)
    assert np.allclose(outputs["total"], alone, atol=1e-5) == (prediction == "total")
    with torch.no_grad():  # one clip by hand: a branch's logits are its own linear layer's
        expected = model.all_logits(normalise(clips[2]["clip"]))["D"]
    assert np.allclose(outputs["D"][2], expected[0], atol=1e-5)
    assert not model.training


def test_views_of_every_prediction_are_averaged_alike(toy: Manifest, toy_config: RunConfig) -> None:
    config = toy_config.data.model_copy(update={"eval_crops": 3, "eval_average": "softmax"})
    views = ClipDataset(toy, "val", config, seed=0, training=False)
    outputs = evaluate_outputs(network(config.frames, branches="O+C"), views, device=CPU, batch_size=8)
    assert set(outputs) == {OUTPUT, "O", "C", "total"}
    for scores in outputs.values():
        assert np.allclose(scores.sum(1), 1, atol=1e-5)  # means of softmaxes


def test_a_record_keeps_every_prediction_of_a_network_that_has_several(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path
) -> None:
    for mechanism, expected in (("none", None), ("sparse-spatial", {"O", "D", "total"})):
        model = {**TCNN, "mechanism": mechanism} | ({"options": {"branches": "O+D"}} if expected else {})
        config = resolve([("test", {**toy_config.model_dump(), "model": model})], ["train.epochs=1"])
        measured = Trainer(config, toy, 0, tmp_path / mechanism, device=CPU).run().best
        assert measured is not None
        assert set(measured.get("outputs", {})) == (expected or set())
        if expected:
            assert measured["outputs"]["total"]["top1"] == measured["top1"]
            assert measured["outputs"]["D"]["clips"] == measured["clips"]
