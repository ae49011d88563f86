"""Members of a zip, all looked at before the first is written."""

from __future__ import annotations

import stat
import zipfile
from typing import IO

from vidrepro.data.archives.names import problem_of
from vidrepro.data.archives.refusals import naming, refuse

SIDE_FILES = "__MACOSX/"  # what macOS's Finder adds to each zip: no part of the content


def members_of_zip(file: IO[bytes], archive: str) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    """A zip and its members, each one fit to be written.

    Args:
        file: a seekable file.
        archive: its name, for messages.

    Raises:
        DataError: if the zip is damaged or encrypted, or any member is a link or a device or would leave the folder.
    """
    with naming(archive):
        opened = zipfile.ZipFile(file)
        members = opened.infolist()
    for info in members:
        problem = problem_of(info.orig_filename) or _problem(info)
        if problem is not None:
            raise refuse(
                archive,
                problem,
                member=info.orig_filename,
                hint="the official archives hold no such member: this copy comes from somewhere else",
            )
    return opened, members


def _problem(info: zipfile.ZipInfo) -> str | None:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a member is a symbolic link" if stat.S_ISLNK(mode) else "a member is a device, a pipe or a socket"
    if info.flag_bits & 0x1:
        return "a member is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "a member is compressed in a rare way whose memory cannot be bounded (neither stored nor deflated)"
    return None
