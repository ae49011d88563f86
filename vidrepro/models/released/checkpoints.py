"""Checkpoints of other projects' released code, renamed to ours with a report of every key.

Nothing is guessed: the released name of each tensor follows from the network's own insertions
(`vidrepro.models.released.naming`), so a file of another architecture cannot fit by accident.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from vidrepro.errors import ModelError, unknown_name
from vidrepro.models.classifier import VideoClassifier
from vidrepro.models.load_report import LoadReport
from vidrepro.models.load_tensors import load, strip_wrappers
from vidrepro.models.mechanisms.aia import AttentionInAttention
from vidrepro.models.mechanisms.released import released_key
from vidrepro.models.networks.stabn_released import dead_keys
from vidrepro.models.released.naming import file_names

# TSM's released code (mit-han-lab/temporal-shift-module) uses the same names as M2A's, which is built on it.
SOURCES = {
    "m2a": "gebob19/M2A",
    "aia": "haoyanbin918/Attention-in-Attention",
    "stabn": "machine-perception-robotics-group/ST-ABN_PyTorch",
    "pytorchvideo": "facebookresearch/pytorchvideo",
}
_WHOLE_NETWORKS = ("stabn", "pytorchvideo")  # sources without a module of their own


def load_official_state(
    model: nn.Module, state_dict: Mapping[str, Tensor], source: str = "m2a", strict: bool = True, where: object = None
) -> LoadReport:
    """Load a released network's state dict into ours, in place.

    Args:
        model: a network of `build_model`, or one mechanism of `build_mechanism` (whose released keys are
            ``conv_down.weight`` and so on).
        state_dict: the released tensors by name; a data-parallel ``module.`` in front is taken off. Values are cast
            to the network's precision.
        source: whose code wrote it, one of `SOURCES`. CinST and STinC have the same keys: what is built decides.
        strict: refuse anything but a complete fit. Otherwise load what fits and report the rest.
        where: the file it came from, for refusals.

    Raises:
        UnknownNameError: for a source nobody knows.
        ModelError: if the released code has no such network, e.g. with ``variant="paper"``'s position.
        CheckpointError: if the fit is not complete and `strict` is set, or nothing fits, or its values are not finite.
            The network is unchanged.
    """
    if source not in SOURCES:
        raise unknown_name("checkpoint source", str(source), SOURCES)
    tensors, unused = split_unused(strip_wrappers(state_dict), source)
    report = load(
        model,
        tensors,
        released_names(model, source),
        accept=lambda report: report.complete or (not strict and bool(report.loaded)),
        refusal=f"this is not a {SOURCES[source]} state dict of this network",
        where=where,
    )
    report.unused.extend(unused)
    return report


def split_unused(tensors: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], list[str]]:
    """A released state dict without what its own code makes and never uses, and the names of that."""
    unused = dead_keys(tensors) if source == "stabn" else []
    return {name: tensor for name, tensor in tensors.items() if name not in unused}, unused


def released_names(model: nn.Module, source: str) -> dict[str, str]:
    """What the released code calls every tensor of a network, or of one mechanism: ours -> theirs.

    Raises:
        ModelError: if the released code has no such network.
    """
    if isinstance(model, VideoClassifier):
        return file_names(model, source)
    if source in _WHOLE_NETWORKS or isinstance(model, AttentionInAttention) != (source == "aia"):
        raise ModelError(
            f"the released code {SOURCES[source]} has no such module",
            given=type(model).__name__,
            allowed="AIA's modules with source 'aia', all others with 'm2a'; no module of any other source",
        )
    return {key: released_key(model, key) for key in model.state_dict()}
