"""Values as people write them: YAML 1.2's core schema, the same in files, behind ``--set`` and in parentheses.

``1e-3``, ``.5`` and ``010`` (ten) are numbers; ``yes``, ``on``, ``1:30`` and ``2024-01-01`` are text; ``true`` and
``null`` are what they say.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_KINDS = {  # tried in this order
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": _FLOAT,
}
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"")
_TAG = "tag:yaml.org,2002:"


def parse_value(text: str) -> Any:
    """One value: null, bool, int, float, text, or a list of them in brackets; quotes make text of anything.

    There is no other syntax: ``a #2``, ``a: b``, ``@a`` and ``{a}`` are text.

    Raises:
        ValueError: for nothing at all (a list's value, too), quotes with an escape that is none, or a number too long
            to be one.
    """
    text = text.strip()
    if not text:
        raise ValueError("there is no value")
    if text[0] == "[" and text[-1] == "]":
        *parts, last = text[1:-1].split(",")
        return [parse_value(part) for part in ([*parts, last] if last.strip() else parts)]
    if _QUOTED.fullmatch(text):
        try:
            return yaml.load(text, CoreLoader)
        except yaml.YAMLError as error:
            raise ValueError(f"not a text in quotes: {getattr(error, 'problem', error)}") from error
    return _scalar(text)


def _scalar(text: str) -> Any:
    kind = next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(text)), "text")
    return _READ[kind](text)


def _int(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _float(text: str) -> float:
    return float(text.replace(".", "", 1) if text[-1] in "fFnN" else text)  # Python's inf and nan have no point


_READ = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _int,
    "float": _float,
    "text": lambda text: text,
}


class CoreLoader(yaml.SafeLoader):
    """YAML files by the same rules; a key that stands twice in a mapping is refused instead of the last one winning."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # none of YAML 1.1's

    def construct_plain(self, node: yaml.ScalarNode) -> Any:
        """A scalar that resolved to one of `_KINDS`."""
        try:
            return _scalar(node.value)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping whose keys differ."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key '{key.value}' stands twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


for _kind, _pattern in _KINDS.items():
    CoreLoader.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern.pattern})\Z"), None)
    CoreLoader.add_constructor(_TAG + _kind, CoreLoader.construct_plain)
