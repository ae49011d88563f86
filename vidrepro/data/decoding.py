"""From an open container to frames in display order: what the decoder says of damage is believed.

Decoders that conceal damage flag the frame they concealed it in. The others go on silently unless they are asked to
stop at the first thing that cannot be (``err_detect``): preparation asks them to, and training, which has no use for a
second verdict, does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidrepro.data import orientation
from vidrepro.data.containers import open_container, video_stream
from vidrepro.data.decode_errors import corrupt, told
from vidrepro.data.orientation import UPRIGHT, Orientation

Decoded = tuple[VideoFrame, Orientation | None]
"""A frame as it is stored, and how it is turned where that is known; None where the frame itself says so."""

# Codecs whose decoders conceal and flag what is damaged. Strictness would add nothing there, and refuse sound clips:
# H.264 that was cut out of a longer video stops at references which its first pictures only let go.
_CONCEALED = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4", "h263"})
_STRICT = "crccheck+bitstream+buffer+explode"
# Codec -> another decoder of it, which FFmpeg wraps.
_OTHER_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9", "av1": "libdav1d"}


def strict_option(decoder: VideoCodecContext) -> dict[str, str]:
    """The option that makes a decoder stop at damage that it would otherwise decode to wrong pictures in silence."""
    return {} if decoder.codec.canonical_name in _CONCEALED else {"err_detect": _STRICT}


def other_decoder(context: VideoCodecContext) -> VideoCodecContext:
    """Another decoder of the same codec where FFmpeg has one, else the usual one."""
    try:
        other = av.CodecContext.create(_OTHER_DECODERS[context.codec.canonical_name], "r")
    except (KeyError, ValueError):
        return context
    assert isinstance(other, VideoCodecContext)
    other.extradata = context.extradata
    return other


def decoded(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[Decoded]:
    """Every frame in display order, the decoder flushed at the end; ends with the file, whatever is wanted of it."""
    position, key_seen = 0, False
    strict = _is_strict(stream.codec_context)
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise corrupt(path, position, "the file ends inside a frame")
            key_seen = key_seen or packet.is_keyframe
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                if key_seen or not strict:
                    raise
                continue  # a recording that was begun between two key frames: nothing of this can be shown
            for frame in frames:
                yield _undamaged(frame, path, position), None
                position += 1
    except (av.error.FFmpegError, OSError, MemoryError) as error:
        raise corrupt(path, position, told(error)) from error


def decoded_again(
    container: InputContainer, stream: VideoStream, decoder: VideoCodecContext, path: Path
) -> Iterator[Decoded]:
    """Every frame by the second setting: what it ignores on the way must not have cost a frame.

    What a strict decoder stops at is not ignored: it shows the damaged frame all the same, later.
    """
    strict, key_seen = _is_strict(decoder) and decoder is stream.codec_context, False
    promised = _promised(container, stream)
    turned = None if decoder is stream.codec_context else _container_orientation(path)
    position, complaint = 0, ""
    try:
        for packet in container.demux(stream):
            key_seen = key_seen or packet.is_keyframe
            try:
                frames = decoder.decode(packet)
            except av.error.InvalidDataError as error:
                if strict and key_seen:
                    raise
                complaint = told(error)
                continue
            for frame in frames:
                yield _undamaged(frame, path, position), turned
                position += 1
    except (av.error.FFmpegError, OSError, MemoryError) as error:
        raise corrupt(path, position, told(error)) from error
    if not promised or position < promised:
        raise corrupt(path, position, complaint or f"its container promises {promised or 'no number of'} frames")


def _is_strict(decoder: VideoCodecContext) -> bool:
    return "explode" in decoder.options.get("err_detect", "")


def _undamaged(frame: VideoFrame, path: Path, position: int) -> VideoFrame:
    if frame.is_corrupt:
        raise corrupt(path, position, "the decoder had to invent parts of a frame")
    return frame


def _promised(container: InputContainer, stream: VideoStream) -> int:
    """How many frames the container says there are; 0 if it does not."""
    rate = stream.average_rate or stream.guessed_rate
    if stream.frames or not rate:
        return stream.frames
    seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    if seconds is None and container.duration:
        seconds = container.duration / av.time_base
    return round(seconds * rate) if seconds else 0


def _container_orientation(path: Path) -> Orientation:
    """What the container says of every frame: only its own decoder passes it on, with the first frame it can decode."""
    with open_container(path, second=True) as container:
        for packet in container.demux(video_stream(container)):
            try:
                for frame in packet.decode():
                    return orientation.of_frame(cast(VideoFrame, frame))
            except (av.error.FFmpegError, OSError):
                continue
    return UPRIGHT
