"""Archives made by hand, as the official downloads are packed and as nobody should pack them."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TREE = {f"clips/{folder}/{number:05d}.jpg": bytes([folder, number]) * 300 for folder in (1, 2) for number in (1, 2, 3)}


def tar_of(files: Mapping[str, bytes | tarfile.TarInfo], format: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar; a value that is a TarInfo is written as it is, without content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, content in files.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                tar.addfile(info)
    return out.getvalue()


def tgz_of(files: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    return gzip.compress(tar_of(files), 1, mtime=0)


def zip_of(files: Mapping[str, bytes], **attributes: Any) -> bytes:
    """A zip; `attributes` are set on each member's ZipInfo."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return out.getvalue()


def save(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def archive_set(*parts: Path, into: str = "") -> Any:
    """What the datasets' modules give to `unpack`."""
    return SimpleNamespace(parts=tuple(parts), into=into, what="test archive")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but our own notes, by relative path; links would show as an error."""
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".unpacked" not in path.parts
    }


def special(kind: bytes, link: str = "") -> tarfile.TarInfo:
    """A member that is no file."""
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, link
    return info


def free(monkeypatch: Any, size: int) -> None:
    """Let the disk have `size` bytes free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=1 << 50, used=0, free=size))
