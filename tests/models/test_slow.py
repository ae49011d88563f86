"""Slow pathways: what they cost, that no frame is skipped, inflation, and checkpointing that changes no number."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import WeightsEnum

from vidrepro.cost.network_cost import measure_model
from vidrepro.cost.torch_counter import counting_with_torch
from vidrepro.errors import ModelError
from vidrepro.models import VideoClassifier, build_model

NARROW: dict[str, Any] = {"width": 4, "stem": "small2"}
# GMACs of convolutions and linear layers, fvcore's total (None: not known), parameters in millions: of pytorchvideo's
# model zoo for the first, of ST-ABN's specification (1.7, counted on another implementation) for all.
COSTS = [
    ("slow-r50", "none", 8, 256, 400, 54.518, 54.75, 32.454),
    ("slow-r50", "none", 8, 224, 400, 41.741, None, 32.454),
    ("slow-r50", "none", 32, 224, 174, 166.960, 167.67, 31.991),
    ("slow-r101", "none", 32, 224, 174, 341.653, 342.69, 59.896),
    ("slow-r50", "st-abn", 32, 224, 174, 309.171, 310.06, 55.666),
    ("slow-r101", "st-abn", 32, 224, 174, 483.864, 485.08, 83.571),
    ("slow-r50", "st-abn", 16, 224, 174, 154.586, None, 55.179),
    ("slow-r50", "st-abn", 8, 224, 174, 77.293, None, 54.936),
]


@pytest.mark.parametrize(("backbone", "mechanism", "frames", "size", "classes", "gmacs", "fvcore", "params"), COSTS)
def test_costs_are_the_known_ones(
    backbone: str,
    mechanism: str,
    frames: int,
    size: int,
    classes: int,
    gmacs: float,
    fvcore: float | None,
    params: float,
) -> None:
    """On the meta device, where nothing is convolved. fvcore's run touches real memory, so not all are traced."""
    with torch.device("meta"):
        model = build_model(backbone, mechanism, frames=frames, classes=classes)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 3) == params
    if fvcore is None or (frames == 32 and (backbone, mechanism) != ("slow-r50", "st-abn")):
        with torch.no_grad(), counting_with_torch() as count:
            model.eval()(torch.empty(1, frames, 3, size, size, device="meta"))
        assert round((count[0].conv + count[0].products) / 1e9, 3) == gmacs
    else:
        cost = measure_model(model, frames=frames, size=size)
        assert round(cost.gmacs_conv_linear, 3) == gmacs
        assert round(cost.gmacs_fvcore, 2) == fvcore
        assert cost.cross_check.agrees


def test_a_network_on_the_meta_device_costs_what_the_real_one_does() -> None:
    """Every counter, operator by operator; the branch's classes count although the logits do not hang on them."""
    model = build_model("slow-micro", "st-abn", frames=4, classes=7)
    real = measure_model(model, frames=4, size=48)
    assert real.cross_check.agrees
    assert real.as_dict() == measure_model(model.to("meta"), frames=4, size=48).as_dict()


def narrow(backbone: str = "slow-r50", frames: int = 4, **options: Any) -> VideoClassifier:
    torch.manual_seed(0)
    return build_model(backbone, "none", frames=frames, classes=5, **{**NARROW, **options})


@pytest.mark.parametrize(("backbone", "reach"), [("slow-r50", 6), ("slow-r101", 23)])
def test_no_frame_is_skipped_and_a_frame_reaches_as_far_as_the_kernels(backbone: str, reach: int) -> None:
    """Invariant 3: the third stage's kernels of 3 frames carry a frame to its neighbours, one further per block."""
    frames, changed = 2 * reach + 4, reach + 1
    network = narrow(backbone, frames=frames).backbone.double().eval()
    maps: dict[int, torch.Tensor] = {}
    for number, stage in enumerate(network.stages, start=1):  # type: ignore[arg-type]
        stage.register_forward_hook(lambda module, inputs, output, number=number: maps.update({number: output}))
    clips = torch.randn(1, frames, 3, 16, 16, dtype=torch.float64)
    other = clips.clone()
    other[0, changed] += 1
    with torch.no_grad():
        network(clips)
        before = dict(maps)
        network(other)
    touched = {
        number: [t for t in range(frames) if not torch.equal(maps[number][0, :, t], before[number][0, :, t])]
        for number in (1, 2, 3)
    }
    assert maps[4].shape[2] == frames
    assert touched[1] == touched[2] == [changed]
    assert touched[3] == list(range(changed - reach, changed + reach + 1))


def inflated(monkeypatch: pytest.MonkeyPatch, mechanism: str = "none", **options: Any) -> tuple[VideoClassifier, dict]:
    torch.manual_seed(1)
    theirs = torchvision.models.resnet50()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    state = theirs.state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **options: state)
    torch.manual_seed(0)
    return build_model("slow-r50", mechanism, weights="imagenet", **options), state


def test_inflated_weights_give_the_2d_maps_inside_a_still_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 11: away from the ends, where zero padding takes a third of what a kernel adds up."""
    model, state = inflated(monkeypatch, frames=3, classes=7)
    assert model.load_report is not None
    assert len(model.load_report.inflated) == 53  # all the convolutions of a ResNet-50
    ours = model.state_dict()
    assert torch.equal(ours["backbone.layer2.0.downsample.1.running_mean"], state["layer2.0.downsample.1.running_mean"])
    for name in ("layer3.0.conv1", "layer4.2.conv1"):
        kernel, flat = ours[f"backbone.{name}.weight"], state[f"{name}.weight"]
        torch.testing.assert_close(kernel, (flat / 3).unsqueeze(2).expand_as(kernel), rtol=0, atol=0)
        conv = model.backbone.get_submodule(name).double()
        still = torch.randn(1, flat.shape[1], 1, 4, 4, dtype=torch.float64).expand(-1, -1, 5, -1, -1)
        expected = torch.nn.functional.conv2d(still[:, :, 0], flat.double())
        out = conv(still)
        for t, share in enumerate((2 / 3, 1, 1, 1, 2 / 3)):
            torch.testing.assert_close(out[:, :, t], share * expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(ours["backbone.layer2.1.conv1.weight"][:, :, 0], state["layer2.1.conv1.weight"])


@pytest.mark.parametrize("classes", [7, 1000])
def test_imagenet_weights_touch_the_backbone_alone(monkeypatch: pytest.MonkeyPatch, classes: int) -> None:
    """Invariant 13, also where the linear layer would fit."""
    model, _ = inflated(monkeypatch, "st-abn", frames=2, classes=classes)
    torch.manual_seed(0)
    fresh = build_model("slow-r50", "st-abn", frames=2, classes=classes).state_dict()
    touched = {key.split(".")[0] for key, value in model.state_dict().items() if not torch.equal(value, fresh[key])}
    assert touched == {"backbone"}
    assert model.load_report is not None
    assert {key.split(".")[0] for key in model.load_report.loaded} == {"backbone"}
    assert {key.split(".")[0] for key in model.load_report.missing} == {"branch", "mixer", "fc"}


def test_modules_inside_blocks_and_the_shift_are_refused() -> None:
    for mechanism in ("m2a", "CinST", "se3d"):
        with pytest.raises(ModelError, match=f"backbone 'slow-r50' takes no '{mechanism}'"):
            build_model("slow-r50", mechanism, frames=8, classes=5)
    for mechanism in ("tsm", "none"):
        with pytest.raises(ModelError, match="backbone 'slow-r50' has no temporal shift"):
            build_model("slow-r50", mechanism, frames=8, classes=5, temporal_shift=True)
    with pytest.raises(ModelError, match="width=64"):
        build_model("slow-r50", frames=8, classes=5, weights="imagenet", width=32)
    with pytest.raises(ModelError, match="does not take 'yes'"):
        build_model("slow-r50", frames=8, classes=5, checkpointing="yes")


def saved_bytes(model: VideoClassifier, clips: torch.Tensor, labels: torch.Tensor) -> int:
    """Bytes kept for backward, each storage counted once; the parameters' own are left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}  # the tensors are held so that no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.loss(clips, labels, nn.functional.cross_entropy)
    return sum(size for size, _ in kept.values())


CHECKPOINTED = [
    ("slow-r50", "none", {"width": 8, "stem": "imagenet"}),
    ("slow-r50", "st-abn", {"width": 8, "stem": "imagenet"}),
    ("slow-r101", "st-abn", {"width": 4, "stem": "imagenet"}),
    ("slow-micro", "st-abn", {"width": 8}),
]


@pytest.mark.parametrize(("backbone", "mechanism", "options"), CHECKPOINTED)
def test_checkpointing_saves_half_and_changes_no_number(backbone: str, mechanism: str, options: dict[str, Any]) -> None:
    """Logits, gradients and, after a step, every parameter and running statistic: the same, bit for bit."""
    frames, size = 16, 64
    clips, labels = torch.randn(2, frames, 3, size, size), torch.tensor([0, 3])
    results = {}
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = build_model(
            backbone, mechanism, frames=frames, classes=5, dropout=0.5, checkpointing=checkpointing, **options
        ).train()
        bytes_kept = saved_bytes(model, clips, labels)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        torch.manual_seed(7)
        loss, logits = model.loss(clips, labels, nn.functional.cross_entropy)
        loss.backward()
        gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}  # type: ignore[union-attr]
        optimizer.step()
        results[checkpointing] = bytes_kept, logits.detach(), gradients, model.state_dict()
    (plain_bytes, logits, gradients, state), (few_bytes, logits_again, gradients_again, state_again) = results.values()
    assert few_bytes <= plain_bytes / 2, (few_bytes, plain_bytes)
    assert torch.equal(logits, logits_again)
    assert all(torch.equal(gradients_again[name], gradient) for name, gradient in gradients.items())
    assert all(torch.equal(state_again[name], value) for name, value in state.items())
    assert state_again["backbone.layer4.0.bn2.num_batches_tracked"] == 2  # one forward for the bytes, one for the step
