"""Downloads as they come: kinds told by magic bytes, parts put together, unpacked without leaving the folder."""

from vidrepro.data.archives.kind import ARCHIVES, kind_of
from vidrepro.data.archives.multipart import check_archive, find_parts
from vidrepro.data.archives.unpack import UnpackReport, unpack

__all__ = ["ARCHIVES", "UnpackReport", "check_archive", "find_parts", "kind_of", "unpack"]
