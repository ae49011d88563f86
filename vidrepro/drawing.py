"""matplotlib as pictures in files need it: no window, and texts as they stand; whatever draws takes it from here."""

import matplotlib

matplotlib.use("Agg")

from matplotlib import colormaps, pyplot

matplotlib.rcParams["text.parse_math"] = False  # a class may be called "$a$"

__all__ = ["colormaps", "pyplot"]
