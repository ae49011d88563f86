"""The classifier around a backbone: shapes, consensus, head."""

from __future__ import annotations

import pytest
import torch

from vidrepro.errors import ModelError
from vidrepro.models import build_model


def test_logits_are_the_mean_of_the_frames_own() -> None:
    torch.manual_seed(0)
    model = build_model("micro", "none", frames=4, classes=5, width=8).double().eval()
    single = build_model("micro", "none", frames=1, classes=5, width=8).double().eval()
    single.load_state_dict(model.state_dict())
    x = torch.randn(2, 4, 3, 24, 24, dtype=torch.float64)
    per_frame = torch.stack([single(x[:, t : t + 1]) for t in range(4)])
    torch.testing.assert_close(model(x), per_frame.mean(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "shape", [(4, 3, 24, 24), (2, 5, 3, 24, 24), (2, 4, 1, 24, 24), (2, 3, 4, 24, 24), (8, 3, 24), (2, 4, 3, 24, 24, 1)]
)
def test_clips_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    model = build_model("micro", "none", frames=4, classes=5, width=8)
    with pytest.raises(ModelError, match=r"\(N, 4, 3, H, W\)"):
        model(torch.zeros(shape))


def test_unnormalised_bytes_are_refused() -> None:
    model = build_model("micro", "none", frames=4, classes=5, width=8)
    with pytest.raises(ModelError, match="floating-point"):
        model(torch.zeros((1, 4, 3, 24, 24), dtype=torch.uint8))


def test_head_starts_small() -> None:
    """Released: N(0, 0.001), bias 0; 89,088 weights pin the standard deviation to about 0.25 %."""
    torch.manual_seed(0)
    model = build_model("resnet18", "none", frames=8, classes=174)
    assert model.fc.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert abs(model.fc.weight.mean().item()) < 2e-5
    assert torch.count_nonzero(model.fc.bias) == 0


def test_dropout_is_per_frame_feature_and_only_in_training() -> None:
    torch.manual_seed(0)
    model = build_model("micro", "none", frames=4, classes=5, dropout=0.5)
    seen = []
    model.fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    x = torch.randn(16, 4, 3, 24, 24)
    model.eval()(x)
    model.train()(x)
    assert seen[0].shape == seen[1].shape == (64, 128)
    kept = seen[0] != 0
    dropped = ((seen[1] == 0) & kept).sum().item() / kept.sum().item()
    assert dropped == pytest.approx(0.5, abs=0.05)


def test_no_weights_no_report() -> None:
    assert build_model("micro", "none", frames=4, classes=5).load_report is None
