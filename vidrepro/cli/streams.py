"""Standard output and error that never end a command: whatever they cannot show or take, the work goes on."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

DESCRIPTORS = {"stdin": 0, "stdout": 1, "stderr": 2}


class ForgivingFile(io.FileIO):
    """A descriptor to write to; from its first failure on, what is written is dropped.

    Attributes:
        failure: why nothing is written any more, such as a reader that went away or a full disk; None while it is.
    """

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all of `data`, or remember why that is not possible."""
        rest = memoryview(data).cast("B")
        while rest and self.failure is None:
            try:
                rest = rest[os.write(self.fileno(), rest) :]
            except BlockingIOError:  # whoever shares the descriptor has made it non-blocking
                os.set_blocking(self.fileno(), True)
            except OSError as failure:
                self.failure = failure
        return memoryview(data).nbytes


def forgiving(descriptor: int, like: io.TextIOWrapper | None = None) -> io.TextIOWrapper:
    """A text stream on a descriptor that drops what can no longer be written and escapes what it cannot encode.

    Args:
        descriptor: stays open when the stream is closed.
        like: whose encoding and buffering it takes over.
    """
    buffer = io.BufferedWriter(ForgivingFile(descriptor, "w", closefd=False))
    if like is None:
        return io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
    return io.TextIOWrapper(
        buffer,
        encoding=like.encoding,
        errors="backslashreplace" if like.errors in ("strict", "surrogateescape") else like.errors,
        line_buffering=like.line_buffering,
        write_through=like.write_through,
    )


def make_streams_forgiving() -> None:
    """Give this process streams that neither a closed descriptor nor a poor encoding nor a lost reader breaks."""
    for name, descriptor in DESCRIPTORS.items():
        if not _is_open(descriptor):  # or the next file that is opened would become the standard output
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number
        stream = getattr(sys, name)
        if stream is not None and stream is not getattr(sys, f"__{name}__"):
            continue  # someone else's, such as a test's
        if name == "stdin":
            sys.stdin = stream or open(descriptor, encoding="utf-8", closefd=False)  # noqa: SIM115
        else:
            setattr(sys, name, forgiving(descriptor, stream))


def lost_output(stream: TextIO) -> OSError | None:
    """Why output was lost that somebody was there to read; None if none was, or the reader went away."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if not isinstance(raw, ForgivingFile):
        return None
    stream.flush()
    failure = raw.failure
    return failure if failure is not None and failure.errno != errno.EPIPE else None


def is_unicode(stream: TextIO) -> bool:
    """Whether a stream shows every character as it is."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
