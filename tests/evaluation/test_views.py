"""Several views of a clip: the batched evaluation against a loop over single views, written out with plain indexing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vidrepro.config import DataConfig
from vidrepro.cost.views import gmacs_per_view
from vidrepro.data.encode import write_video
from vidrepro.data.frames import read_video
from vidrepro.data.loading import ClipDataset
from vidrepro.data.manifest import Manifest, write_manifest
from vidrepro.evaluation.evaluate import evaluate
from vidrepro.models import build_model

WIDTH, HEIGHT, SIZE, T = 60, 32, 24, 4
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
CROP_CORNERS = [(0, 4), (36, 4), (18, 4)]  # left, right, centre: steps of (60 - 24) // 4 = 9 and (32 - 24) // 4 = 2


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Seven clips of 9 to 15 frames of noise, wider than high, as high as they are resized to."""
    folder = tmp_path_factory.mktemp("data") / "wide"
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for number in range(7):
        frames = 9 + number
        path = f"clips/{number}.mp4"
        write_video(folder / path, rng.integers(0, 255, (frames, HEIGHT, WIDTH, 3), dtype=np.uint8), 12, crf=10)
        rows.append(
            {"id": str(number), "path": path, "frames": frames, "fps": 12.0, "width": WIDTH, "height": HEIGHT}
            | {"label": number % 3, "split": "val", "bytes": 1, "digest": "0" * 64, "status": "ok"}
        )
    info = {"root": ".", "label_order": "as given", "version": "1", "name": "wide", "classes": ["a", "b", "c"]}
    return write_manifest(folder, rows, info)


class Counting(nn.Module):
    """A network that remembers how many views it was given at once."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.batches: list[int] = []

    def forward(self, clips: Tensor) -> Tensor:
        self.batches.append(len(clips))
        logits: Tensor = 40 * self.network(clips)  # far apart: the mean of softmaxes is another one than of logits
        return logits


@pytest.fixture(scope="module")
def network() -> Counting:
    torch.manual_seed(0)
    return Counting(build_model("micro", "m2a", frames=T, classes=3, width=8, stem="small2", head_std=0.3))


def view_by_view(manifest: Manifest, network: nn.Module, positions: list[list[list[int]]]) -> list[Tensor]:
    """Logits of every clip's views, crop by crop and within a crop clip by clip, (V, K) each."""
    network.eval()
    found = []
    for row, clips in zip(manifest.table.itertuples(), positions, strict=True):
        video = torch.from_numpy(read_video(manifest.root / row.path, range(row.frames)))
        views = []
        for left, top in CROP_CORNERS:
            for clip in clips:
                pixels = video[clip, top : top + SIZE, left : left + SIZE].float() / 255
                with torch.no_grad():
                    views.append(network(((pixels - MEAN) / STD).permute(0, 3, 1, 2)[None])[0])
        found.append(torch.stack(views))
    return found


def dataset(manifest: Manifest, **settings: Any) -> ClipDataset:
    data = {"frames": T, "eval_short_side": HEIGHT, "eval_size": SIZE, "eval_crops": 3, **settings}
    return ClipDataset(manifest, "val", DataConfig(**data), seed=0, training=False)


def test_three_crops_and_two_clips_are_the_mean_of_six_passes(manifest: Manifest, network: Counting) -> None:
    twice = [[[int(n / T / 2 + n / T * k) for k in range(T)], [int(n / T * k) for k in range(T)]] for n in range(9, 16)]
    expected = torch.stack([views.mean(0) for views in view_by_view(manifest, network, twice)])
    views = dataset(manifest, eval_clips=2, eval_sampling="tsm-test")
    for batch_size in (64, 12, 6, 4, 1):  # all at once, two clips, one, parts of one, single views
        network.batches.clear()
        found = evaluate(network, views, device=torch.device("cpu"), batch_size=batch_size)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert sum(network.batches) == 42 and max(network.batches) <= batch_size


def test_thirty_views_are_averaged_as_softmaxes(manifest: Manifest, network: Counting) -> None:
    """T-CNN's protocol: ten clips of consecutive frames, three crops."""
    starts = [np.linspace(0, n - T, 10).astype(int).tolist() for n in range(9, 16)]
    clips = [[[*range(start, start + T)] for start in of_clip] for of_clip in starts]
    logits = view_by_view(manifest, network, clips)
    expected = torch.stack([views.softmax(-1).mean(0) for views in logits])
    views = dataset(manifest, eval_clips=10, eval_sampling="strided", eval_average="softmax")
    assert str(views.config.protocol) == "4x3x10@24"
    network.batches.clear()
    found = evaluate(network, views, device=torch.device("cpu"), batch_size=8)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert max(network.batches) == 8
    of_logits = torch.stack([views.mean(0).softmax(-1) for views in logits])
    assert (of_logits - expected).abs().max() > 0.01  # the two averages can be told apart here


def test_frames_can_be_made_an_exact_size_before_the_crop(manifest: Manifest) -> None:
    stretched = dataset(manifest, eval_resize=(40, 30), eval_crops=1)
    plain = dataset(manifest, eval_crops=1)
    assert stretched[0]["clip"].shape == plain[0]["clip"].shape == (1, T, 3, SIZE, SIZE)
    source = read_video(manifest.root / "clips/0.mp4", range(9))
    mean = source[[1, 3, 5, 7]].astype(float).mean()  # a resized noise keeps its mean, whatever is cropped, nearly
    assert abs(stretched[0]["clip"].float().mean().item() - mean) < 8
    assert stretched[0]["clip"].float().std() < 0.8 * plain[0]["clip"].float().std()  # half the width: smoother


def test_the_cost_of_a_view_is_counted_on_shapes_alone_or_said_to_be_unknown() -> None:
    """A 3x3 convolution from 3 to 5 channels over 4 frames of 6x6: 5 * 36 * 27 MACs a frame."""

    class PerFrame(nn.Module):
        def __init__(self, looks: bool) -> None:
            super().__init__()
            self.conv, self.looks = nn.Conv2d(3, 5, 3, padding=1), looks

        def forward(self, clips: Tensor) -> Tensor:
            if self.looks and clips.max().item() > 0:
                return clips
            return self.conv(clips.flatten(0, 1))

    plain = PerFrame(looks=False)
    assert gmacs_per_view(plain, T, 6) == pytest.approx(4 * 5 * 36 * 27 / 1e9)  # type: ignore[arg-type]
    assert plain.conv.weight.device.type == "cpu" and plain.training
    assert gmacs_per_view(PerFrame(looks=True), T, 6) is None  # type: ignore[arg-type]
