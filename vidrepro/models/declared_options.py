"""Options a caller may give by name: checked against a declaration, refused with the nearest valid one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vidrepro.errors import ModelError, closest, unknown_name

# Where in a residual block a mechanism can go; `vidrepro.models.insertion` says where that is in each backbone.
POSITIONS = ("before", "after_first_conv", "before_second_conv", "after_inner_norm", "after_last_norm")


@dataclass(frozen=True)
class Option:
    """One option: its default, the values it takes and how to say so.

    Attributes:
        default: the value used when the option is not given.
        accepts: whether a value is valid.
        allowed: the valid values, for the error.
        meaning: one line for a listing.
    """

    default: Any
    accepts: Callable[[Any], bool]
    allowed: str
    meaning: str
    choices: tuple[str, ...] = ()


def choice(default: str, choices: tuple[str, ...], meaning: str) -> Option:
    """An option that is one of a few words."""
    return Option(
        default, lambda value: isinstance(value, str) and value in choices, ", ".join(choices), meaning, choices
    )


def positive_integer(default: int, meaning: str) -> Option:
    """An option that counts something."""
    return Option(default, is_positive_integer, "an integer, at least 1", meaning)


def positive_number(default: float, meaning: str) -> Option:
    """An option that multiplies something."""
    return Option(
        default,
        lambda value: is_number(value) and value > 0,
        "a number above 0",
        meaning,
    )


def argument_of_ones_own(default: Any, annotation: object) -> Option:
    """A keyword argument of a user's own class: of the type it is annotated with, or else of its default's.

    Without an annotation a default of 1 may stand for a number of any kind.
    """
    kind = getattr(annotation, "__name__", annotation)  # a text under postponed annotations
    if kind not in _TYPES:
        kind = "float" if type(default) is int else type(default).__name__
    accepts, allowed = _TYPES.get(str(kind), (is_finite, "anything but inf and nan"))
    return Option(default, accepts, allowed, "a keyword argument of the class")


def switch(default: bool, meaning: str) -> Option:
    """An option that is on or off."""
    return Option(default, lambda value: isinstance(value, bool), "true, false", meaning)


def is_integer(value: object) -> bool:
    """Whether `value` is an int and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_positive_integer(value: object) -> bool:
    """Whether `value` is an int (not a bool) of at least 1."""
    return is_integer(value) and value >= 1  # type: ignore[operator]


def is_finite(value: object) -> bool:
    """Whether `value` is anything but an infinite number or nan."""
    return not isinstance(value, float) or math.isfinite(value)


def is_number(value: object) -> bool:
    """Whether `value` is a finite number (not a bool)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and is_finite(value)


_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {  # of a user's own class's arguments, as Python calls them
    "bool": (lambda value: isinstance(value, bool), "true, false"),
    "int": (is_integer, "a whole number"),
    "float": (is_number, "a finite number"),
    "str": (lambda value: isinstance(value, str), "a text, in quotes if it could be read otherwise: '2024'"),
}


def require_positive_integer(name: str, value: object) -> None:
    """Refuse a count that is not a positive integer.

    Raises:
        ModelError: naming `name` and the value.
    """
    if not is_positive_integer(value):
        raise ModelError(f"{name} must be a positive integer", given=repr(value), allowed="1, 2, 3, ...")


def require_switch(name: str, value: object) -> bool:
    """Refuse a switch that is neither True nor False, such as the text "no", which counts as true in Python.

    Raises:
        ModelError: naming `name` and the value.
    """
    if not isinstance(value, bool):
        raise ModelError(f"{name} is a switch", given=repr(value), allowed="True, False")
    return value


def complete(owner: str, declared: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every declared option with its value: the given one if there is one, else the default.

    Args:
        owner: what the options belong to, for the errors, e.g. ``"backbone 'resnet18'"``.

    Raises:
        UnknownNameError: for an option that is not declared.
        ModelError: for a value the option does not take.
    """
    for name, value in given.items():
        if name not in declared:
            raise unknown_name(f"option of {owner}", str(name), declared)
        option = declared[name]
        if not option.accepts(value):
            near = closest(value, option.choices, count=1) if isinstance(value, str) else []
            raise ModelError(
                f"option '{name}' of {owner} does not take {value!r}",
                given=repr(value),
                allowed=option.allowed,
                hint=f"did you mean '{near[0]}'?" if near else None,
            )
    return {name: given.get(name, option.default) for name, option in declared.items()}
