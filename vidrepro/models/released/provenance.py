"""What an imported weight file says about itself, and whether a network is the one it was made for.

The tensors' names do not tell which mechanism they were trained with: motion, attention, both and patch attention have
the same ones. So the file says it, in a record beside the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidrepro.errors import CheckpointError

RECORD = "vidrepro_import"  # the record's key in the file
SAME_NETWORK = ("inflation", "checkpointing")  # options about how weights are loaded, how gradients are computed


def check_record(record: Mapping[str, Any], identity: Mapping[str, Any], where: object) -> None:
    """Refuse imported weights in a network other than the one they were imported for.

    Frames and classes may differ: networks are evaluated on more frames, and trained on other classes. What does not
    fit then shows in the shapes.

    Args:
        record: the file's.
        identity: of the network, as `vidrepro.models.build_model` sets it.
        where: the file, for the error.

    Raises:
        CheckpointError: naming what differs, as stored and as asked for.
    """
    stored, asked = _compared(record), _compared(identity)
    different = [key for key, value in asked.items() if value != stored.get(key)]
    if different:
        raise CheckpointError(
            f"these weights were imported for another {' and another '.join(different)}",
            given="; ".join(f"{key} {_text(asked[key])}" for key in different),
            allowed="; ".join(f"{key} {_text(stored.get(key))}" for key in different),
            hint="build the network they belong to, or import the released file again for the one you mean",
            where=str(where),
        )


def _compared(description: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record or an identity that decides what the network computes from its tensors."""
    try:
        name, options = description["mechanism_name"], description["options"]
        # m2a(motion=m2a, attention=none) and m2a-motion are one network under two names
        mechanism = ("m2a" if "motion" in options else name, tuple(sorted(options.items())))
        backbone_options = {
            option: value for option, value in description["backbone_options"].items() if option not in SAME_NETWORK
        }
        return {
            "backbone": description["backbone"],
            "backbone options": tuple(sorted(backbone_options.items())),
            "mechanism": mechanism,
            "temporal shift": description["temporal_shift"],
        }
    except (KeyError, AttributeError, TypeError) as error:
        raise CheckpointError("the file's record of its import is not readable", given=repr(error)) from error


def _text(value: Any) -> str:
    """One compared value for people, e.g. ``m2a(motion=m2a, attention=none)``."""
    if not isinstance(value, tuple):
        return str(value)
    if len(value) == 2 and isinstance(value[0], str):
        name, options = value
        return f"{name}({_text(options)})" if options else name
    return ", ".join(f"{option}={setting}" for option, setting in value)
