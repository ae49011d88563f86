"""Peaks, Gaussian maps and resampling against numbers that the released code of S3N and Saliency-Sampler produced."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity_tools import FOLDER, assert_summary_matches
from torch import Tensor

from vidrepro.models.networks.response_maps import chosen_classes, response_peaks, top_entropy
from vidrepro.models.networks.saliency import coarse_grid, resample, saliency_grid, upsample_grid
from vidrepro.models.networks.sparse_attention import Attention, SparseAttention, gaussian_saliency, split_peaks

PRECISIONS = {"f64": torch.float64, "fp32": torch.float32}


@cache
def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(FOLDER) / f"{name}.json").read_text())
    return content


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).normal(0, 1, size=shape)


def blob(row: float, column: float, spread: float) -> np.ndarray:
    i, j = np.mgrid[0:7, 0:7]
    return np.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * spread * spread))


def image() -> Tensor:
    values = noise(1234, 1, 3, 224, 224).astype(np.float32)
    digest = read("saliency_sampler")["input"]["sha256_float32"]
    assert hashlib.sha256(values.tobytes()).hexdigest() == digest
    return torch.from_numpy(values)


def saliency(which: str) -> Tensor:
    i, j = np.mgrid[0:31, 0:31]
    maps = {
        "uniform": np.ones((31, 31)),
        "two_peaks": np.exp(-((i - 8) ** 2 + (j - 10) ** 2) / (2 * 3**2))
        + 0.6 * np.exp(-((i - 22) ** 2 + (j - 21) ** 2) / (2 * 4**2)),
        "noise": np.random.Generator(np.random.PCG64(2024)).uniform(0.05, 1.05, size=(31, 31)),
    }
    return torch.from_numpy(maps[which].astype(np.float32))[None, None]


def class_maps(case: str) -> Tensor:
    if case == "A_five_classes_noise":
        maps = noise(101, 1, 101, 7, 7)
        maps[0, [8, 21, 44, 63, 90]] += 1.0
    else:
        maps = 0.3 * noise(103, 1, 101, 7, 7)
        maps[0, 3] += 30 * blob(1, 1, 1.2)
        maps[0, 50] += 31 * blob(5, 2, 1.2)
        maps[0, 77] += 29.5 * blob(2, 5, 1.2)
        maps[0, 10] += 2.0
        maps[0, 60] += 2.5
    return torch.from_numpy(maps.astype(np.float32))


CASES = list(read("s3n_generate_map")["cases"])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("which", read("saliency_sampler")["maps"])
def test_sampler(which: str, precision: str) -> None:
    content = read("saliency_sampler")
    expected, atol = content["maps"][which], content["suggested_atol"][precision]
    Q = saliency(which).to(PRECISIONS[precision])
    grid = saliency_grid(Q, 224)
    results = {"grid31": coarse_grid(Q[:, 0]), "grid224": grid, "image": resample(image().to(Q), grid)}
    for name, result in results.items():
        summary = expected["expected_f64"][name] if precision == "f64" else expected[name]
        assert_summary_matches(result.contiguous(), summary, atol[name])
    if precision == "fp32":
        x, y = results["grid31"][0].numpy()
        np.testing.assert_allclose(x[15], expected["grid31"]["x_row15"], rtol=0, atol=atol["grid31"])
        np.testing.assert_allclose(y[:, 15], expected["grid31"]["y_col15"], rtol=0, atol=atol["grid31"])


def found(case: str, dtype: torch.dtype, **options: Any) -> tuple[SparseAttention, Attention]:
    """The attention on class maps given as they are: features whose classifier is the identity."""
    maps = class_maps(case).to(dtype)
    attention = SparseAttention(frames=1, map_frames=1, **options).to(dtype).eval()
    if dtype == torch.float64:
        attention.beta1.data.fill_(0.09)  # in double precision, not rounded to single first
        attention.beta2.data.fill_(0.3)
    result: Attention = attention(maps, torch.eye(101, dtype=dtype))
    return attention, result


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("probabilities", ["features", "resized-maps"])
def test_decision_and_peaks(case: str, precision: str, probabilities: str) -> None:
    content = read("s3n_generate_map")
    expected, atol = content["cases"][case], content["suggested_atol"][precision]
    _, result = found(case, PRECISIONS[precision], probabilities=probabilities)
    suffix, from_size = ("", "31x31") if probabilities == "resized-maps" else ("_7x7_gap", "7x7")
    entropy = expected["entropy"]
    np.testing.assert_allclose(result.entropy.item(), entropy[f"H_top5_from_{from_size}_gap"], rtol=1e-5)
    top = result.probabilities[0].topk(5)
    assert top.indices.tolist() == entropy["top5_classes" + suffix]
    name = "top5_prob_31x31_gap" if probabilities == "resized-maps" else "top5_prob_7x7_gap"
    np.testing.assert_allclose(top.values.detach(), entropy[name], rtol=1e-5)
    chosen = chosen_classes(result.probabilities, 0.2)[0].nonzero().flatten().tolist()
    assert sorted(chosen) == sorted(top.indices.tolist()[: 5 if entropy["branch"] == "top5" else 1])
    torch.testing.assert_close(top_entropy(result.probabilities), result.entropy)
    assert_summary_matches(result.maps[0], expected["normalised_map"], 1e-5)
    peaks = response_peaks(result.maps)[0].nonzero()
    assert peaks.tolist() == [peak[:2] for peak in expected["peaks_y_x_R"]]
    responses = result.maps[0][peaks[:, 0], peaks[:, 1]]
    np.testing.assert_allclose(responses, [peak[2] for peak in expected["peaks_y_x_R"]], rtol=0, atol=atol["R"])
    for keep, name in (("none", "n_peaks_no_filter"), ("median", "n_peaks_prm_default_median_filter")):
        assert int(response_peaks(result.maps, keep).sum()) == expected[name]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rule", ["p0_all_peaks", "p1_random", "p2_max_min_peak"])
def test_saliency_of_each_set(case: str, rule: str, precision: str) -> None:
    content = read("s3n_generate_map")
    expected, atol = content["cases"][case][rule], content["suggested_atol"][precision]
    attention, result = found(case, PRECISIONS[precision])
    peaks = response_peaks(result.maps)
    if rule == "p2_max_min_peak":
        discriminative, complementary = result.discriminative, result.complementary
        assert discriminative[0].nonzero().tolist() == [expected["dis_peak"][:2]]
        assert complementary[0].nonzero().tolist() == [expected["com_peak"][:2]]
    elif rule == "p1_random":
        draws = torch.zeros_like(result.maps)
        draws[peaks] = torch.tensor(expected["draws"]).to(draws)  # one for each peak, in reading order
        discriminative, complementary = split_peaks(result.maps, peaks, draws)
        assert discriminative[peaks].tolist() == expected["in_dis"]
    else:
        attention.train().all_peaks = True
        result = attention(class_maps(case).to(result.maps), torch.eye(101).to(result.maps))
        discriminative, complementary = result.discriminative, result.complementary
    maps = {
        "Q_dis": gaussian_saliency(result.maps, discriminative, attention.beta1, size=31),
        "Q_com": gaussian_saliency(result.maps, complementary, attention.beta2, size=31, inverse=True),
    }
    for name, Q in maps.items():
        summary = expected["expected_f64"][name] if precision == "f64" else expected[name]
        assert_summary_matches(Q[:, None], summary, atol["Q"])
        if rule != "p1_random":
            torch.testing.assert_close(Q, getattr(result, name.replace("Q", "saliency")))
        if precision == "f64" and f"image_{name[2:]}" in expected:
            grid = upsample_grid(coarse_grid(Q.detach()), (224, 224))
            assert_summary_matches(resample(image().to(Q), grid), expected[f"image_{name[2:]}"], atol["image"])


def test_edge_cases_of_the_released_code() -> None:
    cases = read("s3n_generate_map")["edge_cases_of_reference"]
    maps = torch.full((1, 31, 31), 1e-9)
    for place, value in {(5, 5): 1.0, (20, 10): 0.6, (20, 11): 0.6, (0, 30): 0.3}.items():
        maps[0, *place] = value
    expected = cases["constructed_map_1.0@(5,5)_0.6@(20,10),(20,11)_0.3@(0,30)_1e-9_elsewhere"]
    assert response_peaks(maps)[0].nonzero().tolist() == expected["with_mean_filter"]
    assert response_peaks(maps, "none")[0].nonzero().tolist() == expected["without_filter"]
    assert int(response_peaks(torch.full((1, 31, 31), torch.nan)).sum()) == cases["peak_stimulation_on_nan_map_n_peaks"]
