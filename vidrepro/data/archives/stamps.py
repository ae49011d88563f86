"""Notes in ``<target>/.unpacked``: what is finished, and how far a killed call came."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidrepro.data.archives.names import RESERVED
from vidrepro.files import atomic_write_json, fingerprint

_SCHEMA = 1
_EVERY = 1.0  # seconds between two notes of how far it came


class Stamp:
    """The note about one set of archives.

    Args:
        target: the folder of all unpacked archives.
        into: the set's folder below it.
        parts: the set's files.
    """

    def __init__(self, target: Path, into: str, parts: Sequence[Path]) -> None:
        self._target = target
        self.parts = [_part(path) for path in parts]
        names = [part["name"] for part in self.parts]
        slug = re.sub(r"[^A-Za-z0-9._-]+", "_", names[0])[:80]
        self.path = target / RESERVED / f"{slug}-{fingerprint([into, names])[:12]}.json"
        self._into = into
        self._written = 0.0
        self._found = self._read()

    @property
    def finished(self) -> bool:
        """Whether this very set is unpacked, and what it held still lies there as far as one look tells."""
        found = self._found
        return bool(found.get("finished")) and all((self._target / name).exists() for name in found.get("top", []))

    @property
    def members(self) -> int:
        """Members that a killed call had written."""
        return 0 if self._found.get("finished") else int(self._found.get("files", 0))

    @property
    def bytes(self) -> int:
        """Bytes of these members."""
        return 0 if self._found.get("finished") else int(self._found.get("bytes", 0))

    def note(self, files: int, size: int) -> None:
        """Write down how far this call came, once in a while; call it after the files are in their place."""
        now = time.monotonic()
        if now - self._written >= _EVERY:
            self._write(finished=False, files=files, bytes=size)
            self._written = time.monotonic()

    def finish(self, what: str, files: int, size: int, digest: str, top: Sequence[str]) -> None:
        """Write down that the set is unpacked."""
        self._write(finished=True, files=files, bytes=size, digest=digest, top=sorted(top), what=what)

    def _write(self, **values: Any) -> None:
        atomic_write_json(self.path, {"schema": _SCHEMA, "into": self._into, "parts": self.parts, **values})

    def _read(self) -> Mapping[str, Any]:
        """The note, if there is one about the same files; what cannot be read counts as none."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        same = isinstance(found, dict) and found.get("schema") == _SCHEMA and found.get("parts") == self.parts
        return found if same else {}


def _part(path: Path) -> dict[str, Any]:
    found = path.stat()
    return {"name": path.name, "bytes": found.st_size, "mtime_ns": found.st_mtime_ns}
