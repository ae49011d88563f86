"""The numbered pictures of a folder: which of them are the clip's, and whether they are a gapless sequence."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

_PICTURE = re.compile(r"(.*?)([0-9]+)(\.(?:jpe?g|png))", re.IGNORECASE | re.DOTALL)
_RGB = re.compile(r"(im|imgs?|images?|rgb|frames?|colou?r)?")
_FLOW = re.compile(r"(?:(?:opt|optical|warped)?[-_ ]*flow|tvl1)(?:[-_ ]*[a-z])?")
_PARTNERS = {"x": "y", "y": "x", "u": "v", "v": "u"}


class Pictures(NamedTuple):
    """The pictures in a folder.

    Attributes:
        pattern: their file name; empty if there is none for all of them.
        start: number of the first one.
        last: number of the last one.
        missing: numbers between them without a picture, rising.
        problem: why they are no sequence at all; empty if they are one.
        stray: other files in the folder.
        flow: how many of these are pictures of something else, such as optical flow.
    """

    pattern: str
    start: int
    last: int
    missing: tuple[int, ...]
    problem: str
    stray: int
    flow: int = 0


def list_pictures(folder: Path) -> Pictures:
    """The numbered pictures in a folder: their pattern, the first and last number, and which are missing between."""
    groups: dict[tuple[str, str], list[str]] = {}
    stray = 0
    for name in os.listdir(folder):  # noqa: PTH208 - of 40,000 folders of 45 pictures, each a Path, would take a minute
        match = None if name.startswith(".") else _PICTURE.fullmatch(name)
        if match is None:
            stray += 1
        else:
            groups.setdefault((match[1], match[3]), []).append(match[2])
    if not groups:
        return Pictures("", 0, 0, (), "its folder holds no numbered picture", stray)
    wanted = _of_the_clip(groups)
    flow = sum(len(numbers) for key, numbers in groups.items() if key not in wanted)
    stray += flow
    if not wanted:
        return Pictures("", 0, 0, (), "its folder holds pictures of optical flow only", stray, flow)
    groups = wanted
    if len(groups) > 1:
        names = " and ".join(sorted(f"'{prefix}…{suffix}'" for prefix, suffix in groups))
        return Pictures("", 0, 0, (), f"its pictures are named in several ways: {names}", stray, flow)
    ((prefix, suffix), digits) = next(iter(groups.items()))
    width = min(map(len, digits))
    numbers = sorted(map(int, digits))
    if len(set(numbers)) != len(numbers) or any(len(d) > width and d[0] == "0" for d in digits):
        return Pictures("", 0, 0, (), "its pictures are numbered with different numbers of digits", stray, flow)
    pattern = f"{_escaped(prefix)}%0{width}d{_escaped(suffix)}" if width > 1 else f"{_escaped(prefix)}%d{suffix}"
    start, last = numbers[0], numbers[-1]
    if start > 1:
        return Pictures(
            pattern, start, last, (), f"its pictures begin with number {start} instead of 0 or 1", stray, flow
        )
    missing: tuple[int, ...] = ()
    if len(numbers) != last - start + 1:
        missing = _absent(numbers)
    return Pictures(pattern, start, last, missing, "", stray, flow)


def _of_the_clip(groups: dict[tuple[str, str], list[str]]) -> dict[tuple[str, str], list[str]]:
    """The pictures of a folder that are the clip's, by prefix and suffix: not optical flow, and rather those called
    image, frame or the like, or nothing but a number, than others, such as depth maps."""
    words = {key: key[0].lower().strip(" _-.") for key in groups}
    present = set(words.values())
    rest = {key: groups[key] for key, word in words.items() if not _is_flow(word, present)}
    if len(rest) > 1:
        called = {key: numbers for key, numbers in rest.items() if _RGB.fullmatch(words[key])}
        return called or rest
    return rest


def _is_flow(word: str, present: set[str]) -> bool:
    """Whether pictures of that prefix are optical flow: by its name, or x where there is y too, u where v."""
    partner = _PARTNERS.get(word[-1:])
    if partner is not None and re.fullmatch(r"(?:.*[^a-z])?[xyuv]", word) and word[:-1] + partner in present:
        return True
    return _FLOW.fullmatch(word) is not None


def _absent(numbers: list[int]) -> tuple[int, ...]:
    """The numbers missing between the first and the last, of a long gap the first 1,000."""
    absent: list[int] = []
    for one, following in pairwise(numbers):
        absent.extend(range(one + 1, min(following, one + 1001)))
        if following > one + 1001:
            absent.append(following - 1)
    return tuple(absent)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
