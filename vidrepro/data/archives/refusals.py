"""How an archive is refused: with its name, the member's, and what to do."""

from __future__ import annotations

import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from vidrepro.errors import DataError

AGAIN = "download it again; if it stays so, the copy offered there is damaged"


class DamagedError(Exception):
    """Bytes that are no archive, found where the archive's name is not known."""


class SourceError(Exception):
    """A file of the download could not be read (the disk's error, not the format's)."""


# What tarfile, zipfile and the decompressors raise on bytes that are not what they should be. OSError is not among
# them: a full disk is no damaged archive; gzip's is told by its own class.
_DAMAGE = (
    DamagedError,
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,  # UnicodeDecodeError too
    OverflowError,
    IndexError,
    KeyError,
    NotImplementedError,  # zipfile: an unknown compression
    RuntimeError,  # zipfile: encrypted
)


def refuse(archive: str, problem: str, *, member: str | None = None, hint: str = AGAIN) -> DataError:
    """The error for an archive that is not unpacked.

    Args:
        archive: its name; for an archive inside another, ``outer > inner``.
        problem: what is wrong, to be read after "in 'archive'".
        member: the member that it was found at.
        hint: what to do next.
    """
    return DataError(
        f"'{archive}' is not unpacked: {problem}",
        given=None if member is None else f"member {printable(member)}",
        hint=hint,
        where=archive,
    )


def printable(name: str) -> str:
    """A member's name as any terminal can print it: control characters and bad bytes escaped, not too long."""
    shown = ascii(name)
    return shown if len(shown) <= 200 else shown[:160] + "..." + shown[-37:]


@contextmanager
def naming(archive: str, member: str | None = None) -> Iterator[None]:
    """Turn what the libraries raise on damaged bytes into a `DataError` that names the archive."""
    try:
        yield
    except SourceError as error:
        raise refuse(archive, f"it cannot be read: {error}", member=member, hint="check the disk it lies on") from error
    except _DAMAGE as error:
        raise refuse(archive, _reason(error), member=member) from error


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "it ends too early (cut short, or its last part is missing)"
    text = str(error) or type(error).__name__
    return f"it is damaged ({text})"
