"""The conventions behind papers' printed GMACs: as data, found by counting against the printed digits.

M2A's follow the rules of ptflops 0.6, counted on modules; AIA's are fvcore's totals.

ptflops 0.6 hooks modules of known types. Convolutions and linear layers count with bias, BatchNorm 2 per element, ReLU
and ReLU6 1 per output element, pooling 1 per input element; whatever is called as a function counts nothing. So the
same network costs more here than in fvcore, and a mechanism's attention costs nothing. Full M2A (motion and attention)
is printed with its matrix products and sigmoids on top, for a reason the authors do not give. Both rules are data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vidrepro.errors import unknown_name


@dataclass(frozen=True)
class PrintedRule:
    """A counting rule: the sum of some components, each with its weight.

    Attributes:
        name: what records and footnotes call it.
        weights: component of `ModuleCounter` or `CallCounter` -> what one of it counts.
        description: one sentence for a footnote.
        usual_frames: whether a network of more frames is counted at the paper's usual number and scaled up.
    """

    name: str
    weights: Mapping[str, int]
    description: str
    usual_frames: bool = False

    def total(self, components: Mapping[str, int]) -> int:
        """The printed number's unit count, in MACs as the rule understands them."""
        return sum(weight * components.get(component, 0) for component, weight in self.weights.items())


FVCORE = "fvcore_total"  # among the components: fvcore's count of the whole network
_PTFLOPS = {
    "conv_macs": 1,
    "conv_bias": 1,
    "linear_macs": 1,
    "linear_bias": 1,
    "batch_norm_elements": 2,
    "relu_elements": 1,
    "pool_input_elements": 1,
}
RULES: dict[str, PrintedRule] = {
    rule.name: rule
    for rule in (
        PrintedRule(
            "ptflops-0.6",
            _PTFLOPS,
            "conv and linear MACs with bias, 2 per BatchNorm element, 1 per ReLU output, 1 per pooling input; "
            "functions (LayerNorm, matrix products, softmax, sigmoid) not counted",
        ),
        PrintedRule(
            "ptflops-0.6+bmm+sigmoid",
            {**_PTFLOPS, "matmul_macs": 1, "sigmoid_elements": 1},
            "ptflops-0.6 and the MACs of matrix products and 1 per sigmoid output; full M2A alone is printed so, and "
            "why only it is not known",
        ),
        PrintedRule(
            "fvcore-x-frames",
            {FVCORE: 1},
            "fvcore's total at the paper's usual number of frames, times the frames over that number; of an ensemble, "
            "the sum of its members'",
            usual_frames=True,
        ),
    )
}

# Which cells of a paper use which rule: mechanism as in the row's settings -> rule; "*" is every other mechanism.
# Found by counting the released models by hand against the printed digits (Tables I, II, III and V).
# AIA: fvcore on the released networks, Table I; Table II prints 8 frames' cost times T/8 (33.1, 49.7, 66.3), though a
# network of T frames costs a little less: one gate of every module runs once a clip, however long.
CELL_RULES: dict[str, dict[str, str]] = {
    "m2a": {"m2a": "ptflops-0.6+bmm+sigmoid", "*": "ptflops-0.6"},
    "aia": {"*": "fvcore-x-frames"},
}


def rule_named(name: str) -> PrintedRule:
    """The rule of this name.

    Raises:
        UnknownNameError: if there is none.
    """
    if name not in RULES:
        raise unknown_name("counting rule", name, RULES)
    return RULES[name]


def rule_for_cell(paper: str, mechanism: str) -> PrintedRule | None:
    """The rule a paper's cell was printed with, or None where the paper's convention is not known."""
    cells = CELL_RULES.get(paper)
    return rule_named(cells.get(mechanism, cells["*"])) if cells else None
