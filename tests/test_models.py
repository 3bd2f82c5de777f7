"""Tests of pruning_core.models: sizes, gates, and that all of it can be trained and pruned."""

import pytest
import torch
import torch.nn.functional as F

from pruning_core.gates import BernoulliGate, InputGate, named_gates
from pruning_core.metrics import architecture, count_macs, count_weights, weighted_layers
from pruning_core.models import (
    INITIALISATIONS,
    MODELS,
    build_model,
    initialise_,
    lenet_5,
    lenet_300_100,
)

IMAGES = torch.rand(3, 1, 28, 28)


def test_lenet_300_100_has_its_published_parameters() -> None:
    model = lenet_300_100(gated=False)
    assert sum(p.numel() for p in model.parameters()) == 266_610
    shapes = [tuple(p.shape) for p in model.parameters() if p.dim() > 1]
    assert shapes == [(300, 784), (100, 300), (10, 100)]


def test_lenet_5_has_caffes_parameters() -> None:
    model = lenet_5(gated=False)
    assert sum(p.numel() for p in model.parameters()) == 431_080
    shapes = [tuple(p.shape) for p in model.parameters() if p.dim() > 1]
    assert shapes == [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)]


@pytest.mark.parametrize(
    ("name", "options", "gates"),
    [
        ("lenet-300-100", {}, {"gate1": 300, "gate2": 100}),
        ("lenet-300-100", {"gate_inputs": True}, {"gate0": 784, "gate1": 300, "gate2": 100}),
        ("lenet-5", {}, {"gate1": 20, "gate2": 50, "gate3": 500}),
        (
            "lenet-5",
            {"gate_features": True},
            {"gate1": 20, "gate2": 50, "gate_features": 800, "gate3": 500},
        ),
    ],
)
def test_gates_stand_where_units_can_be_pruned(
    name: str, options: dict[str, bool], gates: dict[str, int]
) -> None:
    model = build_model(name, theta=0.7, **options)
    found = named_gates(model)
    assert {key: gate.num_units for key, gate in found.items()} == gates
    for key, gate in found.items():
        assert isinstance(gate, InputGate) == (key in ("gate0", "gate_features"))
        assert gate.theta.tolist() == pytest.approx([0.7] * gate.num_units)
    F.cross_entropy(model(IMAGES), torch.arange(3)).backward()
    assert all(gate.theta.grad is not None for gate in found.values())


@pytest.mark.parametrize("name", list(MODELS))
def test_open_gates_change_nothing(name: str) -> None:
    torch.manual_seed(0)
    gated = build_model(name, theta=1.0).eval()
    plain = build_model(name, gated=False).eval()
    assert not any(isinstance(module, BernoulliGate) for module in plain.modules())
    plain.load_state_dict(dict(gated.named_parameters()))
    assert torch.equal(gated(IMAGES), plain(IMAGES))


@pytest.mark.parametrize("name", list(MODELS))
def test_the_number_of_classes_is_that_of_the_data(name: str) -> None:
    assert build_model(name, num_classes=7)(IMAGES).shape == (3, 7)


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("lenet-300-100", ()),
        ("lenet-300-100", (7, 5)),
        ("lenet-5", ()),
        ("lenet-5", (3, 4, 9)),
        ("residual-perceptron", ()),
        ("residual-perceptron", (7, 5)),
        ("residual-cnn", ()),
        ("residual-cnn", (3, 4)),
        ("lenet-5-skip", ()),
        ("lenet-5-skip", (3, 4, 9)),
    ],
)
@pytest.mark.parametrize("num_classes", [10, 7])
def test_what_is_known_of_a_model_is_what_is_counted_of_it(
    name: str, hidden: tuple[int, ...], num_classes: int
) -> None:
    known = MODELS[name]
    options = known.options(hidden or known.hidden)
    if known.sections:
        options["sections"] = 3
    model = known.build(gated=False, num_classes=num_classes, **options)
    units, example = known.dense(hidden, 3), torch.zeros(1, *known.image)
    assert list(units) == known.read(model, 3)
    if not known.has_sections:
        assert list(units) == architecture(model)
    names = known.names(units)
    assert len(set(names)) == len(names) == len(units)
    assert known.count_weights(units, num_classes) == count_weights(model)
    assert known.count_macs(units, num_classes) == count_macs(model, example)
    if known.gate_option is None:
        return
    gated = known.build(**{known.gate_option: True})
    assert len(named_gates(gated)) == len(named_gates(known.build())) + 1


def test_a_gate_behind_the_pooling_acts_as_one_before_it() -> None:
    torch.manual_seed(0)
    maps, multiplier = torch.randn(2, 4, 6, 6), torch.tensor([0.0, 0.3, 1.0, 0.8]).view(1, 4, 1, 1)
    behind = multiplier * F.relu(F.max_pool2d(maps, 2))
    before = F.relu(F.max_pool2d(multiplier * maps, 2))
    torch.testing.assert_close(behind, before)


def test_an_unknown_model_is_named_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match="unknown model 'vgg'; expected one of lenet-300-100, len"):
        build_model("vgg")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_weights_are_drawn_alike_in_every_memory_format(name: str, initialisation: str) -> None:
    drawn = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = build_model(name, gated=False).to(memory_format=memory_format)
        initialise_(model, initialisation, 2.0)
        drawn.append([layer.weight.detach() for layer in weighted_layers(model)])
    torch.testing.assert_close(*drawn, rtol=0, atol=0)
    if initialisation == "orthogonal":
        for weight in drawn[1]:
            rows = weight.flatten(1)
            gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
            torch.testing.assert_close(gram, 4 * torch.eye(len(gram)), atol=1e-3, rtol=0)
