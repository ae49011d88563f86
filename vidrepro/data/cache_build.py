"""Decoding all clips of a manifest into one file, in this process or in several."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from vidrepro.data.frames import read_clip
from vidrepro.data.manifest_rows import Clip
from vidrepro.data.workers import end_with_parent
from vidrepro.errors import DataError

Progress = Callable[[int, int], None]

_CHUNK = 16  # clips handed to a worker at once: enough to forget the hand-over, few enough for a lively progress bar


class _Root(NamedTuple):
    """The part of a manifest that decoding needs; small to send to a worker."""

    root: Path


def write_pixels(
    target: Path,
    total: int,
    root: Path,
    clips: list[Clip],
    offsets: list[int],
    workers: int,
    progress: Progress | None,
) -> None:
    """Decode each clip and write its pixels at its offset.

    Args:
        target: an existing file, to be filled.
        total: bytes it will have.
        root: folder that the clips' paths are relative to.
        clips: what to decode.
        offsets: first byte of each clip.
        workers: processes that decode; 1 decodes in this one.
        progress: called with (clips done, clips in all).

    Raises:
        DecodeError: if a clip does not decode to its recorded frames.
        ManifestError: if its frames have another size than recorded.
        OSError: if the disk is full.
    """
    _reserve(target, total)
    chunks = [
        (clips[start : start + _CHUNK], offsets[start : start + _CHUNK]) for start in range(0, len(clips), _CHUNK)
    ]
    done = 0
    for count in _decode_all(target, root, chunks, min(workers, len(chunks))):
        done += count
        if progress is not None:
            progress(done, len(clips))


def _decode_all(target: Path, root: Path, chunks: list[tuple[list[Clip], list[int]]], workers: int) -> Iterator[int]:
    """Decode all chunks; yields the number of clips of each when it is written."""
    if workers <= 1:
        for part, offsets in chunks:
            yield _decode_chunk(target, root, part, offsets)
        return
    # spawn: a fork would copy whatever locks torch or the terminal's threads hold at that moment
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        pending: set[Future[int]] = {
            pool.submit(_decode_chunk, target, root, part, offsets) for part, offsets in chunks
        }
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process that decoded clips was killed", hint="free some memory, or decode with one worker"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decode_chunk(target: Path, root: Path, clips: list[Clip], offsets: list[int]) -> int:
    """Decode clips and write them into `target`; the number of them."""
    with target.open("r+b") as file:
        for clip, offset in zip(clips, offsets, strict=True):
            frames = read_clip(_Root(root), clip, range(clip.frames))
            file.seek(offset)
            file.write(frames.data)
    return len(clips)


def _reserve(target: Path, total: int) -> None:
    """Claim the disk space at once, so that a full disk is told before an hour of decoding."""
    with target.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, total)
        except AttributeError:  # no such call on this system
            file.truncate(total)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            file.truncate(total)  # a file system that cannot reserve


def _start_worker() -> None:
    """Set a worker up: Ctrl-C is the parent's to handle, and a killed parent takes its workers along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
