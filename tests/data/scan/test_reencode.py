"""Copies of clips: as many frames, never larger, the picture kept, a key frame every few frames, nothing half done."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image
from sample_clips import moving_frames, positions_of, write_pictures

from vidrepro.data.encode import write_frames
from vidrepro.data.frames import read_video
from vidrepro.data.image_sequences import read_sequence
from vidrepro.data.scan.check_clip import ClipFiles, scan_clip
from vidrepro.data.scan.reencode import CopyJob, Encoding, choose_encoding, copied_bytes, copy_clip, scaled_frames
from vidrepro.errors import ConfigError

VIDEO = Encoding(24, False, 18.0)
PICTURES = Encoding(24, True, 95.0)


def copied(source: ClipFiles, encoding: Encoding, folder: Path):
    return copy_clip(CopyJob(source, folder, "a/b [1]"), encoding)


@pytest.mark.parametrize("name", ["b-frames.mp4", "vp9.webm", "mpeg4-b.avi"])
def test_a_video_copy_shows_the_same_frames(name: str, videos: dict[str, Path], tmp_path: Path) -> None:
    found = copied(ClipFiles("x", videos[name]), VIDEO, tmp_path)
    path = tmp_path / "a" / "b [1].mp4"
    assert found == scan_clip(ClipFiles("x", path))
    assert (found.frames, found.width, found.height, found.fps, found.problem) == (24, 32, 24, 12.0, "")
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        assert container.streams.video[0].codec_context.name == "h264"
    assert [place for place, frame in enumerate(frames) if frame.key_frame] == [0, 8, 16]
    assert not any(frame.pict_type == PictureType.B for frame in frames)
    pixels = read_video(path, range(24))
    assert positions_of(pixels) == list(range(24))  # each frame once, in order
    source = read_video(videos[name], range(24))
    small = np.stack([np.asarray(Image.fromarray(image).resize((32, 24), Image.Resampling.BOX)) for image in source])
    assert np.abs(pixels.mean((1, 2)) - small.mean((1, 2))).max() < 4  # colours: range and matrix are kept
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]


def test_a_picture_copy_shows_the_same_frames(videos: dict[str, Path], tmp_path: Path) -> None:
    found = copied(ClipFiles("x", videos["vp9.webm"]), PICTURES, tmp_path)
    assert (found.frames, found.width, found.height, found.fps) == (24, 32, 24, 12.0)
    folder = tmp_path / "a" / "b [1]"
    assert sorted(path.name for path in folder.iterdir()) == [f"{number:05d}.jpg" for number in range(1, 25)]
    assert positions_of(read_sequence(folder, "%05d.jpg", 1, 0, range(24))) == list(range(24))
    assert found.bytes == sum(path.stat().st_size for path in folder.iterdir())


def test_full_range_colours_of_jpeg_survive(tmp_path: Path) -> None:
    """JPEG's luma goes from 0 to 255, video's from 16 to 235: taken one for the other, black turns grey."""
    frames = np.zeros((8, 48, 64, 3), np.uint8)
    frames[:, :, 32:] = 255
    write_pictures(tmp_path / "p", frames, "%05d.jpg", 1)
    copied(ClipFiles("x", tmp_path / "p", "%05d.jpg", 1, 8, 12.0), VIDEO, tmp_path / "c")
    pixels = read_video(tmp_path / "c" / "a" / "b [1].mp4", [3])[0]
    assert pixels[:, :12].mean() < 4 and pixels[:, 20:].mean() > 251


@pytest.mark.parametrize(
    ("size", "side", "video", "pictures"),
    [
        ((64, 48), 24, (32, 24), (32, 24)),
        ((64, 48), 100, (64, 48), (64, 48)),  # never upscaled
        ((63, 47), 100, (62, 46), (63, 47)),  # yuv420p needs even sides
        ((48, 86), 24, (24, 44), (24, 43)),  # upright
    ],
)
def test_sizes(
    size: tuple[int, int], side: int, video: tuple[int, int], pictures: tuple[int, int], tmp_path: Path
) -> None:
    write_pictures(tmp_path / "p", moving_frames(3, size[1], size[0]), "%05d.png", 0)
    source = ClipFiles("x", tmp_path / "p", "%05d.png", 0, 3, 12.0)
    for encoding, expected in ((Encoding(side, False, 18), video), (Encoding(side, True, 95), pictures)):
        found = copied(source, encoding, tmp_path / str(encoding.pictures))
        assert (found.width, found.height, found.frames) == (*expected, 3)


def test_the_same_clip_gives_the_same_bytes(videos: dict[str, Path], tmp_path: Path) -> None:
    first, second = (copied(ClipFiles("x", videos["vp9.webm"]), VIDEO, tmp_path / place) for place in "ab")
    assert first == second and len(first.digest) == 64
    assert copied_bytes(ClipFiles("x", videos["vp9.webm"]), VIDEO) == first.bytes


def test_what_lies_in_memory_does_not_change_a_copy(videos: dict[str, Path]) -> None:
    """x264's macroblock tree, left on, gives several results here."""
    rng, results = random.Random(0), set()
    for _ in range(120):
        rubbish = [rng.randbytes(rng.randrange(64, 9000)) for _ in range(rng.randrange(40))]
        with scaled_frames(ClipFiles("x", videos["vp9.webm"]), "first", VIDEO) as (size, fps, frames):
            target = BytesIO()
            write_frames(target, frames, size, fps, crf=30, key_frame_every=8)
        results.add(target.getvalue())
        del rubbish
    assert len(results) == 1


def test_a_bad_source_leaves_no_copy(videos: dict[str, Path], tmp_path: Path) -> None:
    content = videos["b-frames.mp4"].read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    found = copied(ClipFiles("x", tmp_path / "cut.mp4"), VIDEO, tmp_path / "c")
    assert "truncated" in found.problem
    assert copied_bytes(ClipFiles("x", tmp_path / "cut.mp4"), VIDEO) is None
    assert [one for one in (tmp_path / "c").rglob("*") if one.is_file()] == []


def test_what_can_be_asked_for() -> None:
    assert choose_encoding(None, None, None) is None
    assert choose_encoding(256, None, None) == Encoding(256, False, 18.0)
    assert choose_encoding(None, 255, 80) == Encoding(255, True, 80.0)
    assert choose_encoding(256, None, 20).describe()["key_frame_every"] == 8  # type: ignore[union-attr]
    for wrong in (
        (256, 256, None),
        (None, None, 5),
        (255, None, None),
        (8, None, None),
        (256, None, 52),
        (None, 256, 0),
    ):
        with pytest.raises(ConfigError):
            choose_encoding(*wrong)
