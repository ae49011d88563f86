"""Nothing lands outside the target, no link is made, no disk is filled, and damage is told by the archive's name."""

from __future__ import annotations

import gzip
import random
import shutil
import struct
import tarfile
import zlib

import pytest
from archive_tools import TREE, archive_set, free, save, special, tar_of, tgz_of, tree, zip_of

from vidrepro.data.archives import space, tars, unpack
from vidrepro.errors import DataError

BAD_NAMES = {
    "../evil": "leaves the folder",
    "a/../../evil": "leaves the folder",
    "clips/..": "leaves the folder",
    "/tmp/vidrepro-evil": "absolute",
    "C:/evil": "drive letter",
    "c:evil": "drive letter",
    "a\\..\\evil": "backslash",
    "\\\\host\\evil": "absolute",
    "new\nline": "control characters",
    "x" * 256: "too long",
    ".unpacked/stamp.json": "keeps for itself",
    "./.Unpacked/scratch": "keeps for itself",
}


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("pack", [tar_of, tgz_of, zip_of], ids=["tar", "tgz", "zip"])
def test_names_that_leave_the_folder(sandbox, pack, name):
    path = save(sandbox / "download" / "bad.bin", pack({"before.txt": b"1", name: b"evil", "after.txt": b"2"}))
    with pytest.raises(DataError, match=f"bad.bin(.|\n)*{BAD_NAMES[name]}") as caught:
        unpack([archive_set(path)], sandbox / "target")
    assert caught.value.given is not None and caught.value.given.startswith("member ")
    assert set(tree(sandbox / "target")) <= {"before.txt"}  # and in a zip not even that
    assert pack is not zip_of or tree(sandbox / "target") == {}


def test_names_in_nested_archives(sandbox):
    path = save(sandbox / "download" / "o.zip", zip_of({"sub/i.tgz": tgz_of({"../../evil": b"1"})}))
    with pytest.raises(DataError, match=r"o.zip > sub/i.tgz(.|\n)*leaves the folder"):
        unpack([archive_set(path)], sandbox / "target")


def test_names_that_are_no_utf8(sandbox):
    content = tar_of({"aQQQ": b"1"}).replace(b"aQQQ", b"a\xff\xfe\xfd")
    header = bytearray(content[:512])
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = save(sandbox / "download" / "bad.tar", bytes(header) + content[512:])
    with pytest.raises(DataError, match="no UTF-8"):
        unpack([archive_set(path)], sandbox / "target")


SPECIALS = {
    "symbolic link": special(tarfile.SYMTYPE, "../bystander.txt"),
    "hard link": special(tarfile.LNKTYPE, "before.txt"),
    "character device": special(tarfile.CHRTYPE),
    "block device": special(tarfile.BLKTYPE),
    "named pipe": special(tarfile.FIFOTYPE),
    "unknown type": special(b"Z"),
}


@pytest.mark.parametrize("kind", SPECIALS)
def test_links_and_devices_in_a_tar(sandbox, kind):
    files = {"before.txt": b"1", "special": SPECIALS[kind], "special/evil": b"evil"}
    path = save(sandbox / "download" / "bad.tar", tar_of(files))
    with pytest.raises(DataError, match=f"bad.tar(.|\n)*{kind}") as caught:
        unpack([archive_set(path)], sandbox / "target")
    assert "'special'" in str(caught.value.given)
    assert tree(sandbox / "target") == {"before.txt": b"1"}


@pytest.mark.parametrize(("mode", "kind"), [(0o120777, "symbolic link"), (0o020666, "device"), (0o010666, "pipe")])
def test_links_and_devices_in_a_zip(sandbox, mode, kind):
    path = save(sandbox / "download" / "bad.zip", zip_of({"x": b"../bystander.txt"}, external_attr=mode << 16))
    with pytest.raises(DataError, match=kind):
        unpack([archive_set(path)], sandbox / "target")
    assert tree(sandbox / "target") == {}


def test_a_link_that_lies_in_the_target_is_not_followed(sandbox):
    (sandbox / "target").mkdir()
    (sandbox / "target" / "clips").symlink_to(sandbox / "download")
    path = save(sandbox / "download" / "a.tgz", tgz_of(TREE))
    with pytest.raises(DataError, match="is a link"):
        unpack([archive_set(path)], sandbox / "target")
    assert [file.name for file in (sandbox / "download").iterdir()] == ["a.tgz"]
    (sandbox / "target" / "clips").unlink()


def test_a_link_in_a_files_place_is_replaced_and_not_written_through(sandbox):
    (sandbox / "target").mkdir()
    (sandbox / "target" / "x").symlink_to(sandbox / "bystander.txt")
    unpack([archive_set(save(sandbox / "download" / "a.tar", tar_of({"x": b"new"})))], sandbox / "target")
    assert tree(sandbox / "target") == {"x": b"new"}


@pytest.mark.parametrize("files", [{"a": b"1", "a/b": b"2"}, {"a/b": b"1", "a": b"2"}])
def test_a_file_and_a_folder_of_one_name(sandbox, files):
    path = save(sandbox / "download" / "bad.tar", tar_of(files))
    with pytest.raises(DataError, match="a file and a folder at once"):
        unpack([archive_set(path)], sandbox / "target")


@pytest.mark.parametrize("pack", [tar_of, tgz_of, zip_of], ids=["tar", "tgz", "zip"])
def test_the_free_disk_is_respected(sandbox, monkeypatch, pack):
    path = save(sandbox / "download" / "big.bin", pack({"small": b"1", "big": bytes(100_000)}))
    free(monkeypatch, space.MARGIN + 50_000)
    with pytest.raises(DataError, match=r"big.bin(.|\n)*bytes free") as caught:
        unpack([archive_set(path)], sandbox / "target")
    assert "--data" in str(caught.value.hint)
    assert "big" not in tree(sandbox / "target")
    free(monkeypatch, space.MARGIN + 400_000)
    unpack([archive_set(path)], sandbox / "target")
    assert set(tree(sandbox / "target")) == {"small", "big"}


def test_a_declared_size_beyond_the_disk_is_refused_before_a_byte(sandbox):
    info = tarfile.TarInfo("huge")
    info.size = 1 << 60
    header = info.tobuf(tarfile.GNU_FORMAT)
    for name, content in {"a.tar": header + bytes(2 << 20), "a.tgz": gzip.compress(header + bytes(2 << 20))}.items():
        with pytest.raises(DataError, match=r"100 times|bytes free"):
            unpack([archive_set(save(sandbox / "download" / name, content))], sandbox / "target")
    assert tree(sandbox / "target") == {}


@pytest.mark.parametrize("pack", [tgz_of, zip_of], ids=["tgz", "zip"])
def test_bombs(sandbox, monkeypatch, pack):
    monkeypatch.setattr(space, "RATIO_FLOOR", 1 << 20)
    path = save(sandbox / "download" / "bomb", pack({f"{number}": bytes(300_000) for number in range(20)}))
    with pytest.raises(DataError, match="100 times"):
        unpack([archive_set(path)], sandbox / "target")
    assert sum(map(len, tree(sandbox / "target").values())) <= max(1 << 20, 100 * path.stat().st_size)


def test_a_bomb_of_padding(sandbox, monkeypatch):
    monkeypatch.setattr(tars, "_PADDING_LIMIT", 1 << 20)
    path = save(sandbox / "download" / "bomb.tgz", gzip.compress(tar_of(TREE) + bytes(5 << 20)))
    with pytest.raises(DataError, match="after its end mark"):
        unpack([archive_set(path)], sandbox / "target")


def test_a_zip_that_declares_less_than_it_holds(sandbox):
    content = zip_of({"x": bytes(100_000)})
    lying = content.replace(struct.pack("<I", 100_000), struct.pack("<I", 10))
    with pytest.raises(DataError, match="damaged"):
        unpack([archive_set(save(sandbox / "download" / "lie.zip", lying))], sandbox / "target")
    assert tree(sandbox / "target") == {}


def test_a_header_that_would_fill_the_memory(sandbox):
    info = special(tarfile.GNUTYPE_LONGNAME)
    info.size = 1 << 34
    path = save(sandbox / "download" / "a.tar", info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(DataError, match="header declares"):
        unpack([archive_set(path)], sandbox / "target")


TAR = tar_of(TREE)


DAMAGED = {
    "no end mark": (TAR[: 6 * 1536], "no.*end mark|has none"),
    "cut in a member": (TAR[: 3 * 1536 + 700], "damaged|too early"),
    "cut in a header": (TAR[: 3 * 1536 + 100], "damaged"),
    "a header of noise": (TAR[: 3 * 1536] + b"n" * 512 + TAR[3 * 1536 + 512 :], "damaged"),
    "two tars": (TAR[: 6 * 1536] + bytes(1024) + TAR, "after its end mark"),
    "cut gzip": (gzip.compress(TAR)[:-20], "too early"),
    "gzip's checksum": (gzip.compress(TAR)[:-8] + bytes(4) + gzip.compress(TAR)[-4:], "CRC"),
    "junk after gzip": (gzip.compress(TAR) + b"junk", "damaged"),
    "gzip of something else": (gzip.compress(b"not a tar" * 200), "damaged"),
    "cut zip": (zip_of(TREE)[:-40], "damaged"),
    "zip's checksum": (
        zip_of({"x": b"a" * 50}).replace(struct.pack("<I", zlib.crc32(b"a" * 50)), b"\1\2\3\4"),
        "CRC",
    ),
    "encrypted": (
        zip_of({"x": b"1"}).replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
        "encr",
    ),
    "rare compression": (zip_of({"x": b"1" * 99}, compress_type=14), "rare way"),
    "web page": (b"<html>log in</html>", "web page"),
    "empty": (b"", "empty"),
    "unknown": (b"hello" * 300, "no zip, tar"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_told_by_name(sandbox, content, message):
    path = save(sandbox / "download" / "broken.bin", content)
    with pytest.raises(DataError, match=f"broken.bin(.|\n)*({message})"):
        unpack([archive_set(path)], sandbox / "target")
    found = tree(sandbox / "target") if (sandbox / "target").exists() else {}
    assert all(TREE.get(name) == content for name, content in found.items())


def test_mutated_archives_give_a_refusal_or_files_inside(sandbox):
    """Seeded damage anywhere: a refusal with a name or a tree inside the target, never another error."""
    rng = random.Random(7)
    packed = [tar_of(TREE), tar_of(TREE, tarfile.PAX_FORMAT), tgz_of(TREE), zip_of(TREE), zip_of({"i": tgz_of(TREE)})]
    refused = 0
    for number in range(150):
        content = bytearray(rng.choice(packed))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(content))
            content[at] = rng.randrange(256)
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        path = save(sandbox / "download" / "mutated", bytes(content))
        try:
            unpack([archive_set(path, into=str(number))], sandbox / "target")
        except DataError as error:
            assert "mutated" in str(error)
            refused += 1
        shutil.rmtree(sandbox / "target", ignore_errors=True)
    assert refused > 50
