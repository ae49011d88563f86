"""glibc hands large freed blocks back to the kernel at once; training asks for the same ones again at the next step."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD = -1  # of <malloc.h>
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let this process keep memory it has freed, for its next step; False where the C library is not glibc.

    On a CPU the page faults of a step's activations cost about as much as computing them for small networks.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
