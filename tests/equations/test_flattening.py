"""The chapter on the flattening hyper-prior, against quadrature and numerical minimisation."""

import pytest
import torch
from scipy.integrate import quad

from pruning_core.hyperprior import Flattening


@pytest.mark.parametrize("log_gamma", [0.1, 3.0, 30.0])
def test_eq_flattening_density(log_gamma: float) -> None:
    """It integrates to 1."""
    prior = Flattening(log_gamma)

    def density(pi: float) -> float:
        return float(prior.log_density(torch.tensor(pi, dtype=torch.float64)).exp())

    # Most of its mass lies within 1/γ of 0.
    total, _ = quad(density, 0, 1, points=[2.0**-k for k in range(1, 50)], limit=200)
    assert total == pytest.approx(1, abs=1e-6)
