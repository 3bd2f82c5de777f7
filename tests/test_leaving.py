"""Tests of pruning_core.experiments.leaving: against whole passes of the network, gate by gate."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.leaving import Leaving, gradients_of_open_units, measured
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.run import Run
from pruning_core.experiments.settings import Settings, recommended
from pruning_core.gates import named_gates
from pruning_core.models import lenet_5, lenet_300_100

QUICK = Settings(
    epochs=4, batch_size=4, log_gamma=(2.0,), gate_inputs=True, theta_step=1 / 60, smoothing=0.9,
    bernoulli_epochs=3, weight_decay=1.0,
)  # fmt: skip
LAYERS = {
    "lenet-300-100": {"gate0": (None, "fc1"), "gate1": ("fc1", "fc2"), "gate2": ("fc2", "fc3")},
    "lenet-5": {"gate1": ("conv1", "conv2"), "gate2": ("conv2", "fc1"), "gate3": ("fc1", "fc2")},
}
FEW = 2500  # more than are measured at once


@pytest.fixture(scope="module")
def few(small_mnist: Dataset) -> Dataset:
    return replace(
        small_mnist,
        train_images=small_mnist.train_images[:1000],
        train_labels=small_mnist.train_labels[:1000],
        eval_images=small_mnist.eval_images[:100],
        eval_labels=small_mnist.eval_labels[:100],
    )


def network(name: str) -> nn.Sequential:
    """Every third unit is closed."""
    torch.manual_seed(0)
    model = (
        lenet_300_100((30, 20), gate_inputs=True)
        if name == "lenet-300-100"
        else lenet_5((4, 6), 20)
    )
    for gate in named_gates(model).values():
        gate.theta.data[::3] = 0.01
    return model.eval()


def whole_pass(
    model: nn.Sequential, data: Dataset, gate: str, unit: int, opened: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of the whole network with one unit open or closed."""
    held = named_gates(model)[gate]
    values = held.is_open().float()
    values[unit] = float(opened)
    model.zero_grad()
    with held.hold(values[None]):
        loss = F.cross_entropy(model(data.train_images), data.train_labels, reduction="sum")
    loss.backward()
    return loss.detach(), {
        k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None
    }


def own(model: str, gate: str, unit: int, values: dict[str, Tensor], units: int) -> Tensor:
    """The entries of a unit in weights or gradients, picked by hand."""
    maker, reader = LAYERS[model][gate]
    columns = values[f"{reader}.weight"]
    columns = columns.unflatten(1, (units, -1))[:, unit]
    parts = [columns]
    if maker is not None:
        parts += [values[f"{maker}.weight"][unit], values[f"{maker}.bias"][unit]]
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize(
    ("name", "gate"), [(name, gate) for name in LAYERS for gate in LAYERS[name]]
)
def test_a_closed_unit_is_measured_as_by_a_whole_pass(
    small_mnist: Dataset, name: str, gate: str
) -> None:
    model = network(name)
    data = replace(
        small_mnist,
        train_images=small_mnist.train_images[:FEW],
        train_labels=small_mnist.train_labels[:FEW],
    )
    units = [0, 3] if gate != "gate0" else [405, 300]
    num_units = named_gates(model)[gate].num_units
    found = measured(model, gate, units, data)
    weights = {k: p.detach() for k, p in model.named_parameters()}
    for place, unit in enumerate(units):
        without, _ = whole_pass(model, data, gate, unit, opened=False)
        with_it, gradients = whole_pass(model, data, gate, unit, opened=True)
        steep = own(name, gate, unit, gradients, num_units).norm()
        assert steep > 1  # no unit that is silent
        assert found.gradient[place] == pytest.approx(float(steep), rel=1e-3)
        assert found.norm[place] == pytest.approx(
            float(own(name, gate, unit, weights, num_units).norm()), rel=1e-5
        )
        assert found.worth[place] == pytest.approx(float(without - with_it), abs=0.02)


@pytest.mark.parametrize("name", LAYERS)
def test_open_units_are_measured_in_one_pass(small_mnist: Dataset, name: str) -> None:
    model = network(name)
    found = gradients_of_open_units(model, small_mnist)
    for gate, (_, _) in LAYERS[name].items():
        num_units = named_gates(model)[gate].num_units
        unit = 1 if gate != "gate0" else 400
        assert found[gate].shape == (int(named_gates(model)[gate].is_open().sum()),)
        _, gradients = whole_pass(model, small_mnist, gate, unit, opened=True)
        place = int(named_gates(model)[gate].is_open()[:unit].sum())
        steep = own(name, gate, unit, gradients, num_units).norm()
        assert found[gate][place] == pytest.approx(float(steep), rel=1e-3)


class Removed(Callback):
    """How many units have left."""

    def __init__(self) -> None:
        self.left: list[int] = []

    def on_epoch_end(self, run: Run) -> None:
        gates = named_gates(run.model) if run.phase == "pruning" else {}
        self.left.append(1184 - sum(gate.num_units for gate in gates.values()))


def test_every_removed_unit_is_noted_and_the_run_is_the_same(few: Dataset) -> None:
    plain, watched, leaving = Removed(), Removed(), Leaving()
    without = Trainer(QUICK, few, [plain])
    trainer = Trainer(QUICK, few, [watched, leaving])
    for run in (without, trainer):
        run.fit()
    assert watched.left == plain.left
    for ours, theirs in zip(trainer.model.parameters(), without.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert [sum(int(row["epoch"]) <= epoch for row in leaving.rows) for epoch in (1, 2, 3)] == (
        watched.left[:3]
    )
    assert len({(row["gate"], row["unit"]) for row in leaving.rows}) == len(leaving.rows) > 50
    for row in leaving.rows:
        assert float(row["theta"]) < 0.03
        assert float(row["norm"]) > 0
        assert float(row["theta_rate"]) > 0
        assert row["price"] == 2.0


def test_by_sgd_the_speed_of_theta_is_that_of_the_two_steps(few: Dataset) -> None:
    settings = replace(
        QUICK,
        optimizer="sgd",
        learning_rate=1e-3,
        epochs=3,
        bernoulli_epochs=2,
        log_gamma=(0.1,),
    )
    leaving = Leaving()
    Trainer(settings, few, [leaving]).fit()
    assert {row["epoch"] for row in leaving.rows} == {2}
    rate = 1e-3 * 0.5 * (1 + math.cos(math.pi * 499 / 750))  # of the last of 250 steps an epoch
    expected = (1 / 60 / 0.1) / (rate / (1 - 0.9) / 1000)
    assert all(row["theta_rate"] == pytest.approx(expected, rel=1e-4) for row in leaving.rows)


def test_a_run_without_theta_is_refused(few: Dataset) -> None:
    trainer = Trainer(recommended("lenet-300-100", "l0", epochs=1), few, [Leaving()])
    with pytest.raises(ValueError, match="needs method='bernoulli', not 'l0'"):
        trainer.fit()
