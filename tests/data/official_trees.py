"""Small trees of the eight official datasets, whose clips need not decode: touched files, and the lists' contents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from vidrepro.data.sources.something_something import CLASSES


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


def write_tree(tree: Callable[[Path], dict[str, bytes]], root: Path) -> Path:
    """One of `TREES`, with its lists."""
    for file, content in tree(root).items():
        touch(root, file)
        (root / file).write_bytes(content)
    return root
