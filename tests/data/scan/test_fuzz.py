"""Damaged files in every way chance thinks of: never a crash, a hang or a traceback, always one verdict a file."""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from official_trees import TREES, touch
from sample_clips import FORMATS

from vidrepro.data.frames import read_video
from vidrepro.data.manifest_rows import COLUMNS, parse_rows, split_text, table_text
from vidrepro.data.scan.check_clip import ClipFiles, Scan
from vidrepro.data.sources.check_clips import Checked, results_of
from vidrepro.data.sources.completeness import Completeness
from vidrepro.data.sources.prepare import choose_fold, manifest_row, missing_clips, read_download
from vidrepro.errors import DataError, VidreproError

VIDEOS = 500
ANNOTATIONS = 500

SPITEFUL = [
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n\n", b'"', b"[", b"]", b"{", b",", b";", b" ", b"\t", b"-1", b"0"),
    *(b"9" * 21, b"1e999", b"NaN", b"null", b"true", b"../../etc/passwd", b"/etc/passwd", b"\\ud800", b"\xe9"),
    *(b"%s%n", b"'); DROP TABLE", b"$(id)", b"`id`", b"\xe2\x80\xa8", b"[" * 50_000, b"1" * 5_000),
]


def mutated(content: bytes, rng: random.Random, *, text: bool) -> bytes:
    """A file with one to four accidents."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(data) + 1)
        length = min(rng.choice((1, 2, 7, 40, 400)), len(data))
        accident = rng.randrange(7)
        if accident == 0 and data:
            data[start % len(data)] ^= 1 << rng.randrange(8)
        elif accident == 1:
            data[start : start + length] = b""
        elif accident == 2:
            data[start:start] = rng.choice(SPITEFUL) if text else rng.randbytes(length)
        elif accident == 3:
            data[start : start + length] = bytes(length)
        elif accident == 4:
            other = rng.randrange(len(data) + 1)
            data[start:start] = data[other : other + length]
        elif accident == 5:
            data[start : start + length] = rng.randbytes(length)
        elif rng.random() < 0.3:
            del data[start:]
    return bytes(data)


def test_mutated_videos_get_one_verdict_each(videos: dict[str, Path], tmp_path: Path) -> None:
    rng = random.Random(7)
    tasks = []
    for number in range(VIDEOS):
        source = videos[list(FORMATS)[number % len(FORMATS)]]
        path = tmp_path / f"{number}{source.suffix}"
        path.write_bytes(mutated(source.read_bytes(), rng, text=False))
        tasks.append(ClipFiles(str(number), path))
    found = list(results_of(tasks, None, 1))
    assert sorted(int(clip) for clip, _ in found) == list(range(VIDEOS))
    verdicts = dict(found)
    for scan in verdicts.values():
        assert isinstance(scan, Scan)
        if scan.problem:
            assert "\n" not in scan.problem and str(tmp_path) not in scan.problem and not scan.frames
        else:
            assert scan.frames > 0 and len(scan.digest) == 64 and scan.fps > 0
    good = [task for task in tasks if not verdicts[task.id].problem]
    assert VIDEOS // 20 < len(good) < VIDEOS * 19 // 20  # the mutations are neither harmless nor all fatal
    for task in good:  # what the check lets through, training can read, whichever setting it took
        scan = verdicts[task.id]
        pixels = read_video(task.path, [0, scan.frames - 1], frames=scan.frames)
        assert pixels.shape == (2, scan.height, scan.width, 3)


# --- annotations: small trees in the official layouts, whose files need not decode here ----------------------------


def read_all(name: str, root: Path, data: Path) -> int:
    """Everything a preparation does with annotations, up to the text of the manifest; the number of its rows."""
    dataset: Any = import_module(f"vidrepro.data.sources.{name}")
    assert dataset.archives(root) == []
    download = read_download(dataset, root, data / name, None)
    fold = choose_fold(download.annotations, None)
    completeness = Completeness(name, download.annotations, fold, 1.0, missing_clips(download))
    completeness.require(None)
    assert completeness.summary()["complete"] is False
    located = download.located.media
    checked = Checked({}, {clip: Scan(9, 12.0, 32, 24, 100, "0" * 64) for clip in located})
    rows = [
        manifest_row(completeness, one, located[one.id], checked)
        for one in download.annotations.entries
        if one.id in located
    ]
    text, numbers = split_text(table_text(rows), Path("manifest.csv"), COLUMNS)
    parse_rows(text, numbers, Path("manifest.csv"), len(download.annotations.classes))
    return len(rows)


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.__name__)
def test_mutated_annotations_are_read_or_refused_by_name(
    tree: Callable[[Path], dict[str, bytes]], tmp_path: Path
) -> None:
    root, name = tmp_path / "root", tree.__name__
    root.mkdir()
    files = tree(root)
    for file, content in files.items():
        touch(root, file)
        (root / file).write_bytes(content)
    assert read_all(name, root, tmp_path / "data") >= 6  # unharmed, it is read
    rng = random.Random(name)
    refusals = 0
    for _ in range(-(-ANNOTATIONS // len(TREES))):
        file = rng.choice(list(files))
        (root / file).write_bytes(mutated(files[file], rng, text=True))
        try:
            read_all(name, root, tmp_path / "data")
        except VidreproError as refusal:
            refusals += 1
            assert isinstance(refusal, DataError)
            assert Path(file).name in str(refusal) or _about_another_file(refusal, files)
            assert "manifest.csv" not in str(refusal)  # found late, without the line of the annotation
        (root / file).write_bytes(files[file])
    assert refusals > 5


def _about_another_file(refusal: VidreproError, files: dict[str, bytes]) -> bool:
    """A damaged class list is noticed at the lines that use it; a list that is gone, by its folder."""
    return any(Path(file).name in str(refusal) for file in files)
