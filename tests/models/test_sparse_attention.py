"""Response maps, peaks, their two sets, Q and the sampler: closed forms, invariants, and a loop over single peaks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrepro.errors import ModelError
from vidrepro.models.networks import response_peaks, saliency_grid
from vidrepro.models.networks.response_maps import (
    chosen_classes,
    class_response_maps,
    frame_probabilities,
    normalise_maps,
    resize_maps,
    top_entropy,
)
from vidrepro.models.networks.saliency import coarse_grid, resample
from vidrepro.models.networks.sparse_attention import (
    SparseAttention,
    extreme_peaks,
    gaussian_saliency,
    split_peaks,
)

SIDE = 31


def peaks_at(*places: tuple[int, int, float]) -> tuple[Tensor, Tensor]:
    """A map with these responses at (row, column), and its mask of peaks."""
    maps = torch.zeros(1, SIDE, SIDE)
    for row, column, response in places:
        maps[0, row, column] = response
    return maps, maps > 0


def random_maps(count: int, classes: int = 12, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, classes, 7, 7, generator=generator)


def found_by_loop(maps: np.ndarray) -> list[tuple[int, int]]:
    """Peaks of one map, position by position: the first of the largest values in the 3x3 window, not below the mean."""
    peaks = []
    for i, j in np.ndindex(*maps.shape):
        window = [(a, b) for a in range(i - 1, i + 2) for b in range(j - 1, j + 2)]
        inside = [(a, b) for a, b in window if 0 <= a < maps.shape[0] and 0 <= b < maps.shape[1]]
        if max(inside, key=lambda place: maps[place]) == (i, j) and maps[i, j] >= maps.mean():
            peaks.append((i, j))
    return peaks


def attention_by_loop(classes: Tensor, beta1: float, beta2: float, base: float) -> tuple[np.ndarray, np.ndarray]:
    """Both Q of one frame at test time, from its class maps ``(S, 7, 7)``, in plain numpy, peak by peak."""
    scores = classes.double().mean((1, 2)).numpy()
    probabilities = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    order = np.argsort(-probabilities)[:5]
    entropy = -sum(probabilities[k] * math.log(probabilities[k]) for k in order)
    taken = order if entropy >= 0.2 else order[:1]
    chosen = F.interpolate(classes[None].double(), size=(SIDE, SIDE), mode="bilinear", align_corners=True)[0].numpy()
    total = sum(chosen[k] for k in taken)
    maps = (total - total.min()) / (total.max() - total.min())
    peaks = found_by_loop(maps)
    i, j = np.mgrid[0:SIDE, 0:SIDE]
    result = []
    for (row, column), beta, inverse in (
        (max(peaks, key=lambda place: maps[place]), beta1, False),
        (min(peaks, key=lambda place: maps[place]), beta2, True),
    ):
        response = maps[row, column]
        spread = beta * math.sqrt(response) * SIDE
        gaussian = np.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * spread**2))
        result.append(base + (1 / response if inverse else response) * gaussian)
    return result[0], result[1]


def test_mean_of_a_response_map_is_the_class_score() -> None:
    torch.manual_seed(0)
    features, classifier = torch.randn(6, 16, 7, 5), nn.Linear(16, 11)
    maps = class_response_maps(features, classifier.weight)
    scores = classifier(features.mean((2, 3)))
    torch.testing.assert_close(maps.mean((2, 3)) + classifier.bias, scores)
    torch.testing.assert_close(frame_probabilities(features, classifier.weight, classifier.bias), scores.softmax(1))
    resized = resize_maps(maps, SIDE).mean((2, 3)) + classifier.bias
    from_resized = frame_probabilities(features, classifier.weight, classifier.bias, resized_to=SIDE)
    torch.testing.assert_close(from_resized, resized.softmax(1))
    assert not torch.allclose(from_resized, scores.softmax(1))


def test_entropy_decides_between_one_class_and_five() -> None:
    sure = torch.zeros(1, 101)
    sure[0, :5] = torch.tensor([0.97, 0.01, 0.01, 0.005, 0.005])
    expected = -sum(p * math.log(p) for p in (0.97, 0.01, 0.01, 0.005, 0.005))
    assert top_entropy(sure).item() == pytest.approx(expected)
    assert chosen_classes(sure, 0.2).nonzero().tolist() == [[0, 0]]
    assert chosen_classes(sure, 0.1).sum() == 5
    uniform = torch.full((1, 101), 1 / 101)
    assert top_entropy(uniform).item() == pytest.approx(5 / 101 * math.log(101))
    assert chosen_classes(uniform, 0.2).sum() == 5
    assert chosen_classes(torch.full((1, 400), 1 / 400), 0.2).sum() == 1  # looks sure: 5/400*ln(400) = 0.075
    assert chosen_classes(uniform, top_entropy(uniform).item()).sum() == 5  # equal: the likeliest ones


def test_fewer_classes_than_five_are_all_taken() -> None:
    three = torch.tensor([[0.5, 0.3, 0.2]])
    assert top_entropy(three).item() == pytest.approx(-sum(p * math.log(p) for p in (0.5, 0.3, 0.2)))
    assert chosen_classes(three, 0.2).tolist() == [[1, 1, 1]]
    assert chosen_classes(torch.ones(2, 1), 0.2).tolist() == [[1], [1]]


def test_what_changes_no_map() -> None:
    """Sum or mean of the five maps, a constant added to them, the classifier's bias."""
    maps = random_maps(4)
    total = maps[:, :5].sum(1)
    for other in (maps[:, :5].mean(1), total + 17, total * 3):
        torch.testing.assert_close(normalise_maps(other), normalise_maps(total), atol=1e-5, rtol=0)
        assert torch.equal(response_peaks(normalise_maps(other)), response_peaks(normalise_maps(total)))
    attention = SparseAttention(frames=1, map_frames=1).eval()
    weight = torch.randn(5, 12)
    without, with_bias = attention(maps, weight), attention(maps, weight, torch.full((5,), 3.0))
    assert torch.equal(without.maps, with_bias.maps)


def test_normalised_maps_reach_from_0_to_1() -> None:
    maps = normalise_maps(random_maps(6)[:, 0] * torch.logspace(-6, 6, 6).view(-1, 1, 1))
    assert maps.amin((1, 2)).tolist() == [0] * 6
    assert maps.amax((1, 2)).tolist() == [1] * 6


@pytest.mark.parametrize("value", [0.0, 1e-12, 3.7, -2e6, math.nan, math.inf])
def test_a_constant_map_has_no_peaks_and_leaves_the_frame_alone(value: float) -> None:
    resized = resize_maps(torch.full((2, 1, 7, 7), value), SIDE)[:, 0]
    maps = normalise_maps(resized)
    assert torch.equal(maps, torch.zeros(2, SIDE, SIDE))
    for keep in ("mean", "median", "none"):
        assert not response_peaks(resized, keep).any()
        assert not response_peaks(maps, keep).any()
    Q = gaussian_saliency(maps, response_peaks(maps), 0.09, size=SIDE)
    frames = torch.randn(2, 3, 40, 56)
    torch.testing.assert_close(resample(frames, saliency_grid(Q, (40, 56))), frames, atol=5e-3, rtol=0)


def test_peaks_are_those_a_loop_finds() -> None:
    maps = resize_maps(random_maps(12, classes=2), SIDE).flatten(0, 1)
    maps[0] = (maps[0] * 2).round()  # with plateaus
    for one in maps:
        assert [tuple(place) for place in response_peaks(one).nonzero().tolist()] == found_by_loop(one.double().numpy())
    assert response_peaks(maps.view(2, 12, SIDE, SIDE)).shape == (2, 12, SIDE, SIDE)


def test_every_peak_is_in_one_set_with_the_probability_of_its_response() -> None:
    torch.manual_seed(0)
    maps, peaks = peaks_at((5, 5, 1.0), (20, 10, 0.6), (0, 30, 0.3))
    draws = 4000
    many, masks = maps.repeat(draws, 1, 1), peaks.repeat(draws, 1, 1)
    discriminative, complementary = split_peaks(many, masks, torch.rand_like(many))
    assert torch.equal(discriminative | complementary, masks)
    assert not (discriminative & complementary).any()
    shares = discriminative.double().mean(0)
    assert shares[5, 5] == 1
    for row, column, response in ((20, 10, 0.6), (0, 30, 0.3)):
        sigma = math.sqrt(response * (1 - response) / draws)
        assert abs(shares[row, column].item() - response) < 4 * sigma


def test_largest_and_smallest_peak() -> None:
    maps, peaks = peaks_at((20, 10, 0.6), (5, 5, 1.0), (0, 30, 0.3), (9, 9, 0.3), (30, 0, 1.0))
    largest, smallest = extreme_peaks(maps, peaks)
    assert largest[0].nonzero().tolist() == [[5, 5]]  # the first of equal ones
    assert smallest[0].nonzero().tolist() == [[0, 30]]
    one, only = peaks_at((3, 4, 1.0))
    assert [mask.nonzero().tolist() for mask in extreme_peaks(one, only)] == [[[0, 3, 4]]] * 2
    assert not any(mask.any() for mask in extreme_peaks(one * 0, only & False))


@pytest.mark.parametrize("response", [1.0, 0.4])
def test_a_gaussian_has_the_papers_height_and_width(response: float) -> None:
    maps, peaks = peaks_at((12, 15, response))
    beta, base = 5 / (math.sqrt(2 * response) * SIDE), 0.09  # falls to 1/e at a distance of exactly 5
    for inverse, height in ((False, response), (True, 1 / response)):
        Q = gaussian_saliency(maps, peaks, beta, size=SIDE, inverse=inverse, base=base)[0]
        assert Q[12, 15].item() == pytest.approx(base + height)
        for row, column in ((12, 20), (7, 15), (15, 19), (16, 12)):  # 3-4-5 triangles too
            assert Q[row, column].item() == pytest.approx(base + height / math.e, rel=1e-5)
        assert Q.min() >= base
    papers_beta = math.sqrt(2) * SIDE * beta
    assert math.exp(-(5**2) / (response * papers_beta**2)) == pytest.approx(1 / math.e)
    wider = gaussian_saliency(maps, peaks, 2 * beta, size=SIDE)
    assert (wider >= gaussian_saliency(maps, peaks, beta, size=SIDE)).all()


def test_vectorised_attention_equals_a_loop_over_frames_and_peaks() -> None:
    maps = random_maps(10) * torch.tensor([0.1, 1, 5, 20, 40] * 2).view(-1, 1, 1, 1)
    attention = SparseAttention(frames=5, map_frames=5).double().eval()
    found = attention(maps.double(), torch.eye(12, dtype=torch.float64))
    assert {int(count) for count in chosen_classes(found.probabilities, 0.2).sum(1)} == {1, 5}  # both rules take part
    for frame in range(10):
        expected = attention_by_loop(maps[frame], attention.beta1.item(), attention.beta2.item(), 0.09)
        for Q, by_loop in zip((found.saliency_dis, found.saliency_com), expected, strict=True):
            np.testing.assert_allclose(Q[frame].detach(), by_loop, atol=1e-9)


def test_many_peaks_are_the_sum_of_single_ones() -> None:
    places = [(5, 5, 1.0), (5, 7, 0.9), (20, 10, 0.6), (0, 30, 0.3), (30, 30, 0.7)]
    for inverse in (False, True):
        together = gaussian_saliency(*peaks_at(*places), 0.2, size=SIDE, inverse=inverse, base=0.5)
        alone = [gaussian_saliency(*peaks_at(place), 0.2, size=SIDE, inverse=inverse, base=0.5) for place in places]
        torch.testing.assert_close(together, 0.5 + sum(one - 0.5 for one in alone))
        as_on_a_device = gaussian_saliency(*peaks_at(*places), 0.2, size=SIDE, inverse=inverse, base=0.5, most=256)
        torch.testing.assert_close(as_on_a_device, together)


def test_peaks_at_the_features_size_lie_where_the_grids_nodes_are() -> None:
    small = torch.zeros(1, 7, 4)
    small[0, 2, 3] = 1.0
    large, mask = peaks_at((10, 30, 1.0))  # 2 * 30/6, 3 * 30/3
    torch.testing.assert_close(
        gaussian_saliency(small, small > 0, 0.1, size=SIDE), gaussian_saliency(large, mask, 0.1, size=SIDE)
    )
    single = torch.ones(1, 1, 1)
    middle, mask = peaks_at((15, 15, 1.0))
    torch.testing.assert_close(
        gaussian_saliency(single, single > 0, 0.1, size=SIDE), gaussian_saliency(middle, mask, 0.1, size=SIDE)
    )


def test_uniform_saliency_is_the_identity_whatever_its_scale() -> None:
    torch.manual_seed(0)
    Q, frames = torch.ones(1, 1, SIDE, SIDE), torch.randn(1, 3, 224, 224)
    grid = saliency_grid(Q, 224)
    line = torch.linspace(-1, 1, 224)
    assert (grid[0, ..., 0] - line).abs().max() < 1e-4
    assert (grid[0, ..., 1] - line.unsqueeze(1)).abs().max() < 1e-4
    assert (resample(frames, grid) - frames).abs().max() < 5e-3
    uneven = torch.rand(2, SIDE, SIDE) + 0.05
    torch.testing.assert_close(saliency_grid(uneven * 1e4, 50), saliency_grid(uneven, 50), atol=1e-5, rtol=0)


def test_the_sampler_is_the_convolution_it_stands_for() -> None:
    """The released form: replication padding, a 61x61 Gaussian, coordinates that go on over the padding."""
    torch.manual_seed(0)
    Q = torch.rand(2, 1, SIDE, SIDE, dtype=torch.float64) ** 4 + 1e-4
    padded = F.pad(Q, (30, 30, 30, 30), mode="replicate")
    index = torch.arange(61, dtype=torch.float64) - 30
    gaussian = torch.exp(-4 * math.log(2) * (index.unsqueeze(1) ** 2 + index**2) / 13**2)[None, None]
    along = (torch.arange(91, dtype=torch.float64) - 30) / 30
    weight = F.conv2d(padded, gaussian)
    x = F.conv2d(padded * along, gaussian) / weight
    y = F.conv2d(padded * along.unsqueeze(1), gaussian) / weight
    expected = torch.cat((x, y), 1).mul(2).sub(1).clamp(-1, 1)
    torch.testing.assert_close(coarse_grid(Q[:, 0]), expected, atol=1e-12, rtol=0)


def test_a_peak_is_magnified_where_it_is() -> None:
    centre = gaussian_saliency(*peaks_at((15, 15, 1.0)), 0.09, size=SIDE)
    x, y = coarse_grid(centre)[0]
    steps = x[15].diff()
    assert steps[15].item() == pytest.approx(0.030, abs=0.002)  # 0.0667 without a peak
    torch.testing.assert_close(x, y.T)
    torch.testing.assert_close(x, -x.flip(1), atol=1e-5, rtol=0)
    left = coarse_grid(gaussian_saliency(*peaks_at((10, 4, 1.0)), 0.09, size=SIDE))[0]
    right = coarse_grid(gaussian_saliency(*peaks_at((10, 26, 1.0)), 0.09, size=SIDE))[0]
    torch.testing.assert_close(left[0], -right[0].flip(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(left[1], right[1].flip(1), atol=1e-5, rtol=0)
    for grid in (left, right, torch.stack((x, y))):
        assert (grid[0].diff(dim=1) >= 0).all()
        assert (grid[1].diff(dim=0) >= 0).all()
        assert grid.abs().max() <= 1


def test_a_peak_at_the_right_magnifies_columns_on_the_right_not_rows() -> None:
    grid = saliency_grid(gaussian_saliency(*peaks_at((15, 28, 1.0)), 0.09, size=SIDE), (62, 93))[0]
    columns, rows = grid[31, :, 0].diff(), grid[:, 46, 1].diff()
    assert columns[78:90].mean() < 0.8 * columns[10:40].mean()
    torch.testing.assert_close(rows, rows.flip(0), atol=1e-5, rtol=0)
    picture = torch.linspace(-1, 1, 93).expand(1, 1, 62, 93)  # shows each pixel's own column
    torch.testing.assert_close(resample(picture, grid[None])[0, 0], grid[..., 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "Q",
    [
        torch.full((1, SIDE, SIDE), math.nan),
        torch.full((1, 1, SIDE, SIDE), math.inf),
        torch.zeros(1, SIDE, SIDE),
        -torch.ones(1, SIDE, SIDE),
        torch.ones(1, 2, SIDE, SIDE),
        torch.ones(SIDE, SIDE),
    ],
)
def test_refused_saliency(Q: Tensor) -> None:
    with pytest.raises(ModelError, match="saliency map"):
        saliency_grid(Q, 224)


def test_beta_alone_gets_a_gradient_and_finds_back_into_its_range() -> None:
    features = random_maps(4).requires_grad_()
    weight = torch.randn(5, 12, requires_grad=True)
    attention = SparseAttention(frames=4, map_frames=4, beta1=1.0).train()
    with torch.no_grad():
        attention.beta1.fill_(1.5)
    found = attention(features, weight)
    held = gaussian_saliency(found.maps, found.discriminative, 1.0, size=SIDE)
    torch.testing.assert_close(found.saliency_dis, held)
    (found.saliency_dis.sum() + found.saliency_com.sum()).backward()
    assert features.grad is None
    assert weight.grad is None
    assert attention.beta1.grad > 0
    assert attention.beta2.grad > 0


def test_rules_at_test_time() -> None:
    maps = random_maps(6)

    def sets(**options: object) -> tuple[Tensor, Tensor, Tensor]:
        found = SparseAttention(frames=3, map_frames=3, **options).eval()(maps, torch.eye(12))
        return found.discriminative, found.complementary, found.maps

    for rule in ("maxmin", "threshold", "random"):
        first, second = sets(eval_split=rule), sets(eval_split=rule)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    discriminative, complementary, normalised = sets(eval_split="threshold")
    assert (normalised[discriminative] >= 0.5).all()
    assert (normalised[complementary] < 0.5).all()
    seeded, reseeded = sets(eval_split="random")[0], sets(eval_split="random", eval_seed=1)[0]
    assert not torch.equal(seeded, reseeded)
    alone = SparseAttention(frames=3, map_frames=3, eval_split="random").eval()(maps[3:], torch.eye(12))
    assert torch.equal(alone.discriminative, seeded[3:])  # whatever else is in the batch
    peaks = response_peaks(normalised)
    assert torch.equal(sets(eval_split="random")[0] | sets(eval_split="random")[1], peaks)


def test_fewer_map_frames_stand_for_several() -> None:
    maps = random_maps(4)  # two clips of two map frames
    found = SparseAttention(frames=5, map_frames=2).eval()(maps, torch.eye(12))
    every = SparseAttention(frames=2, map_frames=2).eval()(maps, torch.eye(12))
    assert torch.equal(found.maps, every.maps[[0, 0, 0, 1, 1, 2, 2, 2, 3, 3]])  # floor(t*2/5)
    assert torch.equal(found.entropy, every.entropy[[0, 0, 0, 1, 1, 2, 2, 2, 3, 3]])


def test_weak_peaks_are_held_up_where_no_filter_drops_them() -> None:
    maps = torch.zeros(1, 1, 7, 7)
    maps[0, 0, 1, 1], maps[0, 0, 5, 5] = 100.0, 0.1
    for keep, weakest in (("mean", 0.09), ("none", 0.09 + 1 / 0.05)):
        attention = SparseAttention(frames=1, map_frames=1, peak_filter=keep, eval_split="threshold").eval()
        found = attention(maps, torch.eye(1))
        assert found.discriminative.nonzero().tolist() == [[0, 5, 5]]
        assert found.saliency_com[0, 25, 25].item() == pytest.approx(weakest)
