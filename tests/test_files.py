"""Writing: as a whole or not at all; refusals that say where."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from vidrepro.errors import DecodeError, ResultsError, VidreproError, unknown_name
from vidrepro.files import atomic_path, atomic_write_json, atomic_write_text, file_digest, fingerprint, read_json


def test_failure_inside_the_block_keeps_the_old_file_and_leaves_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    atomic_write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_cannot_be_made_is_a_clean_error(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file, not a folder")
    with pytest.raises(ResultsError, match="cannot write"):
        atomic_write_text(tmp_path / "results" / "table.md", "x")


def test_json_is_canonical(tmp_path: Path) -> None:
    atomic_write_json(tmp_path / "a.json", {"b": 1, "a": "×"})
    atomic_write_json(tmp_path / "b.json", {"a": "×", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": "×", "b": 1}
    with pytest.raises(ValueError):
        atomic_write_json(tmp_path / "nan.json", float("nan"))


def test_fingerprint_is_sha256_of_canonical_json() -> None:
    assert fingerprint({"b": [1, 2], "a": None}) == hashlib.sha256(b'{"a":null,"b":[1,2]}').hexdigest()


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 10000)
    assert file_digest(tmp_path / "x") == hashlib.sha256(b"abc" * 10000).hexdigest()


def test_unknown_name_suggests_the_closest() -> None:
    error = unknown_name("backbone", "resnet81", ["resnet18", "resnet50", "mobilenetv2"])
    assert error.hint is not None and "resnet18" in error.hint and "mobilenetv2" not in error.hint
    assert error.allowed == "mobilenetv2, resnet18, resnet50"


def test_errors_survive_pickling_with_their_parts() -> None:
    import pickle

    error = DecodeError("broken", given=3, allowed=["a", "b"], hint="do", where=("x.csv", 4))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is DecodeError and isinstance(copy, VidreproError)
    assert (
        copy.details()
        == error.details()
        == [
            ("where", "x.csv, line 4"),
            ("given", "3"),
            ("allowed", "a, b"),
            ("next", "do"),
        ]
    )


def test_a_folder_whose_name_is_no_utf8_can_be_recorded(tmp_path: Path) -> None:
    """As an old disk has them: ``caf`` and 0xe9."""
    folder = os.fsdecode(b"caf\xe9")
    atomic_write_json(tmp_path / "report.json", {"media_root": folder})
    assert read_json(tmp_path / "report.json") == {"media_root": folder}
    assert (tmp_path / "report.json").read_bytes().isascii()
    assert fingerprint(folder) != fingerprint("café")
