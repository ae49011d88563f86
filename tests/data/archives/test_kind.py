"""Kinds are told by bytes; the names lie."""

from __future__ import annotations

import gzip
import tarfile

import pytest
from archive_tools import save, tar_of, tgz_of, zip_of

from vidrepro.data.archives import kind_of


def v7_tar() -> bytes:
    """A header as tars had before POSIX: no magic, only a checksum."""
    block = bytearray(tar_of({"frame_0000000001.jpg": b"x" * 10})[:1024])
    block[257:265] = bytes(8)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block) + bytes(1024)


CASES = {
    "zip": [zip_of({"a": b"1"}), zip_of({})],
    "gzip": [gzip.compress(b"x"), tgz_of({"a": b"1"})],
    "tar": [tar_of({"a": b"1"}), tar_of({"a": b"1"}, tarfile.PAX_FORMAT), v7_tar()],
    "rar": [b"Rar!\x1a\x07\x00" + b"x" * 20, b"Rar!\x1a\x07\x01\x00" + b"x" * 20],
    "html": [
        b"<!DOCTYPE html>\n<title>Log in</title>",
        b"\xef\xbb\xbf \r\n<HTML>",
        b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC>\n<html xmlns="x">',
        b"<!-- cached --><html>",
    ],
    "empty": [b""],
    "unknown": [
        b"\x00" * 1024,
        bytes(range(256)) * 4,
        b"PK",
        b"id;label\n",
        b'<?xml version="1.0"?><data/>',
        b"\x1f\x8b",
    ],
}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        pytest.param(kind, content, id=f"{kind}-{number}")  # bytes in an id would differ from process to process
        for kind, many in CASES.items()
        for number, content in enumerate(many)
    ],
)
def test_kind_by_bytes_whatever_the_name(tmp_path, kind, content):
    for name in ("download", "download.zip", "download.mp4"):
        assert kind_of(save(tmp_path / name, content)) == kind


def test_a_wrong_v7_checksum_is_no_tar(tmp_path):
    block = bytearray(v7_tar())
    block[0] ^= 1
    assert kind_of(save(tmp_path / "x.tar", bytes(block))) == "unknown"
