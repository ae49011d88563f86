"""How a mechanism is written: ``m2a``, ``m2a(motion=tdn)``, ``CinST->STinC``, ``my_package.my_module:MyMechanism``.

Nothing is looked up here: which names and options there are, `vidrepro.models.mechanisms` knows.
"""

from __future__ import annotations

import re
from typing import Any

from vidrepro import compositions
from vidrepro.errors import ModelError
from vidrepro.values import parse_value

EXTERNAL_FORM = "my_package.my_module:MyMechanism"
FORMS = (
    "a name, name(option=value, option=value), a mapping that says motion and attention, a composition of C and ST as "
    f"in CinST->STinC, or a class: {EXTERNAL_FORM}"
)

_NAME_AND_OPTIONS = re.compile(r"\s*([^()\s]+)\s*(?:\(([^()]*)\))?\s*")
# Behind a composition, which has parentheses of its own: nothing, or at least one option=value.
_OPTIONS_BEHIND = re.compile(r"(.*?)\(((?:[^()]*=[^()]*)?\s*)\)\s*", re.DOTALL)


def is_external(name: object) -> bool:
    """Whether a mechanism's name points outside the package: it has a colon."""
    return isinstance(name, str) and ":" in name


def composition_in_normal_form(spec: str) -> str:
    """A composition with what stands behind it in one notation: ``C->ST`` for ``C → (ST)``; any other spec as it is.

    Raises:
        ModelError: for a composition that is not understood.
    """
    name, inside, is_composition = _split(spec)
    if not is_composition:
        return spec
    return f"{name}({inside.strip()})" if inside and inside.strip() else name


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """A text as the mechanism's name (of a composition: its normal form) and the options in it, as they are written.

    Raises:
        ModelError: for a text of another form; of a composition the position is told where it goes wrong.
    """
    name, inside, _ = _split(spec)
    written: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in (inside or "").split(","))):
        option, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator or not option or option in written:
            raise _not_understood(spec, part)
        written[option] = value
    return name, written


def read_option(spec: str, option: str, value: str) -> Any:
    """The value of an option as `split_spec` found it.

    Raises:
        ModelError: for a text that is no value.
    """
    try:
        return parse_value(value)
    except ValueError as error:
        raise _not_understood(spec, f"{option}={value}") from error


def _split(spec: str) -> tuple[str, str | None, bool]:
    """The name, what stands in parentheses behind it, and whether it is a composition."""
    match = _NAME_AND_OPTIONS.fullmatch(spec)
    if match is None or (compositions.looks_like(match[1]) and not is_external(match[1])):
        with_options = _OPTIONS_BEHIND.fullmatch(spec)
        text, inside = with_options.groups() if with_options else (spec, None)
        if compositions.looks_like(text):
            return str(compositions.parse(text)), inside, True
    if match is None:
        raise ModelError("the mechanism is not understood", given=repr(spec), allowed=FORMS)
    return match[1], match[2], False


def _not_understood(spec: str, part: str) -> ModelError:
    return ModelError(
        f"'{part}' in mechanism '{spec}' is not understood", given=part, allowed="option=value, each option once"
    )
