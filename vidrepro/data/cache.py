"""Decoded clips of a small dataset in one memory-mapped file, made once and shared by all runs and workers.

``<dataset folder>/cache/frames-<fingerprint>.u8`` holds every usable clip, uint8 RGB, one after the other;
``frames-<fingerprint>.json`` says where each begins and how large it is. The index is written last: without it the
pixels beside it count for nothing. The key is the manifest's fingerprint, so another manifest never sees old frames.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidrepro.data.cache_build import Progress, write_pixels
from vidrepro.data.manifest import Manifest
from vidrepro.data.manifest_rows import Clip, iterate_clips
from vidrepro.data.positions import checked_positions
from vidrepro.errors import ConfigError, DataError, ResultsError
from vidrepro.files import atomic_path, atomic_write_json, not_writable
from vidrepro.locks import ProcessLock

MODES = ("auto", "always", "never")
DEFAULT_LIMIT = 2 << 30  # bytes of pixels that "auto" still keeps
_SCHEMA = 2  # 1 held the frames of turned clips as they are stored


class FrameCache:
    """Read access to the decoded clips of one manifest; cheap to pickle, opened in each process at the first read.

    Args:
        pixels: the file of pixels.
        ids: the clips in it.
        offsets: first byte of each clip.
        shapes: frames, height and width of each clip, shape (clips, 3).
    """

    def __init__(self, pixels: Path, ids: Sequence[str], offsets: NDArray[np.int64], shapes: NDArray[np.int64]) -> None:
        self.pixels = pixels
        self._positions = {clip: position for position, clip in enumerate(ids)}
        self._offsets = offsets
        self._shapes = shapes
        self._map: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self._positions)

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._positions

    def frames(self, clip: str | Any, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """The wanted frames of a clip, as `frames.read_clip` would decode them.

        Args:
            clip: its id, or its row.
            indices: positions inside the clip, 0-based, in any order, repeated or not.

        Returns:
            uint8 RGB of shape (len(indices), H, W, 3); memory of its own.

        Raises:
            DataError: if the clip is not in the cache.
            DecodeError: if a position lies outside the clip.
        """
        clip_id = clip if isinstance(clip, str) else str(clip.id)
        position = self._positions.get(clip_id)
        if position is None:
            raise DataError(f"clip '{clip_id}' is not in the frame cache", where=self.pixels)
        frames, height, width = (int(number) for number in self._shapes[position])
        wanted = checked_positions(indices, frames, f"clip '{clip_id}' in {self.pixels}")
        start = int(self._offsets[position])
        stored = self._pixels()[start : start + frames * height * width * 3]
        return stored.reshape(frames, height, width, 3)[wanted]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}

    def _pixels(self) -> NDArray[np.uint8]:
        if self._map is None:
            self._map = np.asarray(np.memmap(self.pixels, dtype=np.uint8, mode="r"))
        return self._map


def open_cache(
    manifest: Manifest,
    mode: str = "auto",
    limit_bytes: int = DEFAULT_LIMIT,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> FrameCache | None:
    """The manifest's cache, made now if there is none.

    Several processes may call this at once: one makes it, the others wait for it.

    Args:
        manifest: the dataset.
        mode: ``auto`` makes a cache of at most `limit_bytes` (and uses a larger one that is there already), and where
            it cannot be written says so and goes on without; ``always`` makes one of any size, ``never`` uses none.
        limit_bytes: see `mode`.
        workers: processes that decode.
        progress: called with (clips decoded, clips in all) while the cache is made.
        say: called with a sentence for the user; None gives it as a Python warning.

    Returns:
        The cache, or None where clips are to be decoded each time.

    Raises:
        ConfigError: for an unknown mode.
        DecodeError: if a clip does not decode; nothing is kept then.
        ManifestError: if a clip decodes to another size than recorded.
        ResultsError: in mode ``always``, if the folder cannot be written or the disk is full.
    """
    if mode not in MODES:
        raise ConfigError("unknown mode of the frame cache", given=mode, allowed=MODES)
    if mode == "never":
        return None
    found = _find(manifest)
    if found is not None:
        return found
    clips = _usable_clips(manifest)
    if not clips or (mode == "auto" and cache_bytes(manifest) > limit_bytes):
        return None
    try:
        return _make_once(manifest, clips, workers, progress, say)
    except ResultsError as error:
        if mode == "always":
            raise ResultsError(
                error.problem,
                given=error.given,
                allowed=error.allowed,
                hint="use --cache never to decode the clips each time they are read",
            ) from error
        told = f"no frame cache, so clips are decoded each time they are read, which is slower: {error.problem}"
        if say is not None:
            say(told)
        else:
            warnings.warn(told, stacklevel=2)
        return None


def cache_bytes(manifest: Manifest) -> int:
    """Bytes of pixels that the cache of this manifest holds or would hold."""
    rows = manifest.table[manifest.table["status"] == "ok"]
    return int((rows["frames"] * rows["height"] * rows["width"] * 3).sum())


def _make_once(
    manifest: Manifest,
    clips: list[Clip],
    workers: int,
    progress: Progress | None,
    say: Callable[[str], None] | None,
) -> FrameCache:
    """Make the cache, or wait for the process that is making it."""
    folder = _folder(manifest)

    def waits(who: str) -> None:
        if say is not None:
            say(f"waits for the frame cache of '{manifest.name}', made by {who}")

    try:
        folder.mkdir(parents=True, exist_ok=True)
        busy = f"another process makes the frame cache of '{manifest.name}'"
        with ProcessLock(folder / ".lock").held(busy, seconds=math.inf, tell=waits):
            found = _find(manifest)  # another process may have made it while this one waited
            if found is None:
                _remove_unfinished(folder)
                _make(manifest, clips, workers, progress)
                _remove_others(folder, manifest.fingerprint)
                found = _find(manifest)
    except OSError as error:
        raise not_writable(folder, error) from error
    if found is None:
        raise DataError("the frame cache vanished while it was made", where=folder, hint="call again")
    return found


def _make(manifest: Manifest, clips: list[Clip], workers: int, progress: Progress | None) -> None:
    """Decode all clips into a new file, and then write the index that makes it count."""
    shapes = [[clip.frames, clip.height, clip.width] for clip in clips]
    sizes = np.prod(np.asarray(shapes, dtype=np.int64), axis=1) * 3
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    pixels, index = _paths(manifest)
    index.unlink(missing_ok=True)
    with atomic_path(pixels) as temporary:
        write_pixels(temporary, int(sizes.sum()), manifest.root, clips, offsets.tolist(), workers, progress)
    content = {
        "schema": _SCHEMA,
        "fingerprint": manifest.fingerprint,
        "bytes": int(sizes.sum()),
        "ids": [clip.id for clip in clips],
        "offsets": offsets.tolist(),
        "shapes": shapes,
    }
    atomic_write_json(index, content)


def _find(manifest: Manifest) -> FrameCache | None:
    """The finished cache of exactly this manifest; None if there is none, or only something half-made or damaged."""
    pixels, index = _paths(manifest)
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        whole = (
            content["schema"] == _SCHEMA
            and content["fingerprint"] == manifest.fingerprint
            and pixels.stat().st_size == content["bytes"]
        )
        if not whole:
            return None
        offsets = np.asarray(content["offsets"], dtype=np.int64)
        return FrameCache(pixels, content["ids"], offsets, np.asarray(content["shapes"], dtype=np.int64))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _usable_clips(manifest: Manifest) -> list[Clip]:
    return list(iterate_clips(manifest.table[manifest.table["status"] == "ok"]))


def _folder(manifest: Manifest) -> Path:
    return manifest.folder / "cache"


def _paths(manifest: Manifest) -> tuple[Path, Path]:
    """The file of pixels and its index."""
    stem = f"frames-{manifest.fingerprint}"
    return _folder(manifest) / f"{stem}.u8", _folder(manifest) / f"{stem}.json"


def _remove_unfinished(folder: Path) -> None:
    """Delete what killed builders left; the lock is held, so nobody is at work on it."""
    for path in folder.glob(".frames-*"):
        path.unlink(missing_ok=True)


def _remove_others(folder: Path, fingerprint: str) -> None:
    """Delete the caches of manifests that are no more; a process that still reads one keeps its mapping."""
    for path in folder.glob("frames-*"):
        if path.suffix in (".u8", ".json") and path.stem != f"frames-{fingerprint}":
            path.unlink(missing_ok=True)
