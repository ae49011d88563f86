"""Where tensors live: the device asked for, and the C library's habits on a CPU."""

from __future__ import annotations

import ctypes
import platform

import torch

from vidrepro.errors import ConfigError

M_TRIM_THRESHOLD = -1  # of <malloc.h>
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let this process keep memory it has freed, for its next step; False where the C library is not glibc.

    glibc hands large freed blocks back to the kernel at once, and a training step asks for the same ones again: on a
    CPU the page faults of a step's activations cost about as much as computing them, for small networks.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def choose_device(name: str) -> torch.device:
    """``auto`` → the first GPU if there is one, else the CPU.

    Raises:
        ConfigError: if the name is not a device, or this machine lacks it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in {"cpu", "cuda"} or (device.type == "cuda" and not torch.cuda.is_available()):
            raise RuntimeError
    except RuntimeError as error:
        raise ConfigError(
            f"device '{name}' is not available here",
            given=name,
            allowed=["auto", "cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))],
            hint="vidrepro doctor lists the devices found",
        ) from error
    return device
