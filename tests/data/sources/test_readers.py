"""Annotation files are read as people have them, and refused with file and line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidrepro.data.sources.readers import read_csv, read_json_list, read_json_object, read_lines, read_text
from vidrepro.errors import DataError

BOM = b"\xef\xbb\xbf"


def write(folder: Path, content: bytes | str, name: str = "list.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"a b\nc\n",
        b"a b\r\nc\r\n",
        BOM + b"a b\nc\n",
        b"a b\nc",
        b"a b  \nc\t \n",
        b"a b\nc\n\n  \n\r\n",
        BOM + b"a b \r\nc \r\n\r\n",
    ],
)
def test_lines_in_every_form_people_have_them(tmp_path: Path, content: bytes) -> None:
    assert read_lines(write(tmp_path, content)) == [(1, "a b"), (2, "c")]


def test_a_blank_line_between_others_keeps_the_numbers_right(tmp_path: Path) -> None:
    path = write(tmp_path, "a\n\n  \nb\n")
    assert read_lines(path) == [(1, "a"), (4, "b")]
    with pytest.raises(DataError, match="blank line") as caught:
        read_lines(path, blank_inside=False)
    assert caught.value.where == f"{path}, line 2"


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"good\nb\xff\xfed\n", 2, "UTF-8"),
        ("good\n".encode("utf-16"), 1, "UTF-8"),
        (b"good\ngood\nnul\x00\n", 3, "control character"),
        (b"one\rtwo\r", 1, "control character"),
        (b"\n  <!DOCTYPE html><html><body>log in</body></html>\n", 1, "web page"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(tmp_path: Path, content: bytes, line: int, problem: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=problem) as caught:
        read_text(path)
    assert caught.value.where == f"{path}, line {line}"


@pytest.mark.parametrize("content", [b"", b"\n \r\n", BOM])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match="empty"):
        read_lines(write(tmp_path, content))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.txt", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_text(path)


def test_an_archive_is_no_annotation(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="archive"):
        read_text(write(tmp_path, b"PK\x03\x04rest"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(JSON, max_size=6), st.sampled_from([None, 0, 1, 3]), st.sampled_from(["\n", "\r\n"]))
def test_json_lists_give_the_values_of_json_and_the_lines_of_the_text(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], indent: int | None, end: str
) -> None:
    # each value behind a marker of its own, so that its line can be looked up in the text
    marked = [{f"marker{number}": value} for number, value in enumerate(values)]
    text = json.dumps(marked, indent=indent).replace("\n", end)
    path = write(tmp_path_factory.mktemp("json"), text, "list.json")
    items = read_json_list(path)
    assert [item.value for item in items] == marked
    lines = text.split("\n")
    for number, item in enumerate(items):
        opening = next(place for place, line in enumerate(lines, start=1) if f"marker{number}" in line)
        assert item.line == (opening - 1 if indent is not None else opening)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=6))
def test_json_objects_give_the_values_of_json(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    path = write(tmp_path_factory.mktemp("json"), json.dumps(values, indent=1), "object.json")
    items = read_json_object(path)
    assert {key: item.value for key, item in items.items()} == values
    assert list(items) == list(values)
    if not any(isinstance(value, dict | list) and value for value in values.values()):
        assert [item.line for item in items.values()] == list(range(2, 2 + len(values)))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[\n{"a": 1},\n{"a": 2,}\n]', 3),
        ('[\n{"a": 1}\n{"a": 2}\n]', 3),
        ('[\n{"a": 1},\n]', 3),
        ('[\n{"a": 1},\n{"a": 2}\n', 4),
        ('[\n{"a": 1}\n]\n]', 4),
        ('{"a": 1}', 1),
        ('\n\n"text"', 3),
        ('[\n{"a": 1, "b": 2,\n "a": 3}\n]', 2),
        ("[1,\nNaN]", 2),
        ("[\n" + "[" * 100_000 + "]" * 100_000 + "]", 2),
        ("[\n" + "9" * 5000 + "]", 2),
        ('[\n"tab\tinside"]', 2),
    ],
)
def test_a_json_list_that_is_none_is_refused_with_its_line(tmp_path: Path, content: str, line: int) -> None:
    path = write(tmp_path, content, "list.json")
    with pytest.raises(DataError) as caught:
        read_json_list(path)
    assert caught.value.where == f"{path}, line {line}"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"a": "0",\n"a": "1"}', 2),
        ('{"a": "0",\n1: "1"}', 2),
        ('{"a": "0",\n"b" "1"}', 2),
        ('{"a": "0",\n}', 2),
        ('{"a": "0"\n', 2),
        ("[]", 1),
    ],
)
def test_a_json_object_that_is_none_is_refused_with_its_line(tmp_path: Path, content: str, line: int) -> None:
    path = write(tmp_path, content, "object.json")
    with pytest.raises(DataError) as caught:
        read_json_object(path)
    assert caught.value.where == f"{path}, line {line}"


LONG = "9" * 5000


@pytest.mark.parametrize(
    "unused",
    [
        b'"x":"a\x7fb"',  # DEL, as line 2887 of SSv2's validation.json has it
        '"x":"\u0085\u2028\ufeff\ue000"'.encode(),
        b'"x":"\\u0000\\ud800"',
        b'"x":{"y":1,"y":2}',
        b'"x":1,"x":2',
        b'"x":' + LONG.encode(),
        b'"x":[1e999,-0.0,[],{}]',
    ],
)
def test_what_json_allows_is_fine_in_a_field_that_nobody_uses(tmp_path: Path, unused: bytes) -> None:
    path = write(tmp_path, b'[\r\n{"id":"1",%s},\r\n{"id":"2"}]' % unused, "list.json")
    assert [(line, value["id"]) for line, value in read_json_list(path, ("id",))] == [(2, "1"), (3, "2")]


@pytest.mark.parametrize(
    "unused",
    [b'"x":"a\x1fb"', b'"x":"a\x00b"', b'"x":"a\rb"', b'"x":"a\xffb"', b'"x":NaN', b'"x":-Infinity', b'"x":01'],
)
def test_what_json_forbids_is_refused_in_a_field_that_nobody_uses(tmp_path: Path, unused: bytes) -> None:
    path = write(tmp_path, b'[\n{"id":"1",%s},\n{"id":"2"}]' % unused, "list.json")
    with pytest.raises(DataError) as caught:
        read_json_list(path, ("id",))
    assert caught.value.where == f"{path}, line 2"


def test_a_used_key_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, '[{"id":"1"},\n{"id":"2","x":1,"id":"3"}]', "list.json")
    with pytest.raises(DataError, match="'id' twice") as caught:
        read_json_list(path, ("id",))
    assert caught.value.where == f"{path}, line 2"


def test_a_column_that_nobody_reads_is_not_judged(tmp_path: Path) -> None:
    path = write(tmp_path, b'x,note,label\n1,caf\xe9 \x07\x7f,a\n2,"two\rlines\x0b",b\n', "list.csv")
    assert [(row.line, row.fields["label"]) for row in read_csv(path, ["label"])] == [(2, "a"), (3, "b")]
    for columns, optional in ((["label", "note"], []), (["label"], ["note"])):
        with pytest.raises(DataError, match="not a text in UTF-8") as caught:
            read_csv(path, columns, optional=optional)
        assert caught.value.where == f"{path}, line 2"


@pytest.mark.parametrize("text", ["a\x07", "a\x7f", "\x1fa", "a\x00b"])
def test_a_column_that_is_read_holds_no_control_characters(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"label,x\ngood,1\n{text},2\n", "list.csv")
    with pytest.raises(DataError, match="control character") as caught:
        read_csv(path, ["label"])
    assert caught.value.where == f"{path}, line 3"


def test_csv_columns_are_found_by_name(tmp_path: Path) -> None:
    content = 'x,label,extra\r\n1,"a, b (not c)",-\r\n\r\n2,"two\nlines",-\n3,d ,-'
    rows = read_csv(write(tmp_path, BOM + content.encode()), ["label", "x"])
    assert [(row.line, row.fields["x"], row.fields["label"]) for row in rows] == [
        (2, "1", "a, b (not c)"),
        (4, "2", "two\nlines"),
        (6, "3", "d"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "label;x\r\nan arm, raised;1\r\n",
        'label\tx\n"an arm, raised"\t1 \n',
        'x,label,,\r\n1,"an arm, raised",,\r\n,,,\r\n',  # as spreadsheets leave it
        'x,y,y,label\n1,2,3,"an arm, raised" \t\n',
    ],
)
def test_a_csv_file_that_a_spreadsheet_wrote_again(tmp_path: Path, content: str) -> None:
    (row,) = read_csv(write(tmp_path, content, "list.csv"), ["label"], optional=["x"])
    assert (row.fields["label"], row.fields["x"]) == ("an arm, raised", "1")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_another_encoding_is_called_by_its_name(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "label,x\na,1\n".encode(encoding), "list.csv")
    with pytest.raises(DataError, match="UTF-16"):
        read_csv(path, ["label"])


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("x,y\n1,2\n", 1, "missing column 'label'"),
        ("label,x,label\n1,2,3\n", 1, "'label' stands there twice"),
        ("label,x\na,1\nb,2,3\n", 3, "number of fields"),
        ("label,x\na\n", 2, "number of fields"),
        ('label,x\na,1\n"b"c,2\n', 3, "not a CSV file"),
        ('label,x\na,1\n"b,2\n', 3, "not a CSV file"),
    ],
)
def test_a_malformed_csv_file_is_refused_with_its_line(tmp_path: Path, content: str, line: int, problem: str) -> None:
    path = write(tmp_path, content, "list.csv")
    with pytest.raises(DataError, match=problem) as caught:
        read_csv(path, ["label"])
    assert caught.value.where == f"{path}, line {line}"


def test_time_rises_with_the_length_alone(tmp_path: Path) -> None:
    """Squared, either would take more than a quarter of a minute."""
    start = time.process_time()
    pairs = ", ".join(f'"{number}": 1' for number in range(30_000))
    (item,) = read_json_list(write(tmp_path, f'[{{{pairs}, "7": 2, "id": "a"}}]'), ["id"])
    assert item.value["id"] == "a"
    (row,) = read_csv(write(tmp_path, f"label,x\na{' ' * 100_000}b,1 \n", "list.csv"), ["label"])
    assert row.fields["x"] == "1"
    assert time.process_time() - start < 2
