"""Tests of pruning_core.checkpoints: training that stops and resumes is training that went on."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.checkpoints import load_checkpoint, save_checkpoint
from pruning_core.gates import BernoulliGate, InputGate, named_gates
from pruning_core.insertion import insert_gates_
from pruning_core.models import lenet_300_100
from pruning_core.resizing import ModelFileError

X = torch.rand(256, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.randint(4, (256,), generator=torch.Generator().manual_seed(1))


class Convolutional(nn.Module):
    """Convolutions with norms, dropout, and two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1, self.relu1 = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU()
        self.conv2, self.norm2 = nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6)
        self.fc, self.drop, self.out = nn.Linear(24, 10), nn.Dropout(0.3), nn.Linear(10, 4)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.norm1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        x = self.out(self.drop(F.relu(self.fc(x.flatten(1)))))
        return x + self.second(F.relu(self.first(x)))


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "AdamW, fused": lambda p: torch.optim.AdamW(p, 0.01, fused=True),
}


class Loop:
    """A loop of one's own: model, optimizer, pruner, schedule; each step draws its batch."""

    def __init__(self, optimizer: str, channels_last: bool = False) -> None:
        self.model = Convolutional()
        insert_gates_(self.model, X[:4])
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.optimizer = OPTIMIZERS[optimizer](list(self.model.parameters()))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.05, total_steps=100)
        self.pruner = BernoulliPruner(
            self.model, 2.0, len(X), theta_step=1 / 12, smoothing=0.5, example_inputs=X[:8]
        )

    def train(self, steps: int) -> None:
        self.model.train()
        for _ in range(steps):
            batch = torch.randint(len(X), (32,))
            loss = F.cross_entropy(self.model(X[batch]), Y[batch]) + self.pruner.penalty()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.pruner.step()
            self.schedule.step()

    def kill(self) -> int:
        """Close some units, and remove them."""
        for gate in self.pruner.gates.values():
            gate.theta.data[1::3] = gate.theta_average[1::3] = 0.0
            gate.gradient_average[1::3] = 2.0 / len(X)  # as if they were worth nothing
        return self.pruner.compact_(self.optimizer)

    @property
    def others(self) -> tuple[Any, ...]:
        pruner = (self.pruner,) if isinstance(self.pruner, torch.optim.Optimizer) else ()
        return (self.optimizer, self.schedule, *pruner)


def states(loop: Loop) -> dict[str, Tensor]:
    """Every tensor of the loop by name."""
    found = dict(loop.model.state_dict())
    for number, state in loop.optimizer.state_dict()["state"].items():
        found |= {f"{number}.{key}": torch.as_tensor(value) for key, value in state.items()}
    return found


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_resuming_after_units_have_left_is_exact_to_the_bit(
    optimizer: str, channels_last: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    loop = Loop(optimizer, channels_last)
    loop.train(10)
    assert loop.kill() > 0
    loop.train(10)
    save_checkpoint(tmp_path / "run.safetensors", loop.model, *loop.others, epoch=3)
    loop.train(10)

    torch.manual_seed(99)  # another process would have other weights at first
    fresh = Loop(optimizer, channels_last)
    parameters = list(fresh.model.parameters())
    thetas = [gate.theta for gate in named_gates(fresh.model).values()]
    notes = load_checkpoint(tmp_path / "run.safetensors", fresh.model, *fresh.others)
    assert notes == {"epoch": 3}
    assert all(a is b for a, b in zip(fresh.model.parameters(), parameters, strict=True))
    assert [gate.theta for gate in named_gates(fresh.model).values()] == thetas
    assert fresh.model.second.weight is fresh.model.first.weight
    fresh.train(10)
    expected, found = states(loop), states(fresh)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(value, found[key]), key
        assert value.stride() == found[key].stride(), key
    for layer in ("conv2", "fc"):
        assert repr(loop.model.get_submodule(layer)) == repr(fresh.model.get_submodule(layer))
    assert loop.schedule.get_last_lr() == fresh.schedule.get_last_lr()
    assert fresh.kill() == loop.kill()
    fresh.train(3)


def test_every_random_generator_goes_on(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "file", nn.Linear(2, 2))
    expected = torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
    _ = torch.rand(7), np.random.rand(2), random.random()  # noqa: NPY002
    load_checkpoint(tmp_path / "file", nn.Linear(2, 2))
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])  # noqa: NPY002
    assert random.random() == expected[2]


def test_an_input_gate_and_what_it_selects_come_back(tmp_path: Path) -> None:
    model = lenet_300_100((6, 5), gate_inputs=True)
    pruner = BernoulliPruner(model, 5.0, 100, example_inputs=torch.rand(4, 1, 28, 28))
    for gate in pruner.gates.values():
        gate.theta.data[::3] = 0.0
    pruner.settle_()
    save_checkpoint(tmp_path / "file", model)
    fresh = lenet_300_100((6, 5), gate_inputs=True)
    load_checkpoint(tmp_path / "file", fresh)
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(fresh.eval()(images), model.eval()(images))
    gate = named_gates(fresh)["gate0"]
    assert isinstance(gate, InputGate)
    assert gate.num_units < 784


def test_averages_scalers_and_schedules_are_stateful_too(tmp_path: Path) -> None:
    def build() -> tuple[Any, ...]:
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        return (
            model,
            torch.optim.swa_utils.AveragedModel(model),
            optimizer,
            torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5]),
            torch.amp.GradScaler("cpu"),
        )

    saved = build()
    saved[2].step()
    for _ in range(3):
        saved[3].step()
    saved[1].update_parameters(saved[0])
    save_checkpoint(tmp_path / "file", *saved)
    loaded = build()
    load_checkpoint(tmp_path / "file", *loaded)
    assert torch.equal(loaded[1].module.weight, saved[1].module.weight)
    assert isinstance(loaded[3].milestones, Counter)
    for one, two in zip(saved[2:], loaded[2:], strict=True):
        assert one.state_dict() == two.state_dict()


def test_notes_of_every_kind_come_back(tmp_path: Path) -> None:
    notes: dict[str, object] = {
        "nothing": None,
        "numbers": [1, 2.5, float("inf"), True],
        "pair": (1, ("a", 2)),
        "table": {1: "one", "two": {"three": 3}},
    }
    tensors = {"history": torch.arange(3.0).to(torch.bfloat16)}
    save_checkpoint(tmp_path / "f", nn.Linear(1, 1), **notes, tensors=tensors, best=np.float32(0.5))
    loaded = load_checkpoint(tmp_path / "f", nn.Linear(1, 1))
    history = loaded.pop("tensors")["history"]
    assert loaded == notes | {"best": 0.5}
    assert torch.equal(history, tensors["history"])


def test_the_file_is_safetensors_with_json_and_nothing_else_is_written(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "run", nn.Linear(2, 3), epoch=1)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with safe_open(tmp_path / "run", framework="pt") as file:
        (content,) = file.metadata().values()
        assert file.get_tensor("0.Linear.weight").shape == (3, 2)
    assert json.loads(content)["parts"][0]["type"] == "Linear"


@pytest.mark.parametrize(
    ("notes", "name"),
    [
        ({"loader": object()}, r"notes\.loader is a object"),
        ({"best": {"of": [1, {2}]}}, r"notes\.best\.of\.1 is a set"),
        ({"f": len}, r"notes\.f is a builtin_function_or_method"),
        ({"mask": torch.eye(2).to_sparse()}, r"notes\.mask is a tensor of torch.sparse_coo"),
    ],
)
def test_what_cannot_be_saved_is_named_and_the_old_file_stays(
    notes: dict[str, Any], name: str, tmp_path: Path
) -> None:
    (tmp_path / "run").write_bytes(b"old")
    with pytest.raises(ValueError, match=name):
        save_checkpoint(tmp_path / "run", nn.Linear(2, 2), **notes)
    assert (tmp_path / "run").read_bytes() == b"old"


def saved(folder: Path) -> tuple[Path, nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(3, 4), BernoulliGate(4), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(5, 3)).sum().backward()
    optimizer.step()
    save_checkpoint(folder / "run", model, optimizer)
    return folder / "run", model, optimizer


WRONG: dict[str, tuple[Callable[[], tuple[Any, ...]], str]] = {
    "no optimizer": (lambda: (gated(),), "holds Sequential, Adam; given were Sequential"),
    "another optimizer": (lambda: with_optimizer(torch.optim.SGD), "given were Sequential, SGD"),
    "another width": (
        lambda: with_optimizer(torch.optim.Adam, 3),
        r"the saved 0\.weight .* \(3, 3\) or smaller was expected",
    ),
    "no gates": (lambda: with_optimizer(torch.optim.Adam, gate=False), "another one: missing"),
    "another type": (
        lambda: tuple(
            part.double() if isinstance(part, nn.Module) else part
            for part in with_optimizer(torch.optim.Adam)
        ),
        "is torch.float32 .*torch.float64",
    ),
    "fewer groups": (
        lambda: (model := gated(), torch.optim.Adam([{"params": [p]} for p in model.parameters()])),
        r"groups of \[4\] parameters, this one \[1, 1, 1, 1\]",
    ),
}


def gated(width: int = 4, gate: bool = True) -> nn.Module:
    between = BernoulliGate(width) if gate else nn.Identity()
    return nn.Sequential(nn.Linear(3, width), between, nn.Linear(width, 2))


def with_optimizer(
    kind: type[torch.optim.Optimizer], width: int = 4, gate: bool = True
) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = gated(width, gate)
    return model, kind(model.parameters(), lr=0.1)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("what", list(WRONG))
def test_a_checkpoint_of_something_else_is_refused_and_nothing_changes(
    what: str, tmp_path: Path
) -> None:
    path, *_ = saved(tmp_path)
    build, message = WRONG[what]
    parts = build()
    before = {key: value.clone() for key, value in parts[0].state_dict().items()}
    with pytest.raises(ModelFileError, match=message) as caught:
        load_checkpoint(path, *parts)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in parts[0].state_dict().items())


def test_damaged_and_foreign_files_are_an_error_of_one_line(tmp_path: Path) -> None:
    path, model, optimizer = saved(tmp_path)
    good = path.read_bytes()
    start = good.index(b"parts")
    damages = {
        "empty": b"",
        "text": b"hello, this is not a checkpoint",
        "cut": good[:-9],
        "half": good[: len(good) // 2],
        "numbers": good[:start] + b"stuff" + good[start + 5 :],
        "pickle": b"\x80\x04" + good[2:],
    }
    for name, content in damages.items():
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"run: .*(damaged|not a)") as caught:
            load_checkpoint(path, model, optimizer)
        assert "\n" not in str(caught.value), name
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ModelFileError, match="not a file of save_checkpoint"):
        load_checkpoint(path, model, optimizer)
    with pytest.raises(ModelFileError, match="nowhere: No such file"):
        load_checkpoint(tmp_path / "nowhere", model, optimizer)
    with pytest.raises(ModelFileError, match=str(tmp_path)):
        load_checkpoint(tmp_path, model, optimizer)
