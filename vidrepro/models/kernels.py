"""Loops compiled for this processor by numba, where torch's operations take many passes or are made for other shapes.

Plain torch operations do the same wherever numba is missing or `usable` says no; tests hold each kernel against them.
A module of kernels imports numba through `kernel`, so it is imported itself only once `usable` has said yes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn
from torch._C import _are_functorch_transforms_active, _get_tracing_state, _is_any_autocast_enabled
from torch.overrides import _len_torch_function_stack
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from vidrepro.errors import ConfigError

SWITCH = "VIDREPRO_KERNELS"  # "on" if not set; "off" takes the plain operations everywhere

_DTYPES = {torch.float32, torch.float64}
_TENSORS = {Tensor, nn.Parameter}  # others may not be what they seem

# Sums may be taken in any order, as torch takes them; NaN and infinity keep their meaning.
_ARITHMETIC = {"contract", "reassoc", "nsz"}


@lru_cache(maxsize=1)
def usable() -> bool:
    """Whether kernels can be had in this process: numba works here, and `SWITCH` does not turn them off.

    The switch is read once: reading it takes as long as all that `may_run` asks besides.

    Raises:
        ConfigError: if the switch is neither on nor off.
    """
    switch = os.environ.get(SWITCH, "on")
    if switch not in ("on", "off"):
        raise ConfigError(f"the environment variable {SWITCH} is not understood", given=switch, allowed=["on", "off"])
    return switch == "on" and _installed()


def _installed() -> bool:
    try:
        import numba  # noqa: F401
    except ImportError:  # also where it is too old for the NumPy that is here
        return False
    return True


def may_run(x: Tensor) -> bool:
    """Whether kernels may stand in for plain operations on this tensor: in eager, unwatched work on a CPU."""
    return (
        not torch.compiler.is_compiling()
        and usable()
        and type(x) in _TENSORS
        and _get_tracing_state() is None
        and x.is_cpu
        and x.dtype in _DTYPES
        and x.numel() > 0
        and not _is_any_autocast_enabled()
        and not _len_torch_function_stack()  # somebody counts operations
        and not is_in_torch_dispatch_mode()
        and not _are_functorch_transforms_active()
    )


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function on NumPy arrays and numbers, compiled when first called with arrays of these types and kept on disk.

    It runs without the interpreter's lock, on one thread: see `in_parts`. Numbers divided by zero are infinite.
    """
    return _compiled(function, fastmath=_ARITHMETIC)


def exact_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like `kernel`, but every operation is rounded as written: the same numbers wherever it is called from."""
    return _compiled(function, fastmath=False)


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    import numba

    function.__qualname__ += f"-{_stamp(_files_of(function.__globals__)):08x}"  # in the name of the file on disk
    options |= {"nogil": True, "error_model": "numpy"}
    compiled: Callable[..., Any]
    try:
        compiled = _forgiving(numba.njit(cache=True, **options)(function))
    except RuntimeError:  # neither this folder nor the user's can be written: compiled again by every process
        compiled = numba.njit(**options)(function)
    return compiled


def _forgiving(compiled: Any) -> Any:
    """A kernel that is compiled anew where its file on disk is damaged, say by a power cut; numba would fail."""
    on_disk = compiled._cache
    load = on_disk.load_overload

    def load_or_forget(*key: Any) -> Any:
        try:
            return load(*key)
        except Exception:  # damage to a pickle shows in any of many ways
            on_disk.flush()
            return None

    on_disk.load_overload = load_or_forget
    return compiled


def _files_of(names: Mapping[str, Any]) -> set[str]:
    """Where the kernels among some names, and those they can call, are written down."""
    functions = [value.py_func for value in names.values() if hasattr(value, "py_func")]
    files = {function.__code__.co_filename for function in functions}
    for function in functions:
        if function.__globals__ is not names:
            files |= _files_of(function.__globals__)
    return files


def _stamp(files: set[str]) -> int:
    """Another when one of these files is another: numba looks at a kernel's own, but not at those of what it calls."""
    stats = [(file, Path(file).stat()) for file in sorted(files)]
    return crc32(repr([(file, stat.st_mtime_ns, stat.st_size) for file, stat in stats]).encode())


def in_parts(count: int, work: Callable[[int, int], None]) -> int:
    """``work(first, end)`` for parts of ``range(count)``, on as many threads as torch has; how many they were."""
    parts = min(count, torch.get_num_threads())
    if parts < 2:
        work(0, count)
        return 1
    edges = [count * part // parts for part in range(parts + 1)]
    others = [_threads(os.getpid(), parts).submit(work, *edge) for edge in pairwise(edges[1:])]
    try:
        work(*edges[:2])
    finally:
        wait(others)
    for other in others:
        other.result()  # so that its error is raised here
    return parts


@lru_cache(maxsize=1)
def _threads(process: int, number: int) -> ThreadPoolExecutor:
    """Of this process: threads do not live on in a fork."""
    return ThreadPoolExecutor(number, thread_name_prefix="vidrepro-kernel")
