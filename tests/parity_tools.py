"""Reads the golden files under `tests/parity`: fills weights and inputs by the rules written in them."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parent / "parity"
CLIP_FRAMES = 8  # of every module file, whose inputs are 2 clips of 8 frames


@dataclass(frozen=True)
class ParityFile:
    """One golden file."""

    content: dict[str, Any]

    @property
    def state_dict(self) -> dict[str, torch.Tensor]:
        """The released state dict, filled by the file's rule (checked by the file's own checksum, where it has one)."""
        return dict(self._filled)

    @cached_property
    def _filled(self) -> dict[str, torch.Tensor]:
        state = {name: fill(name, shape) for name, shape in self.content["keys"]}
        for suffix, factor in self.content.get("weight_scale", {}).get("suffix_factor", []):
            state |= {name: state[name] * np.float32(factor) for name in state if name.endswith(suffix)}
        if "weights_sha256" in self.content:
            digest = hashlib.sha256()
            for name in sorted(state):
                digest.update(name.encode() + state[name].numpy().tobytes())
            assert digest.hexdigest() == self.content["weights_sha256"]["value"], "the weights are filled wrongly"
        return state

    def input(self, which: str) -> torch.Tensor:
        """The input ``iid`` (independent frames) or ``corr`` (frames that resemble each other), in double precision."""
        described = self.content["input" if which == "iid" else "input_corr"]
        shape = tuple(described["shape"])
        noise = np.random.Generator(np.random.PCG64(1234)).normal(0, 1, size=shape)
        if which == "corr":
            clips = shape if len(shape) == 5 else (shape[0] // CLIP_FRAMES, CLIP_FRAMES, *shape[1:])
            base = np.random.Generator(np.random.PCG64(4321)).normal(0, 1, size=(clips[0], 1, *clips[2:]))
            noise = (base + 0.1 * noise.reshape(clips)).reshape(shape)
        values = np.ascontiguousarray(noise, dtype=np.float32)
        assert hashlib.sha256(values.tobytes()).hexdigest() == described["sha256_float32"], "the input is made wrongly"
        return torch.from_numpy(values).double()

    def expected(self, which: str, alternative: str | None = None) -> Any:
        """The double-precision result: logits of a network file, a summary of a module file."""
        source = self.content["alternatives"][alternative] if alternative else self.content
        name = "expected_logits" if "logit_absmax" in self.content else "expected"
        return source[f"{name}_corr_f64" if which == "corr" else f"{name}_f64"]

    @property
    def atol(self) -> float:
        """Allowed difference; a module file without one prints about eight digits of numbers below 10."""
        return self.content.get("suggested_atol_f64", 1e-6)


@lru_cache(maxsize=8)
def read_parity(name: str) -> ParityFile:
    """The file ``tests/parity/<name>.json``; whoever asks again is given the same tensors, which nobody changes."""
    return ParityFile(json.loads((FOLDER / f"{name}.json").read_text()))


def fill(name: str, shape: list[int]) -> torch.Tensor:
    """One tensor by the files' ``weight_rule``: seeded by its name, distributed by its kind."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, size=shape)
    elif name.endswith("running_mean"):
        values = rng.normal(0, 0.1, size=shape)
    elif len(shape) >= 2:
        values = rng.normal(0, math.sqrt(2 / math.prod(shape[1:])), size=shape)
    elif len(shape) == 1 and name.endswith("weight"):
        values = rng.uniform(0.5, 1.5, size=shape)
    else:
        values = rng.normal(0, 0.1, size=shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def assert_summary_matches(output: torch.Tensor, summary: dict[str, Any], atol: float) -> None:
    """Compare a module's output with a file's shape, statistics and 64 of its values."""
    values = output.detach().numpy()
    assert list(values.shape) == summary["shape"]
    chosen = np.linspace(0, values.size - 1, 64).astype(int)
    assert chosen.tolist() == summary["flat_index"]
    np.testing.assert_allclose(values.ravel()[chosen], summary["values"], rtol=0, atol=atol)
    statistics = [values.mean(), values.std(), np.abs(values).max()]
    np.testing.assert_allclose(statistics, [summary[name] for name in ("mean", "std", "absmax")], rtol=0, atol=atol)
