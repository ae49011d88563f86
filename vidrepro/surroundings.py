"""The environment that a process was started in: what would break a library is put right, and kept for ``doctor``."""

from __future__ import annotations

import os

WINDOW_BACKEND = "MPLBACKEND"
SIZES = ("COLUMNS", "LINES", "TERMINAL_WIDTH")  # of the terminal, as rich and typer read them

replaced: dict[str, str] = {}  # variables that were put right: name -> what they were


def settle() -> None:
    """Put right the variables that libraries fail on when they are imported."""
    backend = os.environ.get(WINDOW_BACKEND)
    if backend is not None and backend.lower() != "agg":  # a notebook's is not installed everywhere
        replaced[WINDOW_BACKEND] = backend
        os.environ[WINDOW_BACKEND] = "agg"
    for name in SIZES:
        size = os.environ.get(name)
        if size is not None and not (size.isascii() and size.isdigit() and int(size) > 0):
            replaced[name] = os.environ.pop(name)
