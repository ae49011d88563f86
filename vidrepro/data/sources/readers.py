"""Reading annotation files as people have them: LF or CRLF, byte-order mark, trailing blanks, blank last lines or none.

JSON is what RFC 8259 says, no less and no more. Fields and columns that nobody asks for are not judged; nothing else is
forgiven, and whatever is refused is refused with file and line.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vidrepro.errors import DataError

__all__ = ["Item", "Line", "Row", "read_csv", "read_json_list", "read_json_object", "read_lines", "read_text"]

DAMAGED = "compare the file with the official download, or fetch it again"

# What no annotation holds: control characters but tab and line ends, and a carriage return that ends no line.
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_UNREADABLE_FIELD = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]|\r(?!\n)")  # of a column that is read
_JSON_BLANK = re.compile(r"[ \t\n\r]*")
_DELIMITERS = ",;\t"
_LONGEST_NUMBER = 4300  # digits that int() takes


class Line(NamedTuple):
    """A line of text without its end and trailing blanks, and its 1-based number."""

    number: int
    text: str


class Item(NamedTuple):
    """A value of a JSON list or object, and the 1-based line on which it starts."""

    line: int
    value: Any


class Row(NamedTuple):
    """A row of a CSV file by column name, without blanks at the ends of fields, and the 1-based line it starts on."""

    line: int
    fields: dict[str, str]


def read_text(path: Path) -> str:
    """A text file in UTF-8 without its byte-order mark; line ends as they are.

    Raises:
        DataError: if it cannot be read, is empty, no UTF-8, a web page or an archive, or holds control characters.
    """
    text = _decoded(path)
    found = _UNREADABLE.search(text)
    if found:
        raise _control_character(found[0], path, text.count("\n", 0, found.start()) + 1)
    return text


def _decoded(path: Path, errors: str = "strict") -> str:
    """`read_text`, whatever characters it holds."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=path) from error
    _refuse_other_kinds(path, data)
    try:
        text = data.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise _not_utf8(data[error.start], path, data.count(b"\n", 0, error.start) + 1) from error
    if not text.strip():
        raise DataError("the file is empty", hint=DAMAGED, where=path)
    return text


def _not_utf8(byte: int, path: Path, line: int) -> DataError:
    return DataError("not a text in UTF-8", given=f"byte 0x{byte:02x}", hint=DAMAGED, where=(path, line))


def _control_character(text: str, path: Path, line: int) -> DataError:
    return DataError(
        "a control character in an annotation",
        given=ascii(text),
        allowed="text; lines end with LF or CRLF",
        hint=DAMAGED,
        where=(path, line),
    )


def read_lines(path: Path, *, blank_inside: bool = True) -> list[Line]:
    """The lines that are not blank.

    Args:
        path: the file.
        blank_inside: whether blank lines may stand between others; not where a line's number has a meaning.

    Raises:
        DataError: as `read_text`, or for a blank line that may not be there.
    """
    lines = [Line(number, line.rstrip()) for number, line in enumerate(read_text(path).split("\n"), start=1)]
    filled = [line for line in lines if line.text]
    if not blank_inside and filled[-1].number != len(filled):
        number = next(line.number for line in lines if not line.text)
        raise DataError("a blank line in a list where the line's number counts", hint=DAMAGED, where=(path, number))
    return filled


def read_json_list(path: Path, used: Collection[str] | None = None) -> list[Item]:
    """The values of a JSON list, each with the line on which it starts.

    Args:
        path: the file.
        used: the keys of its objects that somebody reads; None for all.

    Raises:
        DataError: if it is no JSON, no list, or an object in it has a used key twice.
    """
    text = _decoded(path)
    position = _enter(path, text, "[")
    items: list[Item] = []
    line = _LineCounter(text)
    while True:
        position = _skip(text, position)
        if not items and text[position : position + 1] == "]":
            break
        number = line.at(position)
        value, position = _value(path, text, position, number, used)
        items.append(Item(number, value))
        position = _skip(text, position)
        if not _another(path, text, position, "]"):
            break
        position += 1
    _check_end(path, text, position + 1)
    return items


def read_json_object(path: Path) -> dict[str, Item]:
    """The values of a JSON object by key, each with the line on which its key starts.

    Raises:
        DataError: if it is no JSON, no object, or has a key twice.
    """
    text = _decoded(path)
    position = _enter(path, text, "{")
    items: dict[str, Item] = {}
    line = _LineCounter(text)
    while True:
        position = _skip(text, position)
        if not items and text[position : position + 1] == "}":
            break
        number = line.at(position)
        key, position = _value(path, text, position, number)
        position = _skip(text, position)
        if not isinstance(key, str) or text[position : position + 1] != ":":
            raise _not_json(path, number, "a key in quotes and a colon expected")
        if key in items:
            raise DataError(f"key {key!r} twice", given=f"also in line {items[key].line}", where=(path, number))
        value, position = _value(path, text, _skip(text, position + 1), number)
        items[key] = Item(number, value)
        position = _skip(text, position)
        if not _another(path, text, position, "}"):
            break
        position += 1
    _check_end(path, text, position + 1)
    return items


def read_csv(path: Path, columns: Sequence[str], *, optional: Sequence[str] = ()) -> list[Row]:
    """The rows of a CSV file with a header, separated by what separates it: a comma, a semicolon or a tab.

    Blank lines are skipped.

    Args:
        path: the file.
        columns: columns it must have, in any order; others may stand beside them.
        optional: columns that are read where they are there; what all others hold is not judged.

    Raises:
        DataError: if a column that is read is missing or twice in the header, a row has more or fewer fields than it,
            or a field that is read holds a control character or no UTF-8.
    """
    reader = _rows(path, _decoded(path, "surrogateescape"))
    number, header = next(reader)
    for column in columns:
        if column not in header:
            raise DataError(
                f"missing column '{column}'", given=", ".join(header), allowed=columns, where=(path, number)
            )
    used = [column for column in (*columns, *optional) if column in header]
    twice = [column for column in used if header.count(column) > 1]
    if twice:
        problem = f"column '{twice[0]}' stands there twice"
        raise DataError(problem, given=", ".join(header), hint=DAMAGED, where=(path, number))
    read = [header.index(column) for column in used]
    rows: list[Row] = []
    for number, fields in reader:
        if len(fields) != len(header):
            raise DataError(
                "a line has the wrong number of fields",
                given=f"{len(fields)} fields",
                allowed=f"{len(header)}: {', '.join(header)}",
                where=(path, number),
            )
        for place in read:
            _check_field(fields[place], path, number)
        rows.append(Row(number, dict(zip(header, fields, strict=True))))
    return rows


def _check_field(text: str, path: Path, line: int) -> None:
    found = _UNREADABLE_FIELD.search(text)
    if found and found[0] >= "\ud800":  # what a byte that is no UTF-8 was decoded to
        raise _not_utf8(ord(found[0]) & 0xFF, path, line)
    if found:
        raise _control_character(found[0], path, line)


def _refuse_other_kinds(path: Path, data: bytes) -> None:
    from vidrepro.data.archives.kind import ARCHIVES, HEAD, kind_of_head

    kind = kind_of_head(data[:HEAD])
    if kind == "html":
        raise DataError("a web page in the place of an annotation", hint="download the file again", where=(path, 1))
    if kind in ARCHIVES:
        raise DataError(f"an archive ({kind}) in the place of an annotation", hint="unpack it", where=path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or data[:8].count(0) == 4:  # where every other byte is 0
        raise DataError("not a text in UTF-8", given="UTF-16", hint="save it as UTF-8", where=(path, 1))


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    delimiter = max(_DELIMITERS, key=text.lstrip().partition("\n")[0].count)
    blanks = " \t".replace(delimiter, "")  # at a line's end, where none may follow a quote; fields lose theirs anyway
    text = "\n".join(line.rstrip(f"{blanks}\r") for line in text.split("\n"))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    start = 1
    try:
        for row in reader:
            fields = [field.strip(" \t\r\n") for field in row]
            if any(fields):
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"not a CSV file: {error}", hint=DAMAGED, where=(path, start)) from error


class _LineCounter:
    """Line numbers of rising positions in a text, each part of which is counted once."""

    def __init__(self, text: str) -> None:
        self.text, self.line, self.position = text, 1, 0

    def at(self, position: int) -> int:
        self.line += self.text.count("\n", self.position, position)
        self.position = position
        return self.line


class _NoNumberError(ValueError):
    """NaN or Infinity, which are none in JSON."""


class _Object(dict[str, Any]):
    """A JSON object, and the keys that stand there twice: legal, and of no meaning."""

    twice: frozenset[str] = frozenset()


class _LongNumber:
    """A whole number of more digits than Python reads: legal, and of no use."""

    def __repr__(self) -> str:
        return "a number of thousands of digits"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = _Object(pairs)
    if len(result) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        result.twice = frozenset(key for key, count in counts.items() if count > 1)
    return result


def _whole(digits: str) -> Any:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else _LongNumber()


def _no_number(name: str) -> Any:
    raise _NoNumberError(f"{name} is no number in JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole, parse_constant=_no_number)


def _value(path: Path, text: str, position: int, number: int, used: Collection[str] | None = None) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise _not_json(path, error.lineno, error.msg) from error
    except _NoNumberError as error:
        raise DataError(str(error), hint=DAMAGED, where=(path, number)) from error
    except RecursionError as error:  # brackets nested too deep
        raise _not_json(path, number, str(error)) from error
    if isinstance(value, _LongNumber):
        raise DataError("a number of thousands of digits", hint=DAMAGED, where=(path, number))
    twice = value.twice if isinstance(value, _Object) else ()
    for key in twice:
        if used is None or key in used:
            raise DataError(f"key {key!r} twice in an object", hint=DAMAGED, where=(path, number))
    return value, end


def _skip(text: str, position: int) -> int:
    found = _JSON_BLANK.match(text, position)
    return position if found is None else found.end()


def _enter(path: Path, text: str, bracket: str) -> int:
    position = _skip(text, 0)
    if text[position : position + 1] != bracket:
        what = "JSON list" if bracket == "[" else "JSON object"
        raise DataError(
            f"not a {what}",
            given=f"starts with {text[position : position + 20]!r}",
            allowed=f"a {what}, starting with {bracket}",
            hint=DAMAGED,
            where=(path, text.count("\n", 0, position) + 1),
        )
    return position + 1


def _another(path: Path, text: str, position: int, closing: str) -> bool:
    """Whether another value follows, or the bracket closes."""
    following = text[position : position + 1]
    if following in (",", closing):
        return following == ","
    problem = f"',' or '{closing}' expected" if following else "the file ends too early (cut short?)"
    raise _not_json(path, text.count("\n", 0, position) + 1, problem)


def _check_end(path: Path, text: str, position: int) -> None:
    end = _skip(text, position)
    if end != len(text):
        raise _not_json(path, text.count("\n", 0, end) + 1, "text after the end")


def _not_json(path: Path, line: int, problem: str) -> DataError:
    return DataError(f"not JSON: {problem}", hint=DAMAGED, where=(path, line))
