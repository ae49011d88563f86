"""T-CNN's layout against the paper's table and the counts that were made of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vidrepro.errors import ModelError, UnknownNameError
from vidrepro.models import build_model
from vidrepro.models.backbones.tcnn import OPTIONS, PRESETS, TCNN, Pair, parse_stacks, parse_strides

# Table 1 row by row: channels in and out, dilation of the rows called Dilation Conv; each (spatial, temporal) pair.
TABLE_1 = """
3-32 32-32 | 32-64 64-64 | 64-96 96-96 | 96-160 160-160 160-160 160-160(4) 160-160 160-160(4) 160-160 160-160(4)
160-160 160-160 160-160 160-160(4) | 160-224 224-224 224-224 224-224(2) 224-224 224-224(4) | 224-288 288-288 288-288
288-288(2) 288-288 288-288(2) 288-288 288-288 | 288-512 512-512 512-512 512-512(2)
"""
# GMACs at 16x224x224 and 400 classes, T' of the map, parameters for 400, 101 and 51 classes (spec, section 1.4)
NET_A, NET_B = [13_115_888, 12_962_501, 12_936_851], [15_023_216, 14_869_829, 14_844_179]
READINGS = {
    "P": (15.644, 16, NET_A),
    "Q": (16.482, 16, NET_A),
    "R": (15.889, 16, NET_A),
    "RN": (17.715, 16, NET_A),
    "D16": (21.744, 16, NET_A),
    "D16B": (25.376, 16, NET_B),
    "D8": (10.872, 8, NET_A),
    "DL-s": (15.418, 8, NET_A),
    "DL-t": (15.924, 8, NET_A),
    "DB-s": (15.700, 4, NET_B),
}


def small(frames: int = 16, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model("tcnn", "none", frames=frames, classes=5, **{"width": 2, **options})


def main_convs(model: nn.Module) -> list[nn.Conv3d]:
    pairs = [module for module in model.modules() if isinstance(module, Pair)]
    return [conv for pair in pairs for conv in (pair.spatial, pair.temporal)]


def test_every_preset_is_counted() -> None:
    assert set(READINGS) == set(PRESETS)


@pytest.mark.parametrize("preset", READINGS)
def test_cost_and_size_of_each_reading(preset: str) -> None:
    gmacs, frames, parameters = READINGS[preset]
    with torch.device("meta"):
        model = build_model("tcnn", "none", preset=preset, frames=16, classes=400).eval()
        clips = torch.empty(1, 16, 3, 224, 224)
        assert model.backbone.feature_map(clips).shape == (1, 512, frames, 7, 7)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            assert model(clips).shape == (1, 400)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, abs=0.0006)
    features = sum(item.numel() for item in model.backbone.parameters())
    assert [features + (512 + 1) * classes for classes in (400, 101, 51)] == parameters
    assert sum(item.numel() for item in model.parameters()) == parameters[0]
    assert model.backbone.map_frames(16) == frames
    assert model.backbone.frames_after(16) == 1


def test_rows_of_table_1() -> None:
    rows = [row.partition("(") for row in TABLE_1.replace("|", " ").split()]
    assert len(rows) == 36
    with torch.device("meta"):
        network = TCNN()
    convs = main_convs(network)
    assert [f"{conv.in_channels}-{conv.out_channels}" for conv in convs] == [row[0] for row in rows]
    assert [conv.kernel_size for conv in convs] == [(1, 3, 3), (3, 1, 1)] * 18
    assert [conv.dilation[0] for conv in convs] == [int(row[2].rstrip(")") or 1) for row in rows]
    assert [len(stage) for stage in network.stages] == [part.count("-") // 2 for part in TABLE_1.split("|")]
    every = [module for module in network.modules() if isinstance(module, nn.Conv3d)]
    assert len(every) == 36 + 6  # a projection where channels change, but for stage 1
    for conv in every:
        assert conv.bias is None
        assert conv.dilation[1:] == (1, 1)
        assert conv.padding[0] == (conv.dilation[0] if conv.kernel_size[0] == 3 else 0)
        assert conv.kernel_size in ((1, 3, 3), (3, 1, 1), (1, 1, 1))


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_temporal_convolution_reaches_exactly_its_dilation(dilation: int) -> None:
    pair = Pair(2, 2, dilation=dilation)
    nn.init.ones_(pair.temporal.weight)
    nn.init.ones_(pair.spatial.weight)
    impulse = torch.zeros(1, 2, 16, 5, 5)
    impulse[0, 0, 8, 2, 2] = 1
    reached = pair.temporal(impulse).abs().sum((0, 1, 3, 4)).nonzero().flatten().tolist()
    assert reached == [8 - dilation, 8, 8 + dilation]
    assert pair.spatial(impulse).abs().sum((0, 1, 3, 4)).nonzero().flatten().tolist() == [8]
    assert pair(impulse).shape == impulse.shape


@pytest.mark.parametrize("frames", [1, 2, 5, 16])
def test_every_frame_keeps_its_place(frames: int) -> None:
    """With the temporal kernels' outer taps at zero a clip is its frames one by one: nothing else crosses time."""
    network = small(frames).backbone.eval()
    for module in network.modules():
        if isinstance(module, Pair):
            with torch.no_grad():
                module.temporal.weight[:, :, [0, 2]] = 0
    clips = torch.randn(2, frames, 3, 40, 33)
    together = network.feature_map(clips)
    assert together.shape == (2, 32, frames, 2, 2)
    alone = torch.cat([network.feature_map(clips[:, [frame]]) for frame in range(frames)], 2)
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(network(clips), together.mean((2, 3, 4)))


def test_pair_is_what_its_formula_says() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 7, 7)
    for activation in ("after-addition", "before-addition"):
        pair = Pair(3, 4, stride=2, dilation=2, activation=activation).eval()
        inner = pair.temporal_norm(pair.temporal(pair.spatial_norm(pair.spatial(x)).relu()))
        skipped = pair.shortcut(x)
        expected = (inner + skipped).relu() if activation == "after-addition" else inner.relu() + skipped
        torch.testing.assert_close(pair(x), expected)
    assert Pair(3, 3).shortcut is None
    assert Pair(3, 4, skip=False).shortcut is None


def test_every_choice_can_be_made_alone_as_text_or_sequence() -> None:
    text = small(spatial_strides="2,1,2,1,2,1,1", temporal_strides="1,1,1,1,2,1,1", stacks="-/-/-/4,1/2/-/-")
    listed = small(
        spatial_strides=[2, 1, 2, 1, 2, 1, 1],
        temporal_strides=(1, 1, 1, 1, 2, 1, 1),
        stacks=[(), [], [], [4, 1], [2], [], []],
    )
    assert text.backbone.reading == listed.backbone.reading
    assert text.backbone.reading.stem_pool  # the rest is the preset's
    assert text.backbone.map_frames(7) == 4
    assert len(main_convs(text)) == 2 * (7 + 3)
    strided = small(temporal_strides="1,1,1,1,2,1,1", temporal_stride_in="temporal")
    assert strided.backbone.stages[4][0].temporal.stride == (2, 1, 1)
    assert strided.backbone.stages[4][0].spatial.stride == (1, 2, 2)
    assert isinstance(small(stem_pool=False).backbone.pool, nn.Identity)
    assert parse_strides("1,2,3,4,5,6,7") == (1, 2, 3, 4, 5, 6, 7)
    assert parse_stacks("-/-/-/-/-/-/8") == ((), (), (), (), (), (), (8,))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("spatial_strides", "2,2,2"),
        ("spatial_strides", "2,2,2,1,2,1,0"),
        ("spatial_strides", [2, 2, 2, 1, 2, 1, True]),
        ("temporal_strides", "a,b"),
        ("temporal_strides", 2),
        ("stacks", "-/-/-"),
        ("stacks", "-/-/-/0/-/-/-"),
        ("stem_pool", "no"),
        ("temporal_stride_in", "both"),
        ("width", 0),
    ],
)
def test_refused_options(option: str, value: Any) -> None:
    with pytest.raises(ModelError, match=option):
        small(**{option: value})


def test_refused_names_and_combinations() -> None:
    with pytest.raises(ModelError, match="preset"):
        small(preset="P16")
    with pytest.raises(UnknownNameError, match="spatial_strides"):
        small(spatial_stride="2,2,2,1,2,1,1")
    with pytest.raises(ModelError, match="m2a"):
        build_model("tcnn", "m2a", frames=8, classes=5)
    with pytest.raises(ModelError, match="temporal shift"):
        build_model("tcnn", "none", temporal_shift=True, frames=8, classes=5)
    with pytest.raises(ModelError, match="sparse-spatial"):
        build_model("resnet18", "sparse-spatial", frames=8, classes=5)
    with pytest.raises(ModelError, match="ImageNet"):
        build_model("tcnn", weights="imagenet", frames=8, classes=5)
    assert set(OPTIONS) >= {"preset", "spatial_strides", "temporal_strides", "stem_pool", "stacks"}
