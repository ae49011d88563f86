"""The compiled convolution and sigmoid of AIA's gates against torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from vidrepro.models import kernels

if not kernels.usable():
    pytest.skip("numba is missing or switched off", allow_module_level=True)

from vidrepro.models.mechanisms import aia_volumes

SIZES = st.tuples(*[st.integers(1, 9)] * 2, st.integers(1, 40))


def numbers(generator: Any, *shape: int) -> np.ndarray:
    drawn: np.ndarray = generator.standard_normal(shape)
    return drawn


@given(size=SIZES, seed=st.integers(0, 99), dtype=st.sampled_from([np.float32, np.float64]))
def test_convolution(size: tuple[int, int, int], seed: int, dtype: Any) -> None:
    generator = np.random.default_rng(seed)
    volumes, taps = numbers(generator, 2, np.prod(size)).astype(dtype), numbers(generator, 2, 3, 3, 3).astype(dtype)
    out = np.empty(np.prod(size), dtype)
    aia_volumes.convolve(aia_volumes.padded(volumes, size), taps, size, out)
    expected = F.conv3d(torch.from_numpy(volumes).view(1, 2, *size), torch.from_numpy(taps)[None], padding=1)
    tolerance = 1e-12 if dtype is np.float64 else 1e-4
    np.testing.assert_allclose(out, expected.flatten().numpy(), rtol=tolerance, atol=tolerance)


@given(size=SIZES, seed=st.integers(0, 99))
def test_gradient_of_its_weight(size: tuple[int, int, int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    volumes, flow = numbers(generator, 2, np.prod(size)), numbers(generator, np.prod(size))
    weight = torch.zeros(1, 2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    out = F.conv3d(torch.from_numpy(volumes).view(1, 2, *size), weight, padding=1)
    (expected,) = torch.autograd.grad(out, weight, torch.from_numpy(flow).view_as(out))
    found = aia_volumes.correlate(aia_volumes.padded(volumes, size), flow, size)
    np.testing.assert_allclose(found, expected[0].numpy(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sigmoid(dtype: torch.dtype) -> None:
    """To rounding, over its whole range and beyond."""
    x = torch.cat([torch.linspace(-60, 60, 4001), torch.tensor([-1e30, 1e30, -torch.inf, torch.inf, torch.nan])])
    x = x.to(dtype)
    value = torch.empty_like(x)
    aia_volumes.squash(x.numpy(), 0.5, 2.0, -1.0, value.numpy())
    expected = ((x.double() - 0.5) * 2 - 1).sigmoid().to(dtype)
    tolerance = 1e-13 if dtype is torch.float64 else 1e-7
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=1e-300, equal_nan=True)
