"""Tests of pruning_core.studies.unit_prices."""

import json

import pandas as pd
import pytest
import torch

from pruning_core.costs import SizePrice
from pruning_core.experiments.run import plain
from pruning_core.experiments.settings import recommended
from pruning_core.gates import named_gates
from pruning_core.inputs import Inputs
from pruning_core.models import lenet_5
from pruning_core.studies.unit_prices import KINDS, over_epochs, relative_times, savings


@pytest.mark.parametrize("of", ["weights", "macs"])
def test_what_a_unit_saves_is_what_the_pruner_charges_for(of: str) -> None:
    model = lenet_5((7, 5), 11)
    gates = named_gates(model)
    for gate in gates.values():
        gate.theta.data.fill_(1.0)
    costs = SizePrice(1.0, of, gates)
    costs.prepare(model, Inputs(torch.rand(2, 1, 28, 28)))
    charged = [float(slope[0]) for slope in costs.slopes(gates).values()]
    assert list(savings([7, 5, 80, 11], of).values()) == pytest.approx(charged)


def test_prices_over_the_epochs_are_those_of_the_sizes_recorded() -> None:
    settings = recommended("lenet-5", price="weights", log_gamma=(0.5,))
    rows = pd.DataFrame({"run": ["a"], "settings": [json.dumps(plain(settings))]})
    sizes = [[20, 50, 800, 500], [10, 5, 80, 20]]
    epochs = pd.DataFrame({"run": ["a", "a", "b"], "architecture": [*sizes, [1, 1, 16, 1]]})
    found = over_epochs(rows, epochs)[list(KINDS)]
    assert found.to_numpy().tolist() == [
        [0.5 * (25 + 25 * 50), 0.5 * (25 * 20 + 16 * 500), 0.5 * (800 + 10)],
        [0.5 * (25 + 25 * 5), 0.5 * (25 * 10 + 16 * 20), 0.5 * (80 + 10)],
    ]


def test_a_network_of_many_filters_takes_longer_than_one_of_few() -> None:
    sizes = {"few": "2-2-32-2", "many": "20-50-800-500"}
    rows = pd.DataFrame({"point": list(sizes), "architecture": list(sizes.values())})
    found = relative_times(rows, "few", batch_size=16, rounds=15)
    assert found["few"] == 1.0
    assert found["many"] > found["few"]
    assert found.keys() == sizes.keys()
