from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from av.video.frame import PictureType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_clips import FORMATS, encode_video, moving_frames, positions_of, write_pictures

from vidrepro.data import encode, frames
from vidrepro.data.frames import probe_video, read_sequence, read_video, write_video
from vidrepro.errors import DataError, DecodeError, ResultsError

NAMES = list(FORMATS)


def naive_frames(path: Path) -> np.ndarray:
    """Decode everything with FFmpeg's defaults, order by presentation time, convert everything."""
    with av.open(str(path)) as container:
        decoded = sorted(container.decode(video=0), key=lambda frame: frame.pts)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])


@pytest.mark.parametrize("name", NAMES)
def test_the_reader_agrees_with_decoding_everything(videos: dict[str, Path], name: str) -> None:
    everything = naive_frames(videos[name])
    assert len(everything) == 24
    for wanted in ([0], [23], [5, 5, 2], list(range(24)), list(range(23, -1, -1)), np.array([1, 4, 7, 10, 13])):
        assert np.array_equal(read_video(videos[name], wanted, frames=24), everything[np.asarray(wanted)])


@pytest.mark.parametrize("name", NAMES)
def test_positions_are_those_that_were_filmed(videos: dict[str, Path], name: str) -> None:
    assert positions_of(read_video(videos[name], range(24))) == list(range(24))


def test_the_b_frames_are_really_stored_out_of_order(videos: dict[str, Path]) -> None:
    with av.open(str(videos["b-frames.mp4"])) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert times != sorted(times)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.lists(st.integers(0, 23), min_size=1, max_size=30), name=st.sampled_from(NAMES))
def test_any_positions_come_in_the_order_asked(videos: dict[str, Path], wanted: list[int], name: str) -> None:
    assert positions_of(read_video(videos[name], wanted, frames=24)) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_probe_counts_by_decoding(videos: dict[str, Path], name: str) -> None:
    assert probe_video(videos[name]) == frames.VideoInfo(frames=24, fps=12.0, width=64, height=48)


@pytest.mark.parametrize("fps", [25, Fraction(30000, 1001)])
def test_probe_finds_the_rate(tmp_path: Path, fps: int | Fraction) -> None:
    for name, codec in (("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")):
        video = encode_video(tmp_path / name, moving_frames(6), codec, fps)
        assert probe_video(video).fps == pytest.approx(float(fps), rel=1e-4)


def test_only_wanted_frames_are_converted_with_no_thread_of_ffmpeg(
    videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads_before, seen = psutil.Process().num_threads(), []

    class Counting:
        def __init__(self) -> None:
            self.real = av.video.reformatter.VideoReformatter()

        def reformat(self, frame: av.VideoFrame, **options: Any) -> av.VideoFrame:
            converted = self.real.reformat(frame, **options)
            seen.append(psutil.Process().num_threads())
            return converted

    monkeypatch.setattr(frames, "VideoReformatter", Counting)
    read_video(videos["b-frames.mp4"], [4, 9, 9, 2], frames=24)
    assert seen == [threads_before] * 3


def test_decoding_stops_at_the_last_wanted_frame(videos: dict[str, Path], tmp_path: Path) -> None:
    whole = videos["vp9.webm"].read_bytes()
    cut = tmp_path / "cut.webm"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    assert positions_of(read_video(cut, [0, 3], frames=24)) == [0, 3]  # what lies behind is never looked at
    with pytest.raises(DecodeError, match="shorter than recorded") as refused:
        read_video(cut, [0, 23], frames=24)
    assert "cut.webm" in str(refused.value)


def test_a_position_outside_the_recorded_count_is_refused(videos: dict[str, Path]) -> None:
    for wanted in ([24], [-1], [0, 100]):
        with pytest.raises(DecodeError, match="outside the clip"):
            read_video(videos["vp9.webm"], wanted, frames=24)
    with pytest.raises(DecodeError, match="too short"):
        read_video(videos["vp9.webm"], [24])
    for wanted in ([], [0.5], [[0]]):
        with pytest.raises(DecodeError, match="whole numbers"):
            read_video(videos["vp9.webm"], wanted)


@pytest.mark.parametrize("name", ["b-frames.mp4", "vp9.webm", "mpeg4.avi", "h264.mkv"])
def test_a_cut_video_is_refused_or_still_has_all_its_frames(videos: dict[str, Path], tmp_path: Path, name: str) -> None:
    whole = videos[name].read_bytes()
    refused = 0
    for size in np.linspace(1, len(whole) - 1, 40).astype(int):
        cut = tmp_path / name
        cut.write_bytes(whole[:size])
        try:
            assert probe_video(cut).frames == 24, f"cut to {size} of {len(whole)} bytes"
        except DecodeError as error:
            assert name in str(error)
            refused += 1
    assert refused >= 36  # an AVI may lose the index at its end


def test_an_avi_cut_exactly_between_two_frames_is_refused(videos: dict[str, Path], tmp_path: Path) -> None:
    whole = videos["mpeg4.avi"].read_bytes()
    starts = [at for at in range(len(whole) - 4) if whole[at : at + 4] == b"00dc"]
    for at in starts[3:20:4]:
        cut = tmp_path / "cut.avi"
        cut.write_bytes(whole[:at])
        with pytest.raises(DecodeError, match="truncated"):
            probe_video(cut)


def test_a_cut_mpeg_stream_is_refused(tmp_path: Path) -> None:
    whole = encode_video(tmp_path / "whole.mpg", moving_frames(), "mpeg2video", 25).read_bytes()
    assert probe_video(tmp_path / "whole.mpg").frames == 24
    cut = tmp_path / "cut.mpg"
    cut.write_bytes(whole[: len(whole) // 2 + 1])
    with pytest.raises(DecodeError, match="corrupt or truncated"):
        probe_video(cut)


def test_a_damaged_video_is_refused_where_the_decoder_notices(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mp4", moving_frames(), 12, crf=10)
    whole = (tmp_path / "whole.mp4").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for start in np.linspace(2000, len(whole) - 4000, 10).astype(int):  # between the boxes at the front and the end
        damaged = tmp_path / "damaged.mp4"
        damaged.write_bytes(whole[:start] + rng.bytes(60) + whole[start + 60 :])
        try:
            probe_video(damaged)
        except DecodeError as error:
            assert "corrupt" in str(error)
            refused += 1
    assert refused >= 6  # H.264 has no checksum: some damage is a valid picture, if a wrong one


def test_what_is_no_video_is_named(tmp_path: Path, sound_files: list[Path]) -> None:
    empty, text, page, picture = (tmp_path / f"{name}.mp4" for name in ("empty", "text", "page", "picture"))
    empty.touch()
    text.write_text("id,label\n" * 100)
    page.write_text("<!DOCTYPE html>\n<html><body>404 not found</body></html>")
    Image.new("RGB", (64, 64)).save(tmp_path / "picture.jpg")
    (tmp_path / "picture.jpg").rename(picture)
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    cases = [
        (tmp_path / "gone.mp4", "is missing"),
        (tmp_path, "is a folder"),
        (empty, "zero bytes"),
        (text, "not a video but a text file"),
        (page, "not a video but a web page"),
        (picture, "not a video but a JPEG picture"),
        (noise, "cannot be opened"),
        *((path, "no video, only audio") for path in sound_files),
    ]
    for path, words in cases:
        for reading in (lambda path=path: probe_video(path), lambda path=path: read_video(path, [0])):
            with pytest.raises(DecodeError, match=words) as refused:
                reading()
            assert str(path) in str(refused.value)


def test_a_playlist_is_not_followed(videos: dict[str, Path], tmp_path: Path) -> None:
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{videos['b-frames.mp4']}\n#EXT-X-ENDLIST\n")
    with pytest.raises(DecodeError, match="text file"):
        read_video(playlist, [0])


@pytest.mark.parametrize(("real", "name"), [("vp9.webm", "a.mp4"), ("b-frames.mp4", "a.avi"), ("mpeg4.avi", "a.webm")])
def test_preparation_refuses_a_video_named_for_another_container(
    videos: dict[str, Path], tmp_path: Path, real: str, name: str
) -> None:
    shutil.copy(videos[real], tmp_path / name)
    with pytest.raises(DecodeError, match="wrongly named") as refused:
        probe_video(tmp_path / name)
    assert real.split(".")[1].replace("webm", "matroska") in str(refused.value)


def test_reading_neither_grows_nor_keeps_files_open(videos: dict[str, Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(videos["mpeg4.avi"].read_bytes()[:3000])
    process = psutil.Process()

    def decode(times: int) -> None:
        for turn in range(times):
            read_video(videos[NAMES[turn % len(NAMES)]], range(24), frames=24)
            with pytest.raises(DecodeError):
                read_video(cut, [23], frames=24)

    decode(60)
    memory, files = process.memory_info().rss, process.num_fds()
    decode(300)
    assert process.num_fds() == files
    assert process.memory_info().rss - memory < 15 << 20  # a clip kept each turn would make 66 MB


PROCESSES = """
import hashlib, multiprocessing, sys
from vidrepro.data.frames import read_video

def digest(path):
    return hashlib.sha256(read_video(path, [0, 7, 23], frames=24)).hexdigest()

if __name__ == "__main__":
    method, paths = sys.argv[1], sys.argv[2:] * 3
    here = [digest(path) for path in paths]  # the decoder has run in the parent before it forks
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(digest, paths).get(timeout=60) == here
    print("agreed")
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_no_hang_in_other_processes(videos: dict[str, Path], run_script, method: str) -> None:  # type: ignore[no-untyped-def]
    done = run_script(PROCESSES, method, *videos.values())
    assert done.stdout == "agreed\n", done.stderr


def test_written_clips_have_key_frames_only(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    write_video(video, moving_frames(32), 12, crf=23)
    with av.open(str(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [packet.is_keyframe for packet in packets] == [True] * 32
    with av.open(str(video)) as container:
        assert all(int(frame.pict_type) == PictureType.I for frame in container.decode(video=0))
    assert probe_video(video) == frames.VideoInfo(frames=32, fps=12.0, width=64, height=48)


def test_key_frames_can_be_further_apart(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving_frames(20), 12, crf=23, key_frame_every=8)
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [number for number, packet in enumerate(packets) if packet.is_keyframe] == [0, 8, 16]
    assert all(packet.pts == packet.dts for packet in packets)  # no B-frames


@pytest.mark.parametrize("crf", [12, 28])
def test_quality_does_not_tell_the_direction_of_time(tmp_path: Path, crf: int) -> None:
    """The reversed clip decodes to exactly the reversed frames: x264's default rate control fails this."""
    rng = np.random.default_rng(3)
    clip = moving_frames(24).astype(int)
    noise = rng.integers(-1, 2, clip.shape) * np.arange(24)[:, None, None, None] * 2  # ever harder to encode
    clip = np.clip(clip + noise, 0, 255).astype(np.uint8)
    write_video(tmp_path / "forth.mp4", clip, 12, crf=crf)
    write_video(tmp_path / "back.mp4", clip[::-1], 12, crf=crf)
    forth, back = (read_video(tmp_path / f"{name}.mp4", range(24)) for name in ("forth", "back"))
    assert np.array_equal(forth, back[::-1])


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", moving_frames(), 12, crf=20)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_encoding_keeps_the_picture(tmp_path: Path) -> None:
    clip = moving_frames()
    write_video(tmp_path / "a.mp4", clip, 12, crf=15)
    error = read_video(tmp_path / "a.mp4", range(24)).astype(float) - clip
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 30


def test_what_cannot_be_encoded_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    good, path = moving_frames(4), tmp_path / "clips" / "a.mp4"
    for bad in (good[:, :47], good[:, :, :63], good[0], good[:0], good.astype(np.float32), good[..., :2]):
        with pytest.raises(DataError, match="cannot be encoded"):
            write_video(path, bad, 12, crf=20)
    for arguments in ({"crf": 60}, {"crf": 20, "key_frame_every": 0}):
        with pytest.raises(DataError, match="cannot be encoded"):
            write_video(path, good, 12, **arguments)
    with pytest.raises(DataError, match="cannot be encoded"):
        write_video(path.with_suffix(".avi"), good, 12, crf=20)
    with pytest.raises(DataError, match="libnone"):
        write_video(path, good, 12, crf=20, codec="libnone")

    assert list(path.parent.glob("*")) == []
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot write"):
        write_video(tmp_path / "file" / "a.mp4", good, 12, crf=20)


def test_an_interrupted_encoding_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[np.ndarray] = []

    def interrupt_at_the_third(image: np.ndarray) -> np.ndarray:
        begun.append(image)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return image

    monkeypatch.setattr(encode.np, "ascontiguousarray", interrupt_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", moving_frames(6), 12, crf=20)
    assert list(tmp_path.iterdir()) == []


def test_a_sequence_gives_its_pictures(tmp_path: Path) -> None:
    clip = moving_frames(10)
    write_pictures(tmp_path / "png", clip, "img_%05d.png", 1)
    assert np.array_equal(read_sequence(tmp_path / "png", "img_%05d.png", 1, 0, range(10)), clip)
    assert np.array_equal(read_sequence(tmp_path / "png", "img_%05d.png", 1, 4, [3, 0, 3], frames=6), clip[[7, 4, 7]])
    write_pictures(tmp_path / "jpg", clip, "%05d.jpg", 0)
    stored = np.stack([np.asarray(Image.open(tmp_path / "jpg" / f"{i:05d}.jpg")) for i in (2, 9)])
    assert np.array_equal(read_sequence(tmp_path / "jpg", "%05d.jpg", 0, 0, [2, 9]), stored)


def test_grey_pictures_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / "1.png")
    assert np.array_equal(read_sequence(tmp_path, "%d.png", 1, 0, [0]), np.full((1, 8, 8, 3), 77))


def test_bad_sequences_are_refused_by_file(tmp_path: Path) -> None:
    write_pictures(tmp_path / "s", moving_frames(6), "%05d.jpg", 1)
    (tmp_path / "s" / "00003.jpg").unlink()
    with pytest.raises(DecodeError, match="missing") as refused:
        read_sequence(tmp_path / "s", "%05d.jpg", 1, 0, [0, 2])
    assert "00003.jpg" in str(refused.value)
    content = (tmp_path / "s" / "00004.jpg").read_bytes()
    (tmp_path / "s" / "00004.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DecodeError, match="does not decode") as refused:
        read_sequence(tmp_path / "s", "%05d.jpg", 1, 0, [3])
    assert "00004.jpg" in str(refused.value)
    Image.new("RGB", (10, 10)).save(tmp_path / "s" / "00005.jpg")
    with pytest.raises(DecodeError, match="differ in size"):
        read_sequence(tmp_path / "s", "%05d.jpg", 1, 0, [0, 4])
    with pytest.raises(DecodeError, match="outside the clip"):
        read_sequence(tmp_path / "s", "%05d.jpg", 1, 0, [6], frames=6)
    with pytest.raises(DecodeError, match="pattern"):
        read_sequence(tmp_path / "s", "frame.jpg", 1, 0, [0])
