"""The notation of AIA's compositions: ``C``, ``ST``, ``CinST``, ``A->B`` (or ``A→B``), ``A+B``, parentheses.

``in`` binds closest and joins units only, then ``+``, then ``->``: ``C+ST->CinST`` is ``(C+ST)->CinST``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vidrepro.errors import ModelError

UNITS = ("ST", "C")


@dataclass(frozen=True)
class Unit:
    """One gate unit."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Nested:
    """Units one in another, the inner one first: ``CinST`` is C, then ST."""

    units: tuple[Unit, ...]

    def __str__(self) -> str:
        return "in".join(map(str, self.units))


@dataclass(frozen=True)
class Parallel:
    """On the same input, the mean of the outputs."""

    branches: tuple[Spec, ...]

    def __str__(self) -> str:
        return "+".join(f"({part})" if isinstance(part, (Cascade, Parallel)) else str(part) for part in self.branches)


@dataclass(frozen=True)
class Cascade:
    """One after the other."""

    steps: tuple[Spec, ...]

    def __str__(self) -> str:
        return "->".join(f"({step})" if isinstance(step, Cascade) else str(step) for step in self.steps)


Spec = Unit | Nested | Parallel | Cascade

_TOKEN = re.compile(r"\s*(ST|C|in|->|→|\+|\(|\)|$)")


def looks_like(text: str) -> bool:
    """Whether a text is meant as a composition: it begins with a unit or a parenthesis, or holds ``->`` or ``+``."""
    return bool(re.match(r"\s*\(*\s*(ST|C)\s*($|in|->|→|\+|\))", text)) or any(
        sign in text for sign in ("->", "→", "+")
    )


def parse(text: str) -> Spec:
    """A composition from its notation; ``str()`` of the result is the notation again.

    Raises:
        ModelError: with the position (from 1) and what was expected there.
    """
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.token = ""
        self.start = 0
        self._advance("a unit (C or ST) or '('")

    def parse(self) -> Spec:
        spec = self._cascade()
        if self.token:
            raise self._refusal("'in', '+', '->' or the end")
        return spec

    def _cascade(self) -> Spec:
        steps = [self._parallel()]
        while self.token in ("->", "→"):
            self._advance("a unit (C or ST) or '('")
            steps.append(self._parallel())
        return steps[0] if len(steps) == 1 else Cascade(tuple(steps))

    def _parallel(self) -> Spec:
        branches = [self._operand()]
        while self.token == "+":
            self._advance("a unit (C or ST) or '('")
            branches.append(self._operand())
        return branches[0] if len(branches) == 1 else Parallel(tuple(branches))

    def _operand(self) -> Spec:
        if self.token == "(":
            self._advance("a unit (C or ST) or '('")
            inner = self._cascade()
            if self.token != ")":
                raise self._refusal("')', '+' or '->'")
            self._advance("'+', '->' or the end")
            return inner
        units = [self._unit()]
        while self.token == "in":
            self._advance("a unit (C or ST)")
            units.append(self._unit())
        return units[0] if len(units) == 1 else Nested(tuple(units))

    def _unit(self) -> Unit:
        if self.token not in UNITS:
            raise self._refusal("a unit (C or ST)" + (" or '('" if self.token != ")" else ""))
        unit = Unit(self.token)
        self._advance("'in', '+', '->', ')' or the end")
        return unit

    def _advance(self, expected: str) -> None:
        match = _TOKEN.match(self.text, self.position)
        rest = self.text[self.position :]
        self.start = self.position + len(rest) - len(rest.lstrip())
        if match is None:
            raise self._refusal(expected)
        self.start, self.position = match.start(1), match.end()
        self.token = match[1]

    def _refusal(self, expected: str) -> ModelError:
        found = repr(self.text[self.start :]) if self.start < len(self.text) else "the end"
        return ModelError(
            f"the composition '{self.text}' is not understood at position {self.start + 1}",
            given=found,
            allowed=expected,
            hint="e.g. C, ST, CinST, STinC, C->ST, CinST->STinC, STinC+CinST",
        )
