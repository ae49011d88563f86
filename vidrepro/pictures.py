"""Matplotlib's pictures, written into files: no window, and the same bytes whatever a user's ``matplotlibrc`` says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from vidrepro.files import atomic_file


@contextmanager
def picture(path: Path, **options: Any) -> Iterator[Figure]:
    """A figure to draw on, which becomes the PNG `path` when the block ends; the same drawing gives the same bytes.

    Args:
        path: the picture.
        options: of `Figure`, such as its ``figsize`` in inches.

    Raises:
        ResultsError: if the file cannot be written.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False  # a class may be called "$a$"
        figure = Figure(dpi=130, **options)  # pyplot's would be kept for a window, and choose what draws that
        yield figure
        with atomic_file(path) as file:
            figure.savefig(file, format="png", metadata={"Software": None})
