"""``key=value`` overrides that need to know more than the key: options of mechanisms, files of weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vidrepro.config import START_RUN, RunConfig, parse_override, split_override
from vidrepro.errors import ConfigError, closest
from vidrepro.experiments.papers import Row
from vidrepro.files import file_digest
from vidrepro.mechanism_spec import is_external

PRETRAINED = "pretrained:"  # in front of a file, as weights: see `for_row`
TASK_KEY, FOLD_KEY = "data.task=", "data.fold="  # where a table is printed for several label sets or folds
_WEIGHTS, _DIGEST = "model.weights=", "model.weights_digest="


def weights_override(path: Path) -> str:
    """What ``--weights FILE`` is short for; a file whose name would be read as a word of this setting's is still meant.

    ``imagenet``, ``null``, and what begins with ``run:`` or `PRETRAINED`.
    """
    text = str(path)
    is_word = text in ("imagenet", "null") or text.startswith((START_RUN, PRETRAINED))
    return f"{_WEIGHTS}{os.curdir + os.sep if is_word else ''}{text}"


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
    if not any(text.startswith(f"{_WEIGHTS}{PRETRAINED}") for text in texts):
        return texts
    if row.starts_from is not None:
        return [text for text in texts if not text.startswith((_WEIGHTS, _DIGEST))]
    return [text.replace(f"{_WEIGHTS}{PRETRAINED}", _WEIGHTS, 1) for text in texts]


def replaces_start(overrides: Iterable[str]) -> bool:
    """Whether overrides say what rows start from in the place of the rows that they start from otherwise."""
    return any(text.startswith(_WEIGHTS) and not text.startswith(f"{_WEIGHTS}{PRETRAINED}") for text in overrides)


def with_weights_digest(overrides: Iterable[str]) -> tuple[str, ...]:
    """Add the digest of a file of start weights, so that it, not the file's name, identifies the run.

    Blanks around keys are taken off.

    Raises:
        ConfigError: for what is no override, or if a digest is given that is not the file's.
    """
    every = ["=".join(split_override(text)) for text in overrides]
    texts = [text for text in every if not text.startswith(_DIGEST)]
    given = [_leaf(text) for text in every if text.startswith(_DIGEST)]
    path = next((_leaf(text) for text in reversed(texts) if text.startswith(_WEIGHTS)), None)
    path = path.removeprefix(PRETRAINED) if isinstance(path, str) else path
    if not isinstance(path, str) or not Path(path).is_file() or path == "imagenet":
        return tuple(every)
    digest = file_digest(Path(path))
    if given and given[-1].strip("'") != digest:
        raise ConfigError("the weights are not the ones asked for", given=f"{path}: {digest}", allowed=given[-1])
    return (*texts, f"{_DIGEST}{digest}")


def with_mechanism_digest(config: RunConfig) -> RunConfig:
    """Add the digest of the source of a user's own mechanism, so that a changed class is another run.

    Raises:
        ModelError: if the class cannot be imported.
    """
    if not is_external(config.model.mechanism) or config.model.mechanism_digest is not None:
        return config
    from vidrepro.models.mechanisms import external_digest

    model = config.model.model_copy(update={"mechanism_digest": external_digest(config.model.mechanism)})
    return config.model_copy(update={"model": model})


def _option(text: str) -> str | None:
    """The option that an override of the form ``model.options.NAME=…`` is about."""
    key = split_override(text)[0]
    return key.removeprefix("model.options.") if key.startswith("model.options.") else None


def _leaf(text: str) -> Any:
    value: Any = parse_override(text)
    while isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    return value


def _mechanism(row: Row, overrides: Iterable[str]) -> str:
    asked = [_leaf(text) for text in overrides if split_override(text)[0] == "model.mechanism"]
    return str(asked[-1] if asked else row.model.get("mechanism", "none"))


def _options(mechanism: str) -> list[str]:
    from vidrepro.models.mechanisms import mechanism_entry, parse_spec

    return list(mechanism_entry(parse_spec(mechanism)[0]).options)


def _takes(mechanism: str, option: str) -> bool:
    if mechanism == "none":  # has no options: known without importing torch
        return False
    from vidrepro.models import takes_option

    return takes_option(mechanism, option)
