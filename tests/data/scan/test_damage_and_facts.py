"""What preparation records of containers' claims, and what decoders say of damage; no sound clip pays for it."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from sample_clips import encode_video, moving_frames

from vidrepro.data.frames import MIN_SIDE, inspect_video, probe_video, read_video
from vidrepro.data.scan.check_clip import ClipFiles, scan_clip
from vidrepro.data.scan.reencode import CopyJob, Encoding, copy_clip

# --- text of containers --------------------------------------------------------------------------------------------

LATIN1 = "Söhne (été), Ünïcode".encode("latin-1")


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.avi", "a.mkv", "a.webm"])
@pytest.mark.parametrize("place", ["title", "artist", "stream", "chapter"])
def test_text_in_another_encoding_is_no_reason(tmp_path: Path, name: str, place: str) -> None:
    path, mark = tmp_path / name, "X" * len(LATIN1)
    codec = {"a.avi": "mpeg4", "a.webm": "libvpx-vp9"}.get(name, "libx264")
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        if place == "stream":
            stream.metadata["title"] = stream.metadata["handler_name"] = mark
        elif place == "chapter":
            chapter = {"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": mark}}
            container.set_chapters([chapter])  # type: ignore[list-item]
        else:
            container.metadata[place] = mark
        for image in moving_frames(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    assert (mark.encode() in content) == ((name, place) != ("a.avi", "chapter"))  # AVI has no chapters
    path.write_bytes(content.replace(mark.encode(), LATIN1))
    assert probe_video(path).frames == 6
    assert read_video(path, [5], frames=6).shape == (1, 48, 64, 3)
    assert scan_clip(ClipFiles("x", path)).problem == ""
    assert copy_clip(CopyJob(ClipFiles("x", path), tmp_path / "copies", "x"), Encoding(32, False, 18)).problem == ""


# --- rates ---------------------------------------------------------------------------------------------------------


def timed_video(path: Path, stamps: list[int], clock: Fraction, stated: Fraction, codec: str = "mpeg4") -> Path:
    """Frames at moments of one's own, under a rate that is only said."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=stated)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count, stream.codec_context.time_base = 1, clock
        for stamp, image in zip(stamps, moving_frames(len(stamps)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


STEADY = [40 * place for place in range(20)]
UNEVEN = [40 * place + 300 * (place >= 7) + 13 * (place % 2) for place in range(20)]


@pytest.mark.parametrize("stamps", [STEADY, UNEVEN], ids=["steady", "uneven"])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.flv"])
def test_a_rate_that_a_container_invents_is_not_recorded(tmp_path: Path, name: str, stamps: list[int]) -> None:
    codec = "flv" if name == "a.flv" else "mpeg4"
    video = timed_video(tmp_path / name, stamps, Fraction(1, 1000), Fraction(1000), codec)
    true = 19_000 / (stamps[-1] - stamps[0])
    tolerance = 0.06 if name == "a.mp4" else 0.002  # an MP4's own rate counts how long the last frame stays
    assert probe_video(video).fps == pytest.approx(true, rel=tolerance)
    for pictures in (False, True):
        scan = copy_clip(CopyJob(ClipFiles("x", video), tmp_path / str(pictures), "x"), Encoding(32, pictures, 20))
        assert (scan.problem, scan.frames) == ("", 20) and scan.fps == pytest.approx(true, rel=tolerance)


def test_a_rate_that_is_true_stays_as_it_is_said(tmp_path: Path) -> None:
    for rate in (Fraction(30000, 1001), Fraction(1000), Fraction(24), Fraction(1, 2)):
        video = encode_video(tmp_path / "a.mkv", moving_frames(9), "mpeg4", rate)
        assert probe_video(video).fps == pytest.approx(float(rate), rel=1e-6)


# --- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(2, 2), (64, MIN_SIDE - 2), (MIN_SIDE - 2, 64)])
def test_a_clip_too_small_for_any_network_is_bad(tmp_path: Path, width: int, height: int) -> None:
    video = encode_video(tmp_path / "a.mp4", moving_frames(6, height, width))
    (tmp_path / "p").mkdir()
    for number in (1, 2):
        Image.new("RGB", (width, height)).save(tmp_path / "p" / f"{number}.jpg")
    for clip in (ClipFiles("x", video), ClipFiles("x", tmp_path / "p", "%d.jpg", 1, 2, 12.0)):
        assert f"too small for any network ({width}x{height} pixels)" in scan_clip(clip).problem
        for pictures in (False, True):
            copied = copy_clip(CopyJob(clip, tmp_path / "copies", "x"), Encoding(32, pictures, 20))
            assert "too small for any network" in copied.problem
    good = encode_video(tmp_path / "b.mp4", moving_frames(6, MIN_SIDE, MIN_SIDE))
    assert scan_clip(ClipFiles("x", good)).problem == ""


# --- damage --------------------------------------------------------------------------------------------------------

CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    "hevc": ("a.mp4", "libx265", {"x265-params": "log-level=none:keyint=8:open-gop=1:bframes=3:pools=none"}),
    "hevc, with checksums": ("a.mkv", "libx265", {"x265-params": "log-level=none:hash=1:pools=none"}),
    "h264": ("a.mp4", "libx264", {"x264-params": "keyint=8:open-gop=1:bframes=3:b-pyramid=normal"}),
    "mpeg4": ("a.avi", "mpeg4", {"bf": "2", "g": "8"}),
    "mpeg2": ("a.mpg", "mpeg2video", {"bf": "2", "g": "8"}),
    "mpeg1": ("a.mpg", "mpeg1video", {"bf": "2", "g": "8"}),
    "h263": ("a.avi", "h263p", {"g": "8"}),
    "mjpeg": ("a.avi", "mjpeg", {"strict": "-1"}),
    "wmv2": ("a.wmv", "wmv2", {"g": "8"}),
    "msmpeg4": ("a.avi", "msmpeg4", {"g": "8"}),
    "flv1": ("a.flv", "flv", {"g": "8"}),
    "ffv1": ("a.mkv", "ffv1", {"level": "3", "slicecrc": "1"}),
    "vp8": ("a.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "8", "g": "8"}),
    "vp9": ("a.webm", "libvpx-vp9", {"cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "8", "g": "8"}),
    "av1": ("a.mp4", "libsvtav1", {"preset": "12"}),
}
# Of 36 copies with four bits flipped in them, how many are found at the least. To VP8 and VP9 any bits are a picture,
# and FFV1's decoder says in its log only that a checksum is wrong.
LEAST = {"hevc": 12, "hevc, with checksums": 32, "h264": 30, "mpeg4": 24, "mpeg2": 24, "mpeg1": 24, "h263": 24}
LEAST |= {"mjpeg": 18, "wmv2": 9, "msmpeg4": 24, "flv1": 24, "av1": 30}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A clip of noise over a moving picture in each of `CODECS`."""
    noise = np.random.default_rng(0).integers(-12, 13, (20, 96, 128, 3))
    clip = np.clip(moving_frames(20, 96, 128).astype(int) + noise, 0, 255).astype(np.uint8)
    made = {}
    for name, (file, codec, options) in CODECS.items():
        path = tmp_path_factory.mktemp("sound") / file
        made[name] = encode_video(path, clip, codec, 25, options)
    return made


def cut_start(source: Path, target: Path) -> Path:
    """What is left from the second key frame on, as cutters leave it: with pictures that lean on what is gone."""
    with av.open(str(source)) as reading, av.open(str(target), "w") as writing:
        stream = reading.streams.video[0]
        out = writing.add_stream_from_template(stream)
        keys, start = 0, None
        for packet in reading.demux(stream):
            if packet.dts is None or not packet.size:
                continue
            keys += packet.is_keyframe
            if keys >= 2:
                start = packet.dts if start is None else start
                packet.stream, packet.dts, packet.pts = out, packet.dts - start, (packet.pts or packet.dts) - start
                writing.mux(packet)
    return target


@pytest.mark.parametrize("name", CODECS)
def test_no_sound_clip_is_called_damaged(sound: dict[str, Path], name: str) -> None:
    path = sound[name]
    with av.open(str(path)) as container:
        plain = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert len(plain) == 20
    scan = scan_clip(ClipFiles("x", path))
    assert (scan.problem, scan.frames, scan.setting) == ("", 20, "first")
    np.testing.assert_array_equal(read_video(path, range(20), frames=20), plain)


@pytest.mark.parametrize("name", ["hevc", "h264", "mpeg2", "mpeg1", "mpeg4"])
def test_a_clip_cut_out_of_a_longer_one_is_sound(sound: dict[str, Path], name: str, tmp_path: Path) -> None:
    cut = cut_start(sound[name], tmp_path / "cut.mkv")
    with av.open(str(cut)) as container:
        count = sum(1 for _ in container.decode(video=0))
    scan = scan_clip(ClipFiles("x", cut))
    assert (scan.problem, scan.frames) == ("", count) and count > 4


def flipped(path: Path, target: Path, rng: random.Random) -> Path:
    """A copy with four bits flipped inside the coded frames."""
    with av.open(str(path)) as container:
        places = [(one.pos, one.size) for one in container.demux(video=0) if one.size and (one.pos or 0) > 0]
    content = bytearray(path.read_bytes())
    for _ in range(4):
        start, size = rng.choice(places)
        content[min(start + rng.randrange(size), len(content) - 1)] ^= 1 << rng.randrange(8)
    target.write_bytes(content)
    return target


@pytest.mark.parametrize("name", LEAST)
def test_damage_that_a_decoder_notices_is_found(sound: dict[str, Path], name: str, tmp_path: Path) -> None:
    rng = random.Random(5)
    copies = [flipped(sound[name], tmp_path / f"{number}{sound[name].suffix}", rng) for number in range(36)]
    found = sum(bool(scan_clip(ClipFiles("x", copy)).problem) for copy in copies)
    assert found >= LEAST[name]


def test_the_second_setting_does_not_save_a_damaged_picture(sound: dict[str, Path], tmp_path: Path) -> None:
    rng = random.Random(5)
    for number in range(6):
        copy = flipped(sound["hevc, with checksums"], tmp_path / f"{number}.mkv", rng)
        for setting in ("first", "second"):
            with pytest.raises(Exception, match="corrupt or truncated"):
                inspect_video(copy, setting)
