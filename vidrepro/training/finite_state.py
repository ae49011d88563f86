"""Whether a network in training, and its optimiser's momentum, are still finite."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vidrepro.errors import ModelError, TrainingError, VidreproError
from vidrepro.finite import not_finite, require_finite

DIVERGED = "training diverges: lower train.learning_rate, or set train.gradient_clip, with --set; what was saved stays"


class FiniteState:
    """Refuses NaN and infinite values in what a run is about to save, or has loaded.

    Buffers that are infinite from the start, such as masks of -inf, are meant to be.

    Args:
        model: as it starts.
        folder: of the run, for refusals.

    Raises:
        ModelError: if a parameter is not finite already, or a buffer is NaN.
    """

    def __init__(self, model: nn.Module, folder: Path) -> None:
        self._model, self._folder = model, folder
        buffers = dict(model.named_buffers())
        self._meant = {name for name in not_finite(buffers) if not buffers[name].isnan().any()}
        start = {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if name not in self._meant}
        require_finite("the network's own start values", start, error=ModelError, where=folder)

    def require(
        self,
        what: str,
        optimizer: torch.optim.Optimizer,
        *,
        error: type[VidreproError] = TrainingError,
        hint: str = DIVERGED,
        where: Path | None = None,
    ) -> None:
        """Refuse values that are not finite by their tensor: a weight, a running statistic, a momentum.

        Args:
            what: all of them, as the refusal begins.
            optimizer: of the network.
            error, hint, where: of the refusal; the run's folder unless `where` is given.
        """
        parts: dict[str, Tensor] = {
            name: tensor for name, tensor in self._model.state_dict().items() if name not in self._meant
        }
        for name, parameter in self._model.named_parameters():
            momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
            if momentum is not None:
                parts[f"momentum of {name}"] = momentum
        require_finite(what, parts, error=error, hint=hint, where=where or self._folder)
