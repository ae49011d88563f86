"""One run's settings, strictly typed: unknown keys are refused by name, all faults are reported at once.

A `RunConfig` is resolved from layers (preset, table, row, command line), has every default filled in, and is
identified by its fingerprint: whatever can change a result is in here, whatever cannot (folders, number of workers,
threads) is not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from vidrepro.clips_config import EVAL_CLIPS as EVAL_CLIPS
from vidrepro.clips_config import Count, Strict
from vidrepro.clips_config import DataConfig as DataConfig
from vidrepro.clips_config import Protocol as Protocol
from vidrepro.errors import ConfigError, ModelError, closest
from vidrepro.files import fingerprint
from vidrepro.mechanism_spec import composition_in_normal_form
from vidrepro.values import CoreLoader, parse_value

Scalar = bool | int | float | str | None


START_RUN = "run:"  # in front of a fingerprint, as weights: what the run of that config and the same seed ended with


class ModelConfig(Strict):
    """The network: see `vidrepro.models.build_model`, which takes these as they stand."""

    backbone: str
    mechanism: str = "none"
    mechanism_digest: str | None = None  # of the source of a mechanism given as package.module:Class
    temporal_shift: bool = False
    variant: Literal["official", "paper"] = "official"
    options: dict[str, Scalar] = {}  # of the mechanism, each overriding one choice of the variant
    backbone_options: dict[str, Scalar] = {}  # e.g. width, stem
    dropout: float = Field(0.5, ge=0, lt=1)
    head_std: float = Field(0.001, gt=0)  # of the linear layer's start; the released 0.001 suits a pretrained backbone
    weights: str | None = None  # "imagenet", a file, run:FINGERPRINT (`START_RUN`), or None for a random start
    weights_digest: str | None = None  # of that file: it, not the file's name, is part of a run's identity

    @field_validator("options", "backbone_options", mode="before")
    @classmethod
    def _single_values(cls, options: Any) -> Any:
        """Each a value by itself, and finite; what takes which is for the network to say."""
        for name, value in options.items() if isinstance(options, Mapping) else ():
            if not isinstance(value, Scalar):
                raise ValueError(f"{name} takes a single value, not {value!r}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} takes a finite number, not {value}")
        return options

    @field_validator("weights_digest")
    @classmethod
    def _bare(cls, digest: str | None) -> str | None:
        """Runs recorded earlier have it in quotes among their overrides."""
        return digest and digest.strip("'")

    @field_validator("mechanism")
    @classmethod
    def _one_notation(cls, mechanism: str) -> str:
        """Equal compositions of AIA's units are equal runs: ``C → ST`` is ``C->ST``."""
        try:
            return composition_in_normal_form(mechanism)
        except ModelError:  # refused where the network is built, as one given to `build_model` is
            return mechanism


class TrainConfig(Strict):
    """SGD recipe. Epochs count from 0; a step schedule decays when a listed epoch begins."""

    epochs: Count = 30
    batch_size: Count = 32
    accumulation: Count = 1  # batches per optimiser step; leftovers at an epoch's end are dropped
    learning_rate: float = Field(0.02, gt=0)
    base_batch: Count | None = None  # if set, the rate is scaled by (batch_size * accumulation) / base_batch
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "cosine", "one-cycle", "constant", "plateau"] = "step"
    step_epochs: tuple[Annotated[int, Field(ge=0)], ...] = (20,)
    step_factor: float = Field(0.1, gt=0, le=1)
    plateau_patience: int = Field(10, ge=0, le=1_000_000)  # plateau: evaluations without a lower validation loss
    plateau_factor: float = Field(0.1, gt=0, lt=1)  # plateau: after more of them than that, the rate falls by it
    plateau_threshold: float = Field(1e-4, ge=0, lt=1)  # plateau: a loss is lower by more than this share of the least
    min_learning_rate: float = Field(0, ge=0)  # cosine: where it ends; scaled as the peak is, if it is
    warmup_epochs: float = Field(0, ge=0)  # one-cycle: length of its rising part
    gradient_clip: float | None = Field(20.0, gt=0)  # total L2 norm
    frozen_batch_norm: Literal["none", "all-but-first"] = "none"  # TSM's partial BN, off with its --npb
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    evaluate_every: Count = 1  # epochs; the last epoch is always evaluated

    @model_validator(mode="after")
    def _rate_falls(self) -> TrainConfig:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate {self.min_learning_rate} is above learning_rate {self.learning_rate}")
        if self.min_learning_rate and self.schedule != "cosine":
            raise ValueError(f"min_learning_rate has no effect with schedule {self.schedule}: it is the cosine's end")
        return self

    @model_validator(mode="after")
    def _plateau_is_asked_for(self) -> TrainConfig:
        for name in ("plateau_patience", "plateau_factor", "plateau_threshold"):
            if self.schedule != "plateau" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no effect with schedule {self.schedule}: it is of schedule plateau")
        return self

    @property
    def effective_batch(self) -> int:
        """Clips per optimiser step."""
        return self.batch_size * self.accumulation

    @property
    def effective_learning_rate(self) -> float:
        """The peak learning rate really used."""
        return self.learning_rate * self._rate_scale

    @property
    def effective_min_learning_rate(self) -> float:
        """The rate a cosine schedule really ends at."""
        return self.min_learning_rate * self._rate_scale

    @property
    def _rate_scale(self) -> float:
        return self.effective_batch / self.base_batch if self.base_batch else 1.0


# Settings that came after the first recorded runs: at their default they are no part of a run's identity.
LATER_SETTINGS: dict[str, tuple[str, ...]] = {
    "data": (
        "fold",
        "task",
        "stride",
        "train_resize",
        "crop_area",
        "crop_aspect",
        "colour_jitter",
        "eval_resize",
        "eval_average",
    ),
    "train": ("plateau_patience", "plateau_factor", "plateau_threshold", "min_learning_rate"),
}


class RunConfig(Strict):
    """Everything that determines a run but the dataset's content and the seed."""

    dataset: str
    model: ModelConfig
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits over the resolved settings."""
        settings = self.model_dump(mode="json")
        defaults = {"data": DataConfig().model_dump(mode="json"), "train": TrainConfig().model_dump(mode="json")}
        digest = settings["model"].pop("weights_digest")
        if digest is not None:
            settings["model"]["weights"] = digest
        if settings["model"]["mechanism_digest"] is None:  # left out: it is about a user's own class only
            del settings["model"]["mechanism_digest"]
        for section, keys in LATER_SETTINGS.items():
            for key in keys:
                if settings[section][key] == defaults[section][key]:
                    del settings[section][key]
        return fingerprint(settings)[:12]


def resolve(layers: Iterable[tuple[str, Mapping[str, Any]]], overrides: Iterable[str] = ()) -> RunConfig:
    """Merge layers of settings, later ones winning key by key, into a run's config.

    Args:
        layers: ``(where it comes from, nested settings)``; the source is named when a key of it is wrong.
        overrides: ``key=value`` texts, e.g. ``train.epochs=3`` (`parse_override`); applied last.

    Raises:
        ConfigError: listing every fault: unknown keys with the nearest valid one, wrong types, values out of range.
    """
    merged: dict[str, Any] = {}
    faults: list[str] = []
    for source, settings in [*layers, *(("--set", parse_override(text)) for text in overrides)]:
        faults += [f"{source}: {fault}" for fault in _unknown_keys(settings, RunConfig)]
        _merge(merged, settings)
    if not faults:
        try:
            return RunConfig.model_validate(merged)
        except ValidationError as error:
            faults = [_fault_text(item) for item in error.errors()]
    raise ConfigError(
        "the settings cannot be used" if len(faults) > 1 else faults[0],
        allowed="\n    " + "\n    ".join(faults) if len(faults) > 1 else None,
        hint="vidrepro show PAPER lists the settings of every row",
    )


def split_override(text: str) -> tuple[str, str]:
    """``train.epochs=3`` → ``("train.epochs", "3")``; the value as it was typed.

    Raises:
        ConfigError: if there is no ``=``, no key or no value.
    """
    key, separator, value = text.partition("=")
    key = key.strip()
    if not separator or not re.fullmatch(r"[A-Za-z_][\w-]*(\.[\w-]+)*", key):
        raise _not_understood(text)
    if not value.strip():
        raise ConfigError(f"'{key}' is given no value", given=text, allowed="key=value; null where it may be absent")
    return key, value


def parse_override(text: str) -> dict[str, Any]:
    """``train.epochs=3`` → ``{"train": {"epochs": 3}}``.

    The value of a setting that is a text (a name, a path) is the text as it stands, but for ``null`` where that may be
    absent; any other is read by `vidrepro.values.parse_value`.

    Raises:
        ConfigError: if there is no ``=``, no key or no value, or a list without its second bracket.
    """
    key, written = split_override(text)
    may_be = _values_of(key)
    value: Any
    if str in may_be:
        value = None if written == "null" and type(None) in may_be else written
    else:
        try:
            value = parse_value(written)
        except ValueError as error:
            raise _not_understood(text) from error
        if may_be and isinstance(value, str) and value.startswith("["):
            raise _not_understood(text)
    for part in reversed(key.split(".")):
        value = {part: value}
    return value  # type: ignore[no-any-return]


def _not_understood(text: str) -> ConfigError:
    return ConfigError(f"override '{text}' is not understood", given=text, allowed="key=value, e.g. train.epochs=3")


def _values_of(key: str) -> set[type]:
    """The types a setting's value may have; empty for a key that is none, and for a network's options."""
    annotation: Any = RunConfig
    for part in key.split("."):
        field = annotation.model_fields.get(part) if _is_section(annotation) else None
        if field is None:
            return set()
        annotation = field.annotation
    if get_origin(annotation) is Literal:
        return {type(one) for one in get_args(annotation)}
    return set(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else {annotation}


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: if the file is missing, is not YAML (with its line), or is not a mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), CoreLoader)
    except OSError as error:
        raise ConfigError(f"cannot read '{path}': {error.strerror}", where=path) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read '{path}': it is not UTF-8", where=path) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where: Any = (path, mark.line + 1) if mark else path
        raise ConfigError(f"not valid YAML: {getattr(error, 'problem', error)}", where=where) from error
    if not isinstance(content, dict):
        raise ConfigError("expected a mapping at the top of the file", given=type(content).__name__, where=path)
    return content


_FREE_KEYS = {"options", "backbone_options"}  # checked by build_model, which knows each mechanism's own


def _unknown_keys(settings: Mapping[str, Any], model: type[BaseModel], prefix: str = "") -> list[str]:
    faults = []
    for key, value in settings.items():
        field = model.model_fields.get(key)
        if field is None:
            near = closest(key, model.model_fields, count=1)
            better = near[0] if near else ", ".join(sorted(model.model_fields))
            faults.append(f"unknown key '{prefix}{key}'; {'did you mean' if near else 'valid keys are'} {better}")
        elif isinstance(value, Mapping) and key not in _FREE_KEYS and _is_section(field.annotation):
            faults += _unknown_keys(value, field.annotation, f"{prefix}{key}.")  # type: ignore[arg-type]
    return faults


def _merge(target: dict[str, Any], settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = dict(value) if isinstance(value, Mapping) else value


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fault_text(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "config"
    given = "" if isinstance(item["input"], Mapping) else f", given {item['input']!r}"
    return f"{key}: {item['msg'].removeprefix('Value error, ')}{given}"
