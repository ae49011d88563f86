"""Every mechanism and network goes through `torch.compile` as one graph, with the same numbers."""

from __future__ import annotations

import copy
import shutil
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrepro.models import build_mechanism, build_model

# One of each file and class; whole compositions and shells are made of the same parts.
MECHANISMS = [
    *("tsm", "m2a", "m2a(motion=none, attention=patch4)", "tea", "tdn", "tam", "tea-original", "tdn-original"),
    *("tam-original", "CinST", "C+C->C", "se3d", "ge3d-g", "ge3d-dw333", "s3d-g", "cbam3d-377"),
]
NETWORKS: list[tuple[str, str, dict[str, Any]]] = [
    ("micro", "m2a", {"stem": "small2", "width": 8}),
    ("i3d-resnet18", "none", {"width": 8}),
    ("slow-micro", "st-abn", {}),
]
# "aot_eager" traces both passes into one graph each and runs torch's own operators: what breaks a graph breaks it too.
TRACED = "aot_eager"


@pytest.fixture(autouse=True)
def fresh_compiler() -> Any:
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its own insides
        yield
    torch._dynamo.reset()


def passes(module: Any, run: Any, inputs: Tensor) -> list[Tensor]:
    """The result of a pass in training, its gradients, the running statistics after it, and a pass in inference."""
    module.train()
    torch.manual_seed(1)
    out = run(inputs)
    trained = [item for item in (inputs, *module.parameters()) if item.requires_grad]
    gradients = torch.autograd.grad(out.square().sum(), trained, allow_unused=True)
    statistics = [buffer.clone() for buffer in module.buffers()]
    module.eval()
    with torch.no_grad():
        return [out.detach(), *(item for item in gradients if item is not None), *statistics, run(inputs)]


def assert_compiles(module: nn.Module, inputs: Tensor, backend: str, tolerance: float) -> None:
    compiled = copy.deepcopy(module)
    expected = passes(module, module, inputs)
    found = passes(compiled, torch.compile(compiled, fullgraph=True, backend=backend), inputs)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_mechanism_is_one_graph(name: str) -> None:
    torch.manual_seed(0)
    module = build_mechanism(name, 16, 3).double()
    assert_compiles(module, torch.randn(6, 16, 4, 4, dtype=torch.float64, requires_grad=True), TRACED, 1e-9)


@pytest.mark.parametrize(("backbone", "mechanism", "options"), NETWORKS)
def test_a_network_is_one_graph(backbone: str, mechanism: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build_model(backbone, mechanism, frames=4, classes=3, dropout=0.0, **options).double()
    assert_compiles(model, torch.randn(2, 4, 3, 32, 32, dtype=torch.float64), TRACED, 1e-9)


def test_the_loss_of_a_network_that_draws_is_one_graph() -> None:
    """Sparse spatial attention divides peaks at random: both ways ask the same generator in the same order."""
    torch.manual_seed(0)
    smallest = {"width": 4, "stacks": "-/-/-/-/-/-/-", "branches": "D"}
    model = build_model("tcnn", "sparse-spatial", frames=4, classes=3, dropout=0.0, **smallest).double().train()
    clips, labels = torch.randn(2, 4, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 2])
    losses = []
    for network in (model, copy.deepcopy(model)):
        run = network.loss if network is model else torch.compile(network.loss, fullgraph=True, backend=TRACED)
        torch.manual_seed(1)
        losses.append(run(clips, labels, F.cross_entropy)[0])
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-12, atol=0)


def network_and_clips() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return build_model("micro", "m2a", frames=4, classes=5, width=8).eval(), torch.randn(2, 4, 3, 16, 16)


needs_compiler = pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler here"
)


@needs_compiler
@pytest.mark.parametrize("name", ["layer1", "layer2", "layer3", "layer4"])
def test_a_compiled_block_gives_the_same_features(name: str) -> None:
    model, clips = network_and_clips()
    block, seen = model.backbone.get_submodule(name), []
    with torch.no_grad():
        hook = block.register_forward_hook(lambda _block, inputs, output: seen.append((*inputs, output)))
        model(clips)
        hook.remove()
        ((features, expected),) = seen
        torch.testing.assert_close(torch.compile(block, fullgraph=True)(features), expected, rtol=1e-4, atol=1e-6)


@needs_compiler
def test_what_stands_around_the_blocks_gives_the_same_logits_compiled() -> None:
    model, clips = network_and_clips()
    model.backbone.layer1 = nn.Conv2d(8, 64, 1)
    model.backbone.layer2 = model.backbone.layer3 = model.backbone.layer4 = nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, fullgraph=True)(clips), model(clips), rtol=1e-4, atol=1e-6)


@needs_compiler
def test_a_compiled_mechanism_gives_the_same_numbers() -> None:
    torch.manual_seed(0)
    module = build_mechanism("C", 16, 3).double()
    x = torch.randn(6, 16, 4, 4, dtype=torch.float64, requires_grad=True)
    assert_compiles(module, x, "inductor", 1e-9)
