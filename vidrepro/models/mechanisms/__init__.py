"""What a paper plugs into a backbone, by name. Adding one: its file, and one line in `MECHANISMS`.

A mechanism is one module, ``(N*T, C, H, W)`` to the same shape, with the number of frames fixed at construction. One of
a user's own needs no line: it is named ``my_package.my_module:MyMechanism`` (`vidrepro.models.mechanisms.external`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from vidrepro import compositions
from vidrepro.errors import ModelError, unknown_name
from vidrepro.files import file_digest
from vidrepro.mechanism_spec import EXTERNAL_FORM, FORMS, is_external, read_option, split_spec
from vidrepro.models.declared_options import (
    POSITIONS,
    Option,
    choice,
    complete,
    positive_integer,
    require_positive_integer,
    require_switch,
)
from vidrepro.models.mechanisms import aia, comparators, external, m2a
from vidrepro.models.mechanisms.tam import TAMOriginal
from vidrepro.models.mechanisms.tdn import TDNOriginal
from vidrepro.models.mechanisms.tea import TEAOriginal
from vidrepro.models.mechanisms.tsm import TemporalShift
from vidrepro.models.networks import sparse_options, stabn_parts

VARIANT_NAMES = ("official", "paper")


@dataclass(frozen=True)
class MechanismEntry:
    """A named mechanism.

    Attributes:
        make: ``make(channels, frames, **options)``, without the option ``position``.
        options: what can be set.
        variant_options: ``variant_options(variant, settings)``: the options that ``official`` or ``paper`` stands for,
            which may depend on the options settled so far.
        normal_form: the same options with those that do nothing together at their defaults.
        fixed: options the name itself decides.
        network: for a mechanism that is a whole network around a backbone (ST-ABN), in place of `make`:
            ``network(backbone, frames=, classes=, dropout=, head_std=, **options)`` to a `VideoClassifier`.
        backbones: the backbones a whole network can be made of.
    """

    make: Callable[..., nn.Module]
    options: Mapping[str, Option] = field(default_factory=dict)
    variant_options: Callable[[str, Mapping[str, Any]], Mapping[str, Any]] = lambda variant, settings: {}
    normal_form: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    fixed: Mapping[str, Any] = field(default_factory=dict)
    network: Callable[..., Any] | None = None
    backbones: tuple[str, ...] = ()


def _m2a(**fixed: str) -> MechanismEntry:
    return MechanismEntry(m2a.GatedMotionAttention, m2a.OPTIONS, m2a.variant_options, m2a.normal_form, fixed)


def _original(make: Callable[..., nn.Module], reduction: int) -> MechanismEntry:
    # All three stand between the first activation and the second convolution of a bottleneck in their own networks.
    options = {
        "reduction": positive_integer(reduction, "the inner layers work on 1/reduction of the channels"),
        "position": choice("before_second_conv", POSITIONS, "where in a block of the backbone"),
    }
    return MechanismEntry(make, options)


def _aia(composition: str) -> MechanismEntry:
    make = partial(aia.AttentionInAttention, spec=composition)
    return MechanismEntry(make, aia.OPTIONS, aia.variant_options)


def _comparator(make: Callable[..., nn.Module], position: str, reduction: int | None = None) -> MechanismEntry:
    options = {"position": choice(position, POSITIONS, "where in a block of the backbone")}
    if reduction is not None:
        options["reduction"] = positive_integer(
            reduction, "the inner layer has 1/reduction of the channels, at least 1"
        )
    return MechanismEntry(make, options)


def _no_module(channels: int, frames: int, **options: Any) -> nn.Module:
    raise ModelError("this mechanism is a whole network, not a module", hint="use build_model")


def _stabn(backbone: nn.Module, **settings: Any) -> nn.Module:
    from vidrepro.models.networks.stabn import STABN  # whose parts import this package first

    return STABN(backbone, **settings)  # type: ignore[arg-type]


def _sparse_spatial(backbone: nn.Module, **settings: Any) -> nn.Module:
    from vidrepro.models.networks.sparse_spatial import SparseSpatialNetwork

    return SparseSpatialNetwork(backbone, **settings)  # type: ignore[arg-type]


MECHANISMS: dict[str, MechanismEntry] = {
    "none": MechanismEntry(lambda channels, frames: nn.Identity()),
    "tsm": MechanismEntry(TemporalShift),
    "m2a": _m2a(),
    "m2a-motion": _m2a(motion="m2a", attention="none"),
    "m2a-attention": _m2a(motion="none", attention="m2a"),
    "tea": _m2a(motion="tea", attention="none"),
    "tdn": _m2a(motion="tdn", attention="none"),
    "tam": _m2a(motion="none", attention="tam"),
    "tea-original": _original(TEAOriginal, 16),
    "tdn-original": _original(TDNOriginal, 16),
    "tam-original": _original(TAMOriginal, 4),
    **{composition: _aia(composition) for composition in aia.TABLE_COMPOSITIONS},
    "se3d": _comparator(comparators.SqueezeExcite3D, "after_last_norm", reduction=16),
    "ge3d-g": _comparator(comparators.GlobalGather3D, "after_last_norm"),
    "ge3d-dw133": _comparator(partial(comparators.DepthwiseGather3D, time=1), "after_last_norm"),
    "ge3d-dw333": _comparator(partial(comparators.DepthwiseGather3D, time=3), "after_last_norm"),
    "s3d-g": _comparator(comparators.SelfGating3D, "after_inner_norm"),
    "cbam3d-177": _comparator(partial(comparators.CBAM3D, time=1), "after_last_norm", reduction=16),
    "cbam3d-377": _comparator(partial(comparators.CBAM3D, time=3), "after_last_norm", reduction=16),
    "sparse-spatial": MechanismEntry(
        _no_module,
        sparse_options.OPTIONS,
        sparse_options.variant_options,
        network=_sparse_spatial,
        backbones=("tcnn",),
    ),
    "st-abn": MechanismEntry(
        _no_module,
        stabn_parts.OPTIONS,
        stabn_parts.variant_options,
        network=_stabn,
        backbones=("slow-r50", "slow-r101", "slow-micro"),
    ),
}


def mechanism_entry(name: str) -> MechanismEntry:
    """The entry of a name in `MECHANISMS`, of a composition of AIA's units, or of a user's own class.

    Raises:
        UnknownNameError: if nobody knows the name.
        ModelError: for a class that cannot be imported, or a composition that is not understood.
    """
    if is_external(name):
        return MechanismEntry(
            lambda channels, frames, **options: external.make(name, channels, frames, options),
            external.options_of(name),
        )
    if name not in MECHANISMS and compositions.looks_like(name):
        return _aia(str(compositions.parse(name)))
    if name not in MECHANISMS:
        hint = f"a class of your own is named {EXTERNAL_FORM}" if "." in name else None
        raise unknown_name("mechanism", name, MECHANISMS, hint=hint)
    return MECHANISMS[name]


@dataclass(frozen=True)
class ResolvedMechanism:
    """A mechanism with every option filled in; `make` builds it for one place in a network."""

    name: str
    options: dict[str, Any]

    @property
    def position(self) -> str:
        """Where in a block it goes: one of `vidrepro.models.declared_options.POSITIONS`."""
        return self.options.get("position", "before")

    def make(self, channels: int, frames: int) -> nn.Module:
        """The module for frames of `channels` channels in clips of `frames` frames."""
        options = {name: value for name, value in self.options.items() if name != "position"}
        return mechanism_entry(self.name).make(channels, frames, **options)


Spec = str | Mapping[str, Any]


def resolve_mechanism(spec: Spec, variant: str, options: Mapping[str, Any]) -> ResolvedMechanism:
    """Fill in every option of a mechanism: the variant's choices, then the spec's own, then `options`.

    Args:
        spec: a name (``m2a-motion``), a name with options (``m2a(motion=m2a, attention=none)``), the options of
            ``m2a`` as a mapping that says both motion and attention (``{"motion": "m2a", "attention": "none"}``), a
            composition of AIA's units (``CinST->STinC``, options behind it in parentheses), or a user's own class
            (``my_package.my_module:MyMechanism``, options as for a name). ``temporal_shift`` in it is for
            `split_temporal_shift`.

    Raises:
        UnknownNameError: for an unknown mechanism, variant or option.
        ModelError: for a value an option does not take, or one that contradicts the name.
    """
    name, in_spec = parse_spec(spec)
    if variant not in VARIANT_NAMES:
        raise unknown_name("variant", str(variant), VARIANT_NAMES)
    entry = mechanism_entry(name)
    given = {**in_spec, **options}
    twice = sorted(set(in_spec) & set(options))
    if twice:
        raise ModelError(f"option '{twice[0]}' of mechanism '{name}' is given twice", given=f"{spec} and {options}")
    for option, value in given.items():
        if option in entry.fixed and value != entry.fixed[option]:
            raise ModelError(
                f"mechanism '{name}' means {option}={entry.fixed[option]}",
                given=f"{option}={value}",
                hint=f"use m2a({option}={value}, ...) for another combination",
            )
    asked = {**entry.fixed, **given}
    resolved = complete(f"mechanism '{name}'", entry.options, {**entry.variant_options(variant, asked), **asked})
    m2a.require_a_block(resolved.get("motion"), resolved.get("attention"))
    return ResolvedMechanism(name, entry.normal_form(resolved))


def split_temporal_shift(spec: Spec) -> tuple[Spec, bool]:
    """Take the switch ``temporal_shift`` out of a spec: it is about the network, not the module.

    Raises:
        ModelError: if it is neither true nor false, or the spec is not understood.
    """
    if isinstance(spec, Mapping):
        module = dict(spec)
        shift = module.pop("temporal_shift", False)
        return module, require_switch("temporal_shift", shift)
    if not isinstance(spec, str) or "temporal_shift" not in spec:
        return spec, False
    name, written = split_spec(spec)
    if "temporal_shift" not in written:
        return spec, False
    shift = require_switch("temporal_shift", read_option(spec, "temporal_shift", written.pop("temporal_shift")))
    return f"{name}({', '.join(f'{option}={value}' for option, value in written.items())})", shift


def external_digest(spec: Spec) -> str | None:
    """What identifies the code of a user's own mechanism (`external.class_digest`); None for a name of ours.

    Raises:
        ModelError: for a spec that is not understood, or a class that cannot be imported.
    """
    module, _ = split_temporal_shift(spec)
    name, _ = parse_spec(module)
    return external.class_digest(name) if is_external(name) else None


def external_sources(spec: Spec) -> dict[str, Any] | None:
    """What a run's record says of the code of a user's own mechanism; None for a name of ours.

    Raises:
        ModelError: see `external_digest`.
    """
    name = parse_spec(split_temporal_shift(spec)[0])[0]
    if not is_external(name):
        return None
    files = {path: file_digest(file) for path, file in external.files_of(name).items()}
    return {"files": files, "not_known": "modules imported by a computed name, data files, installed packages"}


def require_recorded_source(spec: Spec, digest: str | None) -> None:
    """Refuse a user's own class in place of an older version of it that a run was made with.

    Args:
        spec: the run's mechanism.
        digest: of its source, as the run recorded it; None for a name of ours.

    Raises:
        ModelError: if the source is another one now; also see `external_digest`.
    """
    name = parse_spec(split_temporal_shift(spec)[0])[0]
    if digest is not None and is_external(name) and not external.is_source(name, digest):
        raise ModelError(
            f"the source of '{name}' has changed since it was run",
            given=list(external.files_of(name).values()),
            allowed=f"the source of digest {digest[:12]}",
            hint="put it back, or run the changed class: that is another run",
        )


def takes_option(mechanism: Spec, name: str) -> bool:
    """Whether a mechanism declares an option; ``none`` and ``tsm`` declare none.

    Args:
        mechanism: a name or spec, as in `resolve_mechanism`.

    Raises:
        UnknownNameError: for an unknown mechanism.
        ModelError: for a spec that is not understood.
    """
    module, _ = split_temporal_shift(mechanism)
    return name in mechanism_entry(parse_spec(module)[0]).options


def parse_spec(spec: Spec) -> tuple[str, dict[str, Any]]:
    """Split a spec into the mechanism's name and the options written in it; a composition's name is its normal form.

    Raises:
        UnknownNameError: if nobody knows the name.
        ModelError: if it is neither a text of the form ``name`` or ``name(option=value, ...)``, nor a mapping that says
            both motion and attention, nor a composition of AIA's units (the position where it goes wrong is told).
    """
    if isinstance(spec, Mapping):
        return _parse_mapping(spec)
    if not isinstance(spec, str):
        raise ModelError("the mechanism is not understood", given=repr(spec), allowed=FORMS)
    name, written = split_spec(spec)
    mechanism_entry(name)
    return name, {option: read_option(spec, option, value) for option, value in written.items()}


def _parse_mapping(spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    missing = [place for place in ("motion", "attention") if place not in spec]
    if missing:
        # A mapping carries no name whose default could stand in: {motion: m2a} alone may mean either of two modules.
        raise ModelError(
            f"a mechanism given as a mapping says what its {' and '.join(missing)} is",
            given=dict(spec),
            allowed="; ".join(f"{place}: {m2a.OPTIONS[place].allowed}" for place in ("motion", "attention")),
            hint='say both, as in {"motion": "m2a", "attention": "none"}, or give the mechanism by name',
        )
    if spec["motion"] == spec["attention"] == "none":
        complete("mechanism 'm2a'", m2a.OPTIONS, spec)  # a misspelt option is one here too
        return "none", {}
    return "m2a", dict(spec)


def build_mechanism(spec: Spec, channels: int, frames: int, variant: str = "official", **options: Any) -> nn.Module:
    """One mechanism alone: a module from ``(N*T, channels, H, W)`` to the same shape, with ``T = frames``.

    Args:
        spec: see `resolve_mechanism`; ``tsm`` is the temporal shift, ``none`` the identity. ``temporal_shift: False``
            may stand in it, or among the options.
        variant: ``official`` (the authors' released code) or ``paper`` (the text).
        options: each overrides one choice of the variant. ``position`` is accepted and has no effect here: it says
            where a network would place the module.

    Raises:
        UnknownNameError: for an unknown mechanism, variant or option.
        ModelError: for a value out of range, channels too few, or ``temporal_shift: True``, which is a second module.
    """
    require_positive_integer("channels", channels)
    require_positive_integer("frames", frames)
    module, shift = split_temporal_shift(spec)
    shift_too = require_switch("temporal_shift", options.pop("temporal_shift", False))
    if shift or shift_too:
        raise ModelError(
            "the temporal shift is a module of its own, which a network places beside the mechanism",
            given="temporal_shift=True",
            allowed="temporal_shift=False",
            hint="use build_model(..., temporal_shift=True), or build_mechanism('tsm', ...) for the shift alone",
        )
    return resolve_mechanism(module, variant, options).make(channels, frames)
