"""The check of one clip: what it records of a good one, and the reason it gives for each kind of bad one."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from sample_clips import FORMATS, moving_frames, write_pictures

from vidrepro.data import frames
from vidrepro.data.frames import inspect_video, read_video
from vidrepro.data.image_sequences import read_sequence
from vidrepro.data.scan.check_clip import ClipFiles, Scan, scan_clip
from vidrepro.errors import DecodeError


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_counted_by_decoding(name: str, videos: dict[str, Path]) -> None:
    content = videos[name].read_bytes()
    found = scan_clip(ClipFiles("x", videos[name]))
    digest = hashlib.sha256(content).hexdigest()
    assert found == Scan(24, 12.0, 64, 48, len(content), digest, "", "first")


def test_the_name_of_a_container_does_not_matter(tmp_path: Path, videos: dict[str, Path]) -> None:
    """Kinetics is full of .mp4 files that are none."""
    path = tmp_path / "-a;b #[1].mp4"
    path.write_bytes(videos["vp9.webm"].read_bytes())
    assert scan_clip(ClipFiles("x", path)).frames == 24


def test_pictures_are_counted_and_hashed(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p", moving_frames(9, 20, 30), "img_%05d.png", 1)
    files = [(tmp_path / "p" / f"img_{number:05d}.png").read_bytes() for number in range(3, 8)]
    found = scan_clip(ClipFiles("x", tmp_path / "p", "img_%05d.png", 3, 5, 12.0))
    digest = hashlib.sha256(b"".join(files)).hexdigest()
    assert found == Scan(5, 12.0, 30, 20, sum(map(len, files)), digest, "", "first")


def damaged(content: bytes, kind: str) -> bytes:
    return {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "page": b"<!DOCTYPE html><html><body>please log in</body></html>",
        "zeros": bytes(len(content)),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("empty", "zero bytes"), ("cut", "truncated"), ("page", "a web page"), ("zeros", "cannot be opened")],
)
@pytest.mark.parametrize("name", ["b-frames.mp4", "vp9.webm", "mpeg4.avi"])
def test_bad_videos_are_told_by_their_reason(
    kind: str, reason: str, name: str, tmp_path: Path, videos: dict[str, Path]
) -> None:
    path = tmp_path / name
    path.write_bytes(damaged(videos[name].read_bytes(), kind))
    found = scan_clip(ClipFiles("x", path))
    assert reason in found.problem and (found.frames, found.digest) == (0, "")
    assert "\n" not in found.problem and str(tmp_path) not in found.problem


def test_bad_pictures_are_told_by_their_reason(tmp_path: Path) -> None:
    folder = tmp_path / "p"

    def scan() -> str:
        return scan_clip(ClipFiles("x", folder, "%05d.jpg", 1, 4, 12.0)).problem

    write_pictures(folder, moving_frames(4, 40, 60), "%05d.jpg", 1)
    assert scan() == ""
    good = (folder / "00003.jpg").read_bytes()
    for content in (good[: len(good) // 2], b"", b"<html></html>"):
        (folder / "00003.jpg").write_bytes(content)
        assert "00003.jpg" in scan() and "does not decode" in scan()
    Image.fromarray(moving_frames(1, 40, 58)[0]).save(folder / "00003.jpg")
    assert scan() == "its pictures differ in size: 00003.jpg is 58x40, the first 60x40"
    (folder / "00003.jpg").unlink()
    assert scan() == "cannot be read: No such file or directory"


def test_a_huge_picture_is_not_decoded(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.new("1", (8_000, 8_000)).save(buffer, "PNG", compress_level=1)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "1.png").write_bytes(buffer.getvalue())
    assert "8000x8000 is too large" in scan_clip(ClipFiles("x", tmp_path / "p", "%d.png", 1, 1, 12.0)).problem


def test_a_video_of_gigantic_frames_is_not_decoded(tmp_path: Path) -> None:
    """A motion-JPEG file whose pictures say 65,500x65,500: 12 GB a frame."""
    path = tmp_path / "x.avi"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for image in moving_frames(4):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert scan_clip(ClipFiles("x", path)).frames == 4
    content = bytearray(path.read_bytes())
    place, found = 0, 0
    while (place := content.find(b"\xff\xc0", place + 1)) != -1:  # start of frame: marker, length, depth, height, width
        content[place + 5 : place + 9] = (65_500).to_bytes(2, "big") * 2
        found += 1
    assert found == 4
    path.write_bytes(bytes(content))
    assert scan_clip(ClipFiles("x", path)).problem != ""


def test_size_and_length_have_limits(videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(frames, "MAX_PIXELS", 64 * 48 - 1)
        assert "too large (64x48)" in scan_clip(ClipFiles("x", videos["b-frames.mp4"])).problem
    monkeypatch.setattr(frames, "MAX_FRAMES", 23)
    assert "too many frames" in scan_clip(ClipFiles("x", videos["b-frames.mp4"])).problem


# --- the second decoder setting ------------------------------------------------------------------------------------


def without_the_end(content: bytes) -> bytes:
    """An AVI whose last chunk, the index, is cut: every frame is there, its container is incomplete."""
    assert content.rfind(b"idx1") > 0
    return content[:-8]


def test_what_only_the_second_setting_decodes_is_kept_and_can_be_read(tmp_path: Path, videos: dict[str, Path]) -> None:
    path = tmp_path / "cut-index.avi"
    path.write_bytes(without_the_end(videos["mpeg4.avi"].read_bytes()))
    with pytest.raises(DecodeError, match="truncated"):
        inspect_video(path, "first")
    found = scan_clip(ClipFiles("x", path))
    assert (found.frames, found.problem, found.setting) == (24, "", "second")
    np.testing.assert_array_equal(
        read_video(path, [0, 13, 23], frames=24), read_video(videos["mpeg4.avi"], [0, 13, 23], frames=24)
    )


@pytest.mark.parametrize("name", FORMATS)
def test_both_settings_count_the_same(name: str, videos: dict[str, Path]) -> None:
    assert inspect_video(videos[name], "second") == inspect_video(videos[name], "first")


def test_the_second_setting_takes_no_shortened_clip(tmp_path: Path, videos: dict[str, Path]) -> None:
    """Cut in the middle, a Matroska file decodes without complaint to fewer frames than its header promises."""
    content = videos["vp9.webm"].read_bytes()
    path = tmp_path / "cut.webm"
    path.write_bytes(content[: len(content) * 3 // 4])
    with av.open(str(path)) as container:
        assert 0 < sum(1 for _ in container.decode(video=0)) < 24
    with pytest.raises(DecodeError, match="stops decoding after"):
        inspect_video(path, "second")


def test_a_changed_file_is_not_saved_by_the_second_setting(tmp_path: Path, videos: dict[str, Path]) -> None:
    content = bytearray(videos["b-frames.mp4"].read_bytes())
    path = tmp_path / "x.mp4"
    path.write_bytes(bytes(content[: len(content) * 3 // 4]))
    with pytest.raises(DecodeError):
        read_video(path, [0, 20], frames=24)


def test_a_jpeg_that_pillow_refuses_is_read_by_the_second_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "p", moving_frames(2, 40, 60), "%05d.jpg", 1)
    before = read_sequence(tmp_path / "p", "%05d.jpg", 1, 0, [0, 1])

    def refuse(*_: object, **__: object) -> None:
        raise SyntaxError("broken EXIF")

    monkeypatch.setattr(Image, "open", refuse)
    found = scan_clip(ClipFiles("x", tmp_path / "p", "%05d.jpg", 1, 2, 12.0))
    assert (found.problem, found.setting, found.frames) == ("", "second", 2)
    after = read_sequence(tmp_path / "p", "%05d.jpg", 1, 0, [0, 1])
    assert np.abs(after.astype(int) - before).mean() < 3  # another decoder rounds otherwise


@pytest.mark.parametrize("first", [True, False])
def test_a_thumbnail_that_nobody_marked_as_attached_is_not_the_clip(first: bool, tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    images = moving_frames(12)
    with av.open(str(path), "w") as container:
        kinds = ["mjpeg", "mpeg4"] if first else ["mpeg4", "mjpeg"]
        streams: dict[str, Any] = {codec: container.add_stream(codec, rate=12) for codec in kinds}
        for codec, frames in (("mjpeg", images[:1, :32, :32]), ("mpeg4", images)):
            stream = streams[codec]
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for codec, frames in (("mjpeg", images[:1, :32, :32]), ("mpeg4", images)):
            for image in frames:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                container.mux(streams[codec].encode(frame))
            container.mux(streams[codec].encode(None))
    scan = scan_clip(ClipFiles("a", path))
    assert (scan.problem, scan.frames, scan.width, scan.height) == ("", 12, 64, 48)
