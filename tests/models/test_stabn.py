"""ST-ABN: the invariants of its specification (section 4), its options, its loss.

Invariants 3, 10, 11 and 13 are in `test_slow`, 14 is about sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidrepro.config import ModelConfig, RunConfig
from vidrepro.data.manifest import Manifest
from vidrepro.errors import CheckpointError, ModelError, UnknownNameError
from vidrepro.models import build_mechanism, build_model, check_config
from vidrepro.models.memory_format import to_channels_last
from vidrepro.models.networks.stabn import STABN
from vidrepro.models.networks.stabn_parts import OPTIONS, VARIANTS
from vidrepro.models.taps import taps_of
from vidrepro.training.loop import Trainer

FRAMES, CLASSES = 4, 5
WAYS = [("spatial",), ("temporal",), ("spatial", "temporal")]


def network(**options: Any) -> STABN:
    torch.manual_seed(0)
    model = build_model(
        "slow-micro", "st-abn", **{"frames": FRAMES, "classes": CLASSES, "width": 4, "head_std": 0.1, **options}
    )
    assert isinstance(model, STABN)
    return model.double().eval()


def some_clips(size: int = 32, frames: int = FRAMES) -> Tensor:
    return torch.randn(2, frames, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def attend(model: STABN, clips: Tensor, **how: Any) -> tuple[Tensor, dict[str, Tensor]]:
    with torch.no_grad():
        return model(clips, return_attention=True, **how)  # type: ignore[no-any-return]


def mixer_input(model: STABN, clips: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    """The features f and what the mixing convolution gets, taken from outside."""
    seen = []
    hooks = [
        model.backbone.layer3.register_forward_hook(lambda module, inputs, output: seen.append(output)),  # type: ignore[union-attr]
        model.mixer.conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0])),
    ]
    attend(model, clips, **how)
    for hook in hooks:
        hook.remove()
    return seen[0], seen[1]


def test_shapes_at_the_papers_size() -> None:
    """Invariant 1; on the meta device nothing is computed."""
    with torch.device("meta"):
        model = build_model("slow-r50", "st-abn", frames=32, classes=174)
        logits, attention = model(torch.empty(2, 32, 3, 224, 224), return_attention=True)
    assert logits.shape == attention["attention_logits"].shape == (2, 174)
    assert attention["spatial"].shape == (2, 32, 14, 14)
    assert attention["temporal"].shape == (2, 32)


def test_shapes_at_a_small_size() -> None:
    model = build_model("slow-r50", "st-abn", frames=4, classes=5, width=4).eval()
    for size, side in ((64, 4), (96, 6), (70, 5)):  # maps of any size, also where the halves are rounded
        logits, attention = model(torch.randn(1, 4, 3, size, size), return_attention=True)
        assert logits.shape == attention["attention_logits"].shape == (1, 5)
        assert attention["spatial"].shape == (1, 4, side, side)
    assert model(torch.randn(1, 4, 3, 64, 64)).shape == (1, 5)


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("training", [True, False])
def test_attentions_lie_strictly_between_0_and_1(variant: str, training: bool) -> None:
    """Invariant 2, first half, at the default start and in single precision."""
    torch.manual_seed(0)
    model = build_model("slow-r50", "st-abn", frames=8, classes=10, variant=variant, width=16, stem="small2")
    _, attention = model.train(training)(torch.randn(2, 8, 3, 48, 48), return_attention=True)
    for name in ("spatial", "temporal"):
        assert ((attention[name] > 0) & (attention[name] < 1)).all(), name
        assert attention[name].std() > 0


def test_features_are_weighted_as_equations_1_to_3_say() -> None:
    """Invariant 2, second half: one Ms for all channels, one Mt for all channels and places; f_s comes first."""
    model, clips = network(), some_clips()
    features, attended = mixer_input(model, clips)
    _, attention = attend(model, clips)
    channels = features.shape[1]
    for n, c, t, y, x in product((0, 1), (0, 7, channels - 1), range(FRAMES), (0, 1), (0, 1)):
        f = features[n, c, t, y, x]
        assert attended[n, c, t, y, x] == pytest.approx(float((1 + attention["spatial"][n, t, y, x]) * f), abs=1e-12)
        assert attended[n, channels + c, t, y, x] == pytest.approx(float(attention["temporal"][n, t] * f), abs=1e-12)


@pytest.mark.parametrize("ways", WAYS)
def test_inverting_is_overriding_with_1_minus_m(ways: tuple[str, ...]) -> None:
    """Invariant 4: and twice inverted is not inverted; no weight changes."""
    model, clips = network(), some_clips()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    logits, attention = attend(model, clips)
    inverted, applied = attend(model, clips, invert=ways)
    assert not torch.allclose(inverted, logits)
    for name in ("spatial", "temporal"):
        torch.testing.assert_close(applied[name], 1 - attention[name] if name in ways else attention[name])
    replaced, _ = attend(model, clips, override={name: 1 - attention[name] for name in ways})
    torch.testing.assert_close(replaced, inverted, rtol=0, atol=1e-12)
    back, _ = attend(model, clips, override={name: applied[name] for name in ways}, invert=ways)
    torch.testing.assert_close(back, logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(applied["attention_logits"], attention["attention_logits"], rtol=0, atol=0)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.no_grad():  # the logits alone are the same ones
        assert torch.equal(model(clips, invert=ways[0] if len(ways) == 1 else ways), inverted)


@pytest.mark.parametrize("ways", WAYS)
def test_one_half_is_its_own_inverse(ways: tuple[str, ...]) -> None:
    """Invariant 5."""
    model, clips = network(), some_clips()
    half = dict.fromkeys(ways, 0.5)
    assert torch.equal(attend(model, clips, override=half)[0], attend(model, clips, override=half, invert=ways)[0])


def test_forced_attentions_reach_the_mixer() -> None:
    """Invariant 6."""
    model, clips = network(), some_clips()
    features, attended = mixer_input(model, clips, override={"spatial": 0, "temporal": torch.zeros(2, FRAMES)})
    torch.testing.assert_close(attended, torch.cat([features, torch.zeros_like(features)], 1), rtol=0, atol=0)
    features, attended = mixer_input(model, clips, override={"spatial": torch.ones(2, FRAMES, 4, 4), "temporal": 1})
    torch.testing.assert_close(attended, torch.cat([2 * features, features], 1), rtol=0, atol=0)


def test_an_attention_of_another_shape_or_name_is_refused() -> None:
    model, clips = network(), some_clips()
    with pytest.raises(ModelError, match="the spatial attention to be used has another shape"):
        model(clips, override={"spatial": torch.ones(2, FRAMES, 3, 3)})
    for how in ({"invert": "tempral"}, {"invert": ("spatial", "channel")}, {"override": {"gate": 1.0}}):
        with pytest.raises(UnknownNameError, match=r"allowed: spatial, temporal|did you mean 'temporal'"):
            model(clips, **how)


@pytest.mark.parametrize("att_head", ["fc", "gap3d"])
def test_loss_is_the_sum_of_both_cross_entropies(att_head: str) -> None:
    """Invariant 7, first half."""
    model, clips, labels = network(att_head=att_head), some_clips(), torch.tensor([1, 4])
    loss, logits = model.loss(clips, labels, nn.functional.cross_entropy)
    expected_logits, attention = attend(model, clips)
    torch.testing.assert_close(logits, expected_logits)
    by_hand = sum(
        -torch.log(scores.softmax(1)[n, label]) / 2
        for scores in (expected_logits, attention["attention_logits"])
        for n, label in enumerate(labels)
    )
    assert float(loss.detach()) == pytest.approx(float(by_hand), abs=1e-6)


def test_the_perception_loss_trains_the_branch_through_its_attentions_only() -> None:
    """Invariant 7, second half: nothing is detached, and the branch's own classifier learns from its own loss alone."""
    model, clips, labels = network().train(), some_clips(), torch.tensor([1, 4])
    nn.functional.cross_entropy(model(clips), labels).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    of_attention = ("residual.0.conv1", "map_conv", "spatial_conv", "temporal_conv", "frame_conv", "frame_fc2")
    assert all(gradients[f"branch.{name}.weight"].abs().sum() > 0 for name in of_attention)  # type: ignore[union-attr]
    assert all(gradients[f"branch.{name}"] is None for name in ("classifier.weight", "class_conv.weight"))
    model.zero_grad()
    model.loss(clips, labels, nn.functional.cross_entropy)[0].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.branch.classifier.parameters())  # type: ignore[union-attr]
    assert model.backbone.conv1.weight.grad.abs().sum() > 0  # type: ignore[union-attr]


def test_attentions_branch_off_in_front_of_the_class_convolution() -> None:
    """Invariant 8."""
    model, clips = network(), some_clips()
    logits, attention = attend(model, clips)
    nn.init.normal_(model.branch.class_conv.weight)
    logits_again, attention_again = attend(model, clips)
    assert torch.equal(logits, logits_again)
    for name in ("spatial", "temporal"):
        assert torch.equal(attention[name], attention_again[name])
    assert not torch.allclose(attention["attention_logits"], attention_again["attention_logits"])


@pytest.mark.parametrize("att_head", ["fc", "gap3d"])
def test_dropout_is_active_in_both_heads_in_training_only(att_head: str) -> None:
    """Invariant 9; without dropout, nothing else is random."""
    clips = some_clips()
    for dropout, training, same in ((0.5, False, True), (0.5, True, False), (0, True, True)):
        model = network(dropout=dropout, att_head=att_head).train(training)
        first, second = attend(model, clips), attend(model, clips)
        assert torch.equal(first[0], second[0]) == same
        assert torch.equal(first[1]["attention_logits"], second[1]["attention_logits"]) == same


def test_another_number_of_frames_is_refused() -> None:
    """Invariant 12: in the clip, and in the weights."""
    model = network()
    with pytest.raises(ModelError, match=r"clips of another shape(.|\n)*\(N, 4, 3, H, W\)"):
        model(some_clips(frames=5))
    with pytest.raises(RuntimeError, match=r"frame_conv\.weight"):
        model.load_state_dict(network(frames=5).state_dict())


def test_its_own_weights_load_and_those_for_other_frames_do_not(tmp_path: Path) -> None:
    own = network().state_dict()
    torch.save(own, tmp_path / "t4.pt")
    torch.manual_seed(9)
    again = build_model("slow-micro", "st-abn", frames=FRAMES, classes=CLASSES, width=4, weights=tmp_path / "t4.pt")
    assert all(torch.equal(value.double(), own[key].double()) for key, value in again.state_dict().items())
    with pytest.raises(CheckpointError, match=r"frame_conv\.weight"):
        network(weights=tmp_path / "t4.pt", frames=5)


def test_branch_computes_what_the_table_says() -> None:
    """The released branch written once more, with functions: section 1.2 of the specification, row by row."""
    model, clips = network(), some_clips()
    gen = torch.Generator().manual_seed(1)
    for name, value in model.named_buffers():  # or every norm would be the identity
        if "running" in name:
            value.copy_(torch.rand(value.shape, generator=gen) + 0.5)
    weights = {key.removeprefix("branch."): value for key, value in model.state_dict().items()}
    norm: Callable[[Tensor, str], Tensor] = lambda x, name: nn.functional.batch_norm(  # noqa: E731
        x, *(weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    )
    conv = nn.functional.conv3d
    with torch.no_grad():
        residual = model.branch.residual(model.backbone.third_stage_map(clips))
        maps = norm(conv(norm(residual, "residual_norm"), weights["map_conv.weight"]), "map_norm").relu()
        spatial = norm(conv(maps, weights["spatial_conv.weight"]), "spatial_norm").sigmoid()[:, 0]
        frames = norm(conv(maps, weights["temporal_conv.weight"], padding=1), "temporal_norm").relu()[:, 0]
        mixed = torch.einsum("nthw,st->nshw", frames, weights["frame_conv.weight"][:, :, 0, 0]).relu()
        hidden = (mixed.mean((2, 3)) @ weights["frame_fc1.weight"].T + weights["frame_fc1.bias"]).relu()
        temporal = (hidden @ weights["frame_fc2.weight"].T + weights["frame_fc2.bias"]).sigmoid()
        scores = conv(maps, weights["class_conv.weight"]).mean((3, 4))
        classes = weights["classifier.weight"].view(CLASSES, CLASSES, FRAMES)  # from class, frame
        logits = torch.einsum("nkt,ckt->nc", scores, classes) + weights["classifier.bias"]
    _, attention = attend(model, clips)
    torch.testing.assert_close(attention["spatial"], spatial)
    torch.testing.assert_close(attention["temporal"], temporal)
    torch.testing.assert_close(attention["attention_logits"], logits)


def kinds(module: nn.Module) -> list[str]:
    return [type(part).__name__ for name, part in module.named_modules() if name and not name.startswith("residual.")]


def test_variants_differ_as_the_options_say() -> None:
    official, paper = network(), network(variant="paper")
    assert official.identity["options"] == {name: option.default for name, option in OPTIONS.items()}
    assert paper.identity["options"] == VARIANTS["paper"]
    one_by_one = network(**VARIANTS["paper"])
    assert [*one_by_one.state_dict()] == [*paper.state_dict()]
    assert sum("Norm" in kind for kind in kinds(official.branch)) == 4
    assert sum("Norm" in kind for kind in kinds(paper.branch)) == 0
    assert kinds(paper.branch).count("ReLU") == 1
    assert paper.branch.temporal_conv.weight.shape == (1, CLASSES, 1, 3, 3)
    assert kinds(official.mixer) == ["Conv3d", "BatchNorm3d", "ReLU"]
    assert kinds(paper.mixer) == ["Conv3d", "Identity", "Identity"]
    with torch.device("meta"):
        sizes = {
            name: sum(
                p.numel() for p in build_model(name, "st-abn", frames=32, classes=174, att_head="gap3d").parameters()
            )
            for name in ("slow-r50", "slow-r101")
        }
    assert {name: round(size / 1e6, 3) for name, size in sizes.items()} == {"slow-r50": 54.697, "slow-r101": 82.602}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_alone_changes_the_network(option: str) -> None:
    """Same start, trained norms' statistics as they are: another choice gives other logits or attention logits."""
    other = VARIANTS["paper"][option]
    clips, labels = some_clips(), torch.tensor([0, 1])
    losses = []
    for options in ({}, {option: other}):
        model = network(dropout=0, **options)
        gen = torch.Generator().manual_seed(5)
        for parameter in model.parameters():
            parameter.data = torch.randn(parameter.shape, generator=gen, dtype=torch.float64) * 0.3
            gen.manual_seed(parameter.numel())
        losses.append(float(model.train().loss(clips, labels, nn.functional.cross_entropy)[0].detach()))
    assert losses[0] != pytest.approx(losses[1], abs=1e-9)


def test_taps_show_and_change_what_is_applied() -> None:
    model, clips = network(), some_clips()
    taps = {tap.what: tap for tap in taps_of(model).values()}
    assert {what: tap.axes for what, tap in taps.items()} == {"spatial": ("N", "T", "H", "W"), "temporal": ("N", "T")}
    inverted, applied = attend(model, clips, invert=("spatial", "temporal"))
    hooks = [tap.register_forward_hook(lambda module, inputs, output: 1 - output) for tap in taps.values()]
    logits, attention = attend(model, clips)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(logits, inverted, rtol=0, atol=0)
    for name in taps:
        torch.testing.assert_close(attention[name], applied[name], rtol=0, atol=0)


def test_channels_last_changes_the_layout_and_not_the_network() -> None:
    model, clips = network(), some_clips()
    logits, attention = attend(model, clips)
    to_channels_last(model)
    again, attention_again = attend(model, clips)
    torch.testing.assert_close(again, logits, rtol=0, atol=1e-10)
    torch.testing.assert_close(attention_again["spatial"], attention["spatial"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", ["official", "paper"])
def test_settings_can_be_checked_without_building(variant: str) -> None:
    before = torch.get_rng_state()  # whatever is built draws its start from here
    check_config(ModelConfig.model_validate({"backbone": "slow-r50", "mechanism": "st-abn", "variant": variant}))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("frames", [1, 3])
def test_any_number_of_frames_will_do(variant: str, frames: int) -> None:
    model = network(frames=frames, variant=variant).train()
    loss, logits = model.loss(some_clips(frames=frames), torch.tensor([0, 2]), nn.functional.cross_entropy)
    assert logits.shape == (2, CLASSES)
    loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_both_classifiers_can_be_asked() -> None:
    model, clips = network(), some_clips()
    logits, attention = attend(model, clips)
    with torch.no_grad():
        asked = model.all_logits(clips)
    assert torch.equal(asked["total"], logits)
    assert torch.equal(asked["attention"], attention["attention_logits"])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_run(toy: Manifest, toy_config: RunConfig, tmp_path: Path, checkpointing: bool) -> None:
    settings = toy_config.model_dump()
    settings["model"] |= {"backbone": "slow-micro", "mechanism": "st-abn"}
    settings["model"]["backbone_options"] = {"width": 4, "checkpointing": checkpointing}
    settings["train"] |= {"epochs": 1, "channels_last": True}
    trainer = Trainer(RunConfig.model_validate(settings), toy, 0, tmp_path, device=torch.device("cpu"))
    before = {name: parameter.clone() for name, parameter in trainer.model.named_parameters()}
    state = trainer.run()
    assert state.last is not None
    classes = len(toy.classes)
    assert state.history[0]["loss"] > 1.3 * math.log(classes)  # two losses, each of log(classes) at the start
    assert all(not torch.equal(before[name], parameter) for name, parameter in trainer.model.named_parameters())


def test_a_network_is_neither_a_module_nor_for_every_backbone() -> None:
    with pytest.raises(ModelError, match="whole network"):
        build_mechanism("st-abn", 64, 8)
    with pytest.raises(ModelError, match="mechanism 'st-abn' needs another backbone"):
        build_model("resnet50", "st-abn", frames=8, classes=5)
    with pytest.raises(UnknownNameError, match="did you mean 'att_head'"):
        build_model("slow-r50", "st-abn", frames=8, classes=5, att_haed="fc")
