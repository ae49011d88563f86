"""Accuracies of one run on one split, with scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, recall_score, top_k_accuracy_score


def accuracies(
    labels: NDArray[np.int64], logits: NDArray[np.float32], reversal_pairs: Sequence[Sequence[int]] = ()
) -> dict[str, Any]:
    """Accuracies in percent, with the counts that intervals need.

    Args:
        labels: true classes, shape (N,).
        logits: scores after the consensus over views, shape (N, K).
        reversal_pairs: class pairs that are each other's time reversal; empty where a dataset has none.

    Returns:
        ``clips``, ``top1``, ``top1_correct``, ``top5`` (top-K for fewer than five classes), ``mean_class`` (over the
        classes that occur), and, where there are pairs, ``pair`` and ``pair_correct``: the share of clips whose
        prediction is the right class or its time reversal. An order-blind network can reach 100 % there, and 50 % of
        that in top-1.
    """
    classes = np.arange(logits.shape[1])
    predicted = logits.argmax(axis=1)
    correct = int(accuracy_score(labels, predicted, normalize=False))
    result: dict[str, Any] = {
        "clips": len(labels),
        "top1": 100.0 * correct / len(labels),
        "top1_correct": correct,
        "top5": 100.0 * _top_k(labels, logits, classes, 5),
        "mean_class": 100.0 * float(recall_score(labels, predicted, labels=np.unique(labels), average="macro")),
        "pair": None,
        "pair_correct": None,
    }
    if len(reversal_pairs):
        representative = pair_representatives(len(classes), reversal_pairs)
        pair_correct = int(accuracy_score(representative[labels], representative[predicted], normalize=False))
        result |= {"pair": 100.0 * pair_correct / len(labels), "pair_correct": pair_correct}
    return result


def cross_entropy(labels: NDArray[np.int64], scores: NDArray[np.float32], averaged: str = "logits") -> float:
    """The mean cross-entropy of one run on one split: the loss of the network's prediction, as `Scores` holds it.

    Args:
        labels: true classes, shape (N,).
        scores: shape (N, K).
        averaged: ``logits``, or ``softmax`` where the scores are mean probabilities (`DataConfig.eval_average`).
    """
    exact = scores.astype(np.float64)
    least = np.finfo(np.float32).tiny  # a probability of 0 is less than float32 can say
    logs = np.log(np.maximum(exact, least)) if averaged == "softmax" else log_softmax(exact, axis=1)
    return float(-logs[np.arange(len(labels)), labels].mean())


def pair_representatives(classes: int, reversal_pairs: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """The class that stands for each of K classes where a class and its time reversal count as one, (K,)."""
    representative = np.arange(classes)
    for first, second in reversal_pairs:
        representative[second] = first
    return representative


def _top_k(labels: NDArray[np.int64], logits: NDArray[np.float32], classes: NDArray[np.int64], k: int) -> float:
    if len(classes) <= k:
        return 1.0
    return float(top_k_accuracy_score(labels, logits, k=k, labels=classes))
