"""Tests of pruning_core.compaction: exact against masking, for the optimizer's state too."""

import copy
import io
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pruning_core.compaction import compact_
from pruning_core.experiments.data import Dataset
from pruning_core.gates import BernoulliGate, InputGate, named_gates
from pruning_core.halo import Halo
from pruning_core.models import lenet_5, lenet_300_100
from pruning_core.removal import CompactionError

Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
Keep = dict[str, tuple[Tensor | None, ...]]

OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3, foreach=True),
    "SGD nesterov": lambda p: torch.optim.SGD(p, 0.03, momentum=0.9, nesterov=True, foreach=False),
    "Adam": lambda p: torch.optim.Adam(p, 1e-3, foreach=False),
    "Adam fused": lambda p: torch.optim.Adam(p, 1e-3, weight_decay=1e-3, fused=True),
    "AdamW foreach": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1, foreach=True),
    "AdamW amsgrad": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1, amsgrad=True),
}


class Stranger(nn.Module):
    """What somebody else may have: batch norm, a gated residual addition, a depthwise filter."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 5, stride=2)
        self.stem_norm = nn.BatchNorm2d(8)
        self.stem_gate = BernoulliGate(8)
        self.down = nn.Conv2d(8, 6, 3, padding=1)
        self.down_norm = nn.BatchNorm2d(6)
        self.down_gate = BernoulliGate(6)
        self.up = nn.Conv2d(6, 8, 3, padding=1)
        self.up_norm = nn.BatchNorm2d(8)
        self.up_gate = BernoulliGate(8)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, groups=8, bias=False)
        self.pointwise = nn.Conv2d(8, 5, 1)
        self.slope = nn.PReLU(5)
        self.pointwise_gate = BernoulliGate(5)
        self.hidden = nn.Linear(5 * 5 * 5, 12)
        self.hidden_norm = nn.BatchNorm1d(12)
        self.hidden_gate = BernoulliGate(12)
        self.out = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        trunk = self.stem_gate(torch.relu(self.stem_norm(self.stem(x))))
        branch = self.down_gate(torch.relu(self.down_norm(self.down(trunk))))
        x = torch.relu(trunk + self.up_gate(self.up_norm(self.up(branch))))
        x = self.pointwise_gate(self.slope(self.pointwise(self.depthwise(x))))
        x = torch.relu(self.hidden_norm(self.hidden(x.flatten(1))))
        return self.out(self.hidden_gate(x))


def alive(size: int, *dead: int) -> Tensor:
    mask = torch.ones(size, dtype=torch.bool)
    mask[list(dead)] = False
    return mask


def blocks(mask: Tensor, size: int) -> Tensor:
    """The flattened features of the surviving feature maps."""
    return mask.repeat_interleave(size)


def lenet_300_100_case() -> tuple[nn.Module, dict[str, Tensor], Keep]:
    torch.manual_seed(0)
    model = lenet_300_100(gate_inputs=True)
    keep = {
        f"gate{i}": torch.rand(n) > p for i, n, p in ((0, 784, 0.6), (1, 300, 0.5), (2, 100, 0.4))
    }
    k0, k1, k2 = keep.values()
    slices: Keep = {
        "fc1.weight": (k1, k0),
        "fc1.bias": (k1,),
        "fc2.weight": (k2, k1),
        "fc2.bias": (k2,),
        "fc3.weight": (None, k2),
        "fc3.bias": (None,),
    }
    return model, keep, slices


def lenet_5_case() -> tuple[nn.Module, dict[str, Tensor], Keep]:
    torch.manual_seed(0)
    model = lenet_5((8, 12), 40, gate_features=True)
    keep = {
        "gate1": alive(8, 1, 5, 6),
        "gate2": alive(12, 0, 3, 4, 11),
        "gate_features": torch.rand(192) > 0.5,
        "gate3": torch.rand(40) > 0.5,
    }
    fed = keep["gate_features"] & blocks(keep["gate2"], 16)
    slices: Keep = {
        "conv1.weight": (keep["gate1"],),
        "conv1.bias": (keep["gate1"],),
        "conv2.weight": (keep["gate2"], keep["gate1"]),
        "conv2.bias": (keep["gate2"],),
        "fc1.weight": (keep["gate3"], fed),
        "fc1.bias": (keep["gate3"],),
        "fc2.weight": (None, keep["gate3"]),
        "fc2.bias": (None,),
    }
    return model, keep, slices


def stranger_case() -> tuple[nn.Module, dict[str, Tensor], Keep]:
    torch.manual_seed(0)
    keep = {
        "stem_gate": alive(8, 0, 2, 3, 7),
        "down_gate": alive(6, 1, 4),
        "up_gate": alive(8, 0, 2, 5, 7),
        "pointwise_gate": alive(5, 2),
        "hidden_gate": alive(12, 0, 1, 2, 10),
    }
    trunk = keep["stem_gate"] | keep["up_gate"]  # a channel goes when both branches are closed
    down, point, hidden = (keep[f"{n}_gate"] for n in ("down", "pointwise", "hidden"))
    slices: Keep = {
        "stem.weight": (trunk,),
        "stem.bias": (trunk,),
        "down.weight": (down, trunk),
        "down.bias": (down,),
        "up.weight": (trunk, down),
        "up.bias": (trunk,),
        "depthwise.weight": (trunk,),
        "pointwise.weight": (point, trunk),
        "pointwise.bias": (point,),
        "slope.weight": (point,),
        "hidden.weight": (hidden, blocks(point, 25)),
        "hidden.bias": (hidden,),
        "out.weight": (None, hidden),
        "out.bias": (None,),
    }
    norms = {"stem_norm": trunk, "down_norm": down, "up_norm": trunk, "hidden_norm": hidden}
    for name, mask in norms.items():
        for key in ("weight", "bias", "running_mean", "running_var"):
            slices[f"{name}.{key}"] = (mask,)
        slices[f"{name}.num_batches_tracked"] = ()
    return Stranger(), keep, slices


CASES = {
    "LeNet-300-100": lenet_300_100_case,
    "LeNet-5": lenet_5_case,
    "stranger": stranger_case,
}


def sliced(tensor: Tensor, masks: tuple[Tensor | None, ...]) -> Tensor:
    for dim, mask in enumerate(masks):
        if mask is not None:
            tensor = tensor.index_select(dim, mask.nonzero().flatten())
    return tensor


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    held: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
) -> Tensor:
    model.train()
    with ExitStack() as stack:
        for name, gate in named_gates(model).items():
            stack.enter_context(gate.hold(held[name]))
        loss = F.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


class Pair:
    """A masked and a compacted model that see the same batches and the same draws."""

    def __init__(self, case: str, optimizer: Optimizer, mnist: Dataset, batch_size: int) -> None:
        model, self.keep, self.slices = CASES[case]()
        self.masked = model.double()
        self.optimizer = optimizer(list(model.parameters()))
        self.mnist, self.batch_size = mnist, batch_size
        self.sizes = {name: gate.num_units for name, gate in named_gates(model).items()}
        self.generator = torch.Generator().manual_seed(1)

    def batch(self) -> tuple[Tensor, Tensor]:
        index = torch.randint(60_000, (self.batch_size,), generator=self.generator)
        return self.mnist.train_images[index].double(), self.mnist.train_labels[index]

    def draws(self) -> dict[str, Tensor]:
        """A multiplier for every unit and example; mostly 0 or 1, some between."""
        draws = {}
        for name, size in self.sizes.items():
            uniform = torch.rand(self.batch_size, size, generator=self.generator).double()
            draws[name] = torch.where(uniform < 0.2, uniform * 5, (uniform < 0.9).double())
        return draws

    def warm_up(self, steps: int) -> None:
        for _ in range(steps):
            train_step(self.masked, self.optimizer, self.draws(), *self.batch())

    def compact(self, dead: Mapping[str, Tensor] | None = None) -> int:
        # One copy of both, so that the copied optimizer holds the copied parameters.
        self.compacted, self.other = copy.deepcopy((self.masked, self.optimizer))
        for new, old in zip(self.compacted.parameters(), self.masked.parameters(), strict=True):
            new.grad = None if old.grad is None else old.grad.clone()
        dead = {name: ~mask for name, mask in self.keep.items()} if dead is None else dead
        return compact_(self.compacted, dead, self.batch()[0], self.other)

    def step_both(self) -> None:
        images, labels = self.batch()
        draws = {name: values * self.keep[name] for name, values in self.draws().items()}
        gates = named_gates(self.compacted)
        left = {name: draws[name][:, gate.unit_index] for name, gate in gates.items()}
        loss = train_step(self.masked, self.optimizer, draws, images, labels)
        other = train_step(self.compacted, self.other, left, images, labels)
        torch.testing.assert_close(other, loss, rtol=1e-8, atol=1e-10)

    def expected(self) -> dict[str, Tensor]:
        state = self.masked.state_dict()
        return {name: sliced(state[name], masks) for name, masks in self.slices.items()}

    def found(self) -> dict[str, Tensor]:
        return {name: self.compacted.state_dict()[name] for name in self.slices}


@pytest.mark.parametrize(
    ("case", "optimizer", "batch_size"),
    [
        *[("LeNet-300-100", name, 16) for name in OPTIMIZERS],
        *[("LeNet-5", name, 8) for name in ("SGD", "Adam", "AdamW foreach")],
        *[("stranger", name, 8) for name in ("SGD", "Adam fused", "AdamW amsgrad")],
    ],
)
def test_the_trajectory_with_compaction_is_that_with_masks(
    case: str, optimizer: str, batch_size: int, mnist: Dataset
) -> None:
    pair = Pair(case, OPTIMIZERS[optimizer], mnist, batch_size)
    pair.warm_up(10)
    assert pair.compact() > 0
    for _ in range(60):
        pair.step_both()
    torch.testing.assert_close(pair.found(), pair.expected(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("case", list(CASES))
def test_weights_gradients_and_optimizer_state_are_exact_slices(
    case: str, optimizer: str, mnist: Dataset
) -> None:
    pair = Pair(case, OPTIMIZERS[optimizer], mnist, 4)
    pair.warm_up(3)
    pair.compact()
    before, after = dict(pair.masked.named_parameters()), dict(pair.compacted.named_parameters())
    for name, masks in pair.slices.items():
        assert torch.equal(pair.found()[name], pair.expected()[name]), name
        if name not in before:
            continue
        old, new = before[name], after[name]
        assert old.grad is not None
        assert new.grad is not None
        assert torch.equal(new.grad, sliced(old.grad, masks))
        states, others = pair.optimizer.state[old], pair.other.state[new]
        assert states.keys() == others.keys() != set()
        for key, state in states.items():
            expected = sliced(state, masks) if state.dim() else state
            assert torch.equal(others[key], expected), (name, key)
    held = [p for group in pair.other.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in pair.compacted.parameters()}
    assert len(pair.other.state) == len(held)


def test_layers_know_their_new_sizes(mnist: Dataset) -> None:
    pair = Pair("stranger", OPTIMIZERS["SGD"], mnist, 4)
    pair.warm_up(1)
    pair.compact()
    trunk = 5  # channels 2, 0 and 7 are closed on both branches
    layers = dict(pair.compacted.named_modules())
    sizes = {
        "stem": (1, trunk),
        "down": (trunk, 4),
        "up": (4, trunk),
        "depthwise": (trunk, trunk),
        "pointwise": (trunk, 4),
    }
    for name, size in sizes.items():
        layer = layers[name]
        assert isinstance(layer, nn.Conv2d)
        assert (layer.in_channels, layer.out_channels) == size
    assert layers["depthwise"].groups == trunk
    assert layers["stem_norm"].num_features == trunk
    hidden = layers["hidden"]
    assert isinstance(hidden, nn.Linear)
    assert (hidden.in_features, hidden.out_features) == (4 * 25, 8)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("case", ["LeNet-5", "stranger"])
def test_parameters_and_state_keep_their_memory_layout(
    case: str, layout: torch.memory_format, mnist: Dataset
) -> None:
    # Convolutions read their layout from the strides of the weights, the first one's with a
    # single input channel too: losing them there made the rest of training 1.4 times slower.
    model, keep, _ = CASES[case]()
    model.to(memory_format=layout)
    optimizer = OPTIMIZERS["Adam fused"](list(model.parameters()))
    images = mnist.train_images[:8]
    F.cross_entropy(model(images), mnist.train_labels[:8]).backward()
    optimizer.step()
    assert compact_(model, {name: ~mask for name, mask in keep.items()}, images, optimizer) > 0
    for name, parameter in model.named_parameters():
        fresh = torch.empty(
            parameter.shape,
            memory_format=layout if parameter.dim() == 4 else torch.contiguous_format,
        )
        assert parameter.stride() == fresh.stride(), name
        for state in optimizer.state[parameter].values():
            assert state.dim() == 0 or state.stride() == fresh.stride(), name


def test_a_second_compaction_continues_the_original_numbering(mnist: Dataset) -> None:
    torch.manual_seed(0)
    model = lenet_300_100((6, 5), gate_inputs=True)
    images = mnist.train_images[:8]
    outputs = model.eval()(images)
    gates = named_gates(model)
    for dead in ({"gate1": [0, 4]}, {"gate1": [1], "gate2": [4], "gate0": [3, 5]}, {"gate0": [0]}):
        masks = {name: ~alive(gates[name].num_units, *units) for name, units in dead.items()}
        compact_(model, masks, images)
    assert gates["gate1"].unit_index.tolist() == [1, 3, 5]
    assert gates["gate2"].unit_index.tolist() == [0, 1, 2, 3]
    expected = [i for i in range(784) if i not in (0, 3, 5)]
    assert gates["gate0"].unit_index.tolist() == expected
    assert isinstance(gates["gate0"], InputGate)
    assert gates["gate0"].selected.tolist() == expected
    assert model(images).shape == outputs.shape


def test_theta_and_its_averages_leave_with_their_unit() -> None:
    model = lenet_300_100((4, 3))
    gate = named_gates(model)["gate1"]
    gate.theta.data.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    gate.theta_average.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    gate.gradient_average.copy_(torch.tensor([5.0, 6.0, 7.0, 8.0]))
    compact_(model, {"gate1": ~alive(4, 1)}, torch.rand(2, 1, 28, 28))
    assert gate.theta.tolist() == pytest.approx([0.1, 0.3, 0.4])
    assert gate.theta_average.tolist() == [1, 3, 4]
    assert gate.gradient_average.tolist() == [5, 7, 8]
    assert gate.theta.is_leaf
    assert gate.theta.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_every_module_stays(training: bool) -> None:
    model = Stranger().train(training)
    model.hidden_norm.train(not training)
    modes = [module.training for module in model.modules()]
    compact_(model, {"hidden_gate": ~alive(12, 3)}, torch.rand(2, 1, 28, 28))
    assert [module.training for module in model.modules()] == modes


def test_a_closed_filter_starves_its_features(mnist: Dataset) -> None:
    torch.manual_seed(0)
    model = lenet_5((3, 4), 6, gate_features=True)
    features = named_gates(model)["gate_features"]
    dead_features = ~alive(64, 0, 17, 18, 63)
    removed = compact_(
        model,
        {"gate2": ~alive(4, 1), "gate_features": dead_features},
        mnist.train_images[:8],
    )
    assert removed == 1 + 16 + 2
    expected = [i for i in range(64) if i not in (0, 63) and not 16 <= i < 32]
    assert features.unit_index.tolist() == expected
    assert isinstance(features, InputGate)
    assert features.num_features == 48
    # feature i of filter f > 1 is found 16 places further left
    assert features.selected.tolist() == [i if i < 16 else i - 16 for i in expected]
    compact_(model, {"gate2": ~alive(3, 0)}, mnist.train_images[:8])
    assert features.unit_index.tolist() == [i for i in expected if i >= 32]
    assert features.selected.tolist() == [i - 32 for i in expected if i >= 32]


def test_starving_the_last_features_of_a_gate_is_an_error(mnist: Dataset) -> None:
    model = lenet_5((3, 2), 4, gate_features=True)
    dead = {"gate2": ~alive(2, 0), "gate_features": torch.arange(32) >= 16}
    with pytest.raises(CompactionError, match="gate 'gate_features' would lose its last unit"):
        compact_(model, dead, mnist.train_images[:4])


def test_a_shared_channel_stays_until_the_gates_of_both_branches_close() -> None:
    model, images = Stranger(), torch.rand(4, 1, 28, 28)
    assert compact_(model, {"stem_gate": ~alive(8, 2)}, images) == 0
    assert model.stem.out_channels == 8
    assert compact_(model, {"up_gate": ~alive(8, 2), "stem_gate": ~alive(8, 3)}, images) == 0
    both = {"up_gate": ~alive(8, 2, 3), "stem_gate": ~alive(8, 2, 5)}
    compact_(model, both, images)
    assert model.stem.out_channels == 7
    assert model.stem_gate.unit_index.tolist() == model.up_gate.unit_index.tolist()
    assert model.up_gate.unit_index.tolist() == [0, 1, 3, 4, 5, 6, 7]


def test_nothing_dead_is_nothing_done() -> None:
    model = lenet_300_100((4, 3))
    parameters = [id(p) for p in model.parameters()]
    assert compact_(model, {}, torch.rand(2, 1, 28, 28)) == 0
    none = {"gate1": torch.zeros(4, dtype=torch.bool)}
    assert compact_(model, none, torch.rand(2, 1, 28, 28)) == 0
    assert [id(p) for p in model.parameters()] == parameters


def test_an_optimizer_without_state_or_with_other_parameters_is_fine() -> None:
    model, other = lenet_300_100((4, 3)), nn.Linear(2, 2)
    optimizer = torch.optim.Adam([{"params": model.parameters()}, {"params": other.parameters()}])
    compact_(model, {"gate1": ~alive(4, 1)}, torch.rand(2, 1, 28, 28), optimizer)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [
        id(p) for p in model.parameters()
    ]
    assert optimizer.param_groups[1]["params"] == list(other.parameters())
    assert len(optimizer.state) == 0


# --- what is refused, and that nothing has changed then


class Layers(nn.Module):
    """conv → a → gate → b → flatten → linear, with what is asked for in place of a and b."""

    def __init__(self, after_gate: nn.Module, before_gate: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5)
        self.before = before_gate or nn.ReLU()
        self.gate = BernoulliGate(4)
        self.after = after_gate
        self.reader = nn.Linear(4 * 24 * 24, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(self.after(self.gate(self.before(self.conv(x)))).flatten(1))


class HalfGatedResidual(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.reader((x + self.gate(self.after(x))).flatten(1))


class ReadTwice(Layers):
    """The units are also read from before the gate."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.reader(self.gate(x).flatten(1)) + self.after(x.flatten(1))


def snapshot(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[bytes, list[object]]:
    """All tensors and options, byte for byte; who holds which parameter, and every attribute."""
    gradients = [p.grad for p in model.parameters()]
    buffer = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict(), gradients], buffer)
    identities: list[object] = [id(p) for p in model.parameters()]
    identities += [id(p) for group in optimizer.param_groups for p in group["params"]]
    for module in model.modules():
        identities += [(k, v) for k, v in vars(module).items() if isinstance(v, int | float | str)]
    return buffer.getvalue(), identities


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a grouped convolution": (
        lambda: Layers(nn.Conv2d(4, 4, 3, padding=1, groups=2)),
        r"gate 'gate' is coupled to the grouped convolution 'after' \(Conv2d\) with 2 groups",
    ),
    "a batch norm behind the gate": (
        lambda: Layers(nn.BatchNorm2d(4)),
        r"gate 'gate' stands before 'after' \(BatchNorm2d\), which shifts the zeros",
    ),
    "a sigmoid behind the gate": (
        lambda: Layers(nn.Sigmoid()),
        "gate 'gate' do not silence what 'reader' reads",
    ),
    "a depthwise convolution with a bias": (
        lambda: Layers(nn.Conv2d(4, 4, 3, padding=1, groups=4)),
        r"gate 'gate' stands before 'after' \(Conv2d\), which shifts the zeros",
    ),
    "a group norm": (
        lambda: Layers(nn.ReLU(), nn.GroupNorm(2, 4)),
        r"gate 'gate' is coupled to 'before' \(GroupNorm\), which cannot be compacted exactly",
    ),
    "an ungated residual branch": (
        lambda: HalfGatedResidual(nn.ReLU()),
        "gate 'gate' do not silence what 'reader' reads",
    ),
    "a second reader": (
        lambda: ReadTwice(nn.Linear(4 * 24 * 24, 10)),
        "gate 'gate' do not silence what 'after' reads",
    ),
    "a gate on the output": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.ReLU(), BernoulliGate(10)),
        "the units of gate '3' are outputs of the model",
    ),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_cannot_be_compacted_exactly_is_refused_and_nothing_changes(what: str) -> None:
    torch.manual_seed(0)
    build, message = REFUSED[what]
    model = build().train()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    images = torch.rand(8, 1, 28, 28)
    for _ in range(3):
        F.cross_entropy(model(images).flatten(1), torch.arange(8)).backward()
        optimizer.step()
    ((name, gate),) = named_gates(model).items()
    before = snapshot(model, optimizer)
    with pytest.raises(CompactionError, match=message):
        compact_(model, {name: ~alive(gate.num_units, 1)}, images, optimizer)
    assert snapshot(model, optimizer) == before


def test_a_fresh_batch_norm_behind_the_gate_is_refused() -> None:
    """Its bias is still 0, but gradients will move it: the trajectories would part."""
    with pytest.raises(CompactionError, match="gate 'gate'"):
        compact_(Layers(nn.BatchNorm2d(4)), {"gate": ~alive(4, 1)}, torch.rand(4, 1, 28, 28))


def test_a_state_that_is_not_elementwise_is_refused_and_nothing_changes() -> None:
    model, images = lenet_300_100((6, 5)).train(), torch.rand(8, 1, 28, 28)
    optimizer = torch.optim.Adafactor(model.parameters(), 0.01)
    F.cross_entropy(model(images), torch.arange(8)).backward()
    optimizer.step()
    before = snapshot(model, optimizer)
    with pytest.raises(
        CompactionError, match=r"the state '\w+' of Adafactor cannot be sliced .*SGD"
    ):
        compact_(model, {"gate1": ~alive(6, 1)}, images, optimizer)
    assert snapshot(model, optimizer) == before


def test_an_optimizer_with_one_state_for_all_parameters_is_refused() -> None:
    model, images = lenet_300_100((6, 5)).train(), torch.rand(8, 1, 28, 28)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), torch.arange(8))
        loss.backward()
        return loss

    optimizer.step(closure)
    with pytest.raises(CompactionError, match="LBFGS cannot be sliced"):
        compact_(model, {"gate2": ~alive(5, 1)}, images, optimizer)
    assert model.get_submodule("gate2").get_buffer("theta").numel() == 5


@pytest.mark.parametrize(
    ("dead", "message"),
    [
        ({"gate9": ~alive(6, 1)}, r"no gate is called 'gate9'; the gates are \['gate1', 'gate2'\]"),
        ({"gate1": ~alive(5, 1)}, r"gate 'gate1' is torch.bool of shape \(5,\); .* \(6,\)"),
        ({"gate1": torch.ones(6)}, r"gate 'gate1' is torch.float32 of shape \(6,\); bool"),
        ({"gate2": ~alive(5, *range(5))}, "gate 'gate2' would lose its last unit"),
    ],
)
def test_a_wrong_mask_is_named(dead: dict[str, Tensor], message: str) -> None:
    model = lenet_300_100((6, 5))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = snapshot(model, optimizer)
    with pytest.raises(CompactionError, match=message):
        compact_(model, dead, torch.rand(2, 1, 28, 28), optimizer)
    assert snapshot(model, optimizer) == before


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Sequential, dict[str, Tensor]]:
    """A fully connected network with gates and, for each gate, units to remove."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    gate_inputs = draw(st.booleans())
    layers: list[nn.Module] = [InputGate(sizes[0])] if gate_inputs else []
    for fan_in, fan_out in pairwise(sizes):
        activation = draw(st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid]))
        layers += [nn.Linear(fan_in, fan_out, bias=draw(st.booleans())), activation()]
        layers.append(BernoulliGate(fan_out))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    model = nn.Sequential(*layers, nn.Linear(sizes[-1], 3)).double()
    dead = {}
    for name, gate in named_gates(model).items():
        mask = draw(st.lists(st.booleans(), min_size=gate.num_units, max_size=gate.num_units))
        mask[draw(st.integers(0, gate.num_units - 1))] = False
        dead[name] = torch.tensor(mask)
    return model, dead


@settings(max_examples=60)
@given(networks())
def test_a_compacted_network_computes_what_the_masked_one_does(
    case: tuple[nn.Sequential, dict[str, Tensor]],
) -> None:
    model, dead = case
    gates = named_gates(model)
    first = next(module for module in model if isinstance(module, nn.Linear))
    inputs = torch.randn(5, first.in_features).double()
    for name, gate in gates.items():
        gate.theta.data.copy_((~dead[name]).double())
    masked = model.eval()(inputs)
    removed = compact_(model, dead, inputs)
    assert removed == sum(int(mask.sum()) for mask in dead.values())
    torch.testing.assert_close(model(inputs), masked, rtol=1e-10, atol=1e-12)
    for name, gate in gates.items():
        assert gate.unit_index.tolist() == (~dead[name]).nonzero().flatten().tolist()


# --- parameters remain the same objects, and everything that holds them goes on


def two_layers() -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), BernoulliGate(8), nn.Linear(8, 2))
    return model, torch.randn(64, 3), torch.randint(2, (64,))


def one_step(model: nn.Module, x: Tensor, y: Tensor, *optimizers: torch.optim.Optimizer) -> Tensor:
    loss = F.cross_entropy(model(x), y)
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    return loss


def test_several_optimizers_and_their_schedulers_go_on() -> None:
    model, x, y = two_layers()
    matrices = torch.optim.SGD([p for p in model.parameters() if p.dim() > 1], 0.1, momentum=0.9)
    biases = torch.optim.Adam([p for p in model.parameters() if p.dim() == 1], 0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(matrices, 10)
    for _ in range(3):
        one_step(model, x, y, matrices, biases)
    moments = biases.state[model[0].get_parameter("bias")]["exp_avg"].clone()
    compact_(model, {"2": ~alive(8, *range(2, 8))}, x, [matrices, biases])
    assert torch.equal(biases.state[model[0].get_parameter("bias")]["exp_avg"], moments[:2])
    before = [p.detach().clone() for p in model.parameters()]
    one_step(model, x, y, matrices, biases)
    schedule.step()
    for old, new in zip(before, model.parameters(), strict=True):
        assert not torch.equal(old, new)


@pytest.mark.parametrize("kind", ["Adam", "Adam fused", "AdamW foreach", "SGD"])
def test_an_optimizer_that_was_forgotten_says_so(kind: str) -> None:
    model, x, y = two_layers()
    optimizer = OPTIMIZERS[kind](list(model.parameters()))
    one_step(model, x, y, optimizer)
    compact_(model, {"2": ~alive(8, 1, 2)}, x)
    with pytest.raises(CompactionError, match=r"shape \(8, 3\) .* shrunk to \(6, 3\); hand this"):
        one_step(model, x, y, optimizer)


def test_an_optimizer_without_memory_need_not_be_given() -> None:
    model, x, y = two_layers()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    one_step(model, x, y, optimizer)
    compact_(model, {"2": ~alive(8, 1, 2)}, x)
    before = model[0].get_parameter("bias").detach().clone()
    one_step(model, x, y, optimizer)
    assert not torch.equal(before, model[0].get_parameter("bias"))


def test_hooks_attributes_and_lists_of_parameters_stay() -> None:
    model, x, y = two_layers()
    weight, calls = model[0].get_parameter("weight"), []
    weight.register_hook(lambda gradient: calls.append("hook"))
    weight.register_post_accumulate_grad_hook(lambda parameter: calls.append("after"))
    weight.no_decay = True  # pyright: ignore[reportAttributeAccessIssue]
    kept = list(model.parameters())
    optimizer = torch.optim.Adam(kept)
    loss = one_step(model, x, y, optimizer)  # alive, as in any loop, and its graph with it
    compact_(model, {"2": ~alive(8, 1, 2)}, x, optimizer)
    calls.clear()
    one_step(model, x, y, optimizer)
    assert calls == ["hook", "after"]
    assert model[0].get_parameter("weight") is weight
    assert weight.no_decay  # pyright: ignore[reportAttributeAccessIssue]
    torch.nn.utils.clip_grad_norm_(kept, 1e-3)
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    assert float(torch.stack(norms).norm()) == pytest.approx(1e-3, rel=1e-3)
    assert loss.isfinite()


def test_averages_of_the_model_shrink_with_it() -> None:
    model, x, y = two_layers()
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    average = torch.optim.swa_utils.AveragedModel(model)
    for _ in range(3):
        one_step(model, x, y, optimizer)
        average.update_parameters(model)
    expected = average.module.get_parameter("0.weight")[[0, 3, 4, 5, 6, 7]].clone()
    compact_(model, {"2": ~alive(8, 1, 2)}, x, optimizer, copies=[average])
    assert torch.equal(average.module.get_parameter("0.weight"), expected)
    average.update_parameters(model)
    assert average(x).shape == (64, 2)


def test_halos_coefficients_leave_with_their_weights() -> None:
    """And both go on as they would with the units closed."""
    model, x, y = two_layers()
    halo = Halo(model, xi=1e-3, psi=1e-2)
    optimizer = torch.optim.SGD([*model.parameters(), *halo.parameters()], 0.1, momentum=0.9)
    keep = torch.tensor([0, 3, 4, 5, 6, 7])

    def step(
        one: nn.Module, penalty: Halo, by: torch.optim.Optimizer, open_units: Tensor
    ) -> Tensor:
        gate = one[2] if isinstance(one, nn.Sequential) else one
        assert isinstance(gate, BernoulliGate)
        with gate.hold(open_units):
            loss = F.cross_entropy(one(x), y) + penalty()
        by.zero_grad()
        loss.backward()
        by.step()
        return loss

    for _ in range(3):
        step(model, halo, optimizer, torch.ones(1, 8))
    masked, its_halo, its_optimizer = copy.deepcopy((model, halo, optimizer))
    compact_(model, {"2": ~alive(8, 1, 2)}, x, optimizer)
    assert len(halo.coefficients) == 6 * 3 + 2 * 6
    for _ in range(5):
        step(model, halo, optimizer, torch.ones(1, 6))
        step(masked, its_halo, its_optimizer, alive(8, 1, 2).float()[None])
    for name, axis in (("0.weight", 0), ("3.weight", 1)):
        expected = masked.get_parameter(name).detach().index_select(axis, keep)
        torch.testing.assert_close(model.get_parameter(name).detach(), expected)
    first = its_halo.coefficients.detach()[:24].view(8, 3)[keep].flatten()
    torch.testing.assert_close(halo.coefficients.detach()[:18], first)


def test_halo_whose_optimizer_was_forgotten_says_so() -> None:
    model, x, _ = two_layers()
    halo = Halo(model, xi=1e-3, psi=1e-2)
    compact_(model, {"2": ~alive(8, 1, 2)}, x)
    with pytest.raises(RuntimeError, match="coefficients"):
        halo()


def test_a_copy_of_another_shape_is_refused() -> None:
    model, x, _ = two_layers()
    other = nn.Sequential(nn.Linear(3, 7), nn.ReLU(), BernoulliGate(7), nn.Linear(7, 2))
    with pytest.raises(CompactionError, match=r"has the shape \(2, 7\) in a copy"):
        compact_(model, {"2": ~alive(8, 1, 2)}, x, copies=[other])
    assert model[0].get_parameter("weight").shape == (8, 3)


def test_muon_whose_step_is_not_elementwise_is_refused() -> None:
    model, x, _ = two_layers()
    optimizer = torch.optim.Muon([p for p in model.parameters() if p.dim() == 2])
    with pytest.raises(CompactionError, match="Muon moves the entries of a matrix together"):
        compact_(model, {"2": ~alive(8, 1, 2)}, x, optimizer)


@pytest.mark.parametrize("seed", range(5))
def test_a_norm_that_magnifies_the_last_bit_is_no_reason_to_refuse(seed: int) -> None:
    """In training mode it divides by the distance of two rows that are nearly equal."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Linear(6, 64), nn.ReLU(), BernoulliGate(64), nn.Linear(64, 64)),
        *(nn.BatchNorm1d(64, eps=1e-14), nn.Linear(64, 3)),
    )
    row = torch.randn(1, 6)
    x = torch.cat([row, row + 1e-4 * torch.randn(1, 6)])
    assert compact_(model, {"2": torch.arange(64) % 3 == 0}, x) == 22


@pytest.mark.slow
def test_resnet_18_takes_little_memory() -> None:
    """Beside the model, its gradients and Adam's moments: less than three times the weights."""
    script = r"""
import resource, torch, torchvision
from torch import nn
from pruning_core import BernoulliGate, compact_, named_gates
torch.set_num_threads(1)
torch.manual_seed(0)
model = torchvision.models.resnet18(num_classes=10)
for parent in list(model.modules()):
    for key, child in list(parent.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            setattr(parent, key, nn.Sequential(child, BernoulliGate(child.num_features)))
x = torch.randn(2, 3, 32, 32)
optimizer = torch.optim.Adam(model.parameters())
model(x).sum().backward()
optimizer.step()
dead = {n: torch.arange(g.num_units) % 3 == 0 for n, g in named_gates(model).items()}
size = sum(p.numel() for p in model.parameters()) * 4 / 2**20
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
assert compact_(model, dead, x, optimizer) > 1000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 - before) / size)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 3
