"""Diving48 V2 as it is downloaded, small: JSON lists, names that begin with - and _, the lists of V1 beside them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from folded_datasets import expected_lines, prepare, refused, train_and_evaluate
from mini import make_frames, make_video, video_bytes

from vidrepro.data.sources import diving48
from vidrepro.errors import DataError

VOCABULARY = """[["Back","15som","05Twis","FREE"], ["Back","15som","15Twis","FREE"],
["Forward","Dive","NoTwis","PIKE"]]
"""
TRAIN = """[
{"vid_name":"-mmq0PT-u8k_00155","label":0,"start_frame":0,"end_frame":48},
{"vid_name": "_tig [1] #2 & 3;4_00371", "label": 2, "start_frame": 0, "end_frame": 9999},

{"label":1,"vid_name":"zYHstCxnAPA_00361","start_frame":0,"end_frame":12}
]"""
TEST = (
    '[{"vid_name":"--o87HF-jbg_00001","label":2,"start_frame":0,"end_frame":60},\r\n'
    '{"vid_name":"Z_uFnDg-a4I_00071","label":0}]\r\n'
)

# by hand: id, split, label, line
EXPECTED = [
    ("-mmq0PT-u8k_00155", "train", 0, 2),
    ("_tig [1] #2 & 3;4_00371", "train", 2, 3),
    ("zYHstCxnAPA_00361", "train", 1, 5),
    ("--o87HF-jbg_00001", "test", 2, 1),
    ("Z_uFnDg-a4I_00071", "test", 0, 2),
]
IDS = [clip for clip, *_ in EXPECTED]


def write_lists(folder: Path, **changed: str | None) -> Path:
    """The lists of V2; `changed` (train, test, vocab) gives some other content, None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"train": "Diving48_V2_train.json", "test": "Diving48_V2_test.json", "vocab": "Diving48_vocab.json"}
    for key, text in ({"train": TRAIN, "test": TEST, "vocab": VOCABULARY} | changed).items():
        if text is not None:
            (folder / names[key]).write_bytes(text.encode("utf-8-sig" if key == "test" else "utf-8"))
    return folder


def found(annotations: Any) -> list[tuple[str, str, int, int]]:
    return [(entry.id, entry.split, entry.label, entry.where[1]) for entry in annotations.entries]


def test_labels_are_taken_as_they_are(tmp_path: Path) -> None:
    annotations = diving48.read(write_lists(tmp_path), None, None)
    assert found(annotations) == EXPECTED
    assert all(entry.media == entry.id for entry in annotations.entries)
    assert annotations.classes == ("Back+15som+05Twis+FREE", "Back+15som+15Twis+FREE", "Forward+Dive+NoTwis+PIKE")
    assert annotations.version == "V2"
    assert annotations.expected == {"train": 15027, "test": 1970}
    assert len(annotations.class_problems) == 1
    assert "3 classes instead of 48" in annotations.class_problems[0]


def test_48_classes_are_no_problem(tmp_path: Path) -> None:
    vocabulary = [["Back", "som", "Twis", f"{number:02d}"] for number in range(48)]
    annotations = diving48.read(write_lists(tmp_path, vocab=json.dumps(vocabulary)), None, None)
    assert annotations.class_problems == ()
    assert found(annotations) == EXPECTED


def test_only_the_lists_of_v1_are_refused_with_the_reason(tmp_path: Path) -> None:
    write_lists(tmp_path, train=None, test=None)
    for name in ("train", "test"):
        (tmp_path / f"Diving48_{name}.json").write_text(TRAIN if name == "train" else TEST)
    with pytest.raises(DataError, match="V1 are not accepted") as caught:
        diving48.read(tmp_path, None, None)
    assert "Diving48_V2_train.json" in str(caught.value)
    assert caught.value.where == str(tmp_path / "Diving48_train.json")


def test_a_list_of_v1_that_was_given_the_name_of_v2_is_refused(tmp_path: Path) -> None:
    write_lists(tmp_path)
    (tmp_path / "Diving48_train.json").write_text(TRAIN)
    with pytest.raises(DataError, match="V1 are not accepted") as caught:
        diving48.read(tmp_path, None, None)
    assert "a copy of Diving48_train.json" in str(caught.value)


def test_lists_of_v1_beside_those_of_v2_are_no_matter(tmp_path: Path) -> None:
    write_lists(tmp_path)
    for name in ("train", "test"):
        (tmp_path / f"Diving48_{name}.json").write_text('[{"vid_name":"other_00001","label":1}]')
    assert found(diving48.read(tmp_path, None, None)) == EXPECTED


def test_as_many_clips_as_v1_lists_are_v1(tmp_path: Path) -> None:
    clips = [
        {"vid_name": f"clip_{number:05d}", "label": 0, "start_frame": 0, "end_frame": 9} for number in range(18404)
    ]
    write_lists(tmp_path, train=json.dumps(clips[:16067]), test=json.dumps(clips[16067:]))
    with pytest.raises(DataError, match="V1 are not accepted") as caught:
        diving48.read(tmp_path, None, None)
    assert "18,404" in str(caught.value)


def test_a_clip_that_starts_later_is_told(tmp_path: Path) -> None:
    write_lists(tmp_path, test='[{"vid_name":"a_00001","label":1,"start_frame":7,"end_frame":9}]')
    annotations = diving48.read(tmp_path, None, None)
    assert any("start_frame above 0" in note for note in annotations.notes)


@pytest.mark.parametrize("frames", ['"start_frame":"7","end_frame":null', '"end_frame":1,"end_frame":[2]'])
def test_frame_numbers_which_nobody_uses_are_not_judged(tmp_path: Path, frames: str) -> None:
    write_lists(tmp_path, test=f'[{{"vid_name":"a_00001","label":1,{frames}}}]')
    annotations = diving48.read(tmp_path, None, None)
    assert annotations.entries[-1].label == 1
    assert not annotations.notes


GOOD = '{"vid_name":"a_00001","label":1,"start_frame":0,"end_frame":9}'
BROKEN: dict[str, tuple[str, str, int, str]] = {
    "name twice": ("train", f"[{GOOD},\n{GOOD}]", 2, "duplicate id"),
    "name of train": ("test", f'[{GOOD},\n{{"vid_name":"_tig [1] #2 & 3;4_00371","label":1}}]', 2, "duplicate id"),
    "label 48": ("train", f'[{GOOD},\n{{"vid_name":"b_00001","label":48}}]', 2, "unknown label"),
    "label -1": ("train", '[{"vid_name":"b_00001","label":-1}]', 1, "unknown label"),
    "label as text": ("train", '[{"vid_name":"b_00001","label":"1"}]', 1, "wrong kind"),
    "label true": ("train", '[{"vid_name":"b_00001","label":true}]', 1, "wrong kind"),
    "no label": ("train", f'[{GOOD},\n{{"vid_name":"b_00001"}}]', 2, "without 'label'"),
    "no name": ("train", '[{"label":1}]', 1, "without 'vid_name'"),
    "name is a number": ("train", '[{"vid_name":1,"label":1}]', 1, "no text"),
    "name is a path": ("train", f'[{GOOD},\n\n{{"vid_name":"../b","label":1}}]', 3, "cannot be the name"),
    "name is absolute": ("train", '[{"vid_name":"/b","label":1}]', 1, "cannot be the name"),
    "name is empty": ("train", '[{"vid_name":"","label":1}]', 1, "cannot be the name"),
    "name with a line end": ("train", '[{"vid_name":"a\\nb","label":1}]', 1, "cannot be the name"),
    "name with half a character": ("train", '[{"vid_name":"a\\ud800","label":1}]', 1, "cannot be the name"),
    "name of 300 letters": ("train", f'[{{"vid_name":"{"a" * 300}","label":1}}]', 1, "cannot be the name"),
    "cut short": ("test", f"[{GOOD},\n{GOOD[:20]}", 2, "not JSON"),
    "class of numbers": ("vocab", '[["Back"],\n[1]]', 2, "no list of texts"),
    "class twice": ("vocab", '[["Back","1"],\n["Back","1"]]', 2, "stands there twice"),
    "vocabulary as object": ("vocab", '{"0": ["Back"]}', 1, "not a JSON list"),
}


@pytest.mark.parametrize("trap", BROKEN)
def test_a_malformed_list_is_refused_with_file_and_line(tmp_path: Path, trap: str) -> None:
    name, text, line, problem = BROKEN[trap]
    write_lists(tmp_path, **{name: text})
    with pytest.raises(DataError, match=problem) as caught:
        diving48.read(tmp_path, None, None)
    file = "Diving48_vocab.json" if name == "vocab" else f"Diving48_V2_{name}.json"
    assert caught.value.where == f"{tmp_path / file}, line {line}"


@pytest.mark.parametrize("name", ["train", "test", "vocab"])
def test_a_missing_list_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"^no (list|vocabulary) of") as caught:
        diving48.read(write_lists(tmp_path, **{name: None}), None, None)
    assert ("Diving48_vocab.json" if name == "vocab" else f"Diving48_V2_{name}.json") in str(caught.value)


@pytest.mark.parametrize("place", ["rgb", "", "videos"])
def test_the_folder_of_the_clips_is_found(tmp_path: Path, place: str) -> None:
    make_video(tmp_path / place / f"{IDS[0]}.mp4")
    assert diving48.media_roots(write_lists(tmp_path), None)[0] == tmp_path / place


def test_the_videos_go_before_a_fuller_folder_of_pictures(tmp_path: Path) -> None:
    make_video(tmp_path / "rgb" / f"{IDS[0]}.mp4")
    for clip in IDS:
        make_frames(tmp_path / "frames" / clip, 2)
    assert diving48.media_roots(tmp_path, None) == [tmp_path / "rgb", tmp_path / "frames"]


def write_archive(folder: Path) -> Path:
    """The clips as they are packed on the page."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "Diving48_rgb.tar.gz", "w:gz") as archive:
        for number, clip in enumerate(IDS):
            data = video_bytes(".mp4", frames=8 + number)
            member = tarfile.TarInfo(f"rgb/{clip}.mp4")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return folder / "Diving48_rgb.tar.gz"


def test_the_archive_is_found_unless_the_clips_are_there(tmp_path: Path) -> None:
    archive = write_archive(write_lists(tmp_path))
    (packed,) = diving48.archives(tmp_path)
    assert packed.parts == (archive,)
    make_video(tmp_path / "rgb" / f"{IDS[0]}.mp4")
    assert diving48.archives(tmp_path) == []


def test_a_web_page_in_the_place_of_the_archive_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "Diving48_rgb.tar.gz").write_text("<!doctype html><html>404</html>")
    with pytest.raises(DataError, match="web page") as caught:
        diving48.archives(tmp_path)
    assert "Diving48_rgb.tar.gz" in str(caught.value)


def test_no_clips_are_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no clips of Diving48") as caught:
        diving48.media_roots(write_lists(tmp_path), None)
    assert "rgb/<name>.mp4" in str(caught.value)


def test_the_guide_says_where_it_comes_from() -> None:
    text = str(diving48.guide())
    for expected in ("svcl.ucsd.edu", "_V2_", "15,027", "1,970", "18,404", "Diving48_rgb.tar.gz"):
        assert expected in text


def video_rows() -> list[tuple[str, str, int, float, int, str]]:
    """By hand; the n-th clip has 8 + n frames, whatever the list says."""
    return [(clip, f"{clip}.mp4", 8 + n, 12, label, split) for n, (clip, split, label, _) in enumerate(EXPECTED)]


def write_videos(folder: Path) -> Path:
    for _, file, frames, *_ in video_rows():
        make_video(folder / file, frames)
    return folder


def test_the_manifest_of_an_unpacked_tree_is_the_one_written_by_hand(tmp_path: Path) -> None:
    root = write_lists(tmp_path / "download")
    clips = write_videos(root / "rgb")
    make_video(clips / "unused_00001.mp4")  # one of those that V2 dropped
    prepared = prepare("diving48", root, tmp_path / "data")
    assert prepared.lines() == expected_lines(clips, video_rows())
    assert prepared.info["version"] == "V2"
    assert prepared.info["root"] == str(clips)

    record, scores = train_and_evaluate(prepared, tmp_path / "results")
    assert (record["best"]["split"], record["best"]["clips"]) == ("test", 2)
    assert scores["clips"] == 2


def test_the_manifest_of_the_archive_is_the_same(tmp_path: Path) -> None:
    write_archive(write_lists(tmp_path / "download"))
    prepared = prepare("diving48", tmp_path / "download", tmp_path / "data")
    assert prepared.lines() == expected_lines(tmp_path / "data" / "diving48" / "unpacked" / "rgb", video_rows())


def test_the_command_refuses_the_lists_of_v1(tmp_path: Path) -> None:
    root = write_lists(tmp_path / "download", train=None, test=None)
    write_videos(root / "rgb")
    (root / "Diving48_train.json").write_text(TRAIN)
    (root / "Diving48_test.json").write_text(TEST)
    told = refused("diving48", root, tmp_path / "data", "--allow-missing", "1.0")
    assert "V1 are not accepted" in told


def test_the_command_compares_with_the_official_counts(tmp_path: Path) -> None:
    root = write_lists(tmp_path / "download")
    write_videos(root / "rgb")
    told = refused("diving48", root, tmp_path / "data")
    assert "15,027 expected" in told
    assert "1,970 expected" in told
    assert "3 classes instead of 48" in told


def test_one_list_alike_in_both_versions_is_no_reason_to_refuse(tmp_path: Path) -> None:
    write_lists(tmp_path)
    for split in ("train", "test"):
        second = (tmp_path / f"Diving48_V2_{split}.json").read_text()
        (tmp_path / f"Diving48_{split}.json").write_text(second if split == "test" else "[]")
    assert diving48.read(tmp_path, None, None).version == "V2"
