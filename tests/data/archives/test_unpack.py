"""What is unpacked is what was packed; a second call does nothing, a killed one goes on."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc

import pytest
from archive_tools import TREE, archive_set, save, tar_of, tgz_of, tree, zip_of

from vidrepro.data.archives import unpack
from vidrepro.data.archives.tars import members_of_tar
from vidrepro.data.archives.unpack import UnpackReport
from vidrepro.errors import DataError, ResultsError

PACKINGS = {
    "tar": tar_of(TREE),
    "tgz": tgz_of(TREE),
    "zip": zip_of(TREE),
    "tgz in zip": zip_of({"inner.tar.gz": tgz_of(TREE)}),
    "zip in zip": zip_of({"inner": zip_of(TREE)}),
    "zip in tgz": tgz_of({"inner.zip": zip_of(TREE)}),
    "tar in zip": zip_of({"inner": tar_of(TREE)}),
    "with ./ and folders": tar_of({"./" + name: content for name, content in TREE.items()}),
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_gives_the_tree_whatever_its_name(sandbox, packing):
    path = save(sandbox / "download" / "misnamed.tar.gz", PACKINGS[packing])
    report = unpack([archive_set(path)], sandbox / "target")
    assert tree(sandbox / "target") == TREE
    assert (report.files, report.bytes) == (6, sum(map(len, TREE.values())))


def test_tars_without_a_folder_go_into_their_own(sandbox):
    sets = []
    for video in ("P01_01", "P01_02"):
        frames = {f"./frame_{number:010d}.jpg": f"{video} {number}".encode() for number in (1, 2)}
        path = save(sandbox / "download" / f"{video}.tar", tar_of(frames))
        sets.append(archive_set(path, into=f"P01/{video}"))
    unpack(sets, sandbox / "target")
    assert tree(sandbox / "target") == {
        f"P01/{video}/frame_{number:010d}.jpg": f"{video} {number}".encode()
        for video in ("P01_01", "P01_02")
        for number in (1, 2)
    }


def test_odd_names_are_kept(sandbox):
    names = ["-mmq0.mp4", "_a.mp4", "kick_ball/Amazing_Soccer_#2 [x]&;!+~@(1).avi", "é/ü ö.jpg", "a" * 200 + ".jpg"]
    for number, pack in enumerate((tar_of, tgz_of, zip_of)):
        path = save(sandbox / "download" / str(number), pack({name: name.encode() for name in names}))
        unpack([archive_set(path, into=str(number))], sandbox / "target")
        assert tree(sandbox / "target" / str(number)) == {name: name.encode() for name in names}


def test_documents_packed_files_and_deep_archives_stay_files(sandbox):
    deep = zip_of({"x": b"1"})
    files = {
        "labels.json.gz": b"\x1f\x8b\x08junk",
        "table.xlsx": zip_of({"x": b"1"}),
        "inner.zip": zip_of({"deep": deep}),
    }
    path = save(sandbox / "download" / "a.zip", zip_of({**files, "__MACOSX/._x": b"side"}))
    report = unpack([archive_set(path)], sandbox / "target")
    expected = {"labels.json.gz": files["labels.json.gz"], "table.xlsx": files["table.xlsx"], "deep": deep}
    assert tree(sandbox / "target") == expected
    assert len(report.notes) == 2 and "__MACOSX" in report.notes[0] and "kept as files" in report.notes[1]


def test_a_finished_set_is_not_unpacked_again_until_it_changes(sandbox):
    path = save(sandbox / "download" / "a.tgz", tgz_of(TREE))
    said: list[str] = []
    first = unpack([archive_set(path)], sandbox / "target")
    marked = sandbox / "target" / "clips" / "1" / "00001.jpg"
    marked.write_bytes(b"changed by the user")
    second = unpack([archive_set(path)], sandbox / "target", say=said.append)
    assert (first.already, second.already, second.files) == (0, 1, 0)
    assert marked.read_bytes() == b"changed by the user" and "already" in said[0]
    os.utime(path, ns=(1, 1))
    assert unpack([archive_set(path)], sandbox / "target").already == 0
    assert tree(sandbox / "target") == TREE


def test_a_finished_set_whose_files_are_gone_is_unpacked_again(sandbox):
    path = save(sandbox / "download" / "a.tgz", tgz_of(TREE))
    unpack([archive_set(path)], sandbox / "target")
    (sandbox / "target" / "clips").rename(sandbox / "target" / "moved")
    assert unpack([archive_set(path)], sandbox / "target").already == 0
    assert (sandbox / "target" / "clips" / "2" / "00003.jpg").is_file()


def test_progress_ends_at_the_total_and_never_goes_back(sandbox):
    paths = [save(sandbox / "download" / name, PACKINGS[name]) for name in ("tgz", "zip", "tar")]
    seen: list[tuple[int, int]] = []
    unpack([archive_set(path) for path in paths], sandbox / "target", progress=lambda *now: seen.append(now))
    total = sum(path.stat().st_size for path in paths)
    assert seen[-1] == (total, total) and seen == sorted(seen)


# The same name twice with one size: a resume by sizes alone would keep the first.
TWICE = {f"{number:03d}": bytes([number]) * 700 for number in range(40)}
KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from types import SimpleNamespace
    from vidrepro.data.archives import stamps, unpack

    stamps._EVERY = 0.0
    kill_at, (source, target) = int(sys.argv[1]), map(Path, sys.argv[2:])
    replace, calls = Path.replace, 0

    def counting(self, other):
        global calls
        if self.name == "member":
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, other)

    Path.replace = counting
    unpack([SimpleNamespace(parts=(source,), into="", what="x")], target)
    """
)


@pytest.mark.parametrize("packing", ["tgz", "zip", "tgz in zip"])
def test_killed_calls_end_in_the_tree_of_one_whole_call(sandbox, packing):
    first, second = tar_of(TWICE), tar_of({"005": b"z" * 700, "last": b"."})
    both = first.rstrip(b"\0")
    both += bytes(-len(both) % 512) + second

    tgz = gzip.compress(both, 1, mtime=0)
    content = {"tgz": tgz, "tgz in zip": zip_of({"inner": tgz}), "zip": zip_of({**TWICE, "last": b"."})}[packing]
    path = save(sandbox / "download" / "a", content)
    for kill_at in (7, 12, 12):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(kill_at), str(path), str(sandbox / "target")], capture_output=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    said: list[str] = []
    report = unpack([archive_set(path)], sandbox / "target", say=said.append)
    assert "going on after 28 files" in said[0]
    expected = {**TWICE, "last": b"."} | ({} if packing == "zip" else {"005": b"z" * 700})
    assert tree(sandbox / "target") == expected
    assert report.files == (41 if packing == "zip" else 42)


def test_a_file_lost_after_a_kill_is_written_again(sandbox):
    path = save(sandbox / "download" / "a", tgz_of(TREE))
    done = subprocess.run([sys.executable, "-c", KILLED, "5", str(path), str(sandbox / "target")], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    (sandbox / "target" / "clips" / "1" / "00002.jpg").unlink()
    (sandbox / "target" / "clips" / "1" / "00003.jpg").write_bytes(b"")
    unpack([archive_set(path)], sandbox / "target")
    assert tree(sandbox / "target") == TREE


def test_two_at_once_are_refused(sandbox):
    path = save(sandbox / "download" / "a", tgz_of(TREE))

    def again(line: str) -> None:
        with pytest.raises(DataError, match="another process"):
            unpack([archive_set(path)], sandbox / "target")

    assert isinstance(unpack([archive_set(path)], sandbox / "target", say=again), UnpackReport)


def test_a_target_that_cannot_be_written_is_said(sandbox):
    path = save(sandbox / "download" / "a", tgz_of(TREE))
    save(sandbox / "target", b"a file")
    with pytest.raises(ResultsError, match="cannot write"):
        unpack([archive_set(path)], sandbox / "target")


def test_memory_does_not_grow_with_the_members():
    """A dataset of frames has five million members; tarfile by itself keeps half a kilobyte of each."""
    content = io.BytesIO(tar_of(dict.fromkeys(map(str, range(4000)), b"x")))
    tracemalloc.start()
    try:
        assert sum(member.size for member in members_of_tar(content, "a.tar", packed=False)) == 4000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000
