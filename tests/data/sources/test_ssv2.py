"""Something-Something V2 as it is downloaded, small: JSON lists in both families of names, webm, three packagings."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from folded_datasets import HEADER, expected_lines, frames_line, prepare, refused, train_and_evaluate
from mini import make_frames, make_video, video_bytes

from vidrepro.data.sources import ssv2
from vidrepro.data.sources.ssv1 import CLASSES
from vidrepro.errors import DataError, UnknownNameError

PACKAGE = "20bn-something-something-download-package-labels.zip"
NEW_NAMES = ("train.json", "validation.json", "test.json", "labels.json", "test-answers.csv")

LABELS = """{
"Holding something": "0",
"Holding something next to something":"1",
"Poking something so lightly that it doesn't or almost doesn't move": "2",
"Putting number of something onto something" : "3",
"Putting something similar to other things that are already on the table": "4",
"Trying but failing to attach something to something because it doesn't stick": "5"
}
"""
# `label` is free text that names another class; placeholders are whole phrases; keys come in any order
TRAIN = """[
{"id":"78687","label":"holding something","template":"Holding [something] next to [something]",
 "placeholders":["potato","vicks vaporub bottle"]},
{"id": "9", "label": "putting 3 pens onto a book", "template": "Putting [number of] [something] onto [something]",
 "placeholders": ["3", "pens", "a book"]},

{"template": "Putting [something similar to other things that are already on the table]", "id": "100000",
 "label": "putting a spoon", "placeholders": ["a spoon"]},
 {"id":"3","label":"holding a [box]","template":"Holding [something]","placeholders":["a [box]"]}
]
"""
VALIDATION = """[{"id":"41","label":"poking","template":"Poking [something] so lightly that it doesn't or almost \
doesn't move","placeholders":["x"]},{"id":"7","label":"x","template":"Trying but failing to attach [something] to \
[something] because it doesn't stick","placeholders":["a","b"]}]"""
TEST = '[{"id":"1420"},{"id":"5"},\n{"id":"6"}]\n'
ANSWERS = "6;Holding something\r\n1420;Holding [something] next to [something] \r\n\r\n"

# by hand: id, split, label, line
EXPECTED = [
    ("78687", "train", 1, 2),
    ("9", "train", 3, 4),
    ("100000", "train", 4, 7),
    ("3", "train", 0, 9),
    ("41", "val", 2, 1),
    ("7", "val", 5, 1),
]
EXPECTED_TEST = [("6", "test", 0, 1), ("1420", "test", 1, 2)]
IDS = [clip for clip, *_ in EXPECTED]


def contents(**changed: str | None) -> dict[str, str]:
    """The lists by their new names; `changed` (train, validation, test, labels, answers) gives some other content."""
    given = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "labels": LABELS, "answers": None} | changed
    named = {"answers": "test-answers.csv"}
    return {named.get(key, f"{key}.json"): text for key, text in given.items() if text is not None}


def write_lists(folder: Path, prefix: str = "", encoding: str = "utf-8", **changed: str | None) -> Path:
    """The lists in a folder; without the answers unless they are given."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents(**changed).items():
        (folder / f"{prefix}{name}").write_bytes(text.encode(encoding))
    return folder


def found(annotations: Any) -> list[tuple[str, str, int, int]]:
    return [(entry.id, entry.split, entry.label, entry.where[1]) for entry in annotations.entries]


def test_classes_are_found_by_the_template_without_its_brackets(tmp_path: Path) -> None:
    annotations = ssv2.read(write_lists(tmp_path), None, None)
    assert found(annotations) == EXPECTED
    assert all(entry.media == entry.id for entry in annotations.entries)
    assert annotations.classes[3] == "Putting number of something onto something"
    assert annotations.label_order == "labels.json"
    assert annotations.version == "V2"
    assert annotations.left_out == {"test clips without labels": 3}
    assert annotations.expected == {"train": 168913, "val": 24777}
    assert len(annotations.class_problems) == 1


def test_answers_make_test_clips_usable(tmp_path: Path) -> None:
    annotations = ssv2.read(write_lists(tmp_path, answers=ANSWERS), None, None)
    assert found(annotations) == EXPECTED + EXPECTED_TEST
    assert annotations.left_out == {"test clips without labels": 1}
    assert annotations.expected == {"train": 168913, "val": 24777, "test": 27157}


def test_answers_without_test_json_are_enough(tmp_path: Path) -> None:
    annotations = ssv2.read(write_lists(tmp_path, answers=ANSWERS, test=None), None, None)
    assert found(annotations) == EXPECTED + EXPECTED_TEST
    assert annotations.left_out == {}


@pytest.mark.parametrize("place", ["", "labels", "annotations"])
@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_both_families_of_names_in_every_place(tmp_path: Path, place: str, prefix: str) -> None:
    write_lists(tmp_path / place, prefix)
    assert found(ssv2.read(tmp_path, None, None)) == EXPECTED


def test_new_names_go_before_old_ones_and_a_difference_is_told(tmp_path: Path) -> None:
    write_lists(tmp_path / "labels")
    write_lists(tmp_path, "something-something-v2-")
    assert ssv2.read(tmp_path, None, None).notes == ()
    write_lists(tmp_path, "something-something-v2-", validation='[{"id":"8","template":"Holding [something]"}]')
    annotations = ssv2.read(tmp_path, None, None)
    assert found(annotations) == EXPECTED
    (note,) = annotations.notes
    assert "labels/validation.json was read" in note
    assert f"{tmp_path.name}/something-something-v2-validation.json" in note


def test_other_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    changed = {"train": TRAIN.replace("\n", "\r\n"), "labels": LABELS.replace("\n", "\r\n") + "\r\n"}
    write_lists(tmp_path, encoding="utf-8-sig", **changed)
    assert found(ssv2.read(tmp_path, None, None)) == EXPECTED


def test_numbers_of_labels_json_count_not_its_order(tmp_path: Path) -> None:
    turned = {name: str(number) for number, name in reversed(list(enumerate(json.loads(LABELS))))}
    write_lists(tmp_path, labels=json.dumps(turned))
    assert found(ssv2.read(tmp_path, None, None)) == EXPECTED


def test_the_official_class_list_is_compared_in_order(tmp_path: Path) -> None:
    def problems(names: list[str]) -> tuple[str, ...]:
        write_lists(tmp_path, labels=json.dumps({name: str(label) for label, name in enumerate(names)}))
        return ssv2.read(tmp_path, None, None).class_problems

    names = list(CLASSES)
    assert problems(names) == ()
    (problem,) = problems([*names[:16], names[17], names[16], *names[18:]])
    assert "label 16 is" in problem


def test_a_class_list_that_was_cut_down_keeps_its_numbers_and_is_a_problem(tmp_path: Path) -> None:
    names = {clip: name for name, clip in json.loads(LABELS).items()}
    numbers = {names["0"]: "16", names["1"]: "19", names["2"]: "56", names["3"]: "102", names["4"]: "114"}
    write_lists(tmp_path, labels=json.dumps(numbers | {names["5"]: "161"}))  # the official ones, counted by hand
    annotations = ssv2.read(tmp_path, None, None)
    assert [entry.label for entry in annotations.entries] == [19, 102, 114, 16, 56, 161]
    assert annotations.classes == CLASSES[:162]
    assert len(annotations.class_problems) == 2
    assert "names no class for 156 numbers" in annotations.class_problems[1]


def test_without_labels_json_the_official_classes_are_taken(tmp_path: Path) -> None:
    annotations = ssv2.read(write_lists(tmp_path, labels=None), None, None)
    assert annotations.classes == CLASSES
    assert {entry.id: entry.label for entry in annotations.entries}["100000"] == 114  # line 115 of the sorted list
    assert any("labels.json is not there" in note for note in annotations.notes)


GOOD = '{"id":"1","template":"Holding [something]"}'
BROKEN: dict[str, tuple[str, str, int, str]] = {
    "id twice": ("train", f"[{GOOD},\n\n{GOOD}]", 3, "duplicate id"),
    "id of train": ("validation", f'[{GOOD},\n{{"id":"9","template":"Holding [something]"}}]', 2, "duplicate id"),
    "test id of train": ("test", '[\n{"id":"9"}]', 2, "duplicate id"),
    "id is a number": ("train", f'[{GOOD},\n{{"id":2,"template":"Holding [something]"}}]', 2, "wrong kind"),
    "id is a path": ("train", '[{"id":"../2","template":"Holding [something]"}]', 1, "no number"),
    "no id": ("train", f'[{GOOD},\n{{"template":"Holding [something]"}}]', 2, "without 'id'"),
    "no template": ("train", f'[{GOOD},\n{{"id":"2","label":"holding a box"}}]', 2, "without 'template'"),
    "template is null": ("train", '[{"id":"2","template":null}]', 1, "wrong kind"),
    "unknown template": ("train", f'[{GOOD},\n{{"id":"2","template":"Holding [thing]"}}]', 2, "unknown label"),
    "label for template": ("train", '[\n{"id":"2","template":"holding a box"}]', 2, "unknown label"),
    "no object": ("train", f'[{GOOD},\n"78687"]', 2, "no JSON object"),
    "empty list": ("train", "[]", 0, "without clips"),
    "cut short": ("train", f"[{GOOD},\n{GOOD[:20]}", 2, "not JSON"),
    "object of lists": ("train", '{"train": []}', 1, "not a JSON list"),
    "two classes of a number": ("labels", '{"Holding something": "0",\n"A": "1", "B": "1"}', 2, "the number 1"),
    "a number beyond all": ("labels", '{"Holding something": "0",\n"A": "174"}', 2, "without its number"),
    "no classes": ("labels", "{}", 0, "without classes"),
    "a number that is none": ("labels", '{"Holding something": "zero"}', 1, "without its number"),
    "a class twice": ("labels", '{"Holding something": "0",\n"Holding something": "1"}', 2, "twice"),
    "answer to another clip": ("answers", "6;Holding something\n8;Holding something\n", 2, "test.json does not list"),
    "answer twice": ("answers", "6;Holding something\n6;Holding something\n", 2, "duplicate id"),
    "answer with comma": ("answers", "6,Holding something\n", 1, "no ';'"),
    "unknown answer": ("answers", "6;Holding nothing\n", 1, "unknown label"),
}


@pytest.mark.parametrize("trap", BROKEN)
def test_a_malformed_list_is_refused_with_file_and_line(tmp_path: Path, trap: str) -> None:
    name, text, line, problem = BROKEN[trap]
    write_lists(tmp_path, **{name: text})
    with pytest.raises(DataError, match=problem) as caught:
        ssv2.read(tmp_path, None, None)
    file = tmp_path / ("test-answers.csv" if name == "answers" else f"{name}.json")
    assert caught.value.where == (f"{file}, line {line}" if line else str(file))


def test_another_label_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        ssv2.read(write_lists(tmp_path), None, "mmaction2")


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_missing_list_is_refused_with_both_its_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no list of") as caught:
        ssv2.read(write_lists(tmp_path, **{name: None}), None, None)
    assert f"{name}.json or something-something-v2-{name}.json" in str(caught.value)


@pytest.mark.parametrize("place", ["20bn-something-something-v2", "", "videos"])
def test_the_folder_of_the_clips_is_found(tmp_path: Path, place: str) -> None:
    make_video(tmp_path / place / "78687.webm")
    assert ssv2.media_roots(tmp_path, None)[0] == tmp_path / place


def test_folders_of_pictures_are_found_too(tmp_path: Path) -> None:
    make_frames(tmp_path / "rawframes" / "78687", 3, "img_%05d.jpg", 0)
    assert ssv2.media_roots(tmp_path, None) == [tmp_path / "rawframes"]


def tgz() -> bytes:
    """The clips as 20BN packed them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for number, clip in enumerate(IDS):
            data = video_bytes(".webm", frames=8 + number)
            member = tarfile.TarInfo(f"20bn-something-something-v2/{clip}.webm")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def write_parts(folder: Path, packaging: str, count: int = 3) -> list[Path]:
    """The three packagings: raw parts; each part in a zip; raw parts that are called zip."""
    folder.mkdir(parents=True, exist_ok=True)
    data, parts = tgz(), []
    size = len(data) // count + 1
    for number in range(count):
        name = f"20bn-something-something-v2-{number:02d}"
        part = data[number * size : (number + 1) * size]
        parts.append(folder / (name if packaging == "raw" else f"{name}.zip"))
        if packaging == "in zips":
            with zipfile.ZipFile(parts[-1], "w") as archive:
                archive.writestr(name, part)
        else:
            parts[-1].write_bytes(part)
    return parts


def write_package(folder: Path) -> Path:
    """Qualcomm's zip of the lists."""
    with zipfile.ZipFile(folder / PACKAGE, "w") as archive:
        for name, text in contents(answers=ANSWERS).items():
            archive.writestr(f"labels/{name}", text)
    return folder / PACKAGE


@pytest.mark.parametrize("packaging", ["raw", "in zips", "called zip"])
def test_every_packaging_is_told_by_its_content(tmp_path: Path, packaging: str) -> None:
    parts = write_parts(tmp_path, packaging)
    package = write_package(tmp_path)
    videos, labels = ssv2.archives(tmp_path)
    assert list(videos.parts) == parts
    assert labels.parts == (package,)


def test_lists_in_the_package_are_read_after_unpacking(tmp_path: Path) -> None:
    with zipfile.ZipFile(write_package(tmp_path)) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert found(ssv2.read(tmp_path, tmp_path / "unpacked", None)) == EXPECTED + EXPECTED_TEST


def test_a_web_page_in_the_place_of_the_package_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / PACKAGE).write_text("<html>sign in</html>")
    with pytest.raises(DataError, match="web page") as caught:
        ssv2.archives(tmp_path)
    assert PACKAGE in str(caught.value)


def test_the_guide_says_where_it_comes_from() -> None:
    text = str(ssv2.guide())
    for expected in ("qualcomm.com", "licence", "account", "168,913", "24,777", "27,157", PACKAGE):
        assert expected in text


CLIPS = "20bn-something-something-v2"
ROWS = [(clip, split, label) for clip, split, label, _ in EXPECTED]
ROWS_OF_TEST = [(clip, split, label) for clip, split, label, _ in EXPECTED_TEST]


def video_rows(rows: list[tuple[str, str, int]]) -> list[tuple[str, str, int, float, int, str]]:
    """The clips' n-th has 8 + n frames, as `tgz` packs them."""
    return [(clip, f"{clip}.webm", 8 + number, 12, label, split) for number, (clip, split, label) in enumerate(rows)]


def write_videos(folder: Path, rows: list[tuple[str, str, int]]) -> Path:
    for clip, file, frames, *_ in video_rows(rows):
        assert file.startswith(clip)
        make_video(folder / file, frames)
    return folder


def test_the_manifest_of_an_unpacked_tree_is_the_one_written_by_hand(tmp_path: Path) -> None:
    root = write_lists(tmp_path / "download" / "labels", answers=ANSWERS).parent
    rows = ROWS + ROWS_OF_TEST
    clips = write_videos(root / CLIPS, rows)
    make_video(clips / "999999.webm")  # in no list
    prepared = prepare("ssv2", root, tmp_path / "data")
    assert prepared.lines() == expected_lines(clips, video_rows(rows))
    assert prepared.info["label_order"] == "labels.json"
    assert prepared.info["completeness"]["splits"]["test"] == {
        "expected": 27157,
        "listed": 2,
        "ok": 2,
        "missing": 0,
        "bad": 0,
    }
    record, scores = train_and_evaluate(prepared, tmp_path / "results")
    assert record["dataset"]["counts"]["train"] == {"ok": 4, "bad": 0}
    assert scores["clips"] == 2


@pytest.mark.parametrize("packaging", ["raw", "in zips", "called zip"])
def test_the_manifest_of_every_packaging_is_the_same(tmp_path: Path, packaging: str) -> None:
    root = tmp_path / "download"
    write_parts(root, packaging)
    write_package(root)
    prepared = prepare("ssv2", root, tmp_path / "data")
    clips = tmp_path / "data" / "ssv2" / "unpacked" / CLIPS
    assert prepared.lines() == expected_lines(clips, video_rows(ROWS))
    splits = prepared.info["completeness"]["splits"]
    assert splits["test"] == {"expected": 27157, "listed": 2, "ok": 0, "missing": 2, "bad": 0}


@pytest.mark.parametrize(("pattern", "start"), [("img_%05d.jpg", 0), ("img_%05d.jpg", 1), ("%06d.jpg", 1)])
def test_the_manifest_of_pictures_knows_their_pattern_and_first_number(
    tmp_path: Path, pattern: str, start: int
) -> None:
    root = write_lists(tmp_path / "download")
    lines = [HEADER]
    for number, (clip, split, label) in enumerate(ROWS):
        folder = make_frames(root / "frames" / clip, 8 + number, pattern, start)
        facts = {"start": start, "fps": 12, "label": label, "split": split}
        span = (start, start + 7 + number)
        lines.append(frames_line(clip, folder, root / "frames", span, pattern, **facts))
    assert prepare("ssv2", root, tmp_path / "data").lines() == lines


def test_a_video_that_is_cut_short_and_a_page_are_bad_clips(tmp_path: Path) -> None:
    root = write_lists(tmp_path / "download")
    clips = write_videos(root / CLIPS, ROWS)
    (clips / "9.webm").write_bytes((clips / "9.webm").read_bytes()[:300])
    (clips / "41.webm").write_text("<html>404</html>")
    prepared = prepare("ssv2", root, tmp_path / "data")
    good = expected_lines(clips, video_rows(ROWS))
    good[2] = "9,9.webm,0,0,0,0,3,train,0,,bad,,,"
    good[5] = "41,41.webm,0,0,0,0,2,val,0,,bad,,,"
    assert prepared.lines() == good


def test_the_command_refuses_a_malformed_list_even_if_anything_may_be_missing(tmp_path: Path) -> None:
    root = write_lists(tmp_path / "download", train=f'[{GOOD},\n{{"id":"2","template":"Holding [thing]"}}]')
    make_video(root / CLIPS / "1.webm")
    told = refused("ssv2", root, tmp_path / "data", "--allow-missing", "1.0")
    assert "train.json, line 2" in told


def test_the_command_takes_the_official_list_with_its_del(tmp_path: Path) -> None:
    """Line 2887 of the real validation.json has an unescaped DEL in `label` and `placeholders`, which nobody uses."""
    root = tmp_path / "download"
    write_lists(root)
    path = next(root.rglob("validation.json"))
    row = b'{"id":"77","label":"a cat\x7f","template":"Holding [something]","placeholders":["a cat\x7f"]}'
    path.write_bytes(b"[\r\n" + row + b"\r\n]\r\n")
    make_video(root / CLIPS / "77.webm")
    prepared = prepare("ssv2", root, tmp_path / "data")
    assert [line.split(",")[0] for line in prepared.lines()[1:]] == ["77"]
    path.write_bytes(b"[\r\n" + row.replace(b"Holding", b"Hol\x7fding") + b"\r\n]\r\n")
    assert "validation.json, line 2" in refused("ssv2", root, tmp_path / "other", "--allow-missing", "1")
