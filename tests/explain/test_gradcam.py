"""Grad-CAM against a closed form, a literal transcription with hooks, and what a network really uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vidrepro.errors import ModelError, UnknownNameError
from vidrepro.explain.gradcam import default_layer, find_layer, grad_cam
from vidrepro.models import build_model


class Linear(nn.Module):
    """Frames to logits with nothing but linear maps behind the layer: its Grad-CAM is known."""

    def __init__(self, frames: int, classes: int = 3) -> None:
        super().__init__()
        self.frames = frames
        self.backbone = nn.Sequential()
        self.backbone.add_module("layer2", nn.Conv2d(3, 5, 3, stride=2, padding=1))
        self.fc = nn.Linear(5, classes)

    def forward(self, clips: Tensor) -> Tensor:
        features = self.backbone(clips.flatten(0, 1)).mean((2, 3))
        return self.fc(features).unflatten(0, (-1, self.frames)).mean(1)


class InTime(nn.Module):
    """A clip-taking network whose layer halves time and keeps height and width."""

    takes_clips = True

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential()
        self.backbone.add_module("layer2", nn.Conv3d(3, 4, 3, stride=(2, 1, 1), padding=1))
        self.fc = nn.Linear(4, 2)

    def forward(self, clips: Tensor) -> Tensor:
        return self.fc(self.backbone(clips.transpose(1, 2)).mean((2, 3, 4)))


def random_clip(frames: int, side: int, seed: int = 0) -> Tensor:
    return torch.randn(frames, 3, side, side, generator=torch.Generator().manual_seed(seed))


def by_hand(model: nn.Module, clip: Tensor, layer: nn.Module, target: int) -> np.ndarray:
    """The definition, with hooks: maps (P, h, w) of a layer that returns (P, C, h, w) or (1, C, P, h, w)."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = layer.register_forward_hook(keep)
    model.zero_grad()
    model(clip[None])[0, target].backward()
    handle.remove()
    (output,) = kept
    assert output.grad is not None
    places = tuple(range(2, output.dim()))
    weights = output.grad.mean(places, keepdim=True)
    maps = torch.relu((weights * output).sum(1)).detach()
    return (maps if output.dim() == 4 else maps[0]).numpy()


def test_of_a_linear_network_the_maps_are_the_weighted_activations() -> None:
    torch.manual_seed(0)
    model = Linear(frames=4)
    clip = random_clip(4, 8)
    found = grad_cam(model, clip, "layer2", target=1)
    with torch.no_grad():
        activations = model.backbone(clip).double()  # (4, 5, 4, 4)
        # d logit / d A = fc weight / (frames * places), so its mean over the places is the same
        weighted = torch.einsum("c,tchw->thw", model.fc.weight[1].double(), activations) / (4 * 16)
    assert np.allclose(found.maps, weighted.relu(), atol=1e-7)
    assert (found.maps > 0).any() and found.maps.min() == 0


def test_heat_is_only_where_a_frame_holds_evidence() -> None:
    model = Linear(frames=5)
    with torch.no_grad():
        model.backbone.layer2.weight.fill_(0.1)
        model.backbone.layer2.bias.zero_()
        model.fc.weight.fill_(1)
    clip = torch.zeros(5, 3, 16, 16)
    clip[3, :, 4:8, 10:14] = 1
    found = grad_cam(model, clip, "layer2", target=0)
    assert found.frame_shares.tolist() == pytest.approx([0, 0, 0, 1, 0])
    row, column = np.unravel_index(found.heat[3].argmax(), (16, 16))
    assert 4 <= row < 8 and 10 <= column < 14
    assert found.relative.max() == 1 and found.relative.min() == 0


@pytest.mark.parametrize(
    ("backbone", "mechanism", "layer", "frames"),
    [
        ("micro", "m2a", "layer2", 4),
        ("micro", "m2a-motion", "layer1.0.bn1", 4),  # followed by an in-place activation
        ("mobilenetv2", "m2a", "features.6", 3),
        ("i3d-resnet18", "m2a", "layer2", 5),  # 3 positions in time
        ("i3d-resnet18", "none", "layer4", 4),  # 1 position
    ],
)
def test_real_networks_agree_with_the_transcription(backbone: str, mechanism: str, layer: str, frames: int) -> None:
    torch.manual_seed(0)
    width = 0.25 if backbone == "mobilenetv2" else 8
    model = build_model(backbone, mechanism, frames=frames, classes=6, head_std=0.5, backbone_options={"width": width})
    model.eval()
    clip = random_clip(frames, 48)
    with torch.no_grad():
        before = model(clip[None])[0]
    found = grad_cam(model, clip, layer)
    assert found.target == found.predicted == int(before.argmax())
    assert np.allclose(found.logits, before, atol=1e-6)
    assert found.probability == pytest.approx(float(before.softmax(0).max()), abs=1e-6)
    expected = by_hand(model, clip, find_layer(model, layer), found.target)
    assert found.maps.shape == expected.shape
    assert np.allclose(found.maps, expected, rtol=1e-4, atol=1e-7 * max(1, expected.max()))
    assert expected.max() > 0
    assert found.heat.shape == (frames, 48, 48)
    assert found.interpolated_in_time == (len(expected) != frames) == backbone.startswith("i3d")
    assert np.isclose(found.frame_shares.sum(), 1)


def test_another_class_has_other_maps() -> None:
    torch.manual_seed(0)
    model = build_model("micro", "m2a", frames=4, classes=3, head_std=0.5, backbone_options={"width": 8})
    clip = random_clip(4, 32)
    maps = [grad_cam(model, clip, "layer2", target).maps for target in range(3)]
    assert not np.allclose(maps[0], maps[1]) and not np.allclose(maps[1], maps[2])
    with pytest.raises(ModelError, match="0 to 2"):
        grad_cam(model, clip, "layer2", 3)


def test_positions_in_time_are_interpolated_linearly_to_frames() -> None:
    torch.manual_seed(0)
    found = grad_cam(InTime(), random_clip(8, 6), "layer2", target=0)
    assert found.maps.shape == (4, 6, 6) and found.heat.shape == (8, 6, 6)
    # Position p stands for frames 2p and 2p + 1, so its centre lies between them.
    places = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    for row, column in ((0, 0), (2, 5)):
        expected = np.interp(places, np.arange(4), found.maps[:, row, column])
        assert np.allclose(found.heat[:, row, column], expected, atol=1e-6)


def test_without_any_evidence_there_is_no_heat_and_no_division_by_zero() -> None:
    model = Linear(frames=2)
    with torch.no_grad():
        model.backbone.layer2.bias.fill_(1)
        model.backbone.layer2.weight.zero_()
        model.fc.weight.fill_(-1)
    found = grad_cam(model, random_clip(2, 8), "layer2", target=0)
    assert found.heat.max() == 0 and found.frame_shares.tolist() == [0, 0] and found.relative.max() == 0


def test_unknown_layers_and_layers_without_maps_are_refused() -> None:
    model = build_model("micro", "m2a", frames=4, classes=3, backbone_options={"width": 8})
    clip = random_clip(4, 32)
    with pytest.raises(UnknownNameError, match="did you mean 'layer3'"):
        grad_cam(model, clip, "layr3")
    with pytest.raises(UnknownNameError):
        find_layer(model, "")
    assert find_layer(model, "layer2") is find_layer(model, "backbone.layer2") is model.backbone.layer2
    assert find_layer(model, "fc") is model.fc
    for layer in ("fc", "layer1.0.relu"):  # no maps; called twice
        with pytest.raises(ModelError, match="gives no maps"):
            grad_cam(model, clip, layer)


def test_the_default_layer_has_an_eighth_of_the_resolution() -> None:
    """ResNet-18's layer2 at 224 pixels is 28 x 28, and so is what MobileNetV2 shows."""
    for backbone, frames in (("resnet18", 1), ("mobilenetv2", 1), ("i3d-resnet18", 2)):
        model = build_model(backbone, "none", frames=frames, classes=2)
        found = grad_cam(model, random_clip(frames, 64), default_layer(model))
        assert found.maps.shape[1:] == (8, 8)


def train_on_coloured_squares(steps: int = 60) -> tuple[nn.Module, Any]:
    """A network that tells a red square from a blue one, anywhere in the picture; and a maker of such clips."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)

    def make(label: int) -> tuple[Tensor, tuple[int, int]]:
        clip = 0.3 * torch.randn(2, 3, 32, 32, generator=generator)
        top, left = (int(x) for x in torch.randint(0, 24, (2,), generator=generator))
        clip[:, 0 if label == 0 else 2, top : top + 8, left : left + 8] += 3
        return clip, (top, left)

    options = {"width": 8, "stem": "small"}
    model = build_model("micro", "none", frames=2, classes=2, dropout=0.0, head_std=0.1, backbone_options=options)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        labels = torch.arange(8) % 2
        clips = torch.stack([make(int(label))[0] for label in labels])
        optimizer.zero_grad()
        functional.cross_entropy(model(clips), labels).backward()
        optimizer.step()
    return model.eval(), make


def test_the_hottest_pixels_are_those_the_prediction_depends_on() -> None:
    """Faithfulness: heat lies on what tells the classes apart, and covering it hurts more than covering the rest."""
    model, make = train_on_coloured_squares()
    hits, drops = [], []
    for number in range(16):
        label = number % 2
        clip, (top, left) = make(label)
        found = grad_cam(model, clip, "layer2", target=label)
        assert found.predicted == label
        heat = found.heat
        around = heat[:, max(0, top - 4) : top + 12, max(0, left - 4) : left + 12]
        hits.append(around.sum() / heat.sum())
        order = np.argsort(heat, axis=None)
        logits = []
        for covered in (order[-heat.size // 6 :], order[: heat.size // 6]):
            mask = np.ones(heat.size, np.float32)
            mask[covered] = 0
            with torch.no_grad():
                logits.append(float(model((clip * torch.from_numpy(mask).view(2, 1, 32, 32))[None])[0, label]))
        drops.append(logits[1] - logits[0])
    assert np.mean(hits) > 0.5  # a 16 x 16 neighbourhood is a quarter of the picture at most
    assert np.mean(np.array(drops) > 0) > 0.8
