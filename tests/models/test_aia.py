"""AIA's units and compositions, against the released modules' numbers, closed forms and a literal implementation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity_tools import CLIP_FRAMES, assert_summary_matches, read_parity
from torch import Tensor, nn

from vidrepro.compositions import Cascade, Nested, Parallel, Spec, Unit, parse
from vidrepro.errors import ModelError
from vidrepro.models.mechanisms.aia import AttentionInAttention, AxisGates
from vidrepro.models.taps import taps_of

# A nested unit's gates by the released attribute names: ours number the units in the order they run.
RELEASED_GATES = {"C": {"C": "gates0"}, "ST": dict.fromkeys("THW", "gates0")}
RELEASED_GATES |= {"CinST": {"C": "gates0", **dict.fromkeys("THW", "gates1")}}
RELEASED_GATES |= {"STinC": {**dict.fromkeys("THW", "gates0"), "C": "gates1"}}


@pytest.mark.parametrize("which", ["iid", "corr"])
@pytest.mark.parametrize("spec", ["C", "ST", "CinST"])
def test_released_outputs_are_met(spec: str, which: str) -> None:
    file = read_parity(f"aia_mod_{spec}")
    module = AttentionInAttention(32, CLIP_FRAMES, spec)
    state = {f"body.{RELEASED_GATES[spec][key[0]]}.{key}": value for key, value in file.state_dict.items()}
    module.load_state_dict(state)
    assert_summary_matches(module.double().eval()(file.input(which)), file.expected(which), file.atol)


def _literal_gate(x: Tensor, gates: AxisGates, axis: str) -> Tensor:
    """One gate in einops' spirit: move the pooled axis away, convolve what is left in the released order."""
    conv, bn = gates.get_submodule(f"{axis}_conv"), gates.get_submodule(f"{axis}_bn")
    assert isinstance(conv, nn.Conv3d) and isinstance(bn, nn.BatchNorm3d)
    place = {"T": 1, "C": 2, "H": 3, "W": 4}[axis]
    pooled = torch.stack([x.max(place).values, x.sum(place) / x.shape[place]], 1)
    if axis == "H":  # (N, 2, T, C, W)
        return bn(conv(pooled)).sigmoid().squeeze(1).unsqueeze(3)
    if axis == "W":  # (N, 2, T, C, H), convolved as (T, H, C)
        return bn(conv(pooled.transpose(3, 4))).sigmoid().squeeze(1).transpose(2, 3).unsqueeze(4)
    return bn(conv(pooled)).sigmoid().squeeze(1).unsqueeze(place)


def _literal(x: Tensor, spec: Spec, module: nn.Module) -> Tensor:
    """The text's formulas, read off the parsed spec; only the weights are taken from our module."""
    if isinstance(spec, Cascade):
        for step, part in zip(spec.steps, module.children(), strict=True):
            x = _literal(x, step, part)
        return x
    if isinstance(spec, Parallel):
        branches = list(module.get_submodule("branches").children())
        return torch.stack([_literal(x, one, part) for one, part in zip(spec.branches, branches, strict=True)]).mean(0)
    units = spec.units if isinstance(spec, Nested) else (spec,)
    gated = x
    for number, unit in enumerate(units):
        gates = module.get_submodule(f"gates{number}")
        assert isinstance(gates, AxisGates)
        axes = "C" if unit.name == "C" else "THW"
        mask = torch.stack([_literal_gate(gated, gates, axis).expand_as(x) for axis in axes]).mean(0)
        gated = x * mask
    return gated


SPECS = ["C", "ST", "CinST", "STinC", "C->ST", "ST->C", "C+ST", "CinST->STinC", "STinC->CinST", "STinC+CinST"]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("spec", [*SPECS, "CinSTinC", "C+ST+CinST", "(C->ST)+C"])
def test_values_and_gradients_agree_with_a_literal_implementation(spec: str, training: bool) -> None:
    torch.manual_seed(0)
    module = AttentionInAttention(6, 4, spec).double().train(training)
    x = torch.randn(8, 6, 5, 7, dtype=torch.float64, requires_grad=True)
    literal = _literal(x.view(2, 4, 6, 5, 7), parse(spec), module.body).flatten(0, 1)
    weights = torch.randn_like(literal)
    parameters = [x, *module.parameters()]
    expected = torch.autograd.grad((literal * weights).sum(), parameters)
    ours = module(x)
    torch.testing.assert_close(ours, literal)
    for mine, theirs in zip(torch.autograd.grad((ours * weights).sum(), parameters), expected, strict=True):
        torch.testing.assert_close(mine, theirs)
        assert mine.abs().max() > 0


@pytest.mark.parametrize("spec", ["C", "ST", "CinST", "STinC"])
def test_a_gate_forced_open_is_the_identity(spec: str) -> None:
    module = AttentionInAttention(5, 3, spec).eval()
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            parameter.fill_(100 if name.endswith("bn.bias") else 0)
    x = torch.randn(6, 5, 4, 4)
    torch.testing.assert_close(module(x), x)


@pytest.mark.parametrize("axes", [("C",), ("T", "H", "W")])
def test_gates_lie_between_0_and_1(axes: tuple[str, ...]) -> None:
    torch.manual_seed(1)
    gates = AxisGates(axes)(3 * torch.randn(2, 4, 6, 5, 5))
    assert all(float(gate.detach().min()) > 0 and float(gate.detach().max()) < 1 for gate in gates)
    assert [[number for number, size in enumerate(gate.shape) if size == 1] for gate in gates] == [
        [{"T": 1, "C": 2, "H": 3, "W": 4}[axis]] for axis in axes
    ]


@pytest.mark.parametrize("spec", SPECS)
def test_the_order_of_the_pools_is_a_permutation_of_the_weights(spec: str) -> None:
    """A unit that pools [mean, max] with the two input channels of every weight swapped is ours: checked by pooling."""
    torch.manual_seed(2)
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    module = AttentionInAttention(3, 2, spec).double().eval()
    expected = module(x)
    for child in module.modules():
        if isinstance(child, nn.Conv3d):
            child.register_forward_pre_hook(lambda _, inputs: (inputs[0].flip(1),))
            with torch.no_grad():
                child.weight.copy_(child.weight.flip(1))
    torch.testing.assert_close(module(x), expected)


def test_a_clip_and_its_reversal_are_told_apart() -> None:
    torch.manual_seed(3)
    module = AttentionInAttention(4, 5, "C").double().eval()
    x = torch.randn(1, 5, 4, 6, 6, dtype=torch.float64)
    forward = module(x[0]).mean()
    backward = module(x[0].flip(0)).mean()
    assert abs(float((forward - backward).detach())) > 1e-6


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("frames", [1, 3])
def test_clips_do_not_influence_each_other_in_eval(spec: str, frames: int) -> None:
    torch.manual_seed(4)
    module = AttentionInAttention(4, frames, spec).double().eval()
    x = torch.randn(3 * frames, 4, 5, 5, dtype=torch.float64)
    together = module(x)
    alone = torch.cat([module(clip) for clip in x.split(frames)])
    torch.testing.assert_close(together, alone)


UNIT = st.sampled_from([Unit("C"), Unit("ST")])
LEAF = st.one_of(UNIT, st.lists(UNIT, min_size=2, max_size=3).map(lambda units: Nested(tuple(units))))


def _combine(inner: st.SearchStrategy[Spec]) -> st.SearchStrategy[Spec]:
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        several.map(lambda parts: Parallel(tuple(parts))),
        several.map(lambda parts: Cascade(tuple(parts))),
    )


@given(st.recursive(LEAF, _combine, max_leaves=6))
def test_the_notation_round_trips(spec: Spec) -> None:
    assert parse(str(spec)) == spec
    assert parse(f" {str(spec).replace('->', ' → ')} ") == spec


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("", 1, "a unit"),
        ("CinX", 4, "a unit"),
        ("C->", 4, "a unit"),
        ("C ST", 3, "'in', '+', '->'"),
        ("(C", 3, "')'"),
        ("Cin(ST)", 4, "a unit"),
        ("C+->ST", 3, "a unit"),
        ("STC", 3, "'in', '+', '->'"),
    ],
)
def test_a_wrong_composition_is_refused_with_its_position(text: str, position: int, expected: str) -> None:
    with pytest.raises(ModelError, match=f"position {position}\n?") as refusal:
        parse(text)
    assert expected in str(refusal.value)


def test_a_tap_shows_every_gate_and_only_then_the_plain_way_is_taken() -> None:
    """One for each gate, broadcast along the axis it pools; what a tap returns is what gates the maps."""
    torch.manual_seed(5)
    module = AttentionInAttention(3, 4, "CinST->STinC").eval()
    x = torch.randn(8, 3, 5, 6)
    expected = module(x)
    taps = taps_of(module)
    assert [tap.what for tap in taps.values()] == [*"CTHW", *"THWC"]
    seen: dict[str, Tensor] = {}
    handles = [
        tap.register_forward_hook(lambda tap, _, out, name=name: seen.setdefault(name, out))
        for name, tap in taps.items()
    ]
    torch.testing.assert_close(module(x), expected)
    sizes = {"N": 2, "T": 4, "C": 3, "H": 5, "W": 6, "1": 1}
    for name, tap in taps.items():
        assert seen[name].shape == tuple(sizes[axis] for axis in tap.axes)
        assert tap.axes == tuple("1" if axis == tap.what else axis for axis in "NTCHW")
        gate = seen[name].detach()
        assert gate.min() > 0 and gate.max() < 1
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("spec", [*SPECS, "CinSTinC"])
def test_every_gate_forced_open_by_its_tap_is_the_identity(spec: str) -> None:
    torch.manual_seed(6)
    module = AttentionInAttention(3, 4, spec)
    x = torch.randn(8, 3, 5, 6)
    handles = [tap.register_forward_hook(lambda _, __, out: torch.ones_like(out)) for tap in taps_of(module).values()]
    torch.testing.assert_close(module(x), x)
    for handle in handles:
        handle.remove()
    assert (module(x) - x).abs().max().item() > 0.1


@pytest.mark.parametrize("what", "CTHW")
def test_one_gate_is_replaced_alone(what: str) -> None:
    """Within CinST: the C gate changes only what the others pool; each of the others is a third of the product."""
    torch.manual_seed(7)
    module = AttentionInAttention(3, 4, "CinST").eval()
    x = torch.randn(8, 3, 5, 6)
    tap = next(tap for tap in taps_of(module).values() if tap.what == what)
    gates: list[Tensor] = []
    handle = tap.register_forward_hook(lambda _, __, out: gates.append(out))
    before = module(x)
    handle.remove()
    tap.register_forward_hook(lambda _, __, out: torch.zeros_like(out))
    change = before - module(x)
    if what == "C":
        assert change.abs().max().item() > 0
    else:
        torch.testing.assert_close(change.view(2, 4, 3, 5, 6), x.view(2, 4, 3, 5, 6) * gates[0] / 3)
