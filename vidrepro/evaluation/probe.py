"""Faithfulness probe: a trained network's attention replaced at test time, nothing else changed.

If what an attention map says matters to the network, the network must suffer when the map is

- ``invert``: M becomes 1 - M (ST-ABN, eq. 5). A distribution (a softmax over keys) becomes 1 - M divided by its own sum
  along that axis, so that it stays one: among K positions (1 - M) / (K - 1), and a single position stays 1. Of gates
  the inverse of the inverse is the gate; of distributions only for K = 2, and the more positions there are, the nearer
  it comes to an even one;
- ``mean``: every value becomes the mean of the map in that clip, over time, space, channels, queries and keys. How
  much the clip is attended to stays; where, when and in which channel goes. A distribution becomes even;
- ``shuffle``: each frame gets the values of another frame of the same clip. Where a map has no axis of time but one of
  keys, the keys are dealt anew: each query keeps its weights and gives them to other frames, its own not spared. Each
  tap deals by a permutation of its own: by one for all, a gate computed from frames that attention has just dealt anew
  would be dealt back to where it belongs.

Each view of a clip counts as a clip of its own here. A permutation hangs on the seed, the tap's name, the clip's number
in the evaluation and the number of frames, not on the batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from vidrepro.errors import ModelError, unknown_name
from vidrepro.finite import require_finite
from vidrepro.models.taps import AttentionTap, taps_of

HOWS = ("invert", "mean", "shuffle")
ALL = "all"
BOTH = "both"
TOLERANCE = 1e-3  # of a gate's values beyond 0 and 1, which rounding (bfloat16) can bring about


@dataclass(frozen=True)
class Selection:
    """Taps chosen from a network's.

    Attributes:
        name: ``all`` where it is all of them, else the words they were chosen by, sorted, joined with ``+``.
        taps: by dotted name, in the order of the modules.
    """

    name: str
    taps: dict[str, AttentionTap]


def choose_taps(model: nn.Module, what: str = ALL) -> Selection:
    """The taps that some words mean.

    Args:
        model: any network or part of one.
        what: words with commas between: names of attentions (``gate``, ``spatial``), dotted names of taps or patterns
            of them (``*layer3*``), or ``all``; ``both`` where a network has two kinds of attention.

    Raises:
        ModelError: if the network has no taps.
        UnknownNameError: for a word that means none of them, with the words there are.
    """
    taps = taps_of(model)
    if not taps:
        raise ModelError(
            "the network computes no attention that could be probed: no mechanism in it passes a gate or map through "
            "an attention tap",
            allowed="a network with a mechanism that gates or attends, such as m2a, an AIA composition or st-abn",
        )
    kinds = list(dict.fromkeys(tap.what for tap in taps.values()))
    words = sorted({word.strip() for word in what.split(",") if word.strip()}) or [ALL]
    chosen: set[str] = set()
    for word in words:
        if word == ALL or (word == BOTH and len(kinds) == 2):
            found = set(taps)
        else:
            found = {name for name, tap in taps.items() if tap.what == word or fnmatchcase(name, word)}
        if not found:
            raise unknown_name(
                "attention", word, [*kinds, ALL], hint=f"or a pattern of the taps' names, such as '{next(iter(taps))}'"
            )
        chosen |= found
    name = ALL if chosen == set(taps) else "+".join(words)
    return Selection(name, {key: tap for key, tap in taps.items() if key in chosen})


@dataclass
class Probe:
    """What a probe does while it is in place, and what it has seen.

    Attributes:
        how: one of `HOWS`.
        seed: of the permutations.
        selection: the taps it changes.
        clips: clips seen before the current batch, which number the clips of the batch.
        calls: by tap, how often its map was replaced.
    """

    how: str
    seed: int
    selection: Selection
    clips: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    _batch: int | None = None
    _moved: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))

    @property
    def moved(self) -> dict[str, float]:
        """By tap, by how much its values changed: the mean of |M' - M| over all of them."""
        return {name: total / count if count else 0.0 for name, (total, count) in self._moved.items()}

    def start_batch(self, clips: int) -> None:
        """Number the clips that come now; called before each forward pass."""
        self.clips += self._batch or 0
        self._batch = clips

    def replace(self, name: str, tap: AttentionTap, attention: Tensor) -> Tensor:
        """The values that take the place of a map.

        Raises:
            ModelError: if it is not of the shape that the tap says, or not invertible.
            NotFiniteError: if it holds NaN or infinite values.
        """
        if attention.dim() != len(tap.axes):
            raise ModelError(
                f"tap '{name}' does not give what it says", given=tuple(attention.shape), allowed=", ".join(tap.axes)
            )
        clips = f"clips {self.clips + 1} to {self.clips + (self._batch or 1)} of the evaluation"
        require_finite(f"attention values of {clips}", {name: attention})
        if self.how == "invert":
            changed = inverted(attention, tap, name)
        elif self.how == "mean":
            changed = mean_of_clip(attention, tap)
        else:
            changed = shuffled(attention, tap, partial(self._permutations, crc32(name.encode())))
        if changed.stride() != attention.stride():  # what follows may rely on how the map lies in memory
            changed = torch.empty_like(attention).copy_(changed)
        self.calls[name] += 1
        total = self._moved[name]
        total[0] += float((changed.detach().float() - attention.detach().float()).abs().sum())
        total[1] += attention.numel()
        return changed

    def _permutations(self, tap: int, items: int, length: int) -> Tensor:
        """(items, length): of the clips in the batch, each as often as a map has items of it, clip by clip."""
        clips = self._batch if self._batch and items % self._batch == 0 else items
        numbers = range(self.clips, self.clips + clips)
        orders = [np.random.default_rng([self.seed, tap, clip, length]).permutation(length) for clip in numbers]
        return torch.from_numpy(np.repeat(np.stack(orders), items // clips, axis=0))


@contextmanager
def probing(model: nn.Module, what: str = ALL, how: str = "invert", seed: int = 0) -> Iterator[Probe]:
    """Replace chosen attention of a network while the block runs; afterwards, also after an error, all is as before.

    Args:
        model: takes clips, the first axis of its input being N; the clips of later calls are numbered on.
        what: see `choose_taps`.
        how: one of `HOWS`.
        seed: of the permutations of ``shuffle``.

    Raises:
        UnknownNameError: for another `how` or `what`.
        ModelError: if the network has no taps, or ``shuffle`` finds no axis of time in any of those chosen.
    """
    if how not in HOWS:
        raise unknown_name("probe", how, HOWS)
    selection = choose_taps(model, what)
    if how == "shuffle":
        selection = _with_time(selection)
    probe = Probe(how, seed, selection, calls=dict.fromkeys(selection.taps, 0))
    handles = [model.register_forward_pre_hook(_numbering(probe), with_kwargs=True)]
    try:
        handles += [tap.register_forward_hook(_replacing(probe, name)) for name, tap in selection.taps.items()]
        yield probe
    finally:
        for handle in handles:
            handle.remove()


def inverted(attention: Tensor, tap: AttentionTap, name: str = "") -> Tensor:
    """1 - M; of a distribution divided by its sum along its axis.

    Raises:
        ModelError: if the values of a gate do not lie between 0 and 1, where 1 - M would mean nothing.
    """
    low, high = (float(one) for one in attention.detach().aminmax())
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise ModelError(
            f"the attention at '{name or tap.what}' cannot be inverted: it does not lie between 0 and 1",
            given=f"{low:.4g} to {high:.4g}",
            hint="probe it with mean or shuffle",
        )
    if tap.distribution is None:
        return 1 - attention
    axis = tap.axes.index(tap.distribution)
    if attention.shape[axis] == 1:
        return attention
    rest = 1 - attention
    return rest / rest.sum(axis, keepdim=True)


def mean_of_clip(attention: Tensor, tap: AttentionTap) -> Tensor:
    """Each clip's mean in place of every value; of a map without an axis of clips the mean of all."""
    if tap.frames is None:
        axes = [number for number, axis in enumerate(tap.axes) if axis != "N"]
        return attention.mean(axes, keepdim=True).expand_as(attention) if axes else attention
    clips = _with_frames(attention, tap)
    place = tap.axes.index("N*T")
    axes = [number for number in range(clips.dim()) if number != place]
    return clips.mean(axes, keepdim=True).expand_as(clips).flatten(place, place + 1)


def time_axis(axes: tuple[str, ...]) -> str | None:
    """The axis that ``shuffle`` permutes: ``T``, ``N*T``, else ``key``; None if there is none of them."""
    return next((axis for axis in ("T", "N*T", "key") if axis in axes), None)


def shuffled(attention: Tensor, tap: AttentionTap, permutations: Callable[[int, int], Tensor]) -> Tensor:
    """A map with its frames (or keys) dealt anew within each clip: place t gets what stood at place ``order[t]``.

    Args:
        permutations: (items along the axis of clips, places) to the orders, (items, places).
    """
    axis = time_axis(tap.axes)
    assert axis is not None, tap
    clips = _with_frames(attention, tap)
    if tap.frames is not None:
        clip_place = tap.axes.index("N*T")
        time_place = clip_place + 1
    else:
        time_place = tap.axes.index(axis)
        if "N" not in tap.axes:  # the same map for all clips
            order = permutations(1, clips.shape[time_place])[0]
            return clips.index_select(time_place, order.to(clips.device))
        clip_place = tap.axes.index("N")
    order = permutations(clips.shape[clip_place], clips.shape[time_place]).to(clips.device)
    shape = [size if number in (clip_place, time_place) else 1 for number, size in enumerate(clips.shape)]
    order = (order if clip_place < time_place else order.t()).reshape(shape)
    moved = clips.gather(time_place, order.expand_as(clips))
    return moved if tap.frames is None else moved.flatten(clip_place, time_place)


def _with_frames(attention: Tensor, tap: AttentionTap) -> Tensor:
    """``N*T`` taken apart into two axes; anything else as it is."""
    if tap.frames is None:
        return attention
    return attention.unflatten(tap.axes.index("N*T"), (-1, tap.frames))


def _with_time(selection: Selection) -> Selection:
    timed = {name: tap for name, tap in selection.taps.items() if time_axis(tap.axes) is not None}
    if not timed:
        axes = {tap.what: ", ".join(tap.axes) for tap in selection.taps.values()}
        raise ModelError(
            "none of the chosen attention maps has an axis of time that could be shuffled",
            given="; ".join(f"{what} ({names})" for what, names in axes.items()),
            hint="probe it with invert or mean",
        )
    return Selection(selection.name, timed)


def _numbering(probe: Probe) -> Callable[..., None]:
    def start(_module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        first = next((value for value in (*inputs, *named.values()) if isinstance(value, Tensor)), None)
        probe.start_batch(0 if first is None else len(first))

    return start


def _replacing(probe: Probe, name: str) -> Callable[..., Tensor]:
    def replace(module: nn.Module, _inputs: Any, attention: Tensor) -> Tensor:
        assert isinstance(module, AttentionTap)
        return probe.replace(name, module, attention)

    return replace
