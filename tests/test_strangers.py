"""Compaction of strangers' networks: each is exact, or refused in one line and left untouched."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.ao.quantization import get_default_qat_qconfig, prepare_qat
from torch.nn.utils import parametrizations, prune
from torch.utils import _pytree as pytree

from pruning_core import BernoulliGate, CompactionError, compact_, named_gates
from pruning_core.inputs import Inputs


class Net(nn.Module):
    """Modules by name, and a forward pass through them."""

    def __init__(self, forward: Callable[..., object], **modules: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.pass_through = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *args: object, **kwargs: object) -> object:
        return self.pass_through(self, *args, **kwargs)


class Do(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def gate(units: int = 8, dim: int = 1) -> BernoulliGate:
    return BernoulliGate(units, dim=dim)


def conv(out: int = 8) -> nn.Conv2d:
    return nn.Conv2d(3, out, 3)


def around(before: nn.Module | None = None, after: nn.Module | None = None) -> nn.Module:
    """conv → before → ReLU → gate → after → conv."""
    layers = [conv(), before or nn.Identity(), nn.ReLU(), gate(), after or nn.Identity()]
    return nn.Sequential(*layers, nn.Conv2d(8, 4, 1))


def plain(f: Callable[..., object], **modules: nn.Module | nn.Parameter) -> nn.Module:
    return Net(f, a=conv(), gate=gate(), b=nn.Conv2d(8, 4, 1), **modules)


IMAGES = (4, 3, 8, 8)
TOKENS = (6, 7, 12)

# --- exact


class Block(nn.Module):
    """A pre-norm transformer block with gated hidden units."""

    def __init__(self, width: int = 12, hidden: int = 20) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 3, batch_first=True)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gate = gate(hidden, -1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.dropout(self.down(self.gate(F.gelu(self.up(self.norm2(x))))))


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.block, self.head = nn.Embedding(50, 12), Block(), nn.Linear(12, 50)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.block(self.words(tokens)))}


def siamese(self: Any, x: Tensor) -> Tensor:
    return self.b(self.gate(F.relu(self.a(x)))) + self.b(self.gate(F.relu(self.a(x.flip(-1)))))


def squeezed(self: Any, x: Tensor) -> Tensor:
    x = self.gate(F.relu(self.a(x)))
    scale = torch.sigmoid(self.expand(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
    return self.b(x * scale)


def tower(width: int = 8) -> nn.Sequential:
    return nn.Sequential(conv(width), nn.BatchNorm2d(width), nn.ReLU(), gate(width))


EXACT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutions in one dimension": (
        lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), gate(), nn.Conv1d(8, 4, 3)),
        (4, 3, 9),
    ),
    "convolutions in three": (
        lambda: nn.Sequential(nn.Conv3d(3, 8, 2), nn.ReLU(), gate(), nn.Conv3d(8, 4, 2)),
        (2, 3, 4, 4, 4),
    ),
    "transposed convolutions": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 8, 3), nn.ReLU(), gate(), nn.ConvTranspose2d(8, 4, 3)
        ),
        IMAGES,
    ),
    "instance norm with its own scale": (lambda: around(nn.InstanceNorm2d(8, affine=True)), IMAGES),
    "instance norm with statistics": (
        lambda: around(nn.InstanceNorm2d(8, track_running_stats=True)),
        IMAGES,
    ),
    "batch norm without parameters": (lambda: around(nn.BatchNorm2d(8, affine=False)), IMAGES),
    "a depthwise filter without bias": (
        lambda: around(after=nn.Conv2d(8, 8, 3, groups=8, bias=False)),
        IMAGES,
    ),
    "dropout": (lambda: around(nn.Dropout2d(0.5), nn.Dropout(0.3)), IMAGES),
    "frozen layers": (lambda: around().requires_grad_(False), IMAGES),
    "concatenated towers": (
        lambda: Net(
            lambda s, x: s.b(torch.cat([s.p(x), s.q(x)], 1)),
            p=tower(),
            q=tower(5),
            b=nn.Conv2d(13, 4, 1),
        ),
        IMAGES,
    ),
    "a concatenation with an ungated branch": (
        lambda: Net(
            lambda s, x: s.b(torch.cat([s.p(x), s.q(x)], 1)),
            p=tower(),
            q=conv(5),
            b=nn.Conv2d(13, 4, 1),
        ),
        IMAGES,
    ),
    "one gate at two places": (
        lambda: Net(
            lambda s, x: s.c(s.gate(F.relu(s.b(s.gate(F.relu(s.a(x))))))),
            a=nn.Linear(5, 8),
            b=nn.Linear(8, 8),
            c=nn.Linear(8, 3),
            gate=gate(),
        ),
        (6, 5),
    ),
    "modules called twice": (lambda: plain(siamese), IMAGES),
    "squeeze and excitation behind the gate": (
        lambda: plain(squeezed, squeeze=nn.Conv2d(8, 2, 1), expand=nn.Conv2d(2, 8, 1)),
        IMAGES,
    ),
    "a scale for every channel": (
        lambda: plain(
            lambda s, x: s.b(s.gate(F.relu(s.a(x) * s.scale))),
            scale=nn.Parameter(torch.rand(1, 8, 1, 1)),
        ),
        IMAGES,
    ),
    "tokens": (lambda: Block(), TOKENS),
    "tokens of which there are as many as units": (
        lambda: nn.Sequential(nn.Linear(12, 7), nn.ReLU(), gate(7, -1), nn.Linear(7, 3)),
        TOKENS,
    ),
    "weight norm elsewhere": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.ReLU(),
            gate(),
            nn.Conv2d(8, 4, 1),
            parametrizations.weight_norm(nn.Conv2d(4, 4, 1)),
        ),
        IMAGES,
    ),
    "features kept from a pass": (
        lambda: plain(lambda s, x: s.b(setattr(s, "kept", s.gate(F.relu(s.a(x)))) or s.kept)),
        IMAGES,
    ),
    "a recurrent layer elsewhere": (
        lambda: Net(
            lambda s, x: s.b(s.gate(F.relu(s.a(s.m(x)[0][:, -1])))),
            m=nn.GRU(12, 5, batch_first=True),
            a=nn.Linear(5, 8),
            gate=gate(),
            b=nn.Linear(8, 3),
        ),
        TOKENS,
    ),
    "outputs in a tuple, one of them absent": (
        lambda: plain(lambda s, x: (s.b(s.gate(F.relu(s.a(x)))), None)),
        IMAGES,
    ),
}


@contextmanager
def holding(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, one in named_gates(model).items():
            stack.enter_context(one.hold(values[name]))
        yield


def outputs(model: nn.Module, x: Tensor, values: Mapping[str, Tensor]) -> list[Tensor]:
    torch.manual_seed(5)
    with holding(model, values):
        leaves = pytree.tree_leaves(model(x))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def without_dropout(model: nn.Module) -> None:
    """Fewer channels draw otherwise."""
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.p = 0.0


def exact(model: nn.Module, x: Tensor, dead: Mapping[str, list[int]], steps: int = 5) -> int:
    """Compare outputs, parameters and further steps with those of the masked network."""
    model = model.double().train()
    sizes = {name: one.num_units for name, one in named_gates(model).items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    make = (lambda p: torch.optim.Adam(p, 1e-3)) if trained else None
    optimizer = make(trained) if make else None

    def step(one: nn.Module, by: torch.optim.Optimizer | None, values: dict[str, Tensor]) -> None:
        loss = torch.stack([o.square().mean() for o in outputs(one.train(), x, values)]).sum()
        if by is not None:
            by.zero_grad()
            loss.backward()
            by.step()

    def draws() -> dict[str, Tensor]:
        return {name: torch.rand(len(x), n).double() for name, n in sizes.items()}

    for _ in range(3):
        step(model, optimizer, draws())
    without_dropout(model)
    for name in list(vars(model)):
        if name == "kept":
            delattr(model, name)
    masked, by = copy.deepcopy((model, optimizer))
    identities = [id(p) for p in model.parameters()]
    masks = {n: torch.isin(torch.arange(sizes[n]), torch.tensor(u)) for n, u in dead.items()}
    removed = compact_(model, masks, x, optimizer)
    assert [id(p) for p in model.parameters()] == identities
    left = {name: one.unit_index for name, one in named_gates(model).items()}
    for training in (False, True):
        full = draws()
        for name, mask in masks.items():
            full[name] = full[name] * ~mask
        small = {name: full[name][:, left[name]] for name in full}
        expected = outputs(masked.train(training), x, full)
        found = outputs(model.train(training), x, small)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    for _ in range(steps):
        full = draws()
        for name, mask in masks.items():
            full[name] = full[name] * ~mask
        step(masked, by, full)
        step(model, optimizer, {name: full[name][:, left[name]] for name in full})
    for name in full:
        full[name] = torch.ones(1, sizes[name]).double() * ~masks.get(name, torch.tensor(False))
    expected = outputs(masked.eval(), x, full)
    found = outputs(model.eval(), x, {n: full[n][:, left[n]] for n in full})
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
    return removed


@pytest.mark.parametrize("what", list(EXACT))
def test_units_of_a_strangers_network_leave_exactly(what: str) -> None:
    torch.manual_seed(0)
    build, shape = EXACT[what]
    model, x = build(), torch.randn(shape).double()
    dead = {name: [1, 4] for name in named_gates(model)}
    assert exact(model, x, dead) == 2 * len(dead)


def test_units_of_a_language_model_leave_exactly() -> None:
    torch.manual_seed(0)
    assert exact(Language(), torch.randint(50, (4, 7)), {"block.gate": [0, 3, 19]}) == 3


# --- refused


def mean(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True)


def half(self: Any, x: Tensor) -> Tensor:
    p, q = self.gate(F.relu(self.a(x))).chunk(2, 1)
    return self.b(torch.cat([p, self.m(q)], 1))


def c2f(self: Any, x: Tensor) -> Tensor:
    p, q = self.gate(F.relu(self.a(x))).chunk(2, 1)
    return self.wide(torch.cat([p, q, self.m(q)], 1))


def attended(self: Any, x: Tensor) -> Tensor:
    h = self.gate(F.relu(self.a(x)))
    return self.b(h * torch.sigmoid(self.m(torch.cat([mean(h), h.amax(1, keepdim=True)], 1))))


def padded_shortcut(self: Any, x: Tensor) -> Tensor:
    x = self.ga(F.relu(self.a(x)))
    y = self.gate(self.b(x))
    return self.fc(F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))).mean((2, 3)))


def without_gradients(self: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        h = self.gate(F.relu(self.a(x)))
    return self.b(h)


def auxiliary(self: Any, x: Tensor) -> object:
    h = self.gate(F.relu(self.a(x)))
    return (self.b(h), self.aux(h)) if self.training else self.b(h)


def tied_towers() -> nn.Module:
    model: Any = Net(
        lambda s, x: s.oa(s.gate(F.relu(s.a(x)))) + s.ob(s.gb(F.relu(s.b(x)))),
        a=nn.Linear(3, 8),
        b=nn.Linear(3, 8),
        gate=gate(),
        gb=gate(),
        oa=nn.Linear(8, 2),
        ob=nn.Linear(8, 2),
    )
    model.b.weight = model.a.weight
    return model


def quantised() -> nn.Module:
    model: Any = around().train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.qconfig = get_default_qat_qconfig("x86")
        model = prepare_qat(model)
    model(torch.randn(IMAGES))
    return model


class ScaledBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.get_buffer("scale")


def closed_over() -> nn.Module:
    model: Any = around(nn.BatchNorm2d(8))
    model.forward = lambda x: nn.Sequential.forward(model, x)
    return model


def locked() -> nn.Module:
    model: Any = around()
    model.lock = threading.Lock()
    return model


NORMALISED = "computes something else"
REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "a size that is written down": (
        lambda: nn.Sequential(
            conv(), nn.ReLU(), gate(), Do(lambda x: x.view(-1, 288)), nn.Linear(288, 4)
        ),
        IMAGES,
        r"does not run in evaluation mode .*sizes that are written down",
    ),
    "unflatten": (
        lambda: nn.Sequential(
            nn.Linear(5, 8 * 16),
            Do(lambda x: x.unflatten(1, (8, 4, 4))),
            gate(),
            nn.Conv2d(8, 4, 1),
        ),
        (4, 5),
        "does not run|cannot be followed",
    ),
    "functional layer norm before": (
        lambda: around(Do(lambda x: F.layer_norm(x, x.shape[1:]))),
        IMAGES,
        NORMALISED,
    ),
    "layer norm by hand": (
        lambda: around(Do(lambda x: (x - mean(x)) / (mean((x - mean(x)).square()) + 1e-6).sqrt())),
        IMAGES,
        NORMALISED,
    ),
    "group norm without parameters": (
        lambda: around(nn.GroupNorm(1, 8, affine=False)),
        IMAGES,
        NORMALISED,
    ),
    "group norm": (lambda: around(nn.GroupNorm(2, 8)), IMAGES, r"coupled to '1' \(GroupNorm\)"),
    "softmax over channels": (lambda: around(Do(lambda x: x.softmax(1))), IMAGES, NORMALISED),
    "normalised channels": (
        lambda: around(Do(lambda x: F.normalize(x, dim=1))),
        IMAGES,
        NORMALISED,
    ),
    "a norm of tokens behind the gate": (
        lambda: nn.Sequential(
            nn.Linear(12, 8), nn.ReLU(), gate(8, -1), nn.LayerNorm(8), nn.Linear(8, 3)
        ),
        TOKENS,
        r"coupled to '3' \(LayerNorm\)",
    ),
    "tied weights that differ": (tied_towers, (6, 3), "'a.weight' and 'b.weight' are one tensor"),
    "a zero-padded shortcut": (
        lambda: Net(
            padded_shortcut,
            a=nn.Conv2d(3, 8, 3, padding=1),
            ga=gate(),
            b=nn.Conv2d(8, 16, 3, 2, 1),
            gate=gate(16),
            fc=nn.Linear(16, 5),
        ),
        (4, 3, 16, 16),
        "gate 'g",
    ),
    "a head in training only": (
        lambda: plain(auxiliary, aux=nn.Conv2d(8, 2, 1)),
        IMAGES,
        "does not run in training mode .*'aux'",
    ),
    "a head on detached features": (
        lambda: plain(
            lambda s, x: (lambda h: (s.b(h), s.aux(h.detach())))(s.gate(F.relu(s.a(x)))),
            aux=nn.Conv2d(8, 2, 1),
        ),
        IMAGES,
        "does not run in evaluation mode .*'aux'",
    ),
    "a frozen batch norm": (
        lambda: around(torchvision.ops.FrozenBatchNorm2d(8)),
        IMAGES,
        "does not run in evaluation mode .*'1'",
    ),
    "a buffer of one number a channel": (lambda: around(ScaledBuffer()), IMAGES, "does not run"),
    "a slice of the channels": (
        lambda: nn.Sequential(
            conv(), nn.ReLU(), gate(), Do(lambda x: x[:, :4]), nn.Conv2d(4, 4, 1)
        ),
        IMAGES,
        "gate '2'",
    ),
    "halves, one of them processed": (
        lambda: plain(half, m=nn.Conv2d(4, 4, 1)),
        IMAGES,
        "gate 'gate'",
    ),
    "chunks of a C2f block": (
        lambda: plain(c2f, m=nn.Conv2d(4, 4, 1), wide=nn.Conv2d(12, 4, 1)),
        IMAGES,
        "gate 'gate'",
    ),
    "spatial attention": (
        lambda: plain(attended, m=nn.Conv2d(2, 1, 3, padding=1)),
        IMAGES,
        "gate 'gate'",
    ),
    "a gated linear unit before the gate": (
        lambda: nn.Sequential(conv(16), nn.GLU(1), gate(), nn.Conv2d(8, 4, 1)),
        IMAGES,
        "gate '2'",
    ),
    "pixel shuffle before the gate": (
        lambda: nn.Sequential(conv(32), nn.PixelShuffle(2), gate(), nn.Conv2d(8, 4, 1)),
        IMAGES,
        "gate '2'",
    ),
    "quantisation-aware training": (quantised, IMAGES, "gate '3'"),
    "weight norm before the gate": (
        lambda: nn.Sequential(
            parametrizations.weight_norm(conv()), nn.ReLU(), gate(), nn.Conv2d(8, 4, 1)
        ),
        IMAGES,
        r"coupled to '0' .*whose weight is computed from others",
    ),
    "spectral norm before the gate": (
        lambda: nn.Sequential(
            parametrizations.spectral_norm(conv()), nn.ReLU(), gate(), nn.Conv2d(8, 4, 1)
        ),
        IMAGES,
        r"coupled to '0' .*whose weight is computed from others",
    ),
    "a mask before the gate": (
        lambda: nn.Sequential(
            prune.l1_unstructured(conv(), "weight", 0.5), nn.ReLU(), gate(), nn.Conv2d(8, 4, 1)
        ),
        IMAGES,
        r"coupled to '0' .*make_permanent_",
    ),
    "a backbone under no_grad": (
        lambda: plain(without_gradients),
        IMAGES,
        "gate 'gate' is not reached",
    ),
    "a gate that is never called": (
        lambda: plain(lambda s, x: s.b(F.relu(s.a(x)))),
        IMAGES,
        "gate 'gate' is not reached",
    ),
    "a recurrent layer before the gate": (
        lambda: Net(
            lambda s, x: s.b(s.gate(s.m(x)[0][:, -1])),
            m=nn.GRU(12, 8, batch_first=True),
            gate=gate(),
            b=nn.Linear(8, 4),
        ),
        TOKENS,
        "gate 'gate'",
    ),
    "attention on gated tokens": (
        lambda: Net(
            lambda s, x: s.b(s.m(*[s.gate(F.relu(s.a(x)))] * 3)[0]),
            a=nn.Linear(12, 8),
            gate=gate(8, -1),
            m=nn.MultiheadAttention(8, 2, batch_first=True),
            b=nn.Linear(8, 3),
        ),
        TOKENS,
        r"gate 'gate' .*'m",
    ),
    "a forward that closes over the model": (closed_over, IMAGES, "runs the model itself|'3'"),
    "a lock in the model": (locked, IMAGES, "cannot be copied"),
    "alpha dropout behind the gate": (
        lambda: around(after=nn.AlphaDropout(0.5)),
        IMAGES,
        "gate '3'",
    ),
    "channels moved to another place": (
        lambda: around(after=Do(lambda x: x.roll(1, 1))),
        IMAGES,
        "gate '3'",
    ),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_is_not_exact_is_refused_and_nothing_changes(what: str) -> None:
    torch.manual_seed(0)
    build, shape, message = REFUSED[what]
    model, x = build(), torch.randn(shape)
    dead = {
        name: torch.isin(torch.arange(one.num_units), torch.tensor([2, 3 if name != "gb" else 4]))
        for name, one in named_gates(model).items()
    }
    before = {key: value.clone() for key, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    with pytest.raises(CompactionError, match=message) as caught:
        compact_(model, dead, x)
    assert "\n" not in str(caught.value)
    assert torch.equal(torch.get_rng_state(), generator)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_examples_that_are_all_zero_fool_nobody() -> None:
    model = Net(
        lambda s, x: (lambda h: s.c(h + s.gate(F.relu(s.b(h)))))(F.relu(s.a(x))),
        a=nn.Linear(3, 8, bias=False),
        b=nn.Linear(8, 8),
        gate=gate(),
        c=nn.Linear(8, 2),
    )
    with pytest.raises(CompactionError, match="gate 'gate' do not silence what 'c' reads"):
        compact_(model, {"gate": torch.arange(8) < 2}, torch.zeros(1, 3))


def test_an_input_added_behind_the_gate_is_seen_in_the_graph() -> None:
    model = Net(
        lambda s, x: s.b(x + s.gate(F.relu(s.a(x)))),
        a=nn.Linear(8, 8),
        gate=gate(),
        b=nn.Linear(8, 2),
    )
    with pytest.raises(CompactionError, match="gate 'gate' do not silence what 'b' reads"):
        compact_(model, {"gate": torch.arange(8) < 2}, torch.zeros(1, 8))


@pytest.mark.parametrize(
    "inputs",
    [
        (torch.randn(4, 3), torch.randn(4, 3)),
        {"x": torch.randn(4, 3), "y": torch.randn(4, 3)},
        Inputs(torch.randn(4, 3), y=torch.randn(4, 3)),
    ],
)
def test_inputs_of_any_shape(inputs: Any) -> None:
    model = Net(
        lambda s, x, y: {"logits": s.b(s.gate(F.relu(s.a(torch.cat([x, y], 1)))))},
        a=nn.Linear(6, 8),
        gate=gate(),
        b=nn.Linear(8, 2),
    )
    assert compact_(model, {"gate": torch.arange(8) < 2}, inputs) == 2
