"""``key=value`` overrides that need to know more than the key: options of mechanisms, files of weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vidrepro.config import RunConfig, parse_override
from vidrepro.errors import ConfigError, closest
from vidrepro.experiments.papers import Row
from vidrepro.files import file_digest

PRETRAINED = "pretrained:"  # in front of a file, as weights: see `for_row`


def applicable_overrides(row: Row, overrides: Iterable[str]) -> list[str]:
    """The overrides that mean something for a row: an option of a mechanism is kept where the mechanism declares it.

    ``model.options.boundary=first`` on a whole table changes M2A's rows and leaves ``none`` and TSM as they are.
    `require_some_row_takes` refuses an option that no row has.
    """
    kept = list(overrides)
    mechanism = _mechanism(row, kept)
    return [text for text in kept if (option := _option(text)) is None or _takes(mechanism, option)]


def require_some_row_takes(rows: Sequence[Row], overrides: Iterable[str]) -> None:
    """Refuse an option of a mechanism that none of the rows has.

    Raises:
        ConfigError: naming the options the rows' mechanisms do have, and the nearest of them.
    """
    texts = list(overrides)
    for text in texts:
        option = _option(text)
        if option is None or any(_takes(_mechanism(row, texts), option) for row in rows):
            continue
        there_are = list(dict.fromkeys(name for row in rows for name in _options(_mechanism(row, texts))))
        near = closest(option, there_are, count=1)
        raise ConfigError(
            f"no selected row's mechanism has an option '{option}'",
            given=text,
            allowed=there_are or "(none)",
            hint=f"did you mean '{near[0]}'?" if near else f"'vidrepro show {rows[0].id}' lists a row's options",
        )


def for_row(row: Row, overrides: Iterable[str]) -> list[str]:
    """The overrides as one row has them, those about start weights resolved.

    Pretrained weights (`PRETRAINED`) are what a row starts from that starts from no other row; one that does starts
    from that row all the same, which started from them.
    """
    texts = list(overrides)
    if not any(text.startswith(f"model.weights={PRETRAINED}") for text in texts):
        return texts
    if row.starts_from is not None:
        return [text for text in texts if not text.startswith("model.weights")]
    return [text.replace(f"model.weights={PRETRAINED}", "model.weights=", 1) for text in texts]


def replaces_start(overrides: Iterable[str]) -> bool:
    """Whether overrides say what rows start from in the place of the rows that they start from otherwise."""
    return any(
        text.startswith("model.weights") and not text.startswith(f"model.weights={PRETRAINED}")
        for text in overrides
        if not text.startswith("model.weights_digest")
    )


def with_weights_digest(overrides: Iterable[str]) -> tuple[str, ...]:
    """Add the digest of a file of start weights, so that it, not the file's name, identifies the run.

    Raises:
        ConfigError: if a digest is given that is not the file's.
    """
    texts = [text for text in overrides if "weights_digest" not in text]
    given = [_leaf(text) for text in overrides if "weights_digest" in text]
    path = next((_leaf(text) for text in reversed(texts) if text.startswith("model.weights=")), None)
    path = path.removeprefix(PRETRAINED) if isinstance(path, str) else path
    if not isinstance(path, str) or not Path(path).is_file():
        return (*texts, *(text for text in overrides if "weights_digest" in text))
    digest = file_digest(Path(path))
    if given and given[-1] != digest:
        raise ConfigError("the weights are not the ones asked for", given=f"{path}: {digest}", allowed=str(given[-1]))
    return (*texts, f"model.weights_digest='{digest}'")  # quoted: YAML could read a number


def with_mechanism_digest(config: RunConfig) -> RunConfig:
    """Add the digest of the source of a user's own mechanism, so that a changed class is another run.

    Raises:
        ModelError: if the class cannot be imported.
    """
    if ":" not in config.model.mechanism or config.model.mechanism_digest is not None:
        return config
    from vidrepro.models.mechanisms import external_digest

    model = config.model.model_copy(update={"mechanism_digest": external_digest(config.model.mechanism)})
    return config.model_copy(update={"model": model})


def _option(text: str) -> str | None:
    """The option that an override of the form ``model.options.NAME=…`` is about."""
    key = text.partition("=")[0].strip()
    return key.removeprefix("model.options.") if key.startswith("model.options.") else None


def _leaf(text: str) -> Any:
    value: Any = parse_override(text)
    while isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    return value


def _mechanism(row: Row, overrides: Iterable[str]) -> str:
    asked = [_leaf(text) for text in overrides if text.partition("=")[0].strip() == "model.mechanism"]
    return str(asked[-1] if asked else row.model.get("mechanism", "none"))


def _options(mechanism: str) -> list[str]:
    from vidrepro.models.mechanisms import mechanism_entry, parse_spec

    return list(mechanism_entry(parse_spec(mechanism)[0]).options)


def _takes(mechanism: str, option: str) -> bool:
    from vidrepro.models import takes_option

    return takes_option(mechanism, option)
