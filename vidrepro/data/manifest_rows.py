"""The manifest's rows as text and as a typed table: every malformed line is refused with its number."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vidrepro.errors import ManifestError, closest


class Clip(NamedTuple):
    """One row of a manifest.

    Attributes:
        id: the clip's name in this dataset.
        path: its file, or for an image sequence its folder, relative to the dataset's root, with ``/``.
        frames: number of decoded frames (of an image sequence: of the clip's pictures).
        fps: frames a second.
        width, height: of the decoded frames, in pixels.
        label: 0-based class.
        split: train, val or test; none for a clip that only other folds use.
        bytes: size of the file (of the clip's pictures together).
        digest: SHA-256 of the file (of the pictures' bytes one after the other).
        status: ok, or bad for a clip that cannot be used.
        first_frame: offset of the clip inside its image sequence; None for a video.
        start_index: number of the sequence's first file; None for a video.
        pattern: the pictures' file name, such as ``%05d.jpg``; empty for a video.
    """

    id: str
    path: str
    frames: int
    fps: float
    width: int
    height: int
    label: int
    split: str
    bytes: int
    digest: str
    status: str
    first_frame: int | None
    start_index: int | None
    pattern: str


COLUMNS = Clip._fields
SPLITS = ("train", "val", "test")
NO_SPLIT = "none"
STATUSES = ("ok", "bad")

_COUNTS = ("frames", "width", "height", "label", "bytes")
_SEQUENCE_NUMBERS = ("first_frame", "start_index")
_WHOLE_NUMBER = r"(?:0|[1-9][0-9]{0,17})"
_DECIMAL_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
_PATH_PART = r"(?!\.\.(?:/|\n|$))[^/\\\n]+"  # between slashes; none leads out of the folder
_DIGEST = "[0-9a-f]{64}|"
_WRITABLE = r"[^\x00-\x1f\x7f\ud800-\udfff]*"  # no control characters, and what a file name not in UTF-8 turns into


def read_text(path: Path) -> str:
    """The text of a table's file, line ends as they are.

    Raises:
        ManifestError: if the file is missing or no UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise ManifestError("not a text file in UTF-8", given=str(error), where=path) from error
    except OSError as error:
        raise ManifestError(f"cannot be read: {error.strerror or error}", where=path) from error


def read_text_table(path: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """A CSV file as columns of text, and the line number of each row.

    Line ends LF or CRLF, a byte-order mark and blank lines are tolerated; nothing else is. Texts stay as they are
    written: an id ``NA`` is an id.

    Args:
        path: the file.
        columns: the columns it must have, in any order, and no others.

    Raises:
        ManifestError: if the file is missing or no UTF-8 text, or a column or a field is missing or unknown.
    """
    return split_text(read_text(path), path, columns)


def split_text(content: str, path: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """`read_text_table` of a file's text; `path` is for messages."""
    plain = _plain_columns(content)
    if plain is not None:
        header, fields = plain
        _check_header(path, header, columns)
        lines = list(range(2, len(fields[0]) + 2))
    else:
        reader = csv.reader(io.StringIO(content, newline=""), strict=True)
        try:
            header = next(reader, [])
            _check_header(path, header, columns)
            rows, lines = _numbered_rows(reader, len(header), path)
        except csv.Error as error:
            raise ManifestError(f"not a CSV file: {error}", where=(path, reader.line_num)) from error
        fields = [[row[place] for row in rows] for place in range(len(header))]
    by_name = {name: _object_array(values) for name, values in zip(header, fields, strict=True)}
    table = pd.DataFrame({name: by_name[name] for name in columns}, dtype=object)
    return table, np.asarray(lines, dtype=np.int64)


def _plain_columns(content: str) -> tuple[list[str], list[list[str]]] | None:
    """Header and columns of a text without quotes, blank lines and CR, as preparation writes it; None for any other.

    The same as what the CSV reader gives, in half the time: 220,847 rows are read when training starts.
    """
    if not content.endswith("\n") or '"' in content or "\r" in content or "\0" in content:
        return None
    header = content[: content.index("\n")].split(",")
    content_bytes = np.frombuffer(content.encode("utf-8", "surrogatepass"), np.uint8)
    separators = content_bytes[(content_bytes == ord(",")) | (content_bytes == ord("\n"))]
    if len(header) < 2 or len(separators) % len(header):
        return None
    if ((separators.reshape(-1, len(header)) == ord("\n")) != ([False] * (len(header) - 1) + [True])).any():
        return None  # a line with more fields or fewer
    fields = content[:-1].replace("\n", ",").split(",")
    return header, [fields[len(header) + place :: len(header)] for place in range(len(header))]


def _numbered_rows(reader: Any, width: int, path: Path) -> tuple[list[list[str]], list[int]]:
    """The rows after the header, and their line numbers; blank lines are left out."""
    rows: list[list[str]] = []
    lines: list[int] = []
    for row in reader:
        if len(row) == width:
            rows.append(row)
            lines.append(reader.line_num)
        elif row:
            raise ManifestError(
                "a line has the wrong number of fields",
                given=f"{len(row)} fields",
                allowed=f"{width} fields",
                where=(path, reader.line_num),
            )
    return rows, lines


def _object_array(values: Sequence[str]) -> NDArray[np.object_]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def parse_rows(text: pd.DataFrame, lines: NDArray[np.int64], path: Path, classes: int) -> pd.DataFrame:
    """The typed table of a manifest's text columns.

    Args:
        text: all `COLUMNS` as text.
        lines: each row's line number, for messages.
        path: the file, for messages.
        classes: number of classes; labels are 0 to ``classes - 1``.

    Returns:
        `COLUMNS` as text, int64 and float64; ``first_frame`` and ``start_index`` as nullable Int64, missing for videos.

    Raises:
        ManifestError: at the first field that is malformed, duplicate, out of range or inconsistent.
    """
    check = _Checker(text, lines, path)
    for column in ("id", "path", "pattern"):
        check.every(column, _WRITABLE, "text in UTF-8 without control characters")
    check_ids(text, lines, path)
    check.one_of("split", (*SPLITS, NO_SPLIT))
    check.one_of("status", STATUSES)
    check.every("path", rf"{_PATH_PART}(?:/{_PATH_PART})*", "a relative path with / that stays inside the root")
    for column in _COUNTS:
        check.every(column, _WHOLE_NUMBER, "a whole number, 0 or more")
    check.every("fps", _DECIMAL_NUMBER, "a number, 0 or more")
    check.every("digest", _DIGEST, "SHA-256 as 64 hexadecimal digits")
    table = text.copy()
    sequence = text["pattern"] != ""
    for pattern in text["pattern"].unique():
        if pattern and not _is_pattern(pattern):
            check.refuse("pattern", text["pattern"] == pattern, "a file name with one number: '%05d.jpg'")
    for column in _SEQUENCE_NUMBERS:
        if sequence.any():
            wrong = sequence & ~text[column].str.fullmatch(_WHOLE_NUMBER)
            check.refuse(column, wrong, "a whole number for an image sequence")
        check.refuse(column, ~sequence & (text[column] != ""), "nothing where there is no pattern (a video)")
        table[column] = pd.array([int(value) if value else None for value in text[column]], dtype="Int64")
    for column in _COUNTS:
        table[column] = np.fromiter(map(int, text[column]), dtype=np.int64, count=len(text))
    table["fps"] = np.fromiter(map(float, text["fps"]), dtype=np.float64, count=len(text))
    _check_numbers(check, table, classes)
    return table


def check_ids(text: pd.DataFrame, lines: NDArray[np.int64], path: Path) -> None:
    """Refuse an id that is empty, blank at its ends, or given twice.

    Raises:
        ManifestError: naming the line, and for a duplicate the first one too.
    """
    check = _Checker(text, lines, path)
    check.every("id", r"\S(?:.*\S)?", "text without blanks at its ends")
    if len(set(text["id"])) == len(text):
        return
    row = int(np.argmax(text["id"].duplicated().to_numpy()))
    first = int(np.argmax((text["id"] == text["id"].iloc[row]).to_numpy()))
    raise ManifestError(
        "duplicate id",
        given=text["id"].iloc[row],
        allowed=f"each id once; it stands in line {lines[first]} already",
        where=(path, int(lines[row])),
    )


def iterate_clips(table: pd.DataFrame) -> Iterator[Clip]:
    """The rows of a manifest's table one after the other, in plain Python types."""
    for values in zip(*(table[column].tolist() for column in COLUMNS), strict=True):
        yield Clip._make(None if value is pd.NA else value for value in values)


def canonical_text(content: str, text: pd.DataFrame, table: pd.DataFrame) -> str:
    """`table_text` of a manifest, without writing it anew if the text it was read from is the same.

    Args:
        content: the text of manifest.csv.
        text: its columns, as `split_text` gave them.
        table: the same, parsed; its whole numbers have one spelling each, so the rates alone are looked at.
    """
    same = content.startswith(",".join(COLUMNS) + "\n") and content.endswith("\n")
    same = same and '"' not in content and "\r" not in content and content.count("\n") == len(text) + 1
    same = same and all(_field(float(rate)) == rate for rate in text["fps"].unique())
    return content if same else table_text(table)


def table_text(rows: pd.DataFrame | Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> str:
    """Rows as CSV text: columns and rows in the order given, LF; the same rows give the same text.

    Raises:
        ManifestError: if a row has unknown columns.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    if isinstance(rows, pd.DataFrame):
        _check_header(Path("rows"), list(rows.columns), columns)
        writer.writerows(zip(*(_fields(rows[column]) for column in columns), strict=True))
        return buffer.getvalue()
    optional = {"first_frame", "start_index", "pattern"}
    needed, known = set(columns) - optional, set(columns)
    for row in rows:
        if not needed <= row.keys() <= known:
            unknown, missing = set(row) - known, needed - set(row)
            raise ManifestError(
                "a row of the manifest does not have the manifest's columns",
                given=f"unknown: {sorted(unknown)}, missing: {sorted(missing)}, in {dict(row)}",
                allowed=columns,
            )
        writer.writerow(
            [
                value if type(value := row.get(column)) is str or type(value) is int else _field(value)
                for column in columns
            ]
        )
    return buffer.getvalue()


class _Checker:
    """Refuses the first row where a condition holds, naming file, line, column and value.

    Manifests have 200,000 rows and nearly all of them are right: a whole column is looked at first, with one call
    that can only say yes or no.
    """

    def __init__(self, text: pd.DataFrame, lines: NDArray[np.int64], path: Path) -> None:
        self.text, self.lines, self.path = text, lines, path

    def every(self, column: str, pattern: str, allowed: str) -> None:
        """Refuse what does not match a regular expression as a whole."""
        values = self.text[column].tolist()
        if not _all_match(values, pattern):
            compiled = re.compile(pattern)
            self.refuse(column, pd.Series([compiled.fullmatch(value) is None for value in values]), allowed)

    def one_of(self, column: str, allowed: Sequence[str]) -> None:
        """Refuse what is not among some texts."""
        if not set(self.text[column]) <= set(allowed):
            self.refuse(column, ~self.text[column].isin(allowed), ", ".join(allowed))

    def refuse(self, column: str, wrong: pd.Series, allowed: str) -> None:
        """Refuse the first row that is marked."""
        mask = wrong.to_numpy(dtype=bool)
        if mask.any():
            row = int(np.argmax(mask))
            raise ManifestError(
                f"bad {column} of clip '{self.text['id'].iloc[row]}'",
                given=repr(self.text[column].iloc[row]),
                allowed=allowed,
                where=(self.path, int(self.lines[row])),
            )


def _all_match(values: list[str], pattern: str) -> bool:
    """Whether every text matches as a whole; none of those that match holds a line feed."""
    joined = "\n".join(values) + "\n" if values else ""
    return joined.count("\n") == len(values) and re.fullmatch(rf"(?:(?:{pattern})\n)*+", joined) is not None


def _check_numbers(check: _Checker, table: pd.DataFrame, classes: int) -> None:
    ok = table["status"] == "ok"
    check.refuse("label", table["label"] >= classes, f"0 to {classes - 1}")
    check.refuse("fps", ~np.isfinite(table["fps"]), "a finite number")
    for column in ("frames", "fps", "width", "height", "bytes"):
        check.refuse(column, ok & ~(table[column] > 0), "more than 0 for a clip whose status is ok")
    check.refuse("digest", ok & (table["digest"] == ""), "SHA-256 of a clip whose status is ok")


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    for column in header:
        if column not in columns:
            close = closest(column, list(columns))
            raise ManifestError(
                f"unknown column '{column}'",
                given=", ".join(header),
                allowed=columns,
                hint=f"did you mean {close[0]}?" if close else None,
                where=(path, 1),
            )
    for column in columns:
        if header.count(column) if isinstance(header, list) else column in header:
            continue
        raise ManifestError(f"missing column '{column}'", given=", ".join(header), allowed=columns, where=(path, 1))
    if len(set(header)) != len(header):
        raise ManifestError("a column stands there twice", given=", ".join(header), allowed=columns, where=(path, 1))


def _is_pattern(pattern: str) -> bool:
    try:
        return "/" not in pattern and "\\" not in pattern and pattern % 1 != pattern % 2
    except (TypeError, ValueError):
        return False


def _fields(column: pd.Series) -> list[Any]:
    """A column as the texts it has in the file; columns of whole numbers are left to the CSV writer."""
    values = column.tolist()
    if column.dtype == np.int64:
        return values
    if column.dtype == np.float64:
        texts = {value: _field(value) for value in set(values)}
        return [texts[value] if value == value else _field(value) for value in values]
    return [value if type(value) is str else "" if value is pd.NA else _field(value) for value in values]


def _field(value: Any) -> str:
    """A value as the text it has in the file; floats as the shortest text that reads back equal."""
    if isinstance(value, str):
        return value
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, float | np.floating):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    if isinstance(value, bool):
        raise ManifestError("a row of the manifest holds a truth value", given=value)
    return str(int(value)) if isinstance(value, np.integer) else str(value)
