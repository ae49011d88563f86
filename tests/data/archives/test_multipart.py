"""Parts are found in order, and what is not whole is refused by its name."""

from __future__ import annotations

import random
import re

import pytest
from archive_tools import TREE, archive_set, save, tgz_of, tree, zip_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidrepro.data.archives import find_parts, unpack
from vidrepro.errors import DataError

PATTERN = "20bn-something-something-v1-??"
PREFIX = PATTERN[:-2]
PACKED = tgz_of({**TREE, "clips/noise": random.Random(0).randbytes(5000)})
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def split(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def put(folder, pieces, ending="", wrap=False):
    """Write parts as the download has them, bare or each in its zip."""
    for number, piece in enumerate(pieces):
        name = f"{PREFIX}{number:02d}"
        save(folder / (name + ending), zip_of({name: piece}) if wrap else piece)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(len(PACKED) // 90, len(PACKED) + 5), wrap=st.booleans(), named_zip=st.booleans())
def test_every_split_unpacks_to_the_same_tree(tmp_path_factory, size, wrap, named_zip):
    folder = tmp_path_factory.mktemp("split")
    pieces = split(PACKED, size)
    put(folder / "download", pieces, ".zip" if wrap or named_zip else "", wrap)
    parts = find_parts(folder / "download", PATTERN)
    assert len(parts) == len(pieces)
    unpack([archive_set(*parts)], folder / "target")
    found = tree(folder / "target")
    assert {name: found[name] for name in TREE} == TREE
    assert len(found) == len(TREE) + 1


def test_a_split_zip_two_real_zips_and_parts_within_one_zip(sandbox):
    whole = zip_of(TREE)
    half = len(whole) // 2 + 1
    names = sorted(TREE)
    pieces = split(PACKED, 2000)
    layouts = {
        "split": split(whole, half),
        "real": [zip_of({name: TREE[name] for name in names[:4]}), zip_of({name: TREE[name] for name in names[4:]})],
        "inside": [
            zip_of({f"x/{PREFIX}{k:02d}": pieces[k] for k in ks}) for ks in (range(2), range(len(pieces) - 1, 1, -1))
        ],
    }
    for layout, files in layouts.items():
        put(sandbox / "download" / layout, files, ".zip")
        parts = find_parts(sandbox / "download" / layout, PATTERN)
        unpack([archive_set(*parts)], sandbox / "target" / layout)
        found = tree(sandbox / "target" / layout)
        assert {name: found.get(name) for name in TREE} == TREE, layout


def test_other_files_of_the_download_are_no_parts(tmp_path):
    put(tmp_path, split(PACKED, 900))
    for name in ("labels.csv", PREFIX + "train.csv", PREFIX + "labels.csv", "20bn-something-something-v2-00"):
        save(tmp_path / name, b"id;label")
    (tmp_path / (PREFIX + "99")).mkdir()
    assert [path.name for path in find_parts(tmp_path, PATTERN)] == [
        f"{PREFIX}{number:02d}" for number in range(len(split(PACKED, 900)))
    ]
    assert find_parts(tmp_path, "20bn-jester-v1-??") == []


def broken_sets():
    """What is done to a whole set of parts (more than four of 600 bytes), and what the refusal must name."""

    def change(number, content):
        return lambda folder: save(folder / f"{PREFIX}{number:02d}", content)

    def drop(number):
        return lambda folder: (folder / f"{PREFIX}{number:02d}").unlink()

    return {
        "missing in the middle": (drop(2), f"{PREFIX}02"),
        "missing the first": (drop(0), f"{PREFIX}00"),
        "a web page in the middle": (change(1, PAGE), f"{PREFIX}01.*web page"),
        "a web page first": (change(0, PAGE), f"{PREFIX}00.*web page"),
        "an empty part": (change(3, b""), f"{PREFIX}03.*empty"),
        "cut short": (change(2, b"x" * 500), f"{PREFIX}02.*cut short: 500 bytes.*600"),
        "first of another file": (change(0, b"x" * 600), f"{PREFIX}00.*does not begin"),
        "twice": (lambda folder: save(folder / f"{PREFIX}01.zip", b"x" * 600), f"{PREFIX}01.*twice.*{PREFIX}01.zip"),
        "second download": (lambda folder: save(folder / f"{PREFIX}01 (1).zip", b"x"), r"01 \(1\).*second download"),
        "not finished": (lambda folder: save(folder / f"{PREFIX}09.crdownload", b"x"), "09.crdownload.*not finished"),
        "letters": (lambda folder: save(folder / f"{PREFIX}aa", b"x"), f"{PREFIX}aa.*2017"),
    }


@pytest.mark.parametrize("case", broken_sets())
def test_a_broken_set_is_refused_by_name(tmp_path, case):
    break_it, message = broken_sets()[case]
    pieces = split(PACKED, 600)
    assert len(pieces) > 4
    put(tmp_path, pieces)
    break_it(tmp_path)
    with pytest.raises(DataError, match=re.compile(message, re.DOTALL)) as caught:
        find_parts(tmp_path, PATTERN)
    assert caught.value.hint


def test_broken_wrapped_parts_are_refused_by_name(tmp_path):
    pieces = split(PACKED, 600)
    for case, (number, content, message) in {
        "cut": (1, zip_of({f"{PREFIX}01": pieces[1]})[:-30], f"{PREFIX}01.zip.*damaged"),
        "short": (1, zip_of({f"{PREFIX}01": b"x" * 100}), f"{PREFIX}01.*cut short"),
        "page": (1, zip_of({f"{PREFIX}01": PAGE}), f"{PREFIX}01.*web page"),
        "other": (1, zip_of({f"{PREFIX}02": pieces[1]}), r"missing: \[1\], twice: \[2\]"),
    }.items():
        put(tmp_path / case, pieces, ".zip", wrap=True)
        save(tmp_path / case / f"{PREFIX}{number:02d}.zip", content)
        with pytest.raises(DataError, match=message):
            find_parts(tmp_path / case, PATTERN)


def test_the_last_part_missing_or_cut_is_told_when_the_stream_ends(sandbox):
    pieces = split(PACKED, 600)
    put(sandbox / "download", pieces[:-1])
    parts = find_parts(sandbox / "download", PATTERN)
    with pytest.raises(DataError, match=r"ends too early.*last part"):
        unpack([archive_set(*parts)], sandbox / "target")
    put(sandbox / "download", [*pieces[:-1], pieces[-1][:-9]])  # within the checksum's bytes
    with pytest.raises(DataError, match="ends too early"):
        unpack([archive_set(*find_parts(sandbox / "download", PATTERN))], sandbox / "target")
    put(sandbox / "download", pieces)
    unpack([archive_set(*find_parts(sandbox / "download", PATTERN))], sandbox / "target")
    assert len(tree(sandbox / "target")) == len(TREE) + 1
