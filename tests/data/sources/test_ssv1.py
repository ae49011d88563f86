"""Something-Something V1 as it is downloaded, small: lists with every trap of the format, folders of pictures."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from folded_datasets import HEADER, frames_line, prepare, refused, train_and_evaluate
from mini import make_frames, make_video, picture_bytes

from vidrepro.data.sources import ssv1
from vidrepro.errors import DataError, UnknownNameError

FILES = "something-something-v1"

# labels.csv is not sorted; labels hold commas, apostrophes and parentheses. Blanks behind one, CRLF, blank last lines.
LABELS = (
    b"\xef\xbb\xbfHolding something\r\n"
    b"Turning something upside down  \r\n"
    b"Laying something on the table on its side, not upright\r\n"
    b"Poking something so lightly that it doesn't or almost doesn't move\r\n"
    b"Twisting (wringing) something wet until water comes out\r\n"
    b"\r\n \r\n"
)
TRAIN = (
    b"\xef\xbb\xbf100218;Turning something upside down\r\n"
    b"7;Laying something on the table on its side, not upright \t\r\n"
    b"24413;Holding something\r\n"
    b"5071;Poking something so lightly that it doesn't or almost doesn't move\r\n"
    b"\r\n"
)
VALIDATION = b"3;Twisting (wringing) something wet until water comes out\n41;Holding something"
TEST = b"41775\n12\n\n"

# by hand: 0 Holding, 1 Laying, 2 Poking, 3 Turning, 4 Twisting
SORTED = [
    ("100218", "train", 3, 1),
    ("7", "train", 1, 2),
    ("24413", "train", 0, 3),
    ("5071", "train", 2, 4),
    ("3", "val", 4, 1),
    ("41", "val", 0, 2),
]
# by hand: 0 Holding, 1 Turning, 2 Laying, 3 Poking, 4 Twisting
IN_FILE = [("100218", 1), ("7", 2), ("24413", 0), ("5071", 3), ("3", 4), ("41", 0)]
IDS = [clip for clip, *_ in SORTED]


def write_lists(folder: Path, **changed: bytes | None) -> Path:
    """The four lists; `changed` gives other content for train, validation, test or labels, None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"labels": LABELS, "train": TRAIN, "validation": VALIDATION, "test": TEST} | changed
    for name, data in content.items():
        if data is not None:
            (folder / f"{FILES}-{name}.csv").write_bytes(data)
    return folder


def write_parts(folder: Path, count: int = 4) -> list[Path]:
    """The clips as the download has them: one .tgz cut into parts without an extension, the last one shorter."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for clip in [*IDS, "41775", "12"]:
            for number in range(9):
                data = picture_bytes(number)
                member = tarfile.TarInfo(f"20bn-something-something-v1/{clip}/{number + 1:05d}.jpg")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    folder.mkdir(parents=True, exist_ok=True)
    parts, size = [], buffer.tell() // count + 1
    for number in range(count):
        parts.append(folder / f"20bn-something-something-v1-{number:02d}")
        parts[-1].write_bytes(buffer.getvalue()[number * size : (number + 1) * size])
    return parts


def test_sorted_labels_are_the_default(tmp_path: Path) -> None:
    annotations = ssv1.read(write_lists(tmp_path), None, None)
    assert annotations.label_order == "sorted" == annotations.label_orders[0]
    assert annotations.classes == (
        "Holding something",
        "Laying something on the table on its side, not upright",
        "Poking something so lightly that it doesn't or almost doesn't move",
        "Turning something upside down",
        "Twisting (wringing) something wet until water comes out",
    )
    assert [(entry.id, entry.split, entry.label, entry.where[1]) for entry in annotations.entries] == SORTED
    assert all(entry.media == entry.id for entry in annotations.entries)
    assert annotations.entries[0].where == (tmp_path / f"{FILES}-train.csv", 1)
    assert annotations.left_out == {"test clips without labels": 2}
    assert annotations.fps == 12


@pytest.mark.parametrize("order", ["mmaction2", "tam"])
def test_the_order_of_the_file_is_a_named_alternative(tmp_path: Path, order: str) -> None:
    annotations = ssv1.read(write_lists(tmp_path), None, order)
    assert annotations.label_order == order
    assert annotations.classes[:2] == ("Holding something", "Turning something upside down")
    assert [(entry.id, entry.label) for entry in annotations.entries] == IN_FILE
    told = [note for note in annotations.notes if "TAM" in note]
    assert bool(told) == (order == "tam")


def test_an_unknown_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="sortd") as caught:
        ssv1.read(write_lists(tmp_path), None, "sortd")
    assert "'sorted'" in str(caught.value)


def test_official_counts_and_classes_are_compared_with(tmp_path: Path) -> None:
    annotations = ssv1.read(write_lists(tmp_path), None, None)
    assert annotations.expected == {"train": 86017, "val": 11522}
    assert annotations.expected_classes == 174
    (problem,) = annotations.class_problems
    assert "169 of the 174 official classes" in problem


def official_file_order() -> list[str]:
    """174 names with those that have a mirrored partner on the lines that mmaction2's flip map names."""
    placed = {
        2: "Turning the camera left while filming something",
        4: "Turning the camera right while filming something",
        30: "Pushing something from left to right",
        41: "Pushing something from right to left",
        52: "Pulling something from right to left",
        66: "Pulling something from left to right",
    }
    rest = [name for name in sorted(ssv1.CLASSES, reverse=True) if name not in placed.values()]
    return [placed[line] if line in placed else rest.pop() for line in range(174)]


def test_all_classes_in_another_order_matter_only_where_the_order_of_the_file_counts(tmp_path: Path) -> None:
    def problems(names: list[str], order: str) -> tuple[str, ...]:
        write_lists(tmp_path, labels="\n".join(names).encode())
        return ssv1.read(tmp_path, None, order).class_problems

    official, alphabetical = official_file_order(), sorted(ssv1.CLASSES)
    for order in ssv1.ORDERS:
        assert problems(official, order) == ()
    assert problems(alphabetical, "sorted") == ()
    (problem,) = problems(alphabetical, "mmaction2")
    assert "line 3 is" in problem
    assert "Turning the camera left" in problem


def test_without_labels_csv_only_the_sorted_order_is_known(tmp_path: Path) -> None:
    write_lists(tmp_path, labels=None)
    annotations = ssv1.read(tmp_path, None, None)
    assert len(annotations.classes) == 174
    # lines of the list of class names that comes with vidrepro, counted from 0
    assert {entry.id: entry.label for entry in annotations.entries}["5071"] == 56
    assert any("labels.csv is not there" in note for note in annotations.notes)
    with pytest.raises(DataError, match=r"lines of .*labels\.csv"):
        ssv1.read(tmp_path, None, "mmaction2")


BROKEN: dict[str, tuple[str, bytes, int, str]] = {
    "unknown label": ("train", b"1;Holding something\n2;Holding somethin\n", 2, "unknown label 'Holding somethin'"),
    "comma for semicolon": ("train", b"1;Holding something\n2,Holding something\n", 2, "no ';'"),
    "split at the comma": ("train", b"1;Laying something on the table on its side\n", 1, "unknown label"),
    "header": ("train", b"id;label\n1;Holding something\n", 1, "no number"),
    "id twice": ("train", b"1;Holding something\n\n1;Holding something\n", 3, "duplicate id"),
    "id of train": ("validation", b"8;Holding something\r\n7;Holding something\r\n", 2, "duplicate id"),
    "test id of train": ("test", b"9\n7\n", 2, "duplicate id"),
    "test with labels": ("test", b"9;Holding something\n", 1, "no number"),
    "path for id": ("train", b"../7;Holding something\n", 1, "no number"),
    "other digits": ("train", "٣;Holding something\n".encode(), 1, "no number"),
    "empty label": ("train", b"1;Holding something\n2;\n", 2, "unknown label ''"),
    "class twice": ("labels", b"Holding something\nHolding something\n", 2, "class stands there twice"),
    "gap in labels": ("labels", b"Holding something\n\nTurning something upside down\n", 2, "blank line"),
    "web page": ("train", b"<html><body>please log in</body></html>", 1, "web page"),
    "not UTF-8": ("validation", b"8;Holding something\n9;Holding s\xf6mething\n", 2, "UTF-8"),
}


@pytest.mark.parametrize("trap", BROKEN)
def test_a_malformed_list_is_refused_with_file_and_line(tmp_path: Path, trap: str) -> None:
    name, content, line, problem = BROKEN[trap]
    write_lists(tmp_path, **{name: content})
    with pytest.raises(DataError, match=problem) as caught:
        ssv1.read(tmp_path, None, None)
    assert caught.value.where == f"{tmp_path / f'{FILES}-{name}.csv'}, line {line}"


def test_an_unknown_label_is_told_with_the_nearest(tmp_path: Path) -> None:
    write_lists(tmp_path, train=b"1;Turning something upside-down\n")
    with pytest.raises(DataError) as caught:
        ssv1.read(tmp_path, None, None)
    assert "'Turning something upside down'" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_missing_list_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no list of") as caught:
        ssv1.read(write_lists(tmp_path, **{name: None}), None, None)
    assert f"{FILES}-{name}.csv" in str(caught.value)


def test_a_missing_test_list_is_no_matter(tmp_path: Path) -> None:
    annotations = ssv1.read(write_lists(tmp_path, test=None), None, None)
    assert annotations.left_out == {}
    assert len(annotations.entries) == 6


@pytest.mark.parametrize("place", ["", "labels", "annotations", "v1", "v1/annotations"])
def test_lists_are_found_where_people_put_them(tmp_path: Path, place: str) -> None:
    write_lists(tmp_path / place)
    assert len(ssv1.read(tmp_path, None, None).entries) == 6


def test_a_second_list_of_other_content_is_told(tmp_path: Path) -> None:
    write_lists(tmp_path)
    write_lists(tmp_path / "annotations")
    assert ssv1.read(tmp_path, None, None).notes == ()
    write_lists(tmp_path / "annotations", train=b"1;Holding something\n")
    annotations = ssv1.read(tmp_path, None, None)
    assert len(annotations.entries) == 6
    assert any("different content" in note for note in annotations.notes)


@pytest.mark.parametrize("place", ["20bn-something-something-v1", "img", "", "something/v1/img"])
def test_the_folder_of_the_clips_is_found_by_its_numbers(tmp_path: Path, place: str) -> None:
    write_lists(tmp_path)
    for clip in ("7", "100218"):
        make_frames(tmp_path / place / clip, 3)
    assert ssv1.media_roots(tmp_path, None)[0] == tmp_path / place


def test_the_fuller_folder_comes_first_and_videos_count_too(tmp_path: Path) -> None:
    make_frames(tmp_path / "part" / "7", 2)
    for clip in ("7", "3"):
        make_video(tmp_path / "unpacked" / "all" / f"{clip}.webm")
    assert ssv1.media_roots(tmp_path / "part", tmp_path / "unpacked")[0] == tmp_path / "unpacked" / "all"


def test_no_clips_at_all_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    write_lists(tmp_path)
    with pytest.raises(DataError, match="no clips of Something-Something V1") as caught:
        ssv1.media_roots(tmp_path, None)
    assert "1/00001.jpg" in str(caught.value)


def test_parts_are_one_archive_in_order(tmp_path: Path) -> None:
    parts = write_parts(write_lists(tmp_path))
    (found,) = ssv1.archives(tmp_path)
    assert list(found.parts) == parts
    assert found.into == ""


def test_parts_beside_the_clips_are_left_packed(tmp_path: Path) -> None:
    write_parts(tmp_path)
    make_frames(tmp_path / "20bn-something-something-v1" / "7", 2)
    assert ssv1.archives(tmp_path) == []


def drop_the_second(parts: list[Path]) -> str:
    parts[1].unlink()
    return parts[1].name


def make_the_second_a_page(parts: list[Path]) -> str:
    parts[1].write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
    return parts[1].name


def cut_the_second(parts: list[Path]) -> str:
    parts[1].write_bytes(parts[1].read_bytes()[:100])
    return parts[1].name


def empty_the_last(parts: list[Path]) -> str:
    parts[-1].write_bytes(b"")
    return parts[-1].name


def letter_the_parts(parts: list[Path]) -> str:
    for number, part in enumerate(parts):
        part.rename(part.with_name(part.name[:-2] + f"a{chr(ord('a') + number)}"))
    return "letters"


@pytest.mark.parametrize(
    "damage", [drop_the_second, make_the_second_a_page, cut_the_second, empty_the_last, letter_the_parts]
)
def test_parts_that_are_no_whole_are_refused_by_name(tmp_path: Path, damage: Callable[[list[Path]], str]) -> None:
    told = damage(write_parts(write_lists(tmp_path)))
    with pytest.raises(DataError) as caught:
        ssv1.archives(tmp_path)
    assert told in str(caught.value)


def test_the_guide_says_where_it_comes_from() -> None:
    text = str(ssv1.guide())
    for expected in ("20bn.com", "licence", "174", "86,017", "11,522", "10,960", "something-something-v1-train.csv"):
        assert expected in text


CLIPS = "20bn-something-something-v1"
FRAMES = {"100218": 12, "7": 9, "24413": 9, "5071": 30, "3": 70, "41": 9}


def write_tree(root: Path) -> Path:
    """The lists, and the clips as they lie after unpacking."""
    for clip, count in FRAMES.items():
        make_frames(write_lists(root) / CLIPS / clip, count)
    return root


def lines_of(media: Path, rows: list[tuple[str, str, int]]) -> list[str]:
    """The lines of manifest.csv by hand, from (id, split, label)."""
    lines = [HEADER]
    for clip, split, label in rows:
        frames = (1, len(list((media / clip).glob("0*.jpg"))))
        lines.append(frames_line(clip, media / clip, media, frames, "%05d.jpg", fps=12, label=label, split=split))
    return lines


ROWS = [(clip, split, label) for clip, split, label, _ in SORTED]


def test_the_manifest_of_an_unpacked_tree_is_the_one_written_by_hand(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "download")
    prepared = prepare("ssv1", root, tmp_path / "data")
    assert prepared.lines() == lines_of(root / CLIPS, ROWS)
    assert prepared.info["root"] == str(root / CLIPS)
    assert prepared.info["label_order"] == "sorted"
    assert prepared.info["version"] == "V1"
    assert prepared.info["completeness"]["left_out"] == {"test clips without labels": 2}

    record, scores = train_and_evaluate(prepared, tmp_path / "results")
    assert record["dataset"]["name"] == "ssv1"
    assert record["dataset"]["counts"]["val"] == {"ok": 2, "bad": 0}
    assert scores["clips"] == 2


def test_the_manifest_of_the_parts_is_the_same_but_for_where_it_lies(tmp_path: Path) -> None:
    write_parts(write_lists(tmp_path / "download"))
    prepared = prepare("ssv1", tmp_path / "download", tmp_path / "data")
    assert prepared.info["root"] == f"unpacked/{CLIPS}"
    assert prepared.lines() == lines_of(tmp_path / "data" / "ssv1" / "unpacked" / CLIPS, ROWS)
    assert sorted(path.name for path in (tmp_path / "download").iterdir()) == sorted(
        [f"{FILES}-{name}.csv" for name in ("train", "validation", "test", "labels")]
        + [f"{CLIPS}-{number:02d}" for number in range(4)]
    )


def test_a_data_folder_inside_the_download_is_no_second_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as a relative path, too: what was unpacked there is seen once."""
    write_parts(write_lists(tmp_path / "download"))
    monkeypatch.chdir(tmp_path / "download")
    for _ in range(2):
        prepared = prepare("ssv1", Path(), Path("data"))
        assert prepared.info["root"] == f"unpacked/{CLIPS}"
        assert not any("left out" in note for note in prepared.info["notes"])
    assert (prepared.manifest.root / prepared.manifest.clip("7").path).is_dir()


def test_another_label_order_changes_labels_and_says_so(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "download")
    prepared = prepare("ssv1", root, tmp_path / "data", "--label-order", "mmaction2")
    labels = dict(IN_FILE)
    assert prepared.lines() == lines_of(root / CLIPS, [(clip, split, labels[clip]) for clip, split, _ in ROWS])
    assert prepared.info["label_order"] == "mmaction2"
    assert prepared.info["classes"][1] == "Turning something upside down"


def test_damaged_clips_are_listed_and_counted_and_stray_files_are_none(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "download")
    clips = root / CLIPS
    (clips / "7" / "Thumbs.db").write_bytes(b"thumbnails")
    (clips / "7" / ".DS_Store").write_bytes(b"folder")
    (clips / "100218" / "00007.jpg").unlink()
    (clips / "41" / "00003.jpg").write_bytes(b"")
    for picture in (clips / "5071").iterdir():
        picture.unlink()
    (clips / "5071").rmdir()
    prepared = prepare("ssv1", root, tmp_path / "data")
    good = lines_of(clips, [("7", "train", 1), ("24413", "train", 0), ("3", "val", 4)])
    assert prepared.lines() == [
        HEADER,
        "100218,100218,0,0,0,0,3,train,0,,bad,0,1,%05d.jpg",
        *good[1:],
        "41,41,0,0,0,0,0,val,0,,bad,0,1,%05d.jpg",
    ]
    assert prepared.info["completeness"]["splits"] == {
        "train": {"expected": 86017, "listed": 4, "ok": 2, "missing": 1, "bad": 1},
        "val": {"expected": 11522, "listed": 2, "ok": 1, "missing": 0, "bad": 1},
    }
    report = json.loads((tmp_path / "data" / "ssv1" / "report.json").read_text())
    assert [(one["id"], one["kind"], one["file"], one["line"]) for one in report["clips"]] == [
        ("100218", "bad", f"{FILES}-train.csv", 1),
        ("5071", "missing", f"{FILES}-train.csv", 4),
        ("41", "bad", f"{FILES}-validation.csv", 2),
    ]
    assert "00007.jpg" in report["clips"][0]["reason"]


def test_the_command_refuses_what_is_not_the_official_dataset(tmp_path: Path) -> None:
    told = refused("ssv1", write_tree(tmp_path / "download"), tmp_path / "data")
    assert "86,017 expected" in told
    assert "169 of the 174 official classes" in told
    assert "--allow-missing" in told


def test_the_command_refuses_a_malformed_list_even_if_anything_may_be_missing(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "download")
    write_lists(root, train=b"1;Holding something\n\n1;Holding something\n")
    told = refused("ssv1", root, tmp_path / "data", "--allow-missing", "1.0")
    assert f"{FILES}-train.csv, line 3" in told


def test_the_command_refuses_a_cut_part_by_name(tmp_path: Path) -> None:
    name = cut_the_second(write_parts(write_lists(tmp_path / "download")))
    assert name in refused("ssv1", tmp_path / "download", tmp_path / "data", "--allow-missing", "1.0")
