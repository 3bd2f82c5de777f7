"""The chapter on feature selection, against Monte Carlo, scipy and other optimisers."""

import itertools

import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import norm

from pruning_core.baselines.penalties import Bridge, Lasso, Penalty
from pruning_core.theory.single_weight import kept_share, risk


@pytest.mark.parametrize("penalty", [Lasso(0.3), Bridge(0.3)])
def test_eq_selection_descent(penalty: Penalty) -> None:
    """A hundred proximal steps never raise the objective, and end where no small move helps."""
    torch.manual_seed(0)
    inputs = torch.randn(30, 12, dtype=torch.float64)
    targets = inputs[:, :3].sum(1) + 0.1 * torch.randn(30, dtype=torch.float64)
    step = 30 / float(torch.linalg.matrix_norm(inputs, 2)) ** 2
    scaled = type(penalty)(step * penalty.strength)

    def objective(w: torch.Tensor) -> float:
        fit = (inputs @ w - targets).square().sum() / 60
        return float(fit + penalty.value([w]))

    w = torch.randn(12, dtype=torch.float64)
    values = [objective(w)]
    for _ in range(100):
        w = scaled.thresholded(w - step * inputs.T @ (inputs @ w - targets) / 30)
        values.append(objective(w))
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(values))
    moves = w + 1e-2 * torch.randn(2000, 12, dtype=torch.float64)
    assert min(objective(v) for v in moves) >= values[-1] - 1e-4


@pytest.mark.parametrize("threshold", [0.5, 1.4, 3.0])
def test_eq_selection_risk(threshold: float) -> None:
    """The lasso's closed forms at 0 and far from it; the quadrature is the package's."""
    found = risk(Lasso(threshold), torch.tensor([0.0, 60.0], dtype=torch.float64))
    tail, density = norm.sf(threshold), norm.pdf(threshold)
    at_zero = 2 * ((1 + threshold**2) * tail - threshold * density)
    assert found.tolist() == pytest.approx([at_zero, 1 + threshold**2], rel=1e-4)
    kept = float(kept_share(Lasso(threshold), torch.zeros(1)))
    assert kept == pytest.approx(2 * tail, abs=1e-3)


def test_eq_selection_best() -> None:
    """The condition for the best threshold is where a minimiser finds it."""
    zeros, others = 190, 10

    def total(t: float) -> float:
        at_zero = 2 * ((1 + t**2) * norm.sf(t) - t * norm.pdf(t))
        return float(zeros * at_zero + others * (1 + t**2))

    best = float(minimize(lambda t: total(float(t[0])), [1.0], method="Nelder-Mead").x[0])
    condition = others * best - 2 * zeros * (norm.pdf(best) - best * norm.sf(best))
    assert condition == pytest.approx(0, abs=0.01)
    assert total(best) < min(total(best - 0.1), total(best + 0.1))
