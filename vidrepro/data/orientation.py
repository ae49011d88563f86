"""How stored frames are turned to be shown: by the display matrix of a video, by the EXIF tag of a picture.

Phones store what their sensor sees and say beside it how to hold it. Players and ffmpeg turn the frames, and so do we.
"""

from __future__ import annotations

import math
import struct
import warnings
from typing import Any, NamedTuple

from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

_RIGHT_ANGLE = math.cos(math.radians(0.5))  # ffmpeg takes what lies within half a degree for a right angle
_ONE = 1 << 16  # in a matrix's fixed point
_EXIF_ORIENTATION = 0x0112


class Orientation(NamedTuple):
    """What is done to a stored frame, in this order.

    Attributes:
        transposed: rows become columns.
        leftright: left and right are exchanged.
        updown: top and bottom are exchanged.
        name: in words, for a report; empty for a frame that is shown as it is stored.
    """

    transposed: bool = False
    leftright: bool = False
    updown: bool = False
    name: str = ""

    @property
    def turns(self) -> bool:
        """Whether the shown frame is another than the stored one."""
        return self.transposed or self.leftright or self.updown

    def turn(self, image: NDArray[Any]) -> NDArray[Any]:
        """A stored image (H, W, ...) as it is shown; a view."""
        image = image.swapaxes(0, 1) if self.transposed else image
        image = image[:, ::-1] if self.leftright else image
        return image[::-1] if self.updown else image

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height as shown of a frame that is stored in these."""
        return (height, width) if self.transposed else (width, height)


UPRIGHT = Orientation()
_ORIENTATIONS = (  # in the order of EXIF's numbers, 1 to 8
    UPRIGHT,
    Orientation(False, True, False, "mirrored left to right"),
    Orientation(False, True, True, "turned by 180 degrees"),
    Orientation(False, False, True, "mirrored top to bottom"),
    Orientation(True, False, False, "mirrored at the diagonal"),
    Orientation(True, True, False, "turned by 90 degrees clockwise"),
    Orientation(True, True, True, "mirrored at the other diagonal"),
    Orientation(True, False, True, "turned by 90 degrees counter-clockwise"),
)
_BY_TURNS = {orientation[:3]: orientation for orientation in _ORIENTATIONS}


def of_frame(frame: VideoFrame) -> Orientation:
    """The orientation of a decoded frame, from its own display matrix or its container's."""
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # there is side data of a kind that PyAV has no name for; what is left does not tell mirrors
        angle = math.radians(frame.rotation)
        a, b = round(_ONE * math.cos(angle)), -round(_ONE * math.sin(angle))
        matrix = struct.pack("=5i", a, b, 0, -b, a)
    return UPRIGHT if matrix is None else of_matrix(bytes(matrix))


def of_matrix(matrix: bytes) -> Orientation:
    """The orientation that a display matrix asks for, nine int32 (ISO/IEC 14496-12, 6.2.2): a, b, u, c, d, v, x, y, w.

    What is stored at (x, y) is shown at (a x + c y, b x + d y). An angle that is no right one leaves the frame as it is
    stored: ffmpeg would draw it askew into black corners.
    """
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    across, down = math.hypot(a, b), math.hypot(c, d)
    if max(abs(a), abs(d)) <= min(abs(b), abs(c)):
        transposed, right, low = True, c, b
        straight = abs(b) >= _RIGHT_ANGLE * across and abs(c) >= _RIGHT_ANGLE * down
    else:
        transposed, right, low = False, a, d
        straight = abs(a) >= _RIGHT_ANGLE * across and abs(d) >= _RIGHT_ANGLE * down
    if not across or not down or not straight:
        angle = round(math.degrees(math.atan2(b, a))) % 360
        return Orientation(name=f"marked as turned by {angle} degrees clockwise, left as stored")
    return _BY_TURNS[transposed, right < 0, low < 0]


def of_picture(image: Image.Image) -> Orientation:
    """The orientation of a loaded picture, from its EXIF tag."""
    if "exif" not in image.info:
        return UPRIGHT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            number = image.getexif().get(_EXIF_ORIENTATION, 1)
        return _ORIENTATIONS[number - 1] if number in range(1, 9) else UPRIGHT
    except Exception:  # whatever Pillow raises over damaged EXIF: text beside the pixels is no reason to refuse them
        return UPRIGHT
