"""Tests of pruning_core.layers: sections leave exactly, with all that trains them, or stay."""

import copy
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.checkpoints import load_checkpoint, save_checkpoint
from pruning_core.compaction import compact_
from pruning_core.export import export, load_model, remove_gates_, save_model
from pruning_core.gates import BernoulliGate, any_gates, named_gates
from pruning_core.halo import Halo
from pruning_core.insertion import insert_gates_
from pruning_core.layers import (
    LayerGate,
    SectionGate,
    inside_sections,
    layer_gates,
    residual,
    sections_of,
)
from pruning_core.removal import CompactionError
from pruning_core.resizing import ModelFileError

OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3),
    "Adam fused": lambda p: torch.optim.Adam(p, 1e-3, weight_decay=1e-3, fused=True),
    "AdamW foreach": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1, foreach=True),
}


def section(width: int = 12, inner: int = 8, *, units: bool = False) -> nn.Sequential:
    gate = [BernoulliGate(inner)] if units else []
    layers = [nn.Linear(width, inner), nn.ReLU(), *gate, nn.Linear(inner, width)]
    return nn.Sequential(*layers)


def in_a_sequential() -> nn.Module:
    sections = nn.Sequential(*(LayerGate(section()) for _ in range(4)))
    return nn.Sequential(nn.Linear(6, 12), sections, nn.Linear(12, 5))


def with_unit_gates() -> nn.Module:
    sections = nn.Sequential(*(LayerGate(section(units=True)) for _ in range(4)))
    return nn.Sequential(nn.Linear(6, 12), sections, nn.Linear(12, 5))


class Listed(nn.Module):
    """Sections in a ModuleList, each called by name in a loop, with a scale between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 12)
        self.blocks = nn.ModuleList(LayerGate(section(), theta=0.8) for _ in range(4))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            x = block(x) * (1 + index / 10)
        return self.head(x)


class Nested(nn.Module):
    """A section inside a section, and one inside a path."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), LayerGate(section(units=True)))
        self.outer = LayerGate(inner, nn.Sequential(nn.Linear(12, 12), LayerGate(section())))
        self.stem = nn.Linear(6, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.stem(x))


class Twice(nn.Module):
    """One section that is called at two depths, and one of whose layers a second one shares."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 12)
        self.a = LayerGate(section())
        shared = section()
        self.b, self.c = LayerGate(shared), LayerGate(nn.Sequential(shared[0], nn.Linear(8, 12)))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(self.a(self.stem(x)))))


class Stream(nn.Module):
    """Gates on the units of the residual stream, one on every branch of it, beside those inside."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate = nn.Linear(6, 12), BernoulliGate(12)
        self.blocks = nn.ModuleList(
            LayerGate(nn.Sequential(*section(units=True), BernoulliGate(12))) for _ in range(2)
        )
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.gate(torch.relu(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def projected() -> nn.Module:
    narrow = nn.Sequential(nn.Linear(12, 9), nn.Tanh(), nn.BatchNorm1d(9), nn.Linear(9, 7))
    return nn.Sequential(
        nn.Linear(6, 12),
        LayerGate(narrow, nn.Linear(12, 7, bias=False)),
        LayerGate(section(7), nn.Sequential(nn.Linear(7, 7))),
        nn.Linear(7, 5),
    )


def convolutional() -> nn.Module:
    """A stranger's: batch norms, a stride, and unit gates inside."""

    def block(inputs: int, outputs: int, stride: int = 1) -> LayerGate:
        path = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else None
        inside = nn.Sequential(
            nn.Conv2d(inputs, 6, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            BernoulliGate(6),
            nn.Conv2d(6, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
        )
        return LayerGate(inside, path)

    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        block(4, 4),
        block(4, 8, 2),
        nn.ReLU(),
        block(8, 8),
        nn.Flatten(),
        nn.Linear(128, 5),
    )


def tokens() -> nn.Module:
    inside = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6))
    return nn.Sequential(nn.Linear(6, 6), LayerGate(inside), LayerGate(section(6)))


VECTORS, IMAGES, TOKENS = (16, 6), (8, 1, 9, 9), (16, 4, 6)

EXACT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, list[int]]]] = {
    "in a Sequential": (in_a_sequential, VECTORS, {"1.1.gate": [0], "1.3.gate": [0]}),
    "all of them": (in_a_sequential, VECTORS, {f"1.{i}.gate": [0] for i in range(4)}),
    "in a ModuleList": (Listed, VECTORS, {"blocks.0.gate": [0], "blocks.3.gate": [0]}),
    "beside a projected path": (projected, VECTORS, {"1.gate": [0]}),
    "called twice, or shared": (Twice, VECTORS, {"a.gate": [0], "b.gate": [0]}),
    "all inside of one": (Nested, VECTORS, {"outer.gate": [0]}),
    "a section inside a section": (Nested, VECTORS, {"outer.section.2.gate": [0]}),
    "a section in a path": (Nested, VECTORS, {"outer.path.1.gate": [0], "outer.gate": [0]}),
    "with units inside, and of others": (
        with_unit_gates,
        VECTORS,
        {"1.0.gate": [0], "1.0.section.2": [*range(8)], "1.1.section.2": [1, 2, 7]},
    ),
    "with units of the stream": (
        Stream,
        VECTORS,
        {
            "gate": [1, 4],
            "blocks.0.gate": [0],
            "blocks.1.section.4": [1, 3, 4],
            "blocks.1.section.2": [0, 2],
        },
    ),
    "units alone, beside the gates of sections": (
        Stream,
        VECTORS,
        {"gate": [1, 4], "blocks.0.section.4": [1, 4], "blocks.1.section.4": [1, 3, 4]},
    ),
    "with convolutions and batch norms": (
        convolutional,
        IMAGES,
        {"2.gate": [0], "4.section.3": [1, 5], "1.section.3": [0]},
    ),
    "of tokens": (tokens, TOKENS, {"1.gate": [0]}),
}


def loss_of(model: nn.Module, x: Tensor, held: Mapping[str, Tensor]) -> Tensor:
    with ExitStack() as stack:
        for name, gate in any_gates(model).items():
            stack.enter_context(gate.hold(held[name]))
        return model(x).square().mean()


class Pair:
    """A masked model, and one without its closed sections and units."""

    def __init__(self, what: str, optimizer: str) -> None:
        torch.manual_seed(0)
        build, shape, closed = EXACT[what]
        self.x = torch.randn(shape).double()
        self.masked = build().double().train()
        self.by = OPTIMIZERS[optimizer](list(self.masked.parameters()))
        sizes = {name: gate.num_units for name, gate in named_gates(self.masked).items()}
        self.sizes = sizes
        self.dead = {
            n: torch.isin(torch.arange(sizes[n]), torch.tensor(u)) for n, u in closed.items()
        }
        for _ in range(3):
            self.step(self.masked, self.by, self.draws())
        self.small, self.other = copy.deepcopy((self.masked, self.by))

    def draws(self) -> dict[str, Tensor]:
        return {name: torch.rand(len(self.x), n).double() for name, n in self.sizes.items()}

    def closed(self, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: d * ~self.dead[n] if n in self.dead else d for n, d in draws.items()}

    def left(self, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: draws[n][:, gate.unit_index] for n, gate in any_gates(self.small).items()}

    def step(
        self, model: nn.Module, by: torch.optim.Optimizer, held: Mapping[str, Tensor]
    ) -> Tensor:
        loss = loss_of(model.train(), self.x, held)
        by.zero_grad()
        loss.backward()
        by.step()
        return loss.detach()

    def outputs(self, training: bool) -> tuple[Tensor, Tensor]:
        draws = self.closed(self.draws())
        return (
            loss_of(self.masked.train(training), self.x, draws),
            loss_of(self.small.train(training), self.x, self.left(draws)),
        )


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("what", list(EXACT))
def test_the_trajectory_without_sections_is_that_with_them_closed(
    what: str, optimizer: str
) -> None:
    pair = Pair(what, optimizer)
    before = {n: id(p) for n, p in pair.small.named_parameters(remove_duplicate=False)}
    removed = compact_(pair.small, pair.dead, pair.x, pair.other)
    closed = [n for n, g in named_gates(pair.masked).items() if isinstance(g, SectionGate)]
    gone = set(closed) - set(any_gates(pair.small))
    assert gone >= {name for name in closed if name in pair.dead}
    assert removed > 0
    assert all(before[name] == id(p) for name, p in pair.small.named_parameters())
    for training in (False, True):
        expected, found = pair.outputs(training)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    for _ in range(5):
        draws = pair.closed(pair.draws())
        expected = pair.step(pair.masked, pair.by, draws)
        found = pair.step(pair.small, pair.other, pair.left(draws))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    kept = dict(pair.small.named_parameters())
    there = dict(pair.masked.named_parameters(remove_duplicate=False))
    whole = [name for name in kept if kept[name].shape == there[name].shape]
    assert whole
    for name in whole:
        torch.testing.assert_close(kept[name], there[name], rtol=1e-8, atol=1e-11)
    held = {p for group in pair.other.param_groups for p in group["params"]}
    assert held == set(pair.small.parameters())
    assert set(pair.other.state) <= held


def test_a_layer_gate_adds_its_section_where_the_gate_is_open() -> None:
    torch.manual_seed(0)
    inside, path, x = section(), nn.Linear(12, 12), torch.randn(64, 12)
    layer = LayerGate(inside, path).eval()
    (gate,) = named_gates(layer).values()
    assert torch.equal(layer(x), path(x) + inside(x))
    gate.theta.data.fill_(0.4)
    assert torch.equal(layer(x), path(x))
    layer.train()
    with gate.hold(torch.arange(64.0).view(64, 1) % 2):
        torch.testing.assert_close(layer(x)[::2], path(x)[::2])
        torch.testing.assert_close(layer(x)[1::2], (path(x) + inside(x))[1::2])


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (5, 3, 4, 4), (5, 2, 3, 4, 4)])
def test_one_variable_multiplies_all_of_an_example(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    gate = SectionGate(theta=0.5)
    drawn = gate(torch.ones(shape)).detach().flatten(1)
    assert torch.equal(drawn, drawn[:, :1].expand_as(drawn))
    gate(torch.ones(shape)).sum().backward()
    assert gate.theta.grad is not None
    assert gate.theta.grad.shape == (1,)


def test_the_derivative_is_the_difference_that_the_section_makes() -> None:
    """E[L | ξ = 1] − E[L | ξ = 0], on average over many draws."""
    torch.manual_seed(0)
    inside, x = section(3).double(), torch.randn(1, 3).double()
    layer = LayerGate(inside, theta=0.5)
    with torch.no_grad():
        difference = (x + inside(x)).square().sum() - x.square().sum()
    draws = 40_000
    (layer(x.expand(draws, 3)).square().sum() / draws).backward()
    (gate,) = named_gates(layer).values()
    assert gate.theta.grad is not None
    assert float(gate.theta.grad) == pytest.approx(float(difference), rel=0.05)


@pytest.mark.parametrize("shape", [(), (4,)])
def test_a_section_without_a_batch_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"multiplies \(N, …\)"):
        SectionGate()(torch.ones(shape))


def test_other_shapes_beside_each_other_are_named() -> None:
    layer = LayerGate(nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"returns shape \(2, 3\), and the path beside it \(2, 4"):
        layer(torch.ones(2, 4))
    with pytest.raises(ValueError, match="the section ReLU has no parameters"):
        LayerGate(nn.ReLU())


def test_gates_of_sections_are_named_with_what_they_close() -> None:
    model = Nested()
    assert sections_of(model) == {
        "outer.gate": "outer.section",
        "outer.section.2.gate": "outer.section.2.section",
        "outer.path.1.gate": "outer.path.1.section",
    }
    assert inside_sections(model, named_gates(model)) == {
        "outer.section.2.gate",
        "outer.section.2.section.2",
    }
    assert sections_of(model.outer)["gate"] == "section"


def test_a_section_alone_leaves_a_model_that_is_its_layer() -> None:
    torch.manual_seed(0)
    model, x = LayerGate(section(6)), torch.randn(*VECTORS)
    compact_(model, {"gate": torch.tensor([True])}, x)
    assert torch.equal(model(x), x)
    assert list(model.parameters()) == []
    assert isinstance(export(model), nn.Identity)


def test_the_plain_sum_is_made_of_torch_alone() -> None:
    torch.manual_seed(0)
    inside, path, x = section(), nn.Linear(12, 12), torch.randn(4, 12)
    assert torch.equal(residual(inside)(x), x + inside(x))
    both = residual(inside, path)
    assert torch.equal(both(x), path(x) + inside(x))
    assert all(not type(m).__module__.startswith("pruning_core") for m in both.modules())
    # As LayerGate has them, so that an optimizer's state fits when training is resumed.
    names = [name for name, _ in LayerGate(section(), nn.Linear(12, 12)).named_parameters()]
    assert [name for name, _ in both.named_parameters()] == names


# --- what trains the network


def trained(model: nn.Module, x: Tensor) -> tuple[BernoulliPruner, Tensor]:
    pruner = BernoulliPruner(model, 50.0, 1000, theta_step=0.1, smoothing=0.0)
    return pruner, torch.randint(5, (len(x),))


def train(
    model: nn.Module,
    pruner: BernoulliPruner,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
) -> None:
    model.train()
    loss = F.cross_entropy(model(x), y) + pruner.penalty()
    optimizer.zero_grad()
    pruner.zero_grad()
    loss.backward()
    optimizer.step()
    pruner.step()


@torch.no_grad()
def close_(pruner: BernoulliPruner, *names: str) -> None:
    for name in names:
        gate = pruner.gates[name]
        gate.theta.zero_()
        gate.theta_average.zero_()
        gate.gradient_average.fill_(50 / 1000)  # the price alone: it is worth nothing


def test_the_pruner_forgets_the_gates_that_left_and_moves_the_others() -> None:
    torch.manual_seed(0)
    model, x = with_unit_gates(), torch.randn(*VECTORS)
    optimizer = torch.optim.Adam(model.parameters())
    pruner, y = trained(model, x)
    schedule = torch.optim.lr_scheduler.StepLR(pruner, 1)
    train(model, pruner, optimizer, x, y)
    close_(pruner, "1.2.gate")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pruner.compact_(optimizer) == 1
    assert set(pruner.gates) == set(named_gates(model)) == set(pruner.hyper_priors)
    assert "1.2.gate" not in pruner.gates
    assert "1.2.section.2" not in pruner.gates
    groups = {group["name"]: len(group["params"]) for group in pruner.param_groups}
    assert groups["1.2.gate"] == groups["1.2.section.2"] == 0
    assert groups["1.1.gate"] == 1
    before = {name: gate.theta.clone() for name, gate in pruner.gates.items()}
    train(model, pruner, optimizer, x, y)
    schedule.step()
    assert any(not torch.equal(before[n], g.theta) for n, g in pruner.gates.items())
    assert set(pruner.worth()) == set(pruner.dead_units()) == set(pruner.undecided())


def test_the_last_unit_inside_a_section_stays_without_a_word() -> None:
    """The section's own gate decides about the rest; outside of sections a gate warns."""
    torch.manual_seed(0)
    model = nn.Sequential(with_unit_gates(), nn.Tanh(), BernoulliGate(5), nn.Linear(5, 5))
    x = torch.randn(*VECTORS)
    optimizer = torch.optim.Adam(model.parameters())
    pruner, y = trained(model, x)
    train(model, pruner, optimizer, x, y)
    close_(pruner, "0.1.1.section.2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruner.compact_(optimizer)
    assert pruner.gates["0.1.1.section.2"].num_units == 1
    close_(pruner, "2")
    with pytest.warns(UserWarning, match="the last units of gate '2' are about to leave"):
        pruner.compact_(optimizer)


def test_settling_closes_sections_and_all_of_them_may_leave() -> None:
    torch.manual_seed(0)
    model, x = in_a_sequential(), torch.randn(*VECTORS)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    pruner, y = trained(model, x)
    train(model, pruner, optimizer, x, y)
    close_(pruner, *pruner.gates)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pruner.settle_(optimizer) == 4
    assert pruner.gates == {}
    assert pruner.is_settled
    assert float(pruner.penalty()) == 0
    for _ in range(2):
        train(model, pruner, optimizer, x, y)
        assert pruner.compact_(optimizer) == 0
    assert len(list(export(model).parameters())) == 2  # merged to one layer


def test_several_optimizers_forget_their_part_and_empty_groups_stay() -> None:
    torch.manual_seed(0)
    model, x = in_a_sequential(), torch.randn(*VECTORS)
    weights = [p for p in model.parameters() if p.dim() > 1]
    of_section = [p for p in model.get_submodule("1.2").parameters() if p.dim() == 1]
    rest = [p for p in model.parameters() if p.dim() == 1 and p not in set(of_section)]
    first = torch.optim.Adam(weights, fused=True)
    second = torch.optim.SGD([{"params": of_section}, {"params": rest}], 0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(second, 1, gamma=0.5)

    def step() -> None:
        model(x).square().mean().backward()
        for optimizer in (first, second):
            optimizer.step()
            optimizer.zero_grad()
        schedule.step()

    step()
    compact_(model, {"1.2.gate": torch.tensor([True])}, x, [first, second])
    assert [len(group["params"]) for group in second.param_groups] == [0, len(rest)]
    assert len(first.param_groups[0]["params"]) == len(weights) - 2
    step()
    assert {p for o in (first, second) for p in o.state} == set(model.parameters())


def test_an_optimizer_that_was_forgotten_says_so() -> None:
    torch.manual_seed(0)
    model, x = in_a_sequential(), torch.randn(*VECTORS)
    optimizer = torch.optim.Adam(model.parameters())
    model(x).square().mean().backward()
    optimizer.step()
    compact_(model, {"1.2.gate": torch.tensor([True])}, x)
    model(x).square().mean().backward()
    with pytest.raises(CompactionError, match="has left the model with its section; hand this"):
        optimizer.step()


def test_averages_of_the_model_lose_the_section_too() -> None:
    torch.manual_seed(0)
    model, x = with_unit_gates(), torch.randn(*VECTORS)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    dead = {"1.0.gate": torch.tensor([True]), "1.1.section.2": torch.arange(8) < 3}
    compact_(model, dead, x, copies=[average])
    assert "1.0" not in layer_gates(average.module)
    average.update_parameters(model)
    assert average(x).shape == (16, 5)
    with pytest.raises(CompactionError, match=r"'1\.1' has no section in a copy"):
        compact_(model, {"1.1.gate": torch.tensor([True])}, x, copies=[nn.Linear(2, 2)])
    assert "1.1" in layer_gates(model)


def test_halos_coefficients_leave_with_the_section() -> None:
    torch.manual_seed(0)
    model, x = in_a_sequential(), torch.randn(*VECTORS)
    halo = Halo(model, 1e-4, 1e-3, biases=True)
    optimizer = torch.optim.SGD([*model.parameters(), *halo.parameters()], 0.1, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        (model(x).square().mean() + halo()).backward()
        optimizer.step()

    step()
    named = dict(
        zip(halo._names, halo.coefficients.split([w.numel() for w in halo.weights]), strict=True)
    )
    kept = torch.cat([v.detach().clone() for n, v in named.items() if not n.startswith("1.2.")])
    compact_(model, {"1.2.gate": torch.tensor([True])}, x, optimizer)
    assert torch.equal(halo.coefficients.detach(), kept)
    assert sum(w.numel() for w in halo.weights) == len(kept)
    step()
    other = in_a_sequential()
    forgotten = Halo(other, 1e-4, 1e-3)
    compact_(other, {"1.2.gate": torch.tensor([True])}, x)
    with pytest.raises(RuntimeError, match=r"give compact_ the optimizer that holds halo\.coeff"):
        forgotten()


# --- refused


class CalledDirectly(Listed):
    """Somebody reads the section beside its gate."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.get_submodule("blocks.2.section")(self.stem(x)).mean()


class OneStateForAll(torch.optim.Optimizer):
    """As LBFGS: what it remembers of all parameters is kept with the first."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {})
        self.state[parameters[0]]["direction"] = torch.ones(sum(p.numel() for p in parameters))


def refused(model: nn.Module, optimizer: torch.optim.Optimizer, gate: str, message: str) -> None:
    x = torch.randn(*VECTORS)
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    modules = list(model.modules())
    generator = torch.get_rng_state()
    with pytest.raises(CompactionError, match=message) as caught:
        compact_(model, {gate: torch.tensor([True])}, x, optimizer)
    assert "\n" not in str(caught.value)
    assert torch.equal(torch.get_rng_state(), generator)
    assert list(model.modules()) == modules
    assert [id(p) for group in optimizer.param_groups for p in group["params"]] == held
    after = (model.state_dict(), optimizer.state_dict())
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_a_section_that_is_read_beside_its_gate_stays() -> None:
    torch.manual_seed(0)
    model = CalledDirectly()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    refused(model, optimizer, "blocks.2.gate", "without the closed section of gate 'blocks.2.gate'")


def test_a_state_of_all_parameters_together_is_refused() -> None:
    torch.manual_seed(0)
    model = in_a_sequential()
    optimizer = OneStateForAll(list(model.parameters()))
    refused(model, optimizer, "1.2.gate", "the state 'direction' of OneStateForAll cannot be")


def test_a_sections_gate_without_a_section_is_refused() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), SectionGate(), nn.Linear(5, 5))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    refused(model, optimizer, "1", "gate '1' is closed, but no LayerGate has it")


# --- files


def shallow(units: bool = False) -> tuple[nn.Module, torch.optim.Optimizer, BernoulliPruner]:
    torch.manual_seed(0)
    model = with_unit_gates() if units else in_a_sequential()
    optimizer = torch.optim.Adam([{"params": list(model.parameters())}], fused=True)
    pruner = BernoulliPruner(model, 50.0, 1000, theta_step=0.1)
    return model, optimizer, pruner


@pytest.mark.parametrize("units", [False, True])
def test_a_checkpoint_goes_on_to_the_bit_after_a_section_has_left(
    units: bool, tmp_path: Path
) -> None:
    model, optimizer, pruner = shallow(units)
    x, y = torch.randn(*VECTORS), torch.randint(5, (16,))
    train(model, pruner, optimizer, x, y)
    close_(pruner, "1.0.gate", "1.2.gate")
    assert pruner.compact_(optimizer) == 2
    train(model, pruner, optimizer, x, y)
    save_checkpoint(tmp_path / "run.safetensors", model, optimizer, pruner)
    resumed = shallow(units)
    load_checkpoint(tmp_path / "run.safetensors", *resumed)
    other, by, other_pruner = resumed
    assert set(other_pruner.gates) == set(pruner.gates)
    state = torch.get_rng_state()
    for one in ((model, pruner, optimizer), (other, other_pruner, by)):
        torch.set_rng_state(state)
        for _ in range(3):
            train(*one, x, y)
    torch.testing.assert_close(other.state_dict(), model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(by.state_dict(), optimizer.state_dict(), rtol=0, atol=0)


def test_a_checkpoint_of_another_network_changes_nothing(tmp_path: Path) -> None:
    model, optimizer, _ = shallow()
    compact_(model, {"1.0.gate": torch.tensor([True])}, torch.randn(*VECTORS), optimizer)
    save_checkpoint(tmp_path / "run.safetensors", model, optimizer)
    other = nn.Sequential(nn.Linear(6, 12), nn.Sequential(LayerGate(section())), nn.Linear(12, 5))
    by = torch.optim.Adam([{"params": list(other.parameters())}], fused=True)
    with pytest.raises(ModelFileError, match="the saved model is another one"):
        load_checkpoint(tmp_path / "run.safetensors", other, by)
    assert layer_gates(other)
    assert len(by.param_groups[0]["params"]) == len(list(other.parameters()))


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("what", list(EXACT))
def test_the_exported_network_computes_the_same_and_comes_back(
    what: str, compacted: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    build, shape, closed = EXACT[what]
    model, x = build().double().eval(), torch.randn(shape).double()
    dead = {}
    for name, gate in named_gates(model).items():
        dead[name] = torch.isin(torch.arange(gate.num_units), torch.tensor(closed.get(name, [])))
        gate.theta.data.copy_(~dead[name])
    if compacted:
        compact_(model, dead, x)
    expected = model(x)
    plain = export(model)
    assert not [m for m in plain.modules() if isinstance(m, BernoulliGate | LayerGate)]
    torch.testing.assert_close(plain(x), expected, rtol=1e-12, atol=1e-12)
    save_model(plain, tmp_path)
    loaded = load_model(tmp_path, build().double())
    torch.testing.assert_close(loaded(x), plain(x), rtol=0, atol=0)
    remove_gates_(model)
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


def test_unit_gates_can_be_inserted_beside_those_of_sections() -> None:
    torch.manual_seed(0)
    model, x = in_a_sequential(), torch.randn(*VECTORS)
    places = insert_gates_(model, x)
    assert len(places) == 4
    model.double().eval()
    x = x.double()
    dead = {p.gate: torch.arange(p.units) < 3 for p in places}
    dead["1.0.gate"] = torch.tensor([True])
    for name, gate in named_gates(model).items():
        gate.theta.data.copy_(~dead.get(name, torch.tensor([False])))
    expected = model(x)
    assert compact_(model, dead, x) == 3 * 3 + 1
    torch.testing.assert_close(model(x), expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(export(model)(x), expected, rtol=1e-11, atol=1e-12)
