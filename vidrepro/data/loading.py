"""Clips as batches of uint8 tensors: the dataset, the order of its clips, and the workers that read them.

Every random draw comes from (seed, epoch, clip id) and the order from (seed, epoch), so a run sees the same pixels
with any number of workers, started by fork or by spawn. The epoch travels to the workers with each batch's indices:
a worker that lives through several epochs holds a copy of the dataset which no `set_epoch` in the main process reaches.
Pixels stay uint8 until the device (`vidrepro.data.augment.normalise`).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from vidrepro.config import DataConfig
from vidrepro.data import augment
from vidrepro.data.cache import FrameCache
from vidrepro.data.decode_errors import of_clip
from vidrepro.data.frames import read_clip
from vidrepro.data.manifest import Manifest
from vidrepro.data.randomness import BatchKey, EpochBatches, clip_rng
from vidrepro.data.sampling import eval_positions, train_positions
from vidrepro.errors import ConfigError, DataError, VidreproError

Sample = dict[str, Any]  # "clip": uint8 tensor, "label": int, "index": int
Batch = dict[str, Tensor]  # "clip": uint8, "label": int64, "index": int64, the first axis being the clips

TIMEOUT_SECONDS = 300.0  # without a batch from any worker: a decoder hangs


class ClipDataset(Dataset[Sample]):
    """The usable clips of a split, sampled and transformed.

    In training an item's ``clip`` is uint8 (T, C, S, S) with S = `config.train_size`. In evaluation it is
    (V, T, C, S, S) with S = `config.eval_size` and V = crops * clips views, crop by crop and within a crop clip by
    clip; nothing is drawn. ``label`` is the 0-based label (its partner if the clip was mirrored under ``swap``),
    ``index`` the place in `ids`. A clip that does not decode raises `DecodeError`; no other is put in its place.

    Args:
        manifest: of the prepared dataset.
        split: train, val or test.
        config: how clips become tensors.
        seed: of the run; with the epoch and the clip's id it determines every draw.
        training: the training transforms instead of the evaluation views.
        cache: decoded frames to read from; without it videos are decoded.
        fold: another division into splits than `config.fold`, or where that is None the manifest's own.
        task: another label set than `config.task`, or where that is None the manifest's own.

    Raises:
        DataError: if the split has no usable clip.
        ConfigError: if the flip policy is ``swap`` and no label has a partner, or the settings contradict each other.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        config: DataConfig,
        *,
        seed: int,
        training: bool,
        cache: FrameCache | None = None,
        fold: str | None = None,
        task: str | None = None,
    ) -> None:
        fold, task = fold or config.fold, task or config.task
        table = manifest.clips(split, fold=fold, task=task)
        if not len(table):
            raise DataError(
                f"dataset '{manifest.name}' has no usable clip in split '{split}'",
                given=split,
                where=manifest.path,
            )
        self.manifest = manifest
        self.config = config
        self.seed = seed
        self.training = training
        self.epoch = 0
        self._cache = cache
        self._clips = _as_records(table)
        names = manifest.classes_of(task) or [str(label) for label in range(self._clips["label"].max() + 1)]
        self._flipped = augment.flip_labels(config.flip, names) if training else None
        side = min(config.train_resize) if config.train_resize else config.eval_short_side
        if training and config.crop == "centre" and config.train_size > side:
            raise ConfigError(
                "the centre crop of training is larger than the frames",
                given=f"train_size {config.train_size}",
                allowed=f"at most {'train_resize' if config.train_resize else 'eval_short_side'}, {side}",
            )

    def __len__(self) -> int:
        return len(self._clips)

    def __getstate__(self) -> dict[str, Any]:
        """What a spawned worker gets: where the clips lie, not the rows of all splits (some 100 MB of strings)."""
        return self.__dict__ | {"manifest": _Root(self.manifest.root)}

    @property
    def ids(self) -> list[str]:
        """The clips' ids by index."""
        return self._clips["id"].tolist()

    @property
    def labels(self) -> NDArray[np.int64]:
        """The clips' labels by index, unmirrored, shape (clips,)."""
        return self._clips["label"].copy()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose draws `dataset[index]` makes. A loader's epoch is its own: `ClipLoader.set_epoch`."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index, self.epoch)

    def sample(self, index: int, epoch: int) -> Sample:
        """One clip as it is seen in one epoch; see the class.

        Raises:
            DecodeError: if it does not decode to the frames the manifest promises.
            DataError: if it cannot be used for another reason. Either way the clip is named.
        """
        row = self._clips[index]
        label = int(row.label)
        try:
            if self.training:
                clip, label = self._training_clip(row, label, clip_rng(self.seed, epoch, str(row.id)))
            else:
                clip = self._evaluation_views(row)
        except Exception as error:
            raise of_clip(error, str(row.id), self.manifest.root / str(row.path)) from error
        return {"clip": clip, "label": label, "index": index}

    def _training_clip(self, row: Any, label: int, rng: Generator) -> tuple[Tensor, int]:
        """(T, C, S, S) and the label. Draws in this order: positions, crop size, crop place, flip, colours."""
        config = self.config
        positions = train_positions(config.train_sampling, int(row.frames), config.frames, rng, stride=config.stride)
        frames = self._frames(row, positions)
        if config.train_resize:
            frames = augment.resize(frames, *config.train_resize)
        clip = self._training_crop(frames, rng)
        if self._flipped is not None and augment.draw_flip(rng):
            clip, label = augment.flip(clip), int(self._flipped[label])
        if config.colour_jitter:
            clip = augment.jitter_colours(clip, config.colour_jitter, rng)
        return clip, label

    def _training_crop(self, frames: Tensor, rng: Generator) -> Tensor:
        config = self.config
        height, width = frames.shape[-2:]
        if config.crop == "centre":
            resized = frames if config.train_resize else augment.resize_short_side(frames, config.eval_short_side)
            return augment.centre_crop(resized, config.train_size)
        if config.crop == "multi-scale":
            box = augment.draw_multi_scale_crop(
                width, height, config.train_size, config.crop_scales, config.crop_max_distortion, rng
            )
        elif config.crop == "random":
            box = augment.draw_random_crop(width, height, config.train_size, rng)
        else:
            box = augment.draw_resized_crop(width, height, config.crop_area, config.crop_aspect, rng)
        return augment.crop_and_resize(frames, box, config.train_size)

    def _evaluation_views(self, row: Any) -> Tensor:
        """(V, T, C, S, S), crop-major, then clip (TSM's order, which its reshape of the logits relies on)."""
        config = self.config
        positions = eval_positions(
            config.eval_sampling, int(row.frames), config.frames, config.eval_clips, stride=config.stride
        )
        frames = self._frames(row, positions)
        if config.eval_resize:
            frames = augment.resize(frames, *config.eval_resize)
        else:
            frames = augment.resize_short_side(frames, config.eval_short_side)
        if config.eval_crops == 1:
            crops = [augment.centre_crop(frames, config.eval_size)]
        else:
            crops = augment.three_crops(frames, config.eval_size)
        views = [clip for crop in crops for clip in crop.split(config.frames)]
        return torch.stack(views)

    def _frames(self, row: Any, positions: NDArray[np.int64]) -> Tensor:
        """The wanted frames, (T, C, H, W) uint8."""
        if self._cache is not None:
            return augment.channels_first(self._cache.frames(str(row.id), positions))
        return augment.channels_first(read_clip(self.manifest, row, positions))


@dataclass(frozen=True)
class _Root:
    """What reading a clip needs of a manifest."""

    root: Path


class ClipLoader:
    """Batches of a dataset in one epoch's order; iterate it once per epoch, with `set_epoch` in between.

    Workers are kept between epochs. Made by `make_loader`.
    """

    def __init__(self, loader: DataLoader[Any], batches: EpochBatches, workers: int) -> None:
        self._loader = loader
        self._batches = batches
        self._workers = workers

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self._batches.count

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch of the next iteration, and how many of its batches to leave out without loading them.

        Raises:
            ConfigError: if the epoch has fewer batches.
        """
        if not 0 <= start_batch <= self._batches.count:
            raise ConfigError(
                "an epoch has no such batch to start at", given=start_batch, allowed=f"0 to {self._batches.count}"
            )
        self._batches.epoch = epoch
        self._batches.start_batch = start_batch

    def close(self) -> None:
        """End the workers now; another iteration starts new ones.

        An iteration that fails does this itself: its traceback can keep the loader alive until the garbage collector
        finds it, and by then torch's queues can no longer tell the workers to end (it waits 5 s for each).
        """
        iterator, self._loader._iterator = self._loader._iterator, None
        if iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[Batch]:
        try:
            for batch in self._loader:
                if isinstance(batch, VidreproError):
                    raise batch
                yield batch
        except (Exception, KeyboardInterrupt) as error:
            self.close()
            if isinstance(error, RuntimeError) and str(error).startswith("DataLoader timed out"):
                raise DataError(
                    f"no batch arrived within {self._loader.timeout:g} seconds",
                    given=f"{self._workers} workers",
                    hint="a video may hang its decoder: vidrepro prepare verify; or the disk is slow: fewer workers",
                ) from error
            raise


def make_loader(
    dataset: ClipDataset,
    batch_size: int,
    *,
    workers: int = 0,
    shuffle: bool = False,
    drop_last: bool = False,
    seed: int = 0,
    epoch: int = 0,
    pin_memory: bool = False,
    start_batch: int = 0,
    timeout: float = TIMEOUT_SECONDS,
    start_method: str | None = None,
) -> ClipLoader:
    """A loader whose batches do not depend on `workers` or `start_method`.

    Args:
        dataset: what to load.
        batch_size: clips in a batch.
        workers: processes, one thread each; 0 loads in this process.
        shuffle: order the clips by `epoch_order`, else by index.
        drop_last: leave out the last batch if it is not full.
        seed: of the order.
        epoch: of the first iteration.
        pin_memory: page-locked batches for a fast copy to the device; ignored on a machine without CUDA.
        start_batch: batches of the first iteration to leave out without loading them (to resume within an epoch).
        timeout: seconds to wait for a batch from the workers.
        start_method: of the workers: fork, spawn, forkserver; None for Python's default.

    Raises:
        ConfigError: if a number is out of range, or dropping the last batch leaves none.
    """
    if batch_size < 1 or workers < 0:
        raise ConfigError(
            "a loader needs a positive batch size and no negative number of workers",
            given=f"batch_size {batch_size}, workers {workers}",
        )
    if drop_last and len(dataset) < batch_size:
        raise ConfigError(
            "there are fewer clips than one batch takes, and incomplete batches are dropped",
            given=f"{len(dataset)} clips, batch_size {batch_size}",
            hint=f"--set train.batch_size={len(dataset)}",
        )
    batches = EpochBatches(len(dataset), batch_size, shuffle=shuffle, drop_last=drop_last, seed=seed)
    loader: DataLoader[Any] = DataLoader(
        _BatchReader(dataset),
        batch_size=None,  # the sampler names whole batches
        sampler=batches,
        collate_fn=_as_is,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory and torch.cuda.is_available(),
        timeout=timeout if workers else 0,
        worker_init_fn=_start_worker if workers else None,
        multiprocessing_context=start_method if workers else None,
        # Of its own: each iteration draws one number, and the global one would make a resumed run's dropout differ.
        generator=torch.Generator().manual_seed(seed),
    )
    clip_loader = ClipLoader(loader, batches, workers)
    clip_loader.set_epoch(epoch, start_batch)
    return clip_loader


class _BatchReader(Dataset[Any]):
    """Reads a whole batch. A refusal is returned, not raised: the loader would bury it in a worker's traceback."""

    def __init__(self, dataset: ClipDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: BatchKey) -> Batch | VidreproError:
        try:
            return _collate([self.dataset.sample(index, key.epoch) for index in key.indices])
        except VidreproError as error:
            return error


def _collate(samples: list[Sample]) -> Batch:
    # Frames lie in memory with the channels last: stacked that way, each clip is one plain copy (in a worker, straight
    # into shared memory, which default_collate provides).
    clips = default_collate([sample["clip"].movedim(-3, -1) for sample in samples])
    return {
        "clip": clips.movedim(-1, -3),
        "label": torch.tensor([sample["label"] for sample in samples]),
        "index": torch.tensor([sample["index"] for sample in samples]),
    }


def _as_is(batch: Any) -> Any:
    return batch


def _start_worker(worker: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the main process ends the workers; no traceback from each


def _as_records(table: pd.DataFrame) -> np.recarray:
    """A manifest's rows as one numpy array, `row.path` and all.

    Workers share its memory for good; Python strings would be copied into each of them, touch by touch, as their
    reference counts change (pytorch #13246). The digest is not needed for reading.
    """
    arrays = {name: _as_array(table[name]) for name in table.columns if name != "digest"}
    return np.rec.fromarrays(list(arrays.values()), dtype=[(name, array.dtype) for name, array in arrays.items()])


def _as_array(column: pd.Series) -> NDArray[Any]:
    if column.dtype.kind in "iufb":
        return column.to_numpy()
    missing = column.isna()
    if missing.all():
        return np.zeros(len(column), dtype="<U1")
    if missing.any():
        return np.array(["" if pd.isna(value) else str(value) for value in column.tolist()])
    return np.array(column.tolist(), dtype=str)
