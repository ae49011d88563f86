"""Loops compiled for this processor by numba, where torch's operations take many passes or are made for other shapes.

Plain torch operations do the same wherever numba is missing or `usable` says no; tests hold each kernel against them.
A module of kernels imports numba through `kernel`, so it is imported itself only once `usable` has said yes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch

SWITCH = "VIDREPRO_KERNELS"  # "off" takes the plain operations everywhere

# Sums may be taken in any order, as torch takes them; NaN and infinity keep their meaning.
_ARITHMETIC = {"contract", "reassoc", "nsz"}


def usable() -> bool:
    """Whether kernels can be had in this process: numba is installed, and `SWITCH` does not turn them off."""
    return os.environ.get(SWITCH, "on") != "off" and _installed()


@lru_cache(maxsize=1)
def _installed() -> bool:
    return find_spec("numba") is not None


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function on NumPy arrays and numbers, compiled when first called with arrays of these types and kept on disk.

    It runs without the interpreter's lock, on one thread: see `in_parts`.
    """
    import numba

    compiled: Callable[..., Any] = numba.njit(cache=True, nogil=True, fastmath=_ARITHMETIC)(function)
    return compiled


def in_parts(count: int, work: Callable[[int, int], None]) -> None:
    """``work(first, end)`` for parts of ``range(count)``, on as many threads as torch has."""
    parts = min(count, torch.get_num_threads())
    if parts == 1:
        work(0, count)
        return
    edges = [count * part // parts for part in range(parts + 1)]
    list(_threads(os.getpid(), parts).map(work, edges[:-1], edges[1:]))  # a list: so that errors are raised here


@lru_cache(maxsize=1)
def _threads(process: int, number: int) -> ThreadPoolExecutor:
    """Of this process: threads do not live on in a fork."""
    return ThreadPoolExecutor(number, thread_name_prefix="vidrepro-kernel")
