"""Rar archives: unpacked by a program of the system into a folder of their own, looked at, then moved.

The format is not free to implement and no Python library reads its data by itself, so one of the usual programs does.
It gets its arguments as a list, never through a shell. Before it starts, the archive's own list of members is looked
at as far as `rar_headers` can read it; after it, what it wrote.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from vidrepro.data.archives.names import problem_of
from vidrepro.data.archives.rar_headers import members_of_rar
from vidrepro.data.archives.refusals import refuse
from vidrepro.data.archives.space import Space
from vidrepro.errors import DataError

CONTENT = "content"  # the folder inside the scratch folder that the program writes to
_POLL = 0.2  # seconds between two looks at the disk's free space
_ENVIRONMENT = {"LC_ALL": "C.UTF-8"}  # in the plain C locale, names that are not ASCII are refused or replaced
_TAIL = 300  # characters of a program's own complaint that are shown

# Archives are given as absolute paths, so that no name can be read as an option or as a list of names (unrar's @).
_TOOLS: dict[str, Callable[[str, str, str], list[str]]] = {
    "unrar": lambda tool, rar, to: [tool, "x", "-o+", "-y", "-p-", "-idq", "--", rar, to + os.sep],
    "unar": lambda tool, rar, to: [tool, "-quiet", "-force-overwrite", "-no-directory", "-output-directory", to, rar],
    "7zz": lambda tool, rar, to: [tool, "x", "-y", "-p-", "-bd", "-o" + to, "--", rar],
    "7z": lambda tool, rar, to: [tool, "x", "-y", "-p-", "-bd", "-o" + to, "--", rar],
    "bsdtar": lambda tool, rar, to: [tool, "-x", "--no-same-owner", "--no-same-permissions", "-C", to, "-f", rar],
}


def unpack_rar(rar: Path, folder: Path, archive: str, space: Space) -> list[str]:
    """Let a system program unpack a rar.

    Args:
        rar: the file.
        folder: an empty folder for this call alone; the content goes to its `CONTENT`.
        archive: the archive's name, for messages.
        space: the room there is.

    Returns:
        The files' paths below ``folder / CONTENT``, sorted.

    Raises:
        DataError: if no program is installed, none of them can unpack the archive, the disk has no room, or the
            archive holds links, devices or names that leave the folder.
    """
    tools = [(name, found) for name in _TOOLS if (found := shutil.which(name)) is not None]
    if not tools:
        raise no_tool(rar, archive)
    space.expect(_check_list(rar, archive))
    failures = []
    for name, tool in tools:
        to = folder / CONTENT
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir()
        complaint = _run(_TOOLS[name](tool, str(rar.resolve()), str(to.resolve())), to, space)
        _check_outside(folder, archive)
        if complaint is None:
            return _check_content(to, archive, space)
        failures.append(f"{name}: {complaint}")
    raise refuse(
        archive,
        "it is damaged, or the programs found cannot read rar (" + "; ".join(failures) + ")",
        hint="download it again; if it is whole, install unrar or unar (Debian's free 7zip reads no rar)",
    )


def no_tool(rar: Path, archive: str) -> DataError:
    """The error for a rar on a machine without an unpacker."""
    return DataError(
        f"'{archive}' is a rar archive, and no program that unpacks these is installed",
        allowed="one of " + ", ".join(_TOOLS) + " on PATH",
        hint="install one (Debian/Ubuntu: apt install unrar, or unar, or libarchive-tools; macOS: brew install unar; "
        "conda: conda install -c conda-forge libarchive) and call again; or unpack it elsewhere with: "
        f"unrar x {rar.name}, and give that folder with --root",
        where=rar,
    )


def _check_list(rar: Path, archive: str) -> int:
    """Refuse by the archive's own list of members; the bytes that they declare, or the archive's size."""
    members = members_of_rar(rar)
    if members is None:
        return rar.stat().st_size
    for member in members:
        problem = problem_of(member.name) or ("a member is a link" if member.link else None)
        if problem is not None:
            raise refuse(archive, problem, member=member.name, hint="get the official archive: it holds no such member")
    return sum(member.size for member in members)


def _run(command: list[str], folder: Path, space: Space) -> str | None:
    """Run an unpacker; its complaint if it fails, else None."""
    log = folder.parent / "log"
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **_ENVIRONMENT},
            )
        except OSError as error:
            return str(error.strerror or error)
        try:
            while not _ended(process):
                space.check()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    text = log.read_bytes()[-4 * _TAIL :].decode("utf-8", "replace")
    log.unlink()
    if process.returncode == 0:
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (" / ".join(lines[-3:])[-_TAIL:] or "no message") + f", exit code {process.returncode}"


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process ends within `_POLL` seconds."""
    try:
        process.wait(_POLL)
    except subprocess.TimeoutExpired:
        return False
    return True


def _check_outside(folder: Path, archive: str) -> None:
    """Nothing may lie beside the folder that the program was told to write to."""
    strays = [entry.name for entry in os.scandir(folder) if entry.name != CONTENT]
    if strays or (folder / CONTENT).is_symlink():
        raise refuse(archive, "its unpacker wrote outside the folder it was given", member=", ".join(strays))


def _check_content(to: Path, archive: str, space: Space) -> list[str]:
    """The regular files below a folder; anything else is refused."""
    files: list[str] = []
    pending = [""]
    while pending:
        below = pending.pop()
        for entry in os.scandir(to / below):
            name = f"{below}/{entry.name}" if below else entry.name
            found = entry.stat(follow_symlinks=False)
            problem = problem_of(name)
            if stat.S_ISDIR(found.st_mode) and problem is None:
                pending.append(name)
                continue
            if not stat.S_ISREG(found.st_mode):
                problem = "a member is a link or a device"
            elif found.st_nlink > 1:
                problem = "a member is a hard link"
            if problem is not None:
                raise refuse(archive, problem, member=name, hint="get the official archive: it holds no such member")
            space.claim(found.st_size, name, written=False)
            files.append(name)
    return sorted(files)
