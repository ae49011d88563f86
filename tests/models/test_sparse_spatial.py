"""T-CNN + spatial as a whole: branches, losses, gradients, what is deterministic, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.attention_step import attention_task
from tests.short_runs import TCNN, train_shortly
from vidrepro.config import TrainConfig
from vidrepro.cost.network_cost import measure_model
from vidrepro.errors import CheckpointError, ModelError
from vidrepro.models import build_model
from vidrepro.models.networks.sparse_options import OPTIONS
from vidrepro.models.networks.sparse_spatial import SparseSpatialNetwork
from vidrepro.training.optimisation import build_optimizer, set_learning_rate

SMALL: dict[str, Any] = {"width": 2, "spatial_strides": "2,1,2,1,2,1,1", "stem_pool": False}
ROWS = {"O": "O", "O+D": "OD", "O+C": "OC", "C+D": "DC", "O+C+D": "ODC"}


def network(branches: str = "O+C+D", *, frames: int = 4, classes: int = 6, **options: Any) -> SparseSpatialNetwork:
    torch.manual_seed(0)
    settings = {**SMALL, "head_std": 0.5, "dropout": 0.0, **options}
    model = build_model("tcnn", "sparse-spatial", branches=branches, frames=frames, classes=classes, **settings)
    assert isinstance(model, SparseSpatialNetwork)
    return model


def clips(count: int = 2, frames: int = 4, height: int = 40, width: int = 40) -> Tensor:
    return torch.randn(count, frames, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("branches", ROWS)
def test_branches_and_loss_terms(branches: str) -> None:
    model, x, labels = network(branches).eval(), clips(), torch.tensor([1, 4])
    logits = model.all_logits(x)
    assert list(logits) == [*ROWS[branches], "total"]
    assert all(item.shape == (2, 6) for item in logits.values())
    loss, predicted = model.loss(x, labels, nn.CrossEntropyLoss())
    torch.testing.assert_close(predicted, logits["total"])
    torch.testing.assert_close(model(x), logits["total"])
    terms = [nn.functional.cross_entropy(item, labels) for item in logits.values()]
    if len(ROWS[branches]) == 1:
        assert model.fc_total is None
        assert torch.equal(logits["total"], logits["O"])
        terms = terms[:1]
    else:
        assert model.fc_total is not None
        assert model.fc_total.in_features == len(ROWS[branches]) * model.backbone.feature_channels
    assert len(terms) == {"O": 1, "O+D": 3, "O+C": 3, "C+D": 3, "O+C+D": 4}[branches]
    torch.testing.assert_close(loss, sum(terms))


def test_every_term_reaches_the_shared_network_and_its_own_classifier() -> None:
    model, labels = network().train(), torch.tensor([1, 4])
    heads = {"O": model.fc, "D": model.fc_dis, "C": model.fc_com, "total": model.fc_total}
    for term in heads:
        model.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model.all_logits(clips())[term], labels).backward()
        assert all(parameter.grad is not None for parameter in model.backbone.parameters())
        with_gradient = [name for name, head in heads.items() if head is not None and head.weight.grad is not None]
        assert with_gradient == [term]  # D and C too: nothing flows back into the maps that FC_o made
    model.zero_grad(set_to_none=True)
    model.loss(clips(), labels, nn.CrossEntropyLoss())[0].backward()
    for beta in (model.attention.beta1, model.attention.beta2):
        assert beta.grad is not None
        assert beta.grad != 0
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_nothing_but_beta_gets_a_gradient_through_the_attention() -> None:
    """With the shared network's and the heads' own paths cut, only the two widths are left."""
    model = network().train()
    seen = model.backbone.feature_map(clips())
    sum(video.square().sum() for video in model.zoomed(clips(), seen).values()).backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == {
        "attention.beta1",
        "attention.beta2",
    }


def test_timed_attention_is_the_networks_own() -> None:
    model = network().eval()
    task = attention_task(model, clips())
    assert task() == task() == 2
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == {
        "attention.beta1",
        "attention.beta2",
    }
    zoom, videos = model.zoom(clips()), model.zoomed(clips(), model.backbone.feature_map(clips()))
    assert list(videos) == ["D", "C"]
    torch.testing.assert_close(videos["D"], zoom.video_dis)
    torch.testing.assert_close(videos["C"], zoom.video_com)


def test_original_branch_alone_is_the_plain_network() -> None:
    model = network("O").eval()
    plain = build_model("tcnn", "none", frames=4, classes=6, **SMALL).eval()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if name in plain.state_dict()})
    assert torch.equal(model(clips()), plain(clips()))


def test_without_the_original_its_pass_has_no_gradient_but_makes_the_maps() -> None:
    model = network("C+D").train()
    loss, _ = model.loss(clips(), torch.tensor([0, 1]), nn.CrossEntropyLoss())
    loss.backward()
    assert model.fc.weight.grad is None
    assert model.backbone.stages[0][0].spatial.weight.grad is not None
    assert model.backbone.stages[0][0].spatial_norm.num_batches_tracked == 3


def test_evaluation_is_deterministic_and_training_is_not() -> None:
    model = network().eval()
    assert torch.equal(model(clips()), model(clips()))
    torch.testing.assert_close(model(clips(3))[:2], model(clips(3)[:2]))  # whatever else is in the batch
    model.train()
    torch.manual_seed(3)
    first = model._attend(model.backbone.feature_map(clips()))
    second = model._attend(model.backbone.feature_map(clips()))
    assert not torch.equal(first.discriminative, second.discriminative)
    torch.manual_seed(3)
    again = model._attend(model.backbone.feature_map(clips()))
    assert torch.equal(first.discriminative, again.discriminative)


def test_every_peak_in_both_sets_in_the_first_epochs() -> None:
    model = network(warmup_all_peaks_epochs=2).train()
    for epoch, together in ((0, True), (1, True), (2, False)):
        model.begin_epoch(epoch)
        found = model._attend(model.backbone.feature_map(clips()))
        assert torch.equal(found.discriminative, found.complementary) == together
    model.begin_epoch(0)
    found = model.eval()._attend(model.backbone.feature_map(clips()))
    assert (found.discriminative.flatten(1).sum(1) <= 1).all()  # training alone


def test_zoom_resamples_each_frame_by_its_own_map() -> None:
    model, x = network().eval(), clips(height=48, width=32)
    zoom = model.zoom(x)
    assert zoom.maps.shape == zoom.saliency_dis.shape == zoom.complementary.shape == (2, 4, 31, 31)
    assert zoom.grid_dis.shape == zoom.grid_com.shape == (2, 4, 48, 32, 2)
    assert zoom.video_dis.shape == zoom.video_com.shape == x.shape
    assert zoom.entropy.shape == (2, 4)
    torch.testing.assert_close(zoom.probabilities.sum(2), torch.ones(2, 4))
    order = [2, 0, 3, 1]
    for video, grid in ((zoom.video_dis, zoom.grid_dis), (zoom.video_com, zoom.grid_com)):
        sampled = nn.functional.grid_sample(x[:, order].flatten(0, 1), grid[:, order].flatten(0, 1), align_corners=True)
        torch.testing.assert_close(sampled.view_as(x), video[:, order])
        assert not torch.allclose(video, x, atol=0.1)
    logits = model.all_logits(x)
    features = model.backbone(zoom.video_dis)
    assert model.fc_dis is not None
    torch.testing.assert_close(model.fc_dis(features), logits["D"])


def test_no_complementary_peaks_leave_the_frames_as_they_are() -> None:
    model, x = network().eval(), clips()
    model.attention.register_forward_hook(
        lambda module, inputs, found: type(found)(
            **{**vars(found), "saliency_com": torch.full_like(found.saliency_com, 0.09)}
        )
    )
    zoom = model.zoom(x)
    torch.testing.assert_close(zoom.video_com, x, atol=5e-3, rtol=0)
    assert not torch.allclose(zoom.video_dis, x, atol=0.1)


@pytest.mark.parametrize(
    "settings",
    [
        {"frames": 1},
        {"classes": 1},
        {"classes": 3},
        {"preset": "DB-s", "frames": 5, "spatial_strides": "2,1,2,1,2,1,1"},
        {"share_fc": True},
        {"buffers": True},
        {"joint_pass": True},
        {"prediction": "mean-softmax"},
        {"peak_map": "features", "peak_filter": "none"},
        {"probabilities": "resized-maps", "top": 2, "delta": 0},
    ],
)
def test_every_setting_trains_a_step(settings: dict[str, Any]) -> None:
    model = network(**settings).train()
    x = clips(frames=model.frames, height=33, width=50)
    loss, logits = model.loss(x, torch.zeros(2, dtype=torch.long), nn.CrossEntropyLoss())
    loss.backward()
    assert logits.shape == (2, model.classes)
    assert loss.isfinite()
    assert model.backbone.stages[0][0].spatial.weight.grad.isfinite().all()
    assert set(settings) - {"frames", "classes", "preset", "spatial_strides"} <= set(OPTIONS)


@pytest.mark.parametrize("size", [(8, 8), (40, 40)])
def test_frames_that_are_all_alike_give_no_peaks(size: tuple[int, int]) -> None:
    """At 8x8 the feature map is a single position; a black clip is constant but for the borders' padding."""
    model, x = network().eval(), torch.zeros(2, 4, 3, *size)
    zoom = model.zoom(x)
    assert all(item.isfinite().all() for item in vars(zoom).values())
    assert model(x).isfinite().all()
    if size == (8, 8):
        assert not zoom.discriminative.any()
        assert not zoom.complementary.any()
        torch.testing.assert_close(
            model.zoom(clips(height=8, width=8)).video_dis, clips(height=8, width=8), atol=5e-3, rtol=0
        )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_clips_that_are_not_finite_are_refused(value: float) -> None:
    model, x = network().eval(), clips()
    x[1, 2, 0, 3, 4] = value
    for call in (model, model.all_logits, model.zoom):
        with pytest.raises(ModelError, match="finite") as refusal:
            call(x)
        assert "1 of" in str(refusal.value)


def test_shared_and_separate_classifiers_and_prediction() -> None:
    shared = network(share_fc=True)
    assert shared.fc_dis is None
    assert shared.fc_com is None
    assert not any(name.startswith(("fc_dis", "fc_com")) for name, _ in shared.named_parameters())
    model = network(prediction="mean-softmax").eval()
    with torch.no_grad():
        expected = torch.stack([item.softmax(1) for item in model.all_logits(clips()).values()]).mean(0)
        torch.testing.assert_close(model(clips()).exp(), expected)


def test_buffers_stand_in_front_of_the_resampled_branches_alone() -> None:
    model = network("O+C", buffers=True).eval()
    assert model.buffer_dis is None
    assert model.buffer_com is not None
    channels = model.backbone.feature_channels
    assert model.buffer_com[0].weight.shape == (channels, channels, 1, 3, 3)
    zoom = model.zoom(clips())
    pooled = model.buffer_com(model.backbone.feature_map(zoom.video_com)).mean((2, 3, 4))
    assert model.fc_com is not None
    torch.testing.assert_close(model.fc_com(pooled), model.all_logits(clips())["C"])


def test_joint_pass_changes_batch_statistics_alone() -> None:
    joint, apart = network(joint_pass=True).eval(), network().eval()
    joint.load_state_dict(apart.state_dict())
    torch.testing.assert_close(joint(clips()), apart(clips()))
    for model, passes in ((joint, 2), (apart, 3)):
        model.train()(clips())
        assert model.backbone.stages[0][0].spatial_norm.num_batches_tracked == passes


def test_beta_has_its_own_rate_and_no_decay() -> None:
    model = network(beta_lr_scale=0.01)
    optimizer = build_optimizer(model, TrainConfig(learning_rate=0.5, weight_decay=0.1))
    set_learning_rate(optimizer, 0.2)
    main, own = optimizer.param_groups
    assert [main["weight_decay"], own["weight_decay"]] == [0.1, 0.0]
    assert [main["lr"], own["lr"]] == pytest.approx([0.2, 0.002])
    assert {id(item) for item in own["params"]} == {id(model.attention.beta1), id(model.attention.beta2)}
    every = [id(item) for group in optimizer.param_groups for item in group["params"]]
    assert sorted(every) == sorted(id(item) for item in model.parameters())


def test_autocast_keeps_the_sampler_in_single_precision() -> None:
    model, x = network().eval(), clips()
    with torch.autocast("cpu", torch.bfloat16):
        zoom = model.zoom(x)
        seen = model.backbone.feature_map(x)
        logits = model(x)
        loss, _ = model.train().loss(x, torch.tensor([0, 1]), nn.CrossEntropyLoss())
    assert seen.dtype == logits.dtype == torch.bfloat16
    assert all(item.dtype in (torch.float32, torch.bool) for item in vars(zoom).values())
    exact = nn.functional.grid_sample(x.flatten(0, 1), zoom.grid_dis.flatten(0, 1), align_corners=True)
    torch.testing.assert_close(zoom.video_dis.flatten(0, 1), exact)  # bfloat16 would be off by 1e-2
    loss.backward()
    assert model.attention.beta1.grad.isfinite()


def test_starting_from_a_trained_tcnn(tmp_path: Path) -> None:
    torch.manual_seed(5)
    plain = build_model("tcnn", "none", frames=4, classes=6, head_std=0.5, **SMALL)
    torch.save({"model": plain.state_dict(), "epoch": 3}, tmp_path / "best.pt")
    model = network(weights=tmp_path / "best.pt")
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)  # the classifier too: it makes the maps
    assert model.load_report is not None
    assert {name.split(".")[0] for name in model.load_report.missing} == {"fc_dis", "fc_com", "fc_total", "attention"}
    torch.save({"model": model.state_dict()}, tmp_path / "whole.pt")
    again = network(weights=tmp_path / "whole.pt")
    assert again.load_report is not None
    assert not again.load_report.missing
    assert torch.equal(again.eval()(clips()), model.eval()(clips()))
    with pytest.raises(CheckpointError, match="another network"):
        network(weights=tmp_path / "whole.pt", branches="O+C")  # its F_total joins fewer features


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("branches", "O+X"),
        ("branches", ""),
        ("delta", -0.1),
        ("beta1", 0),
        ("beta2", 2),
        ("base", 0),
        ("grid", 1),
        ("eval_split", "max"),
        ("warmup_all_peaks_epochs", -1),
        ("share_fc", "yes"),
    ],
)
def test_refused_options(option: str, value: Any) -> None:
    settings = {"branches": value} if option == "branches" else {option: value}
    with pytest.raises(ModelError, match=option):
        network(**settings)


def test_cost_is_three_passes_and_the_attention() -> None:
    """At 16x224x224, from shapes alone; the printed 52.3 G would leave 5.4 G for the attention."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = build_model("tcnn", "sparse-spatial", frames=16, classes=101).eval()
        x = torch.empty(1, 16, 3, 224, 224)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(x)
    gmacs = counter.get_total_flops() / 2e9
    assert 3 * 15.6437 < gmacs < 3 * 15.6437 + 0.1
    assert sum(item.numel() for item in model.parameters()) == 12_962_501 + 2 * 513 * 101 + 1537 * 101 + 2


def test_counters_agree_on_the_attention() -> None:
    report = measure_model(network(frames=2), frames=2, size=24)
    assert report.cross_check.agrees, report.cross_check.disagreements


@pytest.mark.parametrize("branches", ["O+D", "O+C", "C+D", "O+C+D"])
def test_the_counters_agree_on_every_choice_of_branches(branches: str) -> None:
    """The saliency of a branch that is left out was computed and thrown away: two counters saw it, one did not."""
    check = measure_model(network(branches=branches).eval(), frames=4, size=32).cross_check
    assert check.agrees, check.disagreements
    found = network(branches=branches).eval().zoom(clips())
    assert found.saliency_dis is not None and found.saliency_com is not None  # a picture shows both


def test_beta_learns_at_the_variants_rate_and_its_course_is_in_the_record(toy_data: Path, tmp_path: Path) -> None:
    """The text's network once at its own rate and once at the released one, a tenth: from one seed it goes less far."""
    assert network(variant="official").beta_lr_scale == pytest.approx(1e-4)
    moved = []
    for name, options in (("text", {}), ("released", {"beta_lr_scale": 1e-4})):
        model = TCNN | {"mechanism": "sparse-spatial", "variant": "paper", "options": options}
        recipe = {"epochs": 2, "schedule": "constant", "evaluate_every": 2}
        folder = train_shortly(tmp_path / name, toy_data, "toy", model, recipe=recipe)
        course = [epoch["beta1"] for epoch in json.loads((folder / "run.json").read_text())["history"]]
        state = torch.load(folder / "last.pt", weights_only=True)["model"]
        assert len(course) == 2 and course[-1] == pytest.approx(state["attention.beta1"].item())
        moved.append(course[0] - 0.09)
    assert moved[0] / moved[1] > 2  # other peaks are found as beta moves, so not ten
