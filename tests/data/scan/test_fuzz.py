"""Damaged files in every way chance thinks of: never a crash, a hang or a traceback, always one verdict a file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sample_clips import FORMATS

from vidrepro.data.frames import read_video
from vidrepro.data.scan.clips import ClipFiles, Scan
from vidrepro.data.sources.checking import Checked, results_of
from vidrepro.data.sources.completeness import Completeness
from vidrepro.data.sources.engine import choose_fold, manifest_row, missing_clips, read_download
from vidrepro.data.sources.something_something import CLASSES
from vidrepro.data.table import COLUMNS, parse_rows, split_text, table_text
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


def lines(*texts: str, end: str = "\n") -> bytes:
    return (end.join(texts) + end).encode()


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def ssv1(root: Path) -> dict[str, bytes]:
    prefix = "something-something-v1"
    for number in range(1, 9):
        touch(root, f"20bn-something-something-v1/{number}/00001.jpg")
    return {
        f"{prefix}-labels.csv": lines(*reversed(CLASSES)),
        f"{prefix}-train.csv": lines(*(f"{number};{CLASSES[number * 9]}" for number in range(1, 7))),
        f"{prefix}-validation.csv": lines(*(f"{number};{CLASSES[number]}" for number in (7, 8))),
    }


def ssv2(root: Path) -> dict[str, bytes]:
    touch(root, *(f"20bn-something-something-v2/{number}.webm" for number in range(1, 9)))

    def rows(numbers: range) -> bytes:
        texts = [CLASSES[number * 9].replace("something", "[something]") for number in numbers]
        items = [{"id": str(one), "label": "x", "template": text} for one, text in zip(numbers, texts, strict=True)]
        return json.dumps(items, indent=1).encode()

    labels = json.dumps({name: str(place) for place, name in enumerate(CLASSES)}).encode()
    return {
        "labels/train.json": rows(range(1, 7)),
        "labels/validation.json": rows(range(7, 9)),
        "labels/labels.json": labels,
    }


def diving48(root: Path) -> dict[str, bytes]:
    touch(root, *(f"rgb/-v{number}_0001.mp4" for number in range(8)))

    def rows(numbers: range) -> bytes:
        items = [{"vid_name": f"-v{n}_0001", "label": n, "start_frame": 0, "end_frame": 48} for n in numbers]
        return json.dumps(items).encode()

    vocabulary = [["Back", f"{number:02d}som", "05Twis", "FREE"] for number in range(48)]
    return {
        "Diving48_V2_train.json": rows(range(6)),
        "Diving48_V2_test.json": rows(range(6, 8)),
        "Diving48_vocab.json": json.dumps(vocabulary).encode(),
    }


def egtea(root: Path) -> dict[str, bytes]:
    clips = [f"P0{n}-R01-PastaSalad-{n}00-{n}99-F00{n}00-F00{n}50" for n in range(1, 9)]
    touch(root, *(f"cropped_clips/{clip.rsplit('-', 4)[0]}/{clip}.mp4" for clip in clips))
    files = {"action_annotation/action_idx.txt": lines(*(f"Do/Make thing {n} {n}" for n in range(1, 107)))}
    for fold in (1, 2, 3):
        for part, chosen in (("train", clips[:6]), ("test", clips[6:])):
            text = lines(*(f"{clip} {n} 1 1" for n, clip in enumerate(chosen, start=1)))
            files[f"action_annotation/{part}_split{fold}.txt"] = text
    return files


def epic55(root: Path) -> dict[str, bytes]:
    for video in ("P01_01", "P26_02"):
        touch(root, *(f"frames/{video[:3]}/{video}/frame_{number:010d}.jpg" for number in range(1, 40)))
    header = (
        "uid,participant_id,video_id,narration,start_timestamp,stop_timestamp,start_frame,stop_frame,verb,verb_class,"
        "noun,noun_class,all_nouns,all_noun_classes"
    )
    nouns_of_all = "\"['it', 'x']\",\"[1, 2]\""
    rows = [
        f"{n * 3},{video[:3]},{video},do it,00:00:00.1,00:00:03.3,{n},{n + 9},do,{n},it,{n + 1},{nouns_of_all}"
        for n, video in enumerate(["P01_01", "P26_02"] * 4, start=1)
    ]
    verbs = lines("verb_id,class_key,verbs", *(f"{n},verb{n},\"['v{n}']\"" for n in range(125)), end="\r\n")
    nouns = lines("noun_id,class_key,nouns", *(f"{n},noun{n},\"['n{n}']\"" for n in range(352)), end="\r\n")
    return {
        "EPIC_train_action_labels.csv": lines(header, *rows),
        "EPIC_verb_classes.csv": verbs,
        "EPIC_noun_classes.csv": nouns,
    }


def ucf101(root: Path) -> dict[str, bytes]:
    names = [f"{name}/v_{name}_g0{n}_c01.avi" for n in range(1, 5) for name in ("Archery", "Bowling")]
    touch(root, *(f"UCF-101/{name}" for name in names))
    files = {"ucfTrainTestlist/classInd.txt": lines("1 Archery", "2 Bowling", end="\r\n")}
    for fold in ("01", "02", "03"):
        train = [f"{name} {1 if name.startswith('A') else 2}" for name in names[2:]]
        files[f"ucfTrainTestlist/trainlist{fold}.txt"] = lines(*train, end="\r\n")
        files[f"ucfTrainTestlist/testlist{fold}.txt"] = lines(*names[:2], end="\r\n")
    return files


def hmdb51(root: Path) -> dict[str, bytes]:
    files = {}
    for name in ("kick", "kick_ball"):
        clips = [f"a_#{n}_{name}_[x];&_{n}.avi" for n in range(6)]
        touch(root, *(f"{name}/{clip}" for clip in clips))
        for fold in (1, 2, 3):
            text = lines(*(f"{clip} {(n + fold) % 3} " for n, clip in enumerate(clips)))
            files[f"testTrainMulti_7030_splits/{name}_test_split{fold}.txt"] = text
    return files


def kinetics400(root: Path) -> dict[str, bytes]:
    files = {}
    for split, start in (("train", 0), ("val", 10)):
        ids = [f"-_{n:09d}" for n in range(start, start + 6)]
        touch(root, *(f"{split}/{clip}_000010_000020.mp4" for clip in ids))
        rows = [f"{'abseiling' if n % 2 else 'air drumming'},{clip},10,20,{split}" for n, clip in enumerate(ids)]
        files[f"annotations/{split}.csv"] = lines("label,youtube_id,time_start,time_end,split", *rows)
    return files


TREES: list[Callable[[Path], dict[str, bytes]]] = [ssv1, ssv2, diving48, egtea, epic55, ucf101, hmdb51, kinetics400]


def read_all(name: str, root: Path, data: Path) -> int:
    """Everything a preparation does with annotations, up to the text of the manifest; the number of its rows."""
    dataset: Any = import_module(f"vidrepro.data.sources.{name}")
    assert dataset.archives(root) == []
    download = read_download(dataset, root, data / name, None)
    fold = choose_fold(download.catalogue, None)
    completeness = Completeness(name, download.catalogue, fold, 1.0, missing_clips(download))
    completeness.require(None)
    assert completeness.summary()["complete"] is False
    located = download.located.media
    checked = Checked({}, {clip: Scan(9, 12.0, 32, 24, 100, "0" * 64) for clip in located})
    rows = [
        manifest_row(completeness, one, located[one.id], checked)
        for one in download.catalogue.entries
        if one.id in located
    ]
    text, numbers = split_text(table_text(rows), Path("manifest.csv"), COLUMNS)
    parse_rows(text, numbers, Path("manifest.csv"), len(download.catalogue.classes))
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
