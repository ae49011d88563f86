"""Opening containers; what a file really is, by its first bytes, and whether it ends before its container says so.

Facts from the public formats: ISO/IEC 14496-12 (MP4 boxes), RFC 8794 and RFC 9559 (EBML, Matroska), the RIFF layout of
AVI, and the signatures of the other kinds. Nothing here decodes.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from vidrepro.errors import DecodeError

# FFmpeg demuxers a clip may come in, by the start of their format name, with the extensions that promise them.
# Nothing else is opened: FFmpeg would gladly take a playlist, a text file or a picture for a video.
CONTAINERS: dict[str, frozenset[str]] = {
    "mov": frozenset({".mp4", ".m4v", ".mov", ".3gp"}),
    "matroska": frozenset({".webm", ".mkv"}),
    "avi": frozenset({".avi"}),
    "mpegts": frozenset({".ts", ".mts", ".m2ts"}),
    "mpeg": frozenset({".mpg", ".mpeg", ".vob"}),
    "flv": frozenset({".flv"}),
    "asf": frozenset({".wmv", ".asf"}),
}

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"%PDF", "a PDF document"),
    (b"ID3", "an MP3 sound file"),
    (b"OggS", "an Ogg file"),
)
_OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
_SECOND_OPTIONS = _OPTIONS | {"fflags": "+genpts+ignidx", "err_detect": "ignore_err"}
_TEXT_BYTES = frozenset(range(0x20, 0x100)) | {0x09, 0x0A, 0x0D}
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


def open_container(path: Path, *, second: bool = False) -> InputContainer:
    """A video's container, to be closed by the caller; the only place that opens one.

    Its texts (title, maker, chapters) may be in any encoding: nothing here reads them, so none is a reason to refuse.

    Args:
        path: the video.
        second: rebuild the index, ignore what the container complains about.

    Raises:
        FFmpegError, OSError, ValueError, MemoryError: if FFmpeg cannot open it, or it is none of `CONTAINERS`.
    """
    options = _SECOND_OPTIONS if second else _OPTIONS
    return av.open(str(path.absolute()), "r", options=options, metadata_errors="replace")


def video_stream(container: InputContainer) -> VideoStream | None:
    """The stream of moving pictures that ffmpeg takes: the largest default one; None if there is none."""

    def rank(stream: VideoStream) -> tuple[bool, int]:
        decoder = stream.codec_context
        pixels = decoder.width * decoder.height if decoder is not None else 0
        return bool(stream.disposition & Disposition.default), pixels

    # A picture attached to a sound file counts as a video stream for FFmpeg, not for us.
    moving = (one for one in container.streams.video if not one.disposition & Disposition.attached_pic)
    return max(moving, key=rank, default=None)


def kind_of_file(path: Path) -> str | None:
    """What a file that is no video is instead ("a JPEG picture", "a web page"); None when its bytes tell nothing."""
    with path.open("rb") as file:
        head = file.read(512)
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] in (b"WAVE", b"WEBP"):
        return "a WAV sound file" if head[8:12] == b"WAVE" else "a WebP picture"
    if head and all(byte in _TEXT_BYTES for byte in head):
        start = head.lstrip().lower()
        return "a web page" if start.startswith((b"<!doctype html", b"<html")) else "a text file"
    return None


def check_extension(path: Path, container: str) -> None:
    """Refuse a video whose name promises another container, because later tools go by the name.

    Args:
        path: the file.
        container: FFmpeg's name of the demuxer that recognised it, e.g. ``"matroska,webm"``.

    Raises:
        DecodeError: naming the true container and the extension.
    """
    allowed = CONTAINERS[container.split(",")[0]]
    if path.suffix.lower() not in allowed:
        raise DecodeError(
            f"wrongly named video: '{path.name}' is a {container} file",
            given=f"extension '{path.suffix}'",
            allowed=sorted(allowed),
            hint=f"rename it to end in {sorted(allowed)[0]}",
            where=path,
        )


def check_complete(path: Path) -> None:
    """Refuse a file that ends before its own container says it does.

    A cut Matroska file, or an AVI cut between two frames, decodes without any complaint to fewer frames; an MP4 cut
    anywhere has often lost its index. These three say how long they are; an MPEG stream does not.

    Raises:
        DecodeError: if the file is shorter than its container declares, or an MP4 without index.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] == b"ftyp":
            declared: int | None = _mp4_length(file, size, path)
        elif head[:4] == _EBML:
            declared = _matroska_length(file)
        elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            declared = _avi_length(file, size)
        else:
            return
    if declared is not None and declared > size:
        raise DecodeError(
            f"truncated video: '{path.name}' ends before its container does",
            given=f"{size} bytes",
            allowed=f"{declared} bytes, as its container declares",
            hint="copy or download the file again",
            where=path,
        )


def _mp4_length(file: BinaryIO, size: int, path: Path) -> int:
    """End of the last top-level box, in bytes; beyond `size` when the file is cut inside that box."""
    position, index_found = 0, False
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:  # the last box may run to the end of the file
            length = size - position
        index_found = index_found or kind == b"moov"
        if length < 8:
            break
        position += length
    if not index_found:
        raise DecodeError(
            f"truncated video: '{path.name}' has no index (moov), which an MP4 file cannot be decoded without",
            given=f"{size} bytes",
            hint="copy or download the file again",
            where=path,
        )
    return position


def _avi_length(file: BinaryIO, size: int) -> int:
    """End of the last chunk that begins inside the first RIFF, in bytes; only chunk sizes count, not RIFF's own."""
    position, end = 12, 12
    while position + 8 <= size:
        file.seek(position)
        header = file.read(8)
        length = int.from_bytes(header[4:], "little")
        if length == 0 or header[:4] == b"RIFF":  # written live, or the next gigabyte of an OpenDML file
            break
        end = position + 8 + length
        position = end + length % 2
    return end


def _matroska_length(file: BinaryIO) -> int | None:
    """End of the first Segment, in bytes; None when the file was written live and declares none."""
    file.seek(4)
    header_length = _read_vint(file)
    if header_length is None:
        return None
    file.seek(header_length, 1)
    if file.read(4) != _SEGMENT:
        return None
    length = _read_vint(file)
    return None if length is None else file.tell() + length


def _read_vint(file: BinaryIO) -> int | None:
    """An EBML variable-length integer (RFC 8794, section 4); None for 'unknown' or a broken one."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    extra = 8 - first[0].bit_length()
    rest = file.read(extra)
    bits = 7 * (extra + 1)
    value = int.from_bytes(first + rest, "big") & ((1 << bits) - 1)
    return None if len(rest) < extra or value == (1 << bits) - 1 else value
