"""Rars need a program of the system: a stand-in on PATH plays it, real headers are made by hand from RARLAB's notes."""

from __future__ import annotations

import shutil
import struct
import sys
import zlib
from pathlib import Path

import pytest
from archive_tools import archive_set, free, save, special, tar_of, tree, zip_of

from vidrepro.data.archives import unpack
from vidrepro.data.archives.rar_headers import members_of_rar
from vidrepro.errors import DataError

MAGIC = b"Rar!\x1a\x07\x00"

# Unpacks "rars" that are a tar behind rar's magic, and trusts them blindly, as a bad unpacker would.
STAND_IN = """#!{python}
import io, os, sys, tarfile
from pathlib import Path
with open(os.environ["UNPACKER_LOG"], "a") as log:
    log.write(repr(sys.argv[1:]) + "\\n")
arguments = sys.argv[1:]
source, to = Path(arguments[arguments.index("--") + 1]), Path(arguments[-1])
content = source.read_bytes()[7:]
if content[:4] == b"fail":
    print("Corrupt header is found")
    sys.exit(3)
for member in (tar := tarfile.open(fileobj=io.BytesIO(content))):
    path = to / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        os.link(to / member.linkname, path)
    elif member.isfifo():
        os.mkfifo(path)
    else:
        path.write_bytes(tar.extractfile(member).read())
"""


@pytest.fixture
def calls(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in ``unrar``, the only program on PATH; the file that its calls are noted in."""
    program = save(sandbox / "bin" / "unrar", STAND_IN.format(python=sys.executable).encode())
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("UNPACKER_LOG", str(sandbox / "bin" / "log"))
    return sandbox / "bin" / "log"


HMDB = {
    "kick_ball/Amazing_Soccer_#2_kick_ball_f_cm_np1_ba_bad_5.avi": b"RIFF 1",
    "kick_ball/-x [a]&;$(touch evil).avi": b"RIFF 2",
    "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi": b"RIFF 3",
}


def rar(files) -> bytes:
    return MAGIC + tar_of(files)


def test_rar_in_rar(sandbox, calls):
    inner = {
        f"{name}.rar": rar({key: value for key, value in HMDB.items() if key.startswith(name)})
        for name in ("brush_hair", "kick_ball")
    }
    path = save(sandbox / "download" / "-hmdb51_org.rar", rar(inner))
    report = unpack([archive_set(path, into="videos")], sandbox / "target")
    assert tree(sandbox / "target" / "videos") == HMDB
    assert report.files == 3 and len(calls.read_text().splitlines()) == 3
    assert unpack([archive_set(path, into="videos")], sandbox / "target").already == 1


def test_rar_in_zip_and_zip_in_rar(sandbox, calls):
    one = save(sandbox / "download" / "one", zip_of({"x.rar": rar(HMDB)}))
    two = save(sandbox / "download" / "two", rar({"x.zip": zip_of(HMDB)}))
    unpack([archive_set(one, into="one"), archive_set(two, into="two")], sandbox / "target")
    assert tree(sandbox / "target" / "one") == tree(sandbox / "target" / "two") == HMDB


def test_the_program_gets_a_list_of_arguments_and_absolute_paths(sandbox, calls):
    path = save(sandbox / "download" / "@-a $(touch evil);b.rar", rar(HMDB))
    unpack([archive_set(path)], sandbox / "target")
    arguments = eval(calls.read_text())  # a repr of strings that our stand-in wrote
    assert arguments[0] == "x" and arguments[-3:-1] == ["--", str(path.resolve())]
    assert Path(arguments[-1]).is_absolute()


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"ok": b"1", "link": special(b"2", "/etc/passwd")}, "link"),
        ({"ok": b"1", "hard": special(b"1", "ok")}, "hard link"),
        ({"ok": b"1", "pipe": special(b"6")}, "link or a device"),
        ({"ok": b"1", "back\\slash": b"2"}, "backslash"),
        ({"ok": b"1", "../evil": b"2"}, "outside the folder"),
    ],
)
def test_what_a_program_should_not_have_written(sandbox, calls, files, problem):
    path = save(sandbox / "download" / "bad.rar", rar(files))
    with pytest.raises(DataError, match=rf"bad.rar(.|\n)*{problem}"):
        unpack([archive_set(path)], sandbox / "target")
    assert tree(sandbox / "target") == {}


def test_no_program(sandbox, monkeypatch):
    monkeypatch.setenv("PATH", str(sandbox / "bin"))
    path = save(sandbox / "download" / "UCF101.rar", rar(HMDB))
    with pytest.raises(DataError, match="no program") as caught:
        unpack([archive_set(path)], sandbox / "target")
    text = str(caught.value)
    assert "apt install unrar" in text and "unrar x UCF101.rar" in text and "--root" in text and "bsdtar" in text


def test_a_program_that_fails_is_quoted_and_the_next_one_tried(sandbox, calls):
    path = save(sandbox / "download" / "bad.rar", MAGIC + b"fail")
    with pytest.raises(DataError, match=r"bad.rar.*unrar: Corrupt header is found, exit code 3"):
        unpack([archive_set(path)], sandbox / "target")
    other = calls.parent / "7zz"
    other.write_text(f"#!{sys.executable}\nfrom pathlib import Path\nPath('x').write_text('by 7zz')\n")
    other.chmod(0o755)
    unpack([archive_set(path)], sandbox / "target")
    assert tree(sandbox / "target") == {"x": b"by 7zz"}


def rar4(name: bytes, content: bytes, *, mode: int = 0o100644) -> bytes:
    """A rar 4 with one stored member, made on Unix."""

    def block(kind: int, flags: int, rest: bytes) -> bytes:
        head = struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head

    size = len(content)
    member = struct.pack("<IIBIIBBHI", size, size, 3, zlib.crc32(content), 0x58000000, 20, 0x30, len(name), mode)
    return MAGIC + block(0x73, 0, bytes(6)) + block(0x74, 0x8000, member + name) + content + block(0x7B, 0x4000, b"")


def rar5(name: bytes, content: bytes, *, mode: int = 0o100644, extra: bytes = b"") -> bytes:
    """A rar 5 with one stored member, made on Unix."""

    def vint(value: int) -> bytes:
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    def block(body: bytes) -> bytes:
        head = vint(len(body)) + body
        return struct.pack("<I", zlib.crc32(head)) + head

    size = vint(len(content))
    flags = vint(2 | bool(extra)) + (vint(len(extra)) if extra else b"")
    member = b"\x02" + flags + size + b"\x04" + size + vint(mode) + struct.pack("<I", zlib.crc32(content))
    member += b"\x00\x01" + vint(len(name)) + name + extra
    return b"Rar!\x1a\x07\x01\x00" + block(b"\x01\x00\x00") + block(member) + content + block(b"\x05\x00\x00")


REDIRECT = b"\x07\x05\x01\x00\x03a/b"  # an extra record: length, kind 5, a Unix link, no flags, the name it leads to


@pytest.mark.parametrize("make", [rar4, rar5])
def test_real_headers_are_read(tmp_path, make):
    path = save(tmp_path / "a.rar", make(b"kick/a b.avi", b"x" * 300))
    assert members_of_rar(path) == [("kick/a b.avi", 300, False)]
    cut = save(tmp_path / "cut.rar", path.read_bytes()[:40])
    flipped = save(tmp_path / "flipped.rar", path.read_bytes().replace(b"kick", b"kicK"))
    assert members_of_rar(cut) is None and members_of_rar(flipped) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (rar4(b"../../../../evil", b"1"), "leaves the folder"),
        (rar5(b"../../../../evil", b"1"), "leaves the folder"),
        (rar4(b"..\\..\\evil", b"1"), "leaves the folder"),
        (rar5(b"/evil", b"1"), "absolute"),
        (rar4(b"link", b"/etc", mode=0o120777), "link"),
        (rar5(b"link", b"", mode=0o120777), "link"),
        (rar5(b"link", b"", extra=REDIRECT), "link"),
    ],
)
def test_bad_members_are_refused_before_the_program_starts(sandbox, calls, content, problem):
    path = save(sandbox / "download" / "bad.rar", content)
    with pytest.raises(DataError, match=rf"bad.rar(.|\n)*{problem}"):
        unpack([archive_set(path)], sandbox / "target")
    assert not calls.exists()


def test_what_a_rar_declares_must_fit_on_the_disk(sandbox, calls, monkeypatch):
    content = bytearray(rar4(b"x", b"1" * 50))
    content[7 + 13 + 11 : 7 + 13 + 15] = struct.pack("<I", 0xFFFFFFF0)  # the unpacked size
    head = bytes(content[7 + 13 + 2 : 7 + 13 + 7 + 25 + 1])
    content[7 + 13 : 7 + 13 + 2] = struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    path = save(sandbox / "download" / "big.rar", bytes(content))
    members = members_of_rar(path)
    assert members is not None and members[0].size == 0xFFFFFFF0
    free(monkeypatch, 1 << 31)
    with pytest.raises(DataError, match="bytes free"):
        unpack([archive_set(path)], sandbox / "target")
    assert not calls.exists()


REAL = [path for name in ("unrar", "unar", "bsdtar") if (path := shutil.which(name))]


@pytest.mark.skipif(not REAL, reason="no unrar, unar or bsdtar is installed")
@pytest.mark.parametrize("make", [rar4, rar5])
def test_hand_made_rars_are_what_real_programs_read(sandbox, monkeypatch, make):
    path = save(sandbox / "download" / "a.rar", make("kick/-a [b] é.avi".encode(), b"x" * 300))
    for program in REAL:
        only = sandbox / "bin" / Path(program).name / Path(program).name
        only.parent.mkdir(parents=True)
        only.symlink_to(program)
        monkeypatch.setenv("PATH", str(only.parent))
        unpack([archive_set(path)], sandbox / "target" / only.name)
        (name, content), *more = tree(sandbox / "target" / only.name).items()
        assert name.startswith("kick/-a [b] ") and content == b"x" * 300 and not more
