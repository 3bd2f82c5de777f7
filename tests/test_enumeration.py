"""Tests of pruning_core.theory.enumeration, against loops, scipy and the gates' own estimators."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import minimize
from torch import nn

from pruning_core.estimators import ExactSum
from pruning_core.gates import BernoulliGate
from pruning_core.theory import enumeration

TABLE = torch.tensor([7.0, 3.0, 4.5, 0.5, 6.0, 1.0, 5.0, 2.0], dtype=torch.float64)
THETA = torch.tensor([0.2, 0.7, 0.45], dtype=torch.float64)
PI = torch.tensor([0.3, 0.6, 0.1], dtype=torch.float64)


def prior_times_likelihood() -> list[float]:
    return [
        math.prod(p if on else 1 - p for on, p in zip(mask, PI.tolist(), strict=True))
        * math.exp(-float(loss))
        for mask, loss in zip(itertools.product([0, 1], repeat=3), TABLE, strict=True)
    ]


def test_masks_come_in_the_order_of_binary_numbers() -> None:
    assert enumeration.masks(3).tolist() == [list(m) for m in itertools.product([0, 1], repeat=3)]
    assert enumeration.masks(1).tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("num_gates", [0, 15])
def test_too_many_gates_are_refused(num_gates: int) -> None:
    with pytest.raises(ValueError, match="gates"):
        enumeration.masks(num_gates)


def test_a_table_holds_the_loss_of_each_mask_across_gates() -> None:
    torch.manual_seed(0)
    first, second = BernoulliGate(2), BernoulliGate(1)
    model = nn.Sequential(first, nn.Linear(2, 1), second).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    table = enumeration.loss_table([first, second], lambda: model(x)[:, 0] + 1)
    linear = model[1]
    for mask, loss in zip(enumeration.masks(3), table, strict=True):
        expected = (linear(x * mask[:2]) * mask[2] + 1).sum().detach()
        assert float(loss) == pytest.approx(float(expected))


def test_the_loss_along_a_gate_runs_from_the_network_without_to_the_one_with_its_unit() -> None:
    torch.manual_seed(1)
    first, second = BernoulliGate(2), BernoulliGate(2)
    model = nn.Sequential(nn.Linear(3, 2), first, nn.Tanh(), nn.Linear(2, 2), second).double()
    first.theta.data, second.theta.data = torch.tensor([0.3, 0.8]), torch.tensor([0.6, 0.1])
    x = torch.randn(7, 3, dtype=torch.float64)

    def losses() -> torch.Tensor:
        return model(x).square().sum(1)

    table = enumeration.loss_table([first, second], losses)
    theta = torch.cat([first.theta, second.theta]).detach().double()
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for index in range(4):
        at_0, at_1 = enumeration.loss_along([first, second], losses, index, ends)
        difference = enumeration.differences(table, theta)[index]
        assert float((at_1 - at_0).detach()) == pytest.approx(float(difference), rel=1e-5)


def test_the_slope_along_a_gate_is_that_of_the_loss_and_its_mean_the_difference() -> None:
    torch.manual_seed(2)
    gate = BernoulliGate(2).double()
    gate.theta.data = torch.tensor([0.3, 0.8])
    model = nn.Sequential(nn.Linear(3, 2), gate, nn.Tanh(), nn.Linear(2, 1)).double()
    x = torch.randn(7, 3, dtype=torch.float64)
    nodes, weights = map(torch.tensor, np.polynomial.legendre.leggauss(8))

    def along(values: torch.Tensor) -> torch.Tensor:
        return enumeration.loss_along([gate], lambda: model(x)[:, 0].square(), 1, values)

    values = ((nodes + 1) / 2).requires_grad_()
    (slopes,) = torch.autograd.grad(along(values).sum(), values)
    at_0, at_1 = along(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    assert float((weights * slopes).sum() / 2) == pytest.approx(at_1 - at_0, rel=1e-5)
    near = along(torch.tensor([0.5 - 1e-3, 0.5 + 1e-3], dtype=torch.float64)).detach()
    middle = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(along(middle).sum(), middle)
    assert float(slope) == pytest.approx(float(near.diff()) / 2e-3, rel=1e-3)


def test_there_is_no_loss_along_a_gate_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="index is 2"):
        enumeration.loss_along([BernoulliGate(2)], lambda: torch.zeros(1), 2, torch.zeros(1))


def test_a_regression_has_normal_residuals() -> None:
    x = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]], dtype=torch.float64)
    w, y = torch.tensor([0.7, -0.2]).double(), torch.tensor([1.0, 0.0, 2.0]).double()
    table = enumeration.regression_table(x, w, y)
    for mask, loss in zip(itertools.product([0, 1], repeat=2), table, strict=True):
        expected = -stats.norm.logpdf(y, x @ (w * torch.tensor(mask))).sum()
        assert float(loss) == pytest.approx(expected)


def test_differences_are_those_of_the_exact_estimator() -> None:
    torch.manual_seed(1)
    gate = BernoulliGate(3)
    model = nn.Sequential(gate, nn.Linear(3, 1)).double()
    with torch.no_grad():
        gate.theta.copy_(THETA)
    x = torch.randn(4, 3, dtype=torch.float64)
    ExactSum().backward([gate], lambda: model(x)[:, 0] ** 2, 4)
    table = enumeration.loss_table([gate], lambda: model(x)[:, 0] ** 2)
    assert gate.theta.grad is not None
    torch.testing.assert_close(enumeration.differences(table, THETA) / 4, gate.theta.grad)


def test_evidence_and_posterior_are_bayes_rule() -> None:
    joint = prior_times_likelihood()
    assert float(enumeration.log_evidence(TABLE, PI)) == pytest.approx(math.log(sum(joint)))
    expected = [value / sum(joint) for value in joint]
    assert enumeration.posterior(TABLE, PI).tolist() == pytest.approx(expected)


def test_the_bound_is_defined_at_the_corners() -> None:
    corner = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    expected = math.log(prior_times_likelihood()[3])
    assert float(enumeration.elbo(TABLE, corner, PI)) == pytest.approx(expected)


def test_mean_field_is_a_maximum_of_the_bound() -> None:
    theta = enumeration.mean_field(TABLE, PI)
    found = minimize(
        lambda t: -float(enumeration.elbo(TABLE, torch.from_numpy(t), PI)),
        theta.numpy(),
        bounds=[(1e-6, 1 - 1e-6)] * 3,
    )
    assert float(enumeration.elbo(TABLE, theta, PI)) >= -found.fun - 1e-8


def test_descent_stays_in_the_cube_and_ends_where_no_step_helps() -> None:
    path = enumeration.projected_descent(TABLE, 1.0, THETA, 0.01, 2_000)
    assert path.shape == (2_001, 3)
    assert float(path.min()) == 0.0
    assert float(path.max()) == 1.0
    slope = enumeration.differences(TABLE, path[-1]) + 1.0
    assert bool(((path[-1] == 0) == (slope > 0)).all())
