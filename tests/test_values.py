"""Values as people write them, in files and behind --set: the examples of YAML 1.2's core schema, and what is text."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidrepro.config import load_yaml
from vidrepro.errors import ConfigError
from vidrepro.values import parse_value

VALUES = [
    *[("1e-3", 1e-3), ("1E5", 1e5), (".5", 0.5), ("5.", 5.0), ("+12.3", 12.3), ("-2E+05", -2e5), ("1.5e3", 1500.0)],
    *[("010", 10), ("-19", -19), ("0o7", 7), ("0x3A", 58), ("0", 0), ("+3", 3)],
    *[("true", True), ("FALSE", False), ("null", None), ("~", None)],
    *[(text, text) for text in ("yes", "no", "on", "Off", "y", "1:30", "1_000", "2024-01-01", "0b11", "1e", "e3", ".")],
    *[(text, text) for text in ("nan", "inf", "tRue", "0o8", "1.2.3", "--1", "<<", "=", "\u0661")],
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_a_value_is_what_yaml_1_2_says_everywhere(text: str, value: object, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(f"{{key: {text}, list: [{text}]}}\n", encoding="utf-8")
    in_file = load_yaml(file)
    for read in (parse_value(text), in_file["key"], in_file["list"][0], parse_value(f"[{text}]")[0]):
        assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    "text", ["good #2", "a: b", "@a", "*a", "&a", "{a: 1}", "%d", "!x", "| a", "a [b]", "[v2] a", "'"]
)
def test_no_other_syntax_is_read_out_of_a_value(text: str) -> None:
    assert parse_value(text) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_read(number: float) -> None:
    assert parse_value(repr(number)) == number


def test_quotes_make_text_and_infinite_values_are_numbers_for_others_to_refuse() -> None:
    assert [parse_value(text) for text in ("'2024'", '"true"', "'it''s'", "'a, # b'")] == [
        "2024",
        "true",
        "it's",
        "a, # b",
    ]
    assert parse_value("-.inf") == -math.inf and math.isnan(parse_value(".NaN"))


def test_a_key_that_stands_twice_in_a_file_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("train:\n  epochs: 3\n  epochs: 30\n")
    with pytest.raises(ConfigError, match="'epochs' stands twice") as caught:
        load_yaml(file)
    assert "line 3" in str(caught.value.where)
    file.write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_yaml(file)


@pytest.mark.parametrize("text", [r'"\q"', '"\0"', "[1,,2]", "[,]", "[ , 1]", r'["\q"]'])
def test_what_yaml_cannot_read_either_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"quotes|no value"):
        parse_value(text)
