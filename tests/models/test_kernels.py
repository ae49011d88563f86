"""The switch of the compiled loops, how work is shared out among threads, and when a kernel is compiled again."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidrepro.errors import ConfigError
from vidrepro.models import kernels


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def asked_afresh() -> Iterator[None]:
    kernels.usable.cache_clear()
    yield
    kernels.usable.cache_clear()


@pytest.mark.usefixtures("asked_afresh")
@pytest.mark.parametrize(("switch", "usable"), [(None, True), ("on", True), ("off", False)])
def test_the_switch(switch: str | None, usable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_installed", lambda: True)
    monkeypatch.delenv(kernels.SWITCH, raising=False)
    if switch is not None:
        monkeypatch.setenv(kernels.SWITCH, switch)
    assert kernels.usable() is usable


@pytest.mark.usefixtures("asked_afresh")
def test_a_switch_that_is_misspelt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, "of")
    with pytest.raises(ConfigError, match=kernels.SWITCH):
        kernels.usable()


@pytest.mark.usefixtures("asked_afresh")
def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(kernels.SWITCH, raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)  # an import of it fails
    assert not kernels.usable()


def test_where_no_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")
    compiler = numba.njit

    def njit(*functions: Any, cache: bool = False, **options: Any) -> Any:
        if not cache:
            return compiler(*functions, **options)
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(numba, "njit", njit)
    assert kernels.kernel(_twice)(2.5) == 5


def _twice(number: float) -> float:
    return number * 2


@given(count=st.integers(0, 20), number=st.integers(1, 7))
def test_every_index_once(count: int, number: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    done: list[int] = []
    parts: list[range] = []

    def work(first: int, end: int) -> None:
        parts.append(range(first, end))
        done.extend(range(first, end))

    kernels.in_parts(count, work)
    torch.set_num_threads(before)
    assert sorted(done) == list(range(count))
    assert len(parts) <= number


@pytest.mark.parametrize("number", [1, 2])
def test_errors_come_through(number: int, threads: None) -> None:
    torch.set_num_threads(number)

    def work(first: int, end: int) -> None:
        raise ArithmeticError(f"{first} to {end}")

    with pytest.raises(ArithmeticError, match="0 to"):
        kernels.in_parts(4, work)


def test_threads_share_the_work(threads: None) -> None:
    torch.set_num_threads(2)
    total = np.zeros(10)
    kernels.in_parts(10, lambda first, end: total[first:end].fill(end - first))
    assert total.tolist() == [5] * 10


@pytest.mark.skipif(not kernels.usable(), reason="numba is missing or switched off")
def test_a_changed_part_is_compiled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the file of the kernel that calls it is still the same."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    header = "from vidrepro.models.kernels import kernel\n"
    whole = tmp_path / "made_whole.py"
    whole.write_text(f"{header}from made_part import part\n\n@kernel\ndef whole(x):\n    return part(x) + 1\n")
    found: list[Any] = []
    for factor in (2, 3):
        part = tmp_path / "made_part.py"
        part.write_text(f"{header}\n@kernel\ndef part(x):\n    return {factor} * x\n")
        os.utime(part, (factor, factor))
        importlib.invalidate_caches()
        found.append(importlib.import_module("made_whole").whole(5))
        for name in ("made_part", "made_whole"):
            del sys.modules[name]
    assert found == [11, 16]


@pytest.mark.skipif(not kernels.usable(), reason="numba is missing or switched off")
@pytest.mark.parametrize("damaged", ["nbi", "nbc"])
def test_a_damaged_file_on_disk_is_made_again(damaged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    text = "from vidrepro.models.kernels import kernel\n\n@kernel\ndef thrice(x):\n    return 3 * x\n"
    name = f"made_thrice_{damaged}"
    (tmp_path / f"{name}.py").write_text(text)

    def thrice() -> Any:
        importlib.invalidate_caches()
        module = importlib.import_module(name)
        del sys.modules[name]
        assert module.thrice(5) == 15
        return module.thrice

    thrice()
    (file,) = tmp_path.glob(f"__pycache__/*.{damaged}")
    whole = file.read_bytes()
    file.write_bytes(whole[:20])
    assert not thrice().stats.cache_hits
    assert len(file.read_bytes()) > 20
    assert thrice().stats.cache_hits


@pytest.mark.skipif(not kernels.usable(), reason="numba is missing or switched off")
def test_arithmetic() -> None:
    """NaN stays NaN, and a division by zero is no error."""

    @kernels.kernel
    def divided(x: Any, y: Any) -> Any:
        return x / y

    assert divided(1.0, 0.0) == np.inf
    assert np.isnan(divided(0.0, 0.0))
