"""EPIC-KITCHENS-55 from a small tree in the official format: spans of frames, columns by name, verbs and nouns."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest
from folded_datasets import HEADER, frames_line, prepare, refused, train_and_evaluate
from mini import make_frames, make_video

from vidrepro.data.sources import epic55
from vidrepro.errors import DataError

PATTERN = "frame_%010d.jpg"
COLUMNS = (
    "uid,participant_id,video_id,narration,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)
TIMES = "00:00:00.14,00:00:03.37"
ROWS = [
    f"0,P01,P01_01,open door,{TIMES},1,8,open,2,door,3,['door'],[3]",
    f'1,P01,P01_01,"pour, slowly",{TIMES},5,16,pour,3,oil,2,"[\'oil\', \'pan\']","[2, 1]"',
    f"45,P25,P25_12,take pan,{TIMES},2,9,take,0,pan,1,['pan'],[1]",  # gaps in uid
    f"46,P26,P26_02,put pan,{TIMES},3,40,put,1,pan,1,['pan'],[1]",  # goes beyond the last of 12 frames
    f"39236,P31,P31_14,open door,{TIMES},1,12,open,2,door,3,['door'],[3]",
]
VERBS = "verb_id,class_key,verbs\r\n0,take,\"['take', 'grab', 'pick']\"\r\n1,put,\"['put', 'pose']\"\r\n"
VERBS += "2,open,['open']\r\n3,pour,\"['pour', 'pour-in']\"\r\n"
NOUNS = "noun_id,class_key,nouns\r\n0,Nothing,['Nothing']\r\n1,pan,['pan']\r\n2,oil,['oil']\r\n"
NOUNS += "3,\"door:kitchen\",['door']\r\n"
VIDEOS = {"P01_01": 16, "P25_12": 9, "P26_02": 12, "P31_14": 12}


def write_annotations(
    root: Path, rows: list[str] | None = None, *, columns: str = COLUMNS, **files: str | None
) -> Path:
    """epic-kitchens-55-annotations, with the rows and the class lists given."""
    folder = root / "epic-kitchens-55-annotations"
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([columns, *(ROWS if rows is None else rows)]) + "\n"
    contents = {"EPIC_train_action_labels": text, "EPIC_verb_classes": VERBS, "EPIC_noun_classes": NOUNS} | files
    for name, content in contents.items():
        if content is not None:
            (folder / f"{name}.csv").write_bytes(content.encode())
    (folder / "EPIC_train_invalid_labels.csv").write_text(COLUMNS + "\n")
    return folder


def write_frames(folder: Path) -> Path:
    """Frames of all videos as P01/P01_01/frame_0000000001.jpg."""
    for video, count in VIDEOS.items():
        make_frames(folder / video[:3] / video, count, PATTERN, 1)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The download, unpacked; not to be changed."""
    root = tmp_path_factory.mktemp("epic55")
    write_annotations(root)
    write_frames(root / "frames_rgb_flow" / "rgb" / "train")
    make_frames(root / "frames_rgb_flow" / "rgb" / "train" / "P01" / "P01_02", 8, PATTERN, 1)  # no span is in it
    (root / "frames_rgb_flow" / "rgb" / "train" / "P01" / "P01_01" / "Thumbs.db").write_bytes(b"no frame")
    return root


def expected(frames: Path) -> list[str]:
    """manifest.csv, by hand: verbs as labels, P26 and P31 in val, spans cut at the last frame."""
    lines = [HEADER]
    for uid, video, span, label, split in (
        ("0", "P01_01", (1, 8), 2, "train"),
        ("1", "P01_01", (5, 16), 3, "train"),
        ("45", "P25_12", (2, 9), 0, "train"),
        ("46", "P26_02", (3, 12), 1, "val"),
        ("39236", "P31_14", (1, 12), 2, "val"),
    ):
        folder = frames / video[:3] / video
        lines.append(frames_line(uid, folder, frames, span, PATTERN, fps=60, label=label, split=split))
    return lines


def test_spans_labels_and_splits_are_those_of_the_file(tmp_path: Path) -> None:
    folder = write_annotations(tmp_path)
    annotations = epic55.read(tmp_path, None, None)
    assert [(one.id, one.media, one.span, one.label, one.split) for one in annotations.entries] == [
        ("0", "P01/P01_01", (1, 8), 2, "train"),
        ("1", "P01/P01_01", (5, 16), 3, "train"),
        ("45", "P25/P25_12", (2, 9), 0, "train"),
        ("46", "P26/P26_02", (3, 40), 1, "val"),
        ("39236", "P31/P31_14", (1, 12), 2, "val"),
    ]
    assert annotations.entries[3].where == (folder / "EPIC_train_action_labels.csv", 5)
    assert annotations.classes == ("take", "put", "open", "pour") and annotations.fps == 60
    assert annotations.tasks["noun"].classes == ("Nothing", "pan", "oil", "door:kitchen")
    assert annotations.tasks["noun"].labels == {"0": 3, "1": 2, "45": 1, "46": 1, "39236": 3}
    assert annotations.tasks["verb"].labels == {"0": 2, "1": 3, "45": 0, "46": 1, "39236": 2}
    assert annotations.expected == {"train": 23191, "val": 5281}
    assert annotations.class_problems == (
        "EPIC_verb_classes.csv has 4 classes, officially 125",
        "EPIC_noun_classes.csv has 4 classes, officially 352",
    )


def test_columns_are_read_by_name(tmp_path: Path) -> None:
    """The README's order, which is not the file's, a column more, CRLF and a byte-order mark."""
    columns = "\ufeffuid,video_id,participant_id,noun_class,verb_class,stop_frame,start_frame,more\r"
    write_annotations(tmp_path, ["7,P03_11,P03,1,2,30,20,x\r"], columns=columns)
    (entry,) = epic55.read(tmp_path, None, None).entries
    assert (entry.id, entry.media, entry.span, entry.label) == ("7", "P03/P03_11", (20, 30), 2)


def test_a_narration_in_another_encoding_is_nobodys_business(tmp_path: Path) -> None:
    folder = write_annotations(tmp_path)
    text = (folder / "EPIC_train_action_labels.csv").read_bytes().replace(b"open door", b"ouvrir caf\xe9\x7f\x02")
    (folder / "EPIC_train_action_labels.csv").write_bytes(text)
    assert [one.id for one in epic55.read(tmp_path, None, None).entries] == ["0", "1", "45", "46", "39236"]


def row(**changed: str) -> str:
    """The first row with some fields replaced."""
    fields = dict(zip(COLUMNS.split(","), ROWS[0].split(","), strict=True)) | changed
    return ",".join(fields.values())


REFUSED = {
    "uid twice": (row(), "duplicate id"),
    "no uid": (row(uid=""), "uid is no whole number"),
    "invalid label": (row(uid="9", verb_class=""), "no verb_class"),
    "no noun": (row(uid="9", noun_class=""), "no noun_class"),
    "unknown verb": (row(uid="9", verb_class="4"), "unknown verb_class"),
    "unknown noun": (row(uid="9", noun_class="4"), "unknown noun_class"),
    "negative verb": (row(uid="9", verb_class="-1"), "no whole number"),
    "EPIC-100's participant": (row(uid="9", participant_id="P35", video_id="P35_101"), "unknown video"),
    "participant 0": (row(uid="9", participant_id="P00", video_id="P00_01"), "unknown video"),
    "another participant's video": (row(uid="9", video_id="P02_01"), "another participant's"),
    "a path": (row(uid="9", video_id="../P01_01"), "unknown video"),
    "frame 0": (row(uid="9", start_frame="0"), "the span is none"),
    "ends before it starts": (row(uid="9", stop_frame="0"), "the span is none"),
    "a comma without quotes": (row(uid="9", narration="pour, slowly"), "wrong number of fields"),
    "cut short": ("9,P01,P01_01", "wrong number of fields"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_row_is_refused_with_file_and_line(tmp_path: Path, case: str) -> None:
    text, problem = REFUSED[case]
    folder = write_annotations(tmp_path, [*ROWS[:2], "", text, *ROWS[2:]])
    with pytest.raises(DataError, match=problem) as caught:
        epic55.read(tmp_path, None, None)
    assert caught.value.where == f"{folder / 'EPIC_train_action_labels.csv'}, line 5"


def test_malformed_class_lists_and_missing_columns_are_refused(tmp_path: Path) -> None:
    for number, (files, problem, where) in enumerate(
        [
            (
                {"EPIC_verb_classes": VERBS + "3,mix,x\r\n"},
                "class number 3 stands there twice",
                "verb_classes.csv, line 6",
            ),
            (
                {"EPIC_noun_classes": NOUNS + "4,pan,x\r\n"},
                "class 'pan' stands there twice",
                "noun_classes.csv, line 6",
            ),
            ({"EPIC_verb_classes": None}, r"EPIC_verb_classes\.csv' is missing", "epic-kitchens-55-annotations"),
            ({"EPIC_verb_classes": "id,class_key\r\n0,take\r\n"}, "missing column 'verb_id'", "classes.csv, line 1"),
        ]
    ):
        write_annotations(tmp_path / str(number), **files)
        with pytest.raises(DataError, match=problem) as caught:
            epic55.read(tmp_path / str(number), None, None)
        assert str(caught.value.where).endswith(where)
    write_annotations(tmp_path, ["1,P01"], columns="narration_id,participant_id")  # EPIC-KITCHENS-100's
    with pytest.raises(DataError, match="missing column 'uid'"):
        epic55.read(tmp_path, None, None)


def test_without_the_nouns_there_is_no_task_of_nouns(tmp_path: Path) -> None:
    write_annotations(tmp_path, EPIC_noun_classes=None)
    annotations = epic55.read(tmp_path, None, None)
    assert list(annotations.tasks) == ["verb"] and "EPIC_noun_classes.csv is not among" in annotations.notes[1]


def test_prepared_line_by_line(root: Path, tmp_path: Path) -> None:
    prepared = prepare("epic55", root, tmp_path)
    assert prepared.lines() == expected(root / "frames_rgb_flow" / "rgb" / "train")
    assert prepared.side("labels/noun") == ["id,label", "0,3", "1,2", "45,1", "46,1", "39236,3"]
    assert prepared.info["tasks"] == {"noun": ["Nothing", "pan", "oil", "door:kitchen"]} | {
        "verb": ["take", "put", "open", "pour"]
    }


def test_cut_spans_are_counted(root: Path, tmp_path: Path) -> None:
    prepared = prepare("epic55", root, tmp_path)
    report = json.loads((tmp_path / "epic55" / "report.json").read_text())
    assert report["clamped"] == {"46": 28}  # frames 13 to 40 of 12
    assert prepared.manifest.clip("46").frames == 10


@pytest.mark.parametrize("place", ["frames_rgb_flow/rgb/train", "rgb/train", ""])
def test_tars_without_a_top_folder_are_unpacked_into_one_each(root: Path, tmp_path: Path, place: str) -> None:
    download = tmp_path / "download"
    write_annotations(download)
    frames = root / "frames_rgb_flow" / "rgb" / "train"
    for video in VIDEOS:
        tar = download / place / video[:3] / f"{video}.tar"
        tar.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(tar, "w") as archive:
            for file in sorted((frames / video[:3] / video).glob("*.jpg")):
                archive.add(file, f"./{file.name}")
    prepared = prepare("epic55", download, tmp_path / "data")
    assert prepared.lines() == expected(frames)
    assert len(list(download.rglob("*.jpg"))) == 0


@pytest.mark.parametrize("packed", [True, False])
def test_the_layout_of_the_official_downloader(root: Path, tmp_path: Path, packed: bool) -> None:
    """epic_downloader.py --rgb-frames --flow-frames: EPIC-KITCHENS/P01/rgb_frames/P01_01.tar, or unpacked there."""
    download, frames = tmp_path / "download", root / "frames_rgb_flow" / "rgb" / "train"
    write_annotations(download)
    for video in VIDEOS:
        place = download / "EPIC-KITCHENS" / video[:3] / "rgb_frames"
        place.mkdir(parents=True, exist_ok=True)
        flow = place.with_name("flow_frames") / video / "u"
        make_frames(flow, 3, PATTERN, 1)
        if not packed:
            shutil.copytree(frames / video[:3] / video, place / video)
            continue
        with tarfile.open(place / f"{video}.tar", "w") as archive:
            for file in sorted((frames / video[:3] / video).glob("*.jpg")):
                archive.add(file, f"./{file.name}")
    prepared = prepare("epic55", download, tmp_path / "data")
    lines = expected(frames)
    if not packed:
        lines = [re.sub(r",(P\d\d)/", r",\1/rgb_frames/", line) for line in lines]
    assert prepared.lines() == lines


def test_the_videos_of_the_official_downloader_are_no_frames(tmp_path: Path) -> None:
    write_annotations(tmp_path / "root")
    video = make_video(tmp_path / "root" / "EPIC-KITCHENS" / "P01" / "videos" / "P01_01.mp4")
    video.rename(video.with_suffix(".MP4"))
    text = refused("epic55", tmp_path / "root", tmp_path / "data", "--allow-missing", "1")
    assert "60 per second" in text and "-r 60" in text and "P01_01.MP4" in text and "--rgb-frames" in text


def test_spans_beyond_the_end_of_a_video_that_is_there_in_part_are_missing(root: Path, tmp_path: Path) -> None:
    write_annotations(tmp_path / "root")
    frames = write_frames(tmp_path / "root" / "rgb" / "train")
    for number in range(5, 17):
        (frames / "P01" / "P01_01" / (PATTERN % number)).unlink()
    prepared = prepare("epic55", tmp_path / "root", tmp_path / "data")
    assert [line.split(",")[0] for line in prepared.lines()[1:]] == ["0", "45", "46", "39236"]
    report = json.loads((tmp_path / "data" / "epic55" / "report.json").read_text())
    assert [(one["id"], one["kind"], one["reason"]) for one in report["clips"]] == [
        ("1", "missing", "its frames 5 to 16 lie beyond the last picture, 4")
    ]


def test_a_page_in_a_tars_place_is_refused_by_name(tmp_path: Path) -> None:
    write_annotations(tmp_path / "download")
    tar = tmp_path / "download" / "rgb" / "train" / "P01" / "P01_01.tar"
    tar.parent.mkdir(parents=True)
    tar.write_text("<html><body>404</body></html>")
    assert "P01_01.tar" in refused("epic55", tmp_path / "download", tmp_path / "data", "--allow-missing", "1")


def test_other_folders_of_frames(tmp_path: Path) -> None:
    """All videos' folders in one, and P01/P01_01 directly in the root."""
    write_annotations(tmp_path / "a")
    for video, count in VIDEOS.items():
        make_frames(tmp_path / "a" / "frames" / video, count, PATTERN, 1)
    flat = prepare("epic55", tmp_path / "a", tmp_path / "data" / "a")
    write_annotations(tmp_path / "b")
    write_frames(tmp_path / "b")
    direct = prepare("epic55", tmp_path / "b", tmp_path / "data" / "b")
    assert direct.lines() == expected(tmp_path / "b")
    assert flat.lines() == [re.sub(r"P\d\d/", "", line) for line in direct.lines()]


def test_frames_missing_in_the_middle_make_the_spans_that_need_them_bad(root: Path, tmp_path: Path) -> None:
    write_annotations(tmp_path / "root")
    frames = write_frames(tmp_path / "root" / "rgb" / "train")
    (frames / "P01" / "P01_01" / (PATTERN % 12)).unlink()  # in the span of uid 1, not in that of uid 0
    prepared = prepare("epic55", tmp_path / "root", tmp_path / "data")
    status = {line.split(",")[0]: line.split(",")[10] for line in prepared.lines()[1:]}
    assert status == {"0": "ok", "1": "bad", "45": "ok", "46": "ok", "39236": "ok"}


def test_videos_alone_are_refused_with_how_to_extract_them(tmp_path: Path) -> None:
    write_annotations(tmp_path / "root")
    make_video(tmp_path / "root" / "videos" / "train" / "P01" / "P01_01.mp4")
    (tmp_path / "root" / "videos" / "train" / "P01" / "P01_01.mp4").rename(
        tmp_path / "root" / "videos" / "train" / "P01" / "P01_01.MP4"
    )
    text = refused("epic55", tmp_path / "root", tmp_path / "data", "--allow-missing", "1")
    assert "60 per second" in text and "-r 60" in text


def test_trains_and_evaluates_verbs_and_nouns(root: Path, tmp_path: Path) -> None:
    prepared = prepare("epic55", root, tmp_path)
    for task in (None, "noun"):
        record, scores = train_and_evaluate(prepared, tmp_path / "results", task=task)
        assert record["dataset"]["task"] == task and record["dataset"]["classes"] == 4
        assert record["best"]["split"] == "val" and scores["clips"] == 2
