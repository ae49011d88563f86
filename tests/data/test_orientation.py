"""Clips come out as a player shows them: against ffmpeg itself, and against `np.rot90` on the same clip unturned."""

from __future__ import annotations

import math
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from sample_clips import INFO, encode_video, moving_frames, video_row

from vidrepro.data.cache import open_cache
from vidrepro.data.contact_sheet import write_contact_sheet
from vidrepro.data.frames import decoded_video, inspect_video, probe_video, read_clip, read_video
from vidrepro.data.image_sequences import read_sequence
from vidrepro.data.manifest import load_manifest, write_manifest
from vidrepro.data.orientation import of_matrix
from vidrepro.data.scan.check_clip import ClipFiles, scan_clip
from vidrepro.data.scan.reencode import CopyJob, Encoding, copy_clip
from vidrepro.data.segments import tsm_test
from vidrepro.data.verify_files import check_files
from vidrepro.errors import ManifestError
from vidrepro.files import atomic_write_json

WIDTH, HEIGHT, COUNT = 64, 48, 10
B_FRAMES = {"bf": "2", "b_strategy": "0", "g": "6", "preset": "veryfast", "crf": "15"}
ONE = 1 << 16
MATRICES = {  # a, b, c, d: stored (x, y) is shown at (a x + c y, b x + d y), y pointing down
    "upright": (ONE, 0, 0, ONE),
    "clockwise": (0, ONE, -ONE, 0),
    "half": (-ONE, 0, 0, -ONE),
    "counter": (0, -ONE, ONE, 0),
    "leftright": (-ONE, 0, 0, ONE),
    "updown": (ONE, 0, 0, -ONE),
    "diagonal": (0, ONE, ONE, 0),
    "other diagonal": (0, -ONE, -ONE, 0),
    "askew": (46341, 46341, -46341, 46341),
}
EXPECTED = {  # by numpy's own words
    "upright": lambda image: image,
    "clockwise": lambda image: np.rot90(image, -1),
    "half": lambda image: np.rot90(image, 2),
    "counter": lambda image: np.rot90(image, 1),
    "leftright": np.fliplr,
    "updown": np.flipud,
    "diagonal": lambda image: np.flipud(np.rot90(image)),
    "other diagonal": lambda image: np.fliplr(np.rot90(image)),
    "askew": lambda image: image,
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MP4 and MOV of the same frames, with B-frames, unturned."""
    folder = tmp_path_factory.mktemp("plain")
    for name in ("plain.mp4", "plain.mov"):
        encode_video(folder / name, moving_frames(COUNT, HEIGHT, WIDTH), options=B_FRAMES)
    return folder


def turned(folder: Path, name: str, suffix: str = ".mp4") -> Path:
    """The same file with another display matrix in its track header (ISO/IEC 14496-12, 8.3.2)."""
    content = bytearray((folder / f"plain{suffix}").read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # version 0: flags, times, track, duration, layer, volume
    a, b, c, d = MATRICES[name]
    assert struct.unpack(">9i", content[place : place + 36]) == (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = folder / f"{name.replace(' ', '-')}{suffix}"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("name", MATRICES)
def test_frames_are_turned_as_numpy_turns_them(plain: Path, name: str, suffix: str) -> None:
    video = turned(plain, name, suffix)
    stored = read_video(plain / f"plain{suffix}", range(COUNT))
    expected = np.stack([EXPECTED[name](image) for image in stored])
    np.testing.assert_array_equal(read_video(video, [9, 2, 2, 5]), expected[[9, 2, 2, 5]])
    for setting in ("first", "second"):
        info = inspect_video(video, setting)
        assert (info.frames, info.height, info.width) == expected.shape[:3]
        assert (info.turned == "") == (name == "upright")
    assert ("left as stored" in info.turned) == (name == "askew")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg program here to compare with")
@pytest.mark.parametrize("name", [name for name in MATRICES if name != "askew"])
def test_frames_are_those_that_ffmpeg_shows(plain: Path, name: str) -> None:
    """Compared as they are decoded, plane by plane: FFmpeg's versions round the conversion to RGB differently."""
    video = turned(plain, name)
    command = ["ffmpeg", "-v", "error", "-i", str(video), "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"]
    shown = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
    ours = []
    with decoded_video(video) as (_, frames):
        for frame, orientation in frames:
            stored = frame.to_ndarray()
            quarter = HEIGHT // 2, WIDTH // 2
            colours = [part.reshape(quarter) for part in np.split(stored[HEIGHT:].reshape(-1), 2)]
            ours += [orientation.turn(plane).reshape(-1) for plane in (stored[:HEIGHT], *colours)]
    np.testing.assert_array_equal(np.concatenate(ours), shown)


def test_half_a_degree_is_a_right_angle_and_two_are_not() -> None:
    def matrix(degrees: float) -> bytes:
        a, b = (round(ONE * turn(math.radians(degrees))) for turn in (math.cos, math.sin))
        return struct.pack("=9i", a, b, 0, -b, a, 0, 0, 0, 1 << 30)

    assert of_matrix(matrix(89.7)).name == "turned by 90 degrees clockwise"
    assert of_matrix(matrix(88)).name == "marked as turned by 88 degrees clockwise, left as stored"
    assert not of_matrix(bytes(36)).turns


def test_another_decoder_turns_too(tmp_path: Path) -> None:
    """libvpx, the second setting's decoder of VP9, is not told of the container's matrix."""
    encode_video(tmp_path / "plain.mp4", moving_frames(COUNT, HEIGHT, WIDTH), "libvpx-vp9", options={"crf": "20"})
    info = inspect_video(turned(tmp_path, "clockwise"), "second")
    assert (info.width, info.height, info.turned) == (HEIGHT, WIDTH, "turned by 90 degrees clockwise")


@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize("name", ["clockwise", "half", "leftright"])
def test_a_copy_is_upright_and_says_nothing_of_turning(plain: Path, tmp_path: Path, name: str, pictures: bool) -> None:
    video = turned(plain, name)
    scan = copy_clip(CopyJob(ClipFiles("x", video), tmp_path, "x"), Encoding(48, pictures, 95 if pictures else 5))
    expected = np.stack([EXPECTED[name](image) for image in read_video(plain / "plain.mp4", range(COUNT))])
    assert (scan.problem, scan.frames, scan.height, scan.width) == ("", *expected.shape[:3])
    assert scan.turned == inspect_video(video, "first").turned != ""
    if pictures:
        copied = read_sequence(tmp_path / "x", "%05d.jpg", 1, 0, range(COUNT))
    else:
        copied = read_video(tmp_path / "x.mp4", range(COUNT))
        assert inspect_video(tmp_path / "x.mp4", "first").turned == ""
    assert np.abs(copied.astype(int) - expected).mean() < 4  # two encoders in a row; sideways it is 60 or more


def manifest_of(folder: Path, video: Path, width: int, height: int) -> Any:
    info = probe_video(video)
    row = video_row(folder, "other.mp4", moving_frames(4, 24, 32))
    row |= {"path": video.name, "id": "phone", "frames": info.frames, "width": width, "height": height}
    shutil.copy(video, folder / video.name)
    row |= {"bytes": video.stat().st_size, "digest": scan_clip(ClipFiles("x", video)).digest}
    return write_manifest(folder, [row], INFO)


def test_the_cache_holds_what_is_shown(plain: Path, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path / "toy", turned(plain, "clockwise"), HEIGHT, WIDTH)
    cache = open_cache(manifest, "always")
    assert cache is not None
    np.testing.assert_array_equal(cache.frames("phone", [3, 0]), read_clip(manifest, manifest.clip("phone"), [3, 0]))


def test_a_contact_sheet_shows_what_is_shown(plain: Path, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path / "toy", turned(plain, "clockwise"), HEIGHT, WIDTH)
    write_contact_sheet(manifest, tmp_path / "sheet.png", split="train", frames=2, height=WIDTH)
    with Image.open(tmp_path / "sheet.png") as sheet:
        shown = np.asarray(sheet)[:, -HEIGHT:]
    last = tsm_test(COUNT, 2)[1]
    np.testing.assert_array_equal(shown, np.rot90(read_video(plain / "plain.mp4", [last])[0], -1))


@pytest.mark.parametrize("name", ["clockwise", "half"])
def test_a_dataset_of_an_earlier_version_is_recognised(plain: Path, tmp_path: Path, name: str) -> None:
    """It recorded 64x48; after half a turn the size is the same, and only the marker tells."""
    manifest = manifest_of(tmp_path / "toy", turned(plain, name), WIDTH, HEIGHT)
    info = dict(manifest.info)
    del info["reading"]
    atomic_write_json(tmp_path / "toy" / "dataset.json", info)
    old = load_manifest("toy", tmp_path)
    assert old.fingerprint == manifest.fingerprint and not old.read_as_now
    assert check_files(old, quick=True) == []
    (problem,) = check_files(old, quick=False)
    assert problem.clip == "phone" and "prepare the dataset again" in problem.problem
    if name == "clockwise":
        with pytest.raises(ManifestError, match="'phone' decodes to another size") as refused:
            read_clip(old, old.clip("phone"), [0])
        assert "prepare the dataset again" in str(refused.value)


def test_a_turn_changes_the_fingerprint_and_its_absence_does_not(tmp_path: Path) -> None:
    row = video_row(tmp_path / "toy", "a.mp4", moving_frames(4))
    before = write_manifest(tmp_path / "toy", [row], INFO).fingerprint
    assert write_manifest(tmp_path / "toy", [row], INFO | {"turned": {}}).fingerprint == before
    half = {"turned": {"a": "turned by 180 degrees"}}
    assert write_manifest(tmp_path / "toy", [row], INFO | half).fingerprint != before


@pytest.mark.parametrize("number", range(1, 9))
def test_pictures_are_turned_by_their_tag(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Pillow's own `exif_transpose` does it, and FFmpeg where Pillow refuses the picture."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = number
    Image.fromarray(moving_frames(1, 24, 40)[0]).save(tmp_path / "1.jpg", exif=exif)
    with Image.open(tmp_path / "1.jpg") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_sequence(tmp_path, "%d.jpg", 1, 0, [0])[0], expected)
    found = scan_clip(ClipFiles("x", tmp_path, "%d.jpg", 1, 1, 12.0))
    assert (found.height, found.width) == expected.shape[:2] and (found.turned == "") == (number == 1)

    def refuse(*_: object, **__: object) -> None:
        raise SyntaxError("refused")

    monkeypatch.setattr(Image, "open", refuse)
    if number in (1, 3, 6, 8):  # PyAV has no name for the tag itself, and what it has does not tell mirrors
        again = read_sequence(tmp_path, "%d.jpg", 1, 0, [0])[0]
        assert again.shape == expected.shape and np.abs(again.astype(int) - expected).mean() < 4


def test_damaged_exif_is_no_reason(tmp_path: Path) -> None:
    image = Image.fromarray(moving_frames(1, 24, 40)[0])
    image.save(tmp_path / "1.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\x01\x12")
    assert read_sequence(tmp_path, "%d.jpg", 1, 0, [0]).shape == (1, 24, 40, 3)


def test_unturned_frames_are_what_the_decoder_gives(videos: dict[str, Path]) -> None:
    for path in videos.values():
        with av.open(str(path)) as container:
            stored = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        np.testing.assert_array_equal(read_video(path, range(24)), stored)
