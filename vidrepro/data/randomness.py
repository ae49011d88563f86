"""Chance and order by key: draws for a clip come from (seed, epoch, clip id), an epoch's order from (seed, epoch)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from torch.utils.data import Sampler


def clip_rng(seed: int, epoch: int, clip_id: str) -> Generator:
    """The generator of every draw for one clip in one epoch: the same on every machine and in every worker."""
    return _keyed_rng(f"clip/{seed}/{epoch}/{clip_id}")


def epoch_order(seed: int, epoch: int, num_clips: int) -> NDArray[np.int64]:
    """The shuffled order of `num_clips` clips in one epoch."""
    return _keyed_rng(f"order/{seed}/{epoch}").permutation(num_clips)


class BatchKey(NamedTuple):
    """What the main process tells a worker: which clips, as seen in which epoch."""

    epoch: int
    indices: list[int]


class EpochBatches(Sampler[BatchKey]):
    """The batches of one epoch, from `start_batch` on."""

    def __init__(self, num_clips: int, batch_size: int, *, shuffle: bool, drop_last: bool, seed: int) -> None:
        self.num_clips = num_clips
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.start_batch = 0
        self.count = num_clips // batch_size if drop_last else -(-num_clips // batch_size)

    def __len__(self) -> int:
        return self.count - self.start_batch

    def __iter__(self) -> Iterator[BatchKey]:
        order = epoch_order(self.seed, self.epoch, self.num_clips) if self.shuffle else np.arange(self.num_clips)
        epoch, size = self.epoch, self.batch_size
        for batch in range(self.start_batch, self.count):
            yield BatchKey(epoch, order[batch * size : (batch + 1) * size].tolist())


def _keyed_rng(key: str) -> Generator:
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return Generator(PCG64(int.from_bytes(digest, "little")))
