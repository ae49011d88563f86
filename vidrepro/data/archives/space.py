"""How much an archive may write: never more than the disk has free, never absurdly more than it weighs."""

from __future__ import annotations

import shutil
from pathlib import Path

from vidrepro.data.archives.refusals import refuse
from vidrepro.errors import DataError

MARGIN = 512 << 20  # bytes left free for everything else on the disk
RATIO = 100  # unpacked to packed: film and JPEG hardly shrink, tables ten times, a bomb a thousand times
RATIO_FLOOR = 1 << 30  # below this, no ratio is suspicious
_LOOK_AGAIN = 64 << 20


class Space:
    """What may still be written while one archive is unpacked.

    Args:
        target: a folder on the disk that is written to.
        packed: the archive's size in bytes.
        archive: its name.
    """

    def __init__(self, target: Path, packed: int, archive: str) -> None:
        self._target = target
        self._archive = archive
        self._limit = max(RATIO_FLOOR, RATIO * packed)
        self.unpacked = 0
        self._look()

    def claim(self, size: int, member: str, *, written: bool = True) -> None:
        """Ask for room for a member before it is written.

        Args:
            size: its bytes, as declared.
            member: its name.
            written: False for one that lies on the disk already.

        Raises:
            DataError: if the disk has no room for it, or the archive unpacks to absurdly more than it weighs.
        """
        self.unpacked += size
        if self.unpacked > self._limit:
            raise refuse(
                self._archive,
                f"it unpacks to more than {self._limit:,} bytes, {RATIO} times what it weighs: no archive of films or "
                "pictures does that",
                member=member,
            )
        if not written:
            return
        if size > self._room or self._since > _LOOK_AGAIN:
            self._look()
        if size > self._room:
            raise self.too_full(size, member)
        self._room -= size
        self._since += size

    def expect(self, size: int) -> None:
        """Refuse before the first byte when `size` bytes will be written and there is no room for them."""
        self._look()
        if size > self._room:
            raise self.too_full(size, None)

    def check(self, member: str | None = None) -> None:
        """Refuse when the disk is nearly full, whoever filled it."""
        self._look()
        if self._room < 0:
            raise self.too_full(0, member)

    def too_full(self, size: int, member: str | None) -> DataError:
        """The error for a disk without room."""
        free = self._room + MARGIN
        return refuse(
            self._archive,
            f"the disk has {free:,} bytes free; {max(size, 0):,} are wanted and {MARGIN:,} must stay free",
            member=member,
            hint=f"free some room, or put the data on another disk with --data (now: {self._target})",
        )

    def _look(self) -> None:
        self._room = shutil.disk_usage(self._target).free - MARGIN
        self._since = 0
