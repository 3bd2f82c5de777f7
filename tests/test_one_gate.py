"""Tests of one_gate: its derivative and worth, and where the steps come to rest."""

import math

import pytest
import torch

from pruning_core.pathwise import IntegratedGates, StraightThrough
from pruning_core.theory.one_gate import LogisticGate


def test_derivative_and_worth() -> None:
    gate = LogisticGate(num_examples=10, log_odds=3.0)
    for xi in (0.0, 0.4, 1.0):
        at = torch.tensor(xi, dtype=torch.float64, requires_grad=True)
        gate.loss(at).backward()
        assert at.grad is not None
        assert gate.derivative(xi) == pytest.approx(float(at.grad))
    assert gate.worth == pytest.approx(10 * (math.log(2) - math.log(1 + math.exp(-3))))


def test_beyond_the_range_of_false_equilibria_theta_rests_at_an_end() -> None:
    gate = LogisticGate()
    assert gate.straight_through_rest(1.0) == 1
    assert gate.straight_through_rest(250.0) == 0


@pytest.mark.parametrize(("log_gamma", "end"), [(40.0, 1.0), (100.0, 0.0)])
def test_integrated_gates_decide_where_straight_through_does_not(
    log_gamma: float, end: float
) -> None:
    torch.manual_seed(0)
    gate, starts = LogisticGate(), torch.tensor([0.2, 0.8])
    decided = gate.descend(IntegratedGates(), starts, log_gamma, steps=800)
    undecided = gate.descend(StraightThrough(), starts, log_gamma, steps=800)
    assert decided.shape == (801, 2)
    assert decided[-1] == pytest.approx(end)
    assert undecided[-1] == pytest.approx(gate.straight_through_rest(log_gamma), abs=0.05)
