"""What can be set about sparse spatial attention, with the reading of the paper that is the default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vidrepro.models.declared_options import (
    Option,
    choice,
    is_number,
    is_positive_integer,
    positive_integer,
    positive_number,
    switch,
)
from vidrepro.models.networks.response_maps import PEAK_FILTERS

BRANCHES = ("O", "D", "C")  # original, discriminative, complementary; in the order S3N joins their features
ROWS = ("O", "O+D", "O+C", "C+D", "O+C+D", "D", "C")  # the first five are table 4's


def _number(default: float, accepts: Callable[[float], bool], allowed: str, meaning: str) -> Option:
    def is_one(value: Any) -> bool:
        return is_number(value) and accepts(value)

    return Option(default, is_one, allowed, meaning)


def _count_from_zero(meaning: str) -> Option:
    return Option(0, lambda value: value == 0 or is_positive_integer(value), "an integer, at least 0", meaning)


NETWORK_OPTIONS: dict[str, Option] = {
    "branches": choice("O+C+D", ROWS, "whose losses and features count: original, discriminative, complementary"),
    "share_fc": switch(False, "one linear layer for all branches' own predictions (S3N: one each)"),
    "buffers": switch(False, "S3N's 3x3 convolution of stride 2 in front of the D and C classifiers; not in the paper"),
    "joint_pass": switch(False, "both new videos as one batch: batch norm sees them together, not one after the other"),
    "prediction": choice(
        "total", ("total", "mean-softmax"), "F_total; or the mean of all predictions' softmaxes, as its logarithm"
    ),
    "beta_lr_scale": positive_number(1e-4, "times the learning rate: that of beta1 and beta2, no decay (S3N's factor)"),
    "warmup_all_peaks_epochs": _count_from_zero("first epochs in which every peak is in both sets (S3N: 21 of 60)"),
}
ATTENTION_OPTIONS: dict[str, Option] = {
    "delta": _number(
        0.2, lambda value: value >= 0, "a number, at least 0", "entropy from which on top-5 is used (S3N)"
    ),
    "top": positive_integer(5, "classes whose maps are added up where the network is unsure"),
    "probabilities": choice(
        "features", ("features", "resized-maps"), "softmax of the pooled features (text), or of the resized maps (S3N)"
    ),
    "peak_map": choice("grid", ("grid", "features"), "look for peaks at 31x31 (S3N), or at the features' own size"),
    "peak_filter": choice("mean", PEAK_FILTERS, "peaks below it are dropped; S3N: mean, PRM: median"),
    "eval_split": choice(
        "maxmin",
        ("maxmin", "threshold", "random"),
        "at test time: largest and smallest peak (S3N), phi = 0.5, or draws of a fixed seed",
    ),
    "eval_seed": _count_from_zero("of eval_split=random"),
    "beta1": _number(0.09, lambda value: 1e-3 <= value <= 1, "0.001 to 1", "start of the discriminative width (S3N)"),
    "beta2": _number(0.3, lambda value: 1e-3 <= value <= 1, "0.001 to 1", "start of the complementary width (S3N)"),
    "base": positive_number(0.09, "constant floor of the saliency (S3N; not in the paper)"),
    "grid": Option(
        31, lambda value: is_positive_integer(value) and value > 1, "an integer above 1", "side of the maps"
    ),
}
OPTIONS = {**NETWORK_OPTIONS, **ATTENTION_OPTIONS}

# No code was released: official is S3N's, whose betas next to never move. The text calls them learnable and trains all
# with one rate; its own beta is sqrt(2)*31 times ours, so that the same rate is 1/(2*31²) = 5e-4 of it here.
_VARIANTS: dict[str, dict[str, Any]] = {"official": {}, "paper": {"beta_lr_scale": 1e-3}}


def variant_options(variant: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options a variant stands for."""
    return _VARIANTS[variant]
