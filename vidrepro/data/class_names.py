"""Classes as a user's words name them."""

from __future__ import annotations

from collections.abc import Sequence

from vidrepro.errors import unknown_name


def find_labels(names: Sequence[str], wanted: Sequence[str], dataset: str) -> list[int]:
    """Labels of classes given by number, name, or a part of the name; a part may mean several classes.

    Args:
        names: by label.
        wanted: texts; case does not matter.
        dataset: for messages.

    Raises:
        UnknownNameError: for one that nothing matches, with the closest names.
    """
    folded_names = [name.casefold() for name in names]
    found: list[int] = []
    for text in wanted:
        folded = text.strip().casefold()
        exact = [label for label, name in enumerate(folded_names) if name == folded]
        if not exact and folded.isdecimal() and int(folded) < len(names):
            exact = [int(folded)]
        matches = exact or [label for label, name in enumerate(folded_names) if folded and folded in name]
        if not matches:
            numbers = f"its classes have the numbers 0 to {len(names) - 1}" if folded.isdecimal() else None
            raise unknown_name(f"class of {dataset}", text, names, hint=numbers)
        found += matches
    return list(dict.fromkeys(found))


def split_numbers(texts: Sequence[str]) -> list[str]:
    """``3,17,84`` as three texts; names, which may hold commas, as they are."""
    found: list[str] = []
    for text in texts:
        parts = [part.strip() for part in text.split(",")]
        found += parts if all(part.isdecimal() for part in parts) else [text]
    return found
