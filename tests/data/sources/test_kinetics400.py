"""Kinetics-400 as CVDF has it, small: lists with quoted labels, class folders in every spelling, replacements."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from folded_datasets import expected_lines, prepare, refused, train_and_evaluate
from mini import make_frames, make_video, video_bytes

from vidrepro.data.sources import kinetics400
from vidrepro.errors import DataError

HEADER = "label,youtube_id,time_start,time_end,split"
TRAIN = f"""{HEADER}\r
petting animal (not cat),0347ZoDXyP0,95,105,train\r
"massaging person's head",-3B32lodo2M,0,10,train\r
abseiling,_dbcJuKJQNs,1000,1010,train\r
\r
"petting animal (not cat)",0347ZoDXyP0,5,15,train  \r
"""
VAL = "is_cc,split,time_end,time_start,youtube_id,label\n0,validate,69,59,--GkrdYZ9Tc,abseiling"
TEST = "youtube_id,time_start,time_end,split\n--nQbRBEz2s,104,114,test\nabc[1]#x;y&,1,11,test\n"

# by hand: id, split, label, line. 0 abseiling, 1 massaging person's head, 2 petting animal (not cat)
EXPECTED = [
    ("0347ZoDXyP0_000095_000105", "train", 2, 2),
    ("-3B32lodo2M_000000_000010", "train", 1, 3),
    ("_dbcJuKJQNs_001000_001010", "train", 0, 4),
    ("0347ZoDXyP0_000005_000015", "train", 2, 6),
    ("--GkrdYZ9Tc_000059_000069", "val", 0, 2),
]
IDS = [clip for clip, *_ in EXPECTED]


def write_lists(folder: Path, pattern: str = "{}.csv", **changed: str | None) -> Path:
    """The lists; `changed` (train, val, test) gives some other content, None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ({"train": TRAIN, "val": VAL, "test": TEST} | changed).items():
        if text is not None:
            (folder / pattern.format(name)).write_bytes(text.encode("utf-8-sig" if name == "train" else "utf-8"))
    return folder


def write_clips(root: Path, places: dict[str, str] | None = None) -> Path:
    """One file for each clip, below the folder that `places` names for it."""
    for clip in IDS:
        make_video(root / (places or {}).get(clip, "") / f"{clip}.mp4")
    return root


def found(annotations: Any) -> list[tuple[str, str, int, int]]:
    return [(entry.id, entry.split, entry.label, entry.where[1]) for entry in annotations.entries]


def test_labels_are_sorted_and_columns_found_by_name(tmp_path: Path) -> None:
    annotations = kinetics400.read(write_clips(write_lists(tmp_path)), None, None)
    assert found(annotations) == EXPECTED
    assert annotations.classes == ("abseiling", "massaging person's head", "petting animal (not cat)")
    assert annotations.label_order == "sorted"
    assert annotations.left_out == {"test clips without labels": 2}
    assert annotations.expected == {}
    assert annotations.class_problems == ("the lists name 3 classes instead of 400",)


@pytest.mark.parametrize("place", ["", "annotations", "k400/annotations"])
@pytest.mark.parametrize("pattern", ["{}.csv", "kinetics_400_{}.csv", "kinetics-400_{}.csv", "kinetics_{}.csv"])
def test_lists_are_found_under_the_names_in_use(tmp_path: Path, place: str, pattern: str) -> None:
    write_lists(tmp_path / place, pattern)
    assert found(kinetics400.read(write_clips(tmp_path), None, None)) == EXPECTED


def test_validate_csv_is_a_name_too(tmp_path: Path) -> None:
    write_clips(write_lists(tmp_path, val=None))
    (tmp_path / "validate.csv").write_text(VAL)
    assert found(kinetics400.read(tmp_path, None, None)) == EXPECTED


def test_clips_are_found_in_class_folders_of_every_spelling(tmp_path: Path) -> None:
    places = {
        "0347ZoDXyP0_000095_000105": "k400/train/petting animal (not cat)",
        "-3B32lodo2M_000000_000010": "k400/train/massaging_persons_head",
        "_dbcJuKJQNs_001000_001010": "k400/train",
        "--GkrdYZ9Tc_000059_000069": "k400/val/abseiling",
    }
    write_clips(write_lists(tmp_path), places)
    annotations = kinetics400.read(tmp_path, None, None)
    assert kinetics400.media_roots(tmp_path, None)[0] == tmp_path
    media = {entry.id: entry.media for entry in annotations.entries}
    assert media == {clip: f"{places[clip]}/{clip}" if clip in places else clip for clip in IDS}


def test_folders_of_pictures_count_as_clips(tmp_path: Path) -> None:
    make_frames(write_lists(tmp_path) / "rawframes" / "abseiling" / IDS[2], 3, "img_%05d.jpg")
    annotations = kinetics400.read(tmp_path, None, None)
    assert annotations.entries[2].media == f"rawframes/abseiling/{IDS[2]}"


def test_a_replacement_goes_before_the_damaged_clip(tmp_path: Path) -> None:
    write_clips(write_lists(tmp_path), dict.fromkeys(IDS, "train"))
    make_video(tmp_path / "replacement" / f"{IDS[1]}.mp4", frames=20)
    annotations = kinetics400.read(tmp_path, None, None)
    assert [entry.media.split("/")[0] for entry in annotations.entries] == ["train", "replacement", *["train"] * 3]
    assert any(note.startswith("1 clips were taken from the replacements") for note in annotations.notes)


def test_a_clip_in_two_places_is_told(tmp_path: Path) -> None:
    write_clips(write_lists(tmp_path), dict.fromkeys(IDS, "a"))
    make_video(tmp_path / "b" / f"{IDS[1]}.mp4")
    annotations = kinetics400.read(tmp_path, None, None)
    assert annotations.entries[1].media == f"a/{IDS[1]}"
    assert any("there twice" in note for note in annotations.notes)


def test_replacements_that_are_still_packed_are_told(tmp_path: Path) -> None:
    write_archive(write_clips(write_lists(tmp_path)) / "replacement_for_corrupted_k400.tgz", IDS[:1])
    assert kinetics400.archives(tmp_path) == []
    notes = kinetics400.read(tmp_path, None, None).notes
    assert any("replacement_for_corrupted_k400.tgz was not used" in note for note in notes)


def test_test_clips_with_labels_are_used(tmp_path: Path) -> None:
    write_clips(write_lists(tmp_path, test=f"{HEADER}\nabseiling,--nQbRBEz2s,104,114,test\n"))
    annotations = kinetics400.read(tmp_path, None, None)
    assert found(annotations) == [*EXPECTED, ("--nQbRBEz2s_000104_000114", "test", 0, 2)]
    assert annotations.left_out == {}


BROKEN: dict[str, tuple[str, str, int, str]] = {
    "clip twice": ("train", f"{HEADER}\na,x,1,11,train\nb,x,1,11,train\n", 3, "duplicate id"),
    "clip of train": ("val", f"{HEADER}\nabseiling,0347ZoDXyP0,95,105,val\n", 2, "duplicate id"),
    "test clip of train": ("test", "youtube_id,time_start,time_end,split\n0347ZoDXyP0,5,15,test\n", 2, "duplicate id"),
    "another split": ("train", f"{HEADER}\na,x,1,11,train\nb,y,1,11,val\n", 3, "another split"),
    "no label": ("train", f"{HEADER}\n,x,1,11,train\n", 2, "without a label"),
    "some test labels": ("test", f"{HEADER}\na,p,1,11,test\n,q,1,11,test\n", 3, "without a label"),
    "unquoted comma": ("train", f"{HEADER}\na, b,x,1,11,train\n", 2, "number of fields"),
    "no header": ("train", "a,x,1,11,train\nb,y,1,11,train\n", 1, "missing column"),
    "start is no number": ("train", f"{HEADER}\na,x,1.5,11,train\n", 2, "time_start"),
    "ends before it starts": ("train", f"{HEADER}\na,x,11,1,train\n", 2, "ends before"),
    "id is a path": ("train", f"{HEADER}\na,../x,1,11,train\n", 2, "cannot be the name"),
    "no id": ("train", f"{HEADER}\na,,1,11,train\n", 2, "cannot be the name"),
}


@pytest.mark.parametrize("trap", BROKEN)
def test_a_malformed_list_is_refused_with_file_and_line(tmp_path: Path, trap: str) -> None:
    name, text, line, problem = BROKEN[trap]
    write_clips(write_lists(tmp_path, **{name: text}))
    with pytest.raises(DataError, match=problem) as caught:
        kinetics400.read(tmp_path, None, None)
    assert caught.value.where == f"{tmp_path / f'{name}.csv'}, line {line}"


def test_no_clips_are_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    make_video(write_lists(tmp_path) / "0347ZoDXyP0.mp4")
    with pytest.raises(DataError, match="no clips of Kinetics-400") as caught:
        kinetics400.media_roots(tmp_path, None)
    assert "six digits" in str(caught.value)


def write_archive(path: Path, clips: list[str], mode: str = "w:gz") -> Path:
    """An archive of clips without a folder, as CVDF's are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for clip in clips:
            data = video_bytes(".mp4", frames=8)
            member = tarfile.TarInfo(f"./{clip}.mp4")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_archives_of_a_split_are_unpacked_into_its_folder(tmp_path: Path) -> None:
    # part 120 once was a plain tar that was called .tar.gz
    train = [
        write_archive(tmp_path / "train" / "part_0.tar.gz", IDS[:2]),
        write_archive(tmp_path / "train" / "part_120.tar.gz", IDS[2:4], "w:"),
    ]
    val = write_archive(tmp_path / "val" / "part_0.tar.gz", IDS[4:])
    new = write_archive(tmp_path / "replacement_for_corrupted_k400.tgz", IDS[:1])
    packed = {found.parts[0]: found.into for found in kinetics400.archives(write_lists(tmp_path))}
    assert packed == {train[0]: "train", train[1]: "train", val: "val", new: "replacement"}


def test_a_web_page_in_the_place_of_a_part_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "part_7.tar.gz").write_text("<html>no</html>")
    with pytest.raises(DataError, match="web page") as caught:
        kinetics400.archives(tmp_path)
    assert "part_7.tar.gz" in str(caught.value)


def test_the_guide_says_where_it_comes_from() -> None:
    text = str(kinetics400.guide())
    for expected in ("cvdfoundation", "CC BY 4.0", "400 classes", "replacement_for_corrupted_k400.tgz"):
        assert expected in text


def video_rows(places: dict[str, str]) -> list[tuple[str, str, int, float, int, str]]:
    return [(clip, f"{places[clip]}{clip}.mp4", 12, 12, label, split) for clip, split, label, _ in EXPECTED]


def test_the_manifest_of_an_unpacked_tree_is_the_one_written_by_hand(tmp_path: Path) -> None:
    root = write_lists(tmp_path / "download" / "annotations").parent
    folders = ["train/petting animal (not cat)/", "train/massaging_persons_head/", "train/", "", "val/"]
    places = dict(zip(IDS, folders, strict=True))
    write_clips(root, places)
    prepared = prepare("kinetics400", root, tmp_path / "data")
    assert prepared.lines() == expected_lines(root, video_rows(places))
    assert prepared.info["label_order"] == "sorted"

    record, scores = train_and_evaluate(prepared, tmp_path / "results")
    assert (record["best"]["split"], scores["clips"]) == ("val", 1)


def test_the_manifest_of_archives_is_the_one_written_by_hand(tmp_path: Path) -> None:
    root = write_lists(tmp_path / "download")
    write_archive(root / "train" / "part_0.tar.gz", IDS[:3])
    write_archive(root / "train" / "part_120.tar.gz", IDS[3:4], "w:")
    write_archive(root / "val" / "part_0.tar.gz", IDS[4:])
    write_archive(root / "replacement_for_corrupted_k400.tgz", IDS[:1])
    prepared = prepare("kinetics400", root, tmp_path / "data")
    places = dict(zip(IDS, ["replacement/", *["train/"] * 3, "val/"], strict=True))
    rows = [(clip, file, 8, *rest) for clip, file, _, *rest in video_rows(places)]
    assert prepared.lines() == expected_lines(tmp_path / "data" / "kinetics400" / "unpacked", rows)


def test_vanished_clips_are_listed_and_need_leave(tmp_path: Path) -> None:
    root = write_clips(write_lists(tmp_path / "download"))
    (root / f"{IDS[1]}.mp4").unlink()
    told = refused("kinetics400", root, tmp_path / "data", "--allow-missing", "0.5")
    assert "3 classes instead of 400" in told  # no share but 1 allows another class list
    assert f"train.csv, line 3: clip '{IDS[1]}' is missing" in told
    prepared = prepare("kinetics400", root, tmp_path / "data")
    assert len(prepared.lines()) == 1 + 4
    train = prepared.info["completeness"]["splits"]["train"]
    assert train == {"expected": None, "listed": 4, "ok": 3, "missing": 1, "bad": 0}
