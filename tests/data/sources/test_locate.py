"""Clips joined with files: every naming of pictures, every odd name, gaps found, nothing guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidrepro.data.sources.locate import locate
from vidrepro.data.sources.official import Entry, MediaLayout
from vidrepro.data.sources.picture_folders import list_pictures
from vidrepro.errors import DataError

LIST = Path("list.txt")


def entry(media: str, span: tuple[int, int] | None = None, clip: str = "") -> Entry:
    return Entry(clip or media, "train", 0, media, (LIST, 7), span)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


ODD_NAMES = ["-mmq0", "_x", "a [1] #2;&(b)~@!+", "with.dot", "ünï", "100%d"]


def test_odd_names_are_found_as_files_and_as_folders(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        touch(tmp_path / "rgb" / f"{name}.mp4", tmp_path / "seq" / name / "00001.jpg")
    entries = [entry(f"{folder}/{name}") for folder in ("rgb", "seq") for name in ODD_NAMES]
    found = locate(entries, tmp_path, MediaLayout())
    assert found.missing == []
    assert {clip: (media.path, media.kind) for clip, media in found.media.items()} == {
        **{f"rgb/{name}": (f"rgb/{name}.mp4", "video") for name in ODD_NAMES},
        **{f"seq/{name}": (f"seq/{name}", "frames") for name in ODD_NAMES},
    }


def test_suffixes_in_order_and_capitals(tmp_path: Path) -> None:
    touch(tmp_path / "1.webm", tmp_path / "1.mp4", tmp_path / "2.AVI", tmp_path / "3.txt", tmp_path / "4.mp4")
    touch(tmp_path / "4" / "1.jpg")
    found = locate([entry(str(number)) for number in range(1, 5)], tmp_path, MediaLayout())
    assert {clip: media.path for clip, media in found.media.items()} == {"1": "1.mp4", "2": "2.AVI", "4": "4.mp4"}
    assert [one.entry.id for one in found.missing] == ["3"] and "'3.mp4|.webm" in found.missing[0].reason
    only_frames = locate([entry("4"), entry("1")], tmp_path, MediaLayout(videos=False))
    assert (only_frames.media["4"].kind, [one.entry.id for one in only_frames.missing]) == ("frames", ["1"])


def test_capitals_are_ignored_where_the_dataset_says_so_and_nothing_is_guessed(tmp_path: Path) -> None:
    touch(tmp_path / "HandStandPushups" / "v_HandstandPushups_g01.avi")
    touch(tmp_path / "A" / "x.avi", tmp_path / "A" / "X.avi")
    wanted = [entry("HandstandPushups/v_HandStandPushups_g01"), entry("a/x"), entry("a/X"), entry("A/x")]
    strict = locate(wanted, tmp_path, MediaLayout())
    assert list(strict.media) == ["A/x"]
    loose = locate([*wanted, entry("B/x")], tmp_path, MediaLayout(ignore_case=True))
    assert {clip: media.path for clip, media in loose.media.items()} == {
        "HandstandPushups/v_HandStandPushups_g01": "HandStandPushups/v_HandstandPushups_g01.avi",
        "a/x": "A/x.avi",
        "a/X": "A/X.avi",
        "A/x": "A/x.avi",
    }
    touch(tmp_path / "A" / "y" / "1.jpg", tmp_path / "A" / "Y" / "1.jpg")
    assert locate([entry("a/y")], tmp_path, MediaLayout(ignore_case=True)).media["a/y"].path == "A/y"
    assert [one.entry.id for one in loose.missing] == ["B/x"]


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a//x", "..", "a/", "a\\x", "", "./x"])
def test_a_name_that_leads_out_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x.mp4", tmp_path.parent / "x.mp4")
    with pytest.raises(DataError) as refused:
        locate([entry(name, clip="c")], tmp_path, MediaLayout())
    assert refused.value.where == "list.txt, line 7"


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize(
    "pattern", ["%05d.jpg", "%06d.jpg", "img_%05d.jpg", "frame_%010d.jpg", "frames%05d.jpg", "%d.png", "a%%b_%04d.JPEG"]
)
def test_the_pattern_of_pictures_is_seen(pattern: str, start: int, tmp_path: Path) -> None:
    touch(*(tmp_path / (pattern % number) for number in range(start, start + 12)))
    touch(tmp_path / "Thumbs.db", tmp_path / ".DS_Store", tmp_path / "._00001.jpg", tmp_path / "n_frames")
    found = list_pictures(tmp_path)
    assert (found.pattern, found.start, found.last, found.missing, found.problem, found.stray) == (
        pattern,
        start,
        start + 11,
        (),
        "",
        4,
    )


def test_more_pictures_than_digits(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{number:02d}.jpg" for number in range(1, 121)))
    assert (list_pictures(tmp_path).pattern, list_pictures(tmp_path).last) == ("%02d.jpg", 120)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "holds no numbered picture"),
        (["a.jpg", "Thumbs.db"], "holds no numbered picture"),
        (["00002.jpg", "00003.jpg"], "begin with number 2 instead of 0 or 1"),
        (["00001.jpg", "2.jpg"], "different numbers of digits"),
        (["1.jpg", "01.jpg"], "different numbers of digits"),
        (["00001.jpg", "00002.png"], "named in several ways: '….jpg' and '….png'"),
        (["img_00001.jpg", "00002.jpg"], "named in several ways: 'img_….jpg' and '….jpg'"),
    ],
)
def test_what_is_no_sequence(names: list[str], reason: str, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    touch(*(tmp_path / "1" / name for name in names))
    media = locate([entry("1")], tmp_path, MediaLayout()).media["1"]
    assert reason in media.gaps.replace("'….jpg' and 'img_….jpg'", "'img_….jpg' and '….jpg'")


def test_flow_beside_the_pictures_is_stray(tmp_path: Path) -> None:
    for name in ("img", "flow_x", "flow_y"):
        touch(*(tmp_path / f"{name}_{number:05d}.jpg" for number in range(1, 5)))
    found = list_pictures(tmp_path)
    assert (found.pattern, found.last, found.stray) == ("img_%05d.jpg", 4, 8)


@pytest.mark.parametrize("rgb", ["img_", "image_", "frame_", "rgb_", "", "frames", "im-"])
@pytest.mark.parametrize(
    "flow", [("x_", "y_"), ("flow_x_", "flow_y_"), ("u_", "v_"), ("flow_u_", "flow_v_"), ("tvl1_x",)]
)
def test_pictures_beside_optical_flow_are_taken_and_the_rest_is_counted(
    rgb: str, flow: tuple[str, ...], tmp_path: Path
) -> None:
    for name in (rgb, *flow):
        touch(*(tmp_path / "1" / f"{name}{number:05d}.jpg" for number in range(1, 5 if name == rgb else 4)))
    found = locate([entry("1")], tmp_path, MediaLayout())
    assert (found.media["1"].pattern, found.media["1"].count) == (f"{rgb}%05d.jpg", 4)
    assert (found.stray, found.flow) == (3 * len(flow), 3 * len(flow))


@pytest.mark.parametrize("rgb", ["rgb_", ""])
def test_depth_maps_beside_the_pictures_are_left_out_too(rgb: str, tmp_path: Path) -> None:
    touch(*(tmp_path / f"{name}{number}.png" for name in (rgb, "depth_", "mask_") for number in range(3)))
    found = list_pictures(tmp_path)
    assert (found.pattern, found.flow, found.problem) == (f"{rgb}%d.png", 6, "")


@pytest.mark.parametrize(
    ("names", "problem", "flow"),
    [
        (("flow_x_", "flow_y_"), "optical flow only", 6),
        (("x_", "y_"), "optical flow only", 6),
        (("flow_x_",), "optical flow only", 3),
        (("flower_",), "", 0),
        (("b_Flow-9xKq_",), "", 0),  # somebody's YouTube id
        (("x_",), "", 0),  # without y_, a name like any other
        (("left_", "right_"), "named in several ways", 0),
        (("img_", "frame_"), "named in several ways", 0),
        (("img_", "", "x_", "y_"), "named in several ways", 6),
    ],
)
def test_what_is_flow_and_what_nobody_can_tell(names: tuple[str, ...], problem: str, flow: int, tmp_path: Path) -> None:
    touch(*(tmp_path / f"{name}{number:05d}.jpg" for name in names for number in range(1, 4)))
    found = list_pictures(tmp_path)
    assert problem in found.problem and bool(problem) == bool(found.problem)
    assert found.flow == flow


def test_gaps_make_a_clip_bad_never_shorter(tmp_path: Path) -> None:
    touch(*(tmp_path / "1" / f"{number:05d}.jpg" for number in range(1, 21) if number not in (4, 5, 6, 9)))
    found = locate([entry("1")], tmp_path, MediaLayout()).media["1"]
    assert (found.count, found.gaps) == (
        20,
        "pictures are missing in the middle: 00004.jpg, 00005.jpg, 00006.jpg and 1 more",
    )


def test_one_name_in_the_billions_takes_no_memory(tmp_path: Path) -> None:
    touch(tmp_path / "1" / "0000000001.jpg", tmp_path / "1" / "9999999999.jpg")
    assert "missing in the middle" in locate([entry("1")], tmp_path, MediaLayout()).media["1"].gaps


def test_spans_of_a_long_sequence(tmp_path: Path) -> None:
    """EPIC: the picture's numbers are the annotation's; a span may end behind the last picture, and is cut there."""
    touch(*(tmp_path / "P01" / f"frame_{number:010d}.jpg" for number in range(1, 101) if number != 50))
    spans = {"a": (8, 20), "b": (0, 3), "c": (90, 107), "d": (101, 120), "e": (45, 55), "f": (51, 60)}
    located = locate([entry("P01", span, clip) for clip, span in spans.items()], tmp_path, MediaLayout())
    found = located.media
    assert {clip: (one.first_frame, one.count, one.clamped) for clip, one in found.items() if not one.gaps} == {
        "a": (7, 13, 0),
        "b": (0, 3, 0),
        "c": (89, 11, 7),
        "f": (50, 10, 0),
    }
    ((late, reason),) = located.missing  # of a video that is there in part
    assert (late.id, reason) == ("d", "its frames 101 to 120 lie beyond the last picture, 100")
    assert found["e"].gaps == "pictures are missing in the middle: frame_0000000050.jpg"
