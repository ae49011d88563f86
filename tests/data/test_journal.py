"""The journal of a preparation: interrupted anywhere, it goes on, and nothing false can be read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from manifest_rows import ROWS, row, sequence, write

from vidrepro.data import manifest as manifest_module
from vidrepro.data.journal import JOURNAL_NAME
from vidrepro.data.manifest import Journal, load_manifest
from vidrepro.errors import ManifestError, ResultsError

FullDisk = Callable[[int], AbstractContextManager[None]]


def test_a_journal_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with Journal(tmp_path, "key") as journal:
        for clip in ROWS[:2]:
            journal.append(clip)
    with Journal(tmp_path, "key") as journal:
        assert list(journal.done.values()) == ROWS[:2]
        assert journal.discarded is None
        journal.append(sequence("s") | {"frames": np.int64(9)})
        with pytest.raises(ManifestError, match="id of its own"):
            journal.append(ROWS[0])
    with Journal(tmp_path, "key") as journal:
        assert list(journal.done) == ["a", "NA", "s"]
        assert journal.done["s"]["frames"] == 9


def test_a_journal_torn_anywhere_keeps_its_whole_lines(tmp_path: Path) -> None:
    rows = [{"id": "a", "n": 1}, {"id": "bb", "n": 2}, {"id": "ä", "n": 3}]  # short: every size of file is tried
    with Journal(tmp_path, "key") as journal:
        for values in rows:
            journal.append(values)
    content = (tmp_path / JOURNAL_NAME).read_bytes()
    for size in range(len(content)):
        (tmp_path / JOURNAL_NAME).write_bytes(content[:size])
        whole = max(content[:size].count(b"\n") - 1, 0)
        with Journal(tmp_path, "key") as journal:
            assert list(journal.done.values()) == rows[:whole]
            assert journal.discarded is None
            journal.append({"id": "new"})  # as short as a torn line
        with Journal(tmp_path, "key") as journal:
            assert list(journal.done) == [values["id"] for values in rows[:whole]] + ["new"]


def test_a_journal_on_a_full_disk_is_refused_and_goes_on_later(tmp_path: Path, full_disk: FullDisk) -> None:
    with pytest.raises(ResultsError, match="cannot write"), full_disk(500), Journal(tmp_path, "key") as journal:
        for number in range(100):
            journal.append({"id": f"clip{number:03d}"})
    with Journal(tmp_path, "key") as journal:
        assert 0 < len(journal.done) < 100
        assert list(journal.done) == [f"clip{number:03d}" for number in range(len(journal.done))]
        journal.append({"id": "new"})
    with Journal(tmp_path, "key") as journal:
        assert list(journal.done)[-1] == "new"


def test_a_journal_of_other_settings_is_discarded_and_says_so(tmp_path: Path) -> None:
    with Journal(tmp_path, "old") as journal:
        journal.append(ROWS[0])
    with Journal(tmp_path, "new") as journal:
        assert journal.done == {}
        assert "other settings" in str(journal.discarded)
    with Journal(tmp_path, "old") as journal:
        assert journal.done == {}


def test_a_damaged_journal_is_refused_by_line(tmp_path: Path) -> None:
    with Journal(tmp_path, "key") as journal:
        journal.append(ROWS[0])
        journal.append(ROWS[1])
    lines = (tmp_path / JOURNAL_NAME).read_bytes().split(b"\n")
    for bad in (b"\0\0", b"[]", b'{"path": "x"}'):
        (tmp_path / JOURNAL_NAME).write_bytes(b"\n".join([lines[0], bad, lines[2], b""]))
        with pytest.raises(ManifestError, match="line 2"):
            Journal(tmp_path, "key")


def test_one_process_prepares_a_folder_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path, "key"), pytest.raises(ManifestError, match="another process"):
        Journal(tmp_path, "key")
    Journal(tmp_path, "key").close()
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot write"):
        Journal(tmp_path / "file", "key")


def test_finishing_removes_the_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "toy", "key") as journal:
        for clip in ROWS:
            journal.append(clip)
        manifest = write(tmp_path, journal.done.values())
    assert len(manifest.table) == len(ROWS)
    assert not (tmp_path / "toy" / JOURNAL_NAME).exists()


def test_killed_between_the_two_files_nothing_false_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    with Journal(tmp_path / "toy", "key") as journal:
        journal.append(row("z"))

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(manifest_module, "atomic_write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, journal.done.values(), classes=["up", "down"])
    with pytest.raises(ManifestError, match="not finished"):
        load_manifest("toy", tmp_path)
    monkeypatch.undo()
    with Journal(tmp_path / "toy", "key") as journal:
        assert list(journal.done) == ["z"]
        assert write(tmp_path, journal.done.values(), classes=["up", "down"]).classes == ["up", "down"]
