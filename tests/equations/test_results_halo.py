"""The chapter on HALO's results: intervals and pairing by simulation, cuts on a network."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pruning_core.sparsity import make_permanent_, prune_
from pruning_core.studies.intervals import mean_interval
from pruning_core.studies.tables import paired


@pytest.mark.parametrize("n", [2, 4, 10])
def test_eq_results_halo_interval(n: int) -> None:
    """Of 4,000 studies, 95 % have an interval with the true mean in it; ± 4 standard errors."""
    rng = np.random.default_rng(n)
    studies = [mean_interval(sample) for sample in rng.normal(1.7, 0.1, (4_000, n))]
    covered = np.mean([low <= 1.7 <= high for _, low, high in studies])
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 4_000))


@pytest.mark.parametrize("zeros_percent", [0.0, 40.0, 79.9])
def test_thm_results_halo_level(zeros_percent: float) -> None:
    """A network with 80 % zeros computes the same after a smaller cut, and not after a larger."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, 10))
    make_permanent_(prune_(model, 80))
    images = torch.randn(100, 50)
    before = model(images)
    assert torch.equal(make_permanent_(prune_(model, zeros_percent))(images), before)
    assert not torch.equal(make_permanent_(prune_(model, 85))(images), before)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.8])
def test_eq_results_halo_pairing(rho: float) -> None:
    """The variance over 1,000 simulated studies of ten seeds, to 4 standard errors of it."""
    n, sigmas = 10, (0.08, 0.05)
    covariance = np.diag(np.square(sigmas))
    covariance[0, 1] = covariance[1, 0] = rho * sigmas[0] * sigmas[1]
    rng = np.random.default_rng(0)
    means = []
    for errors in rng.multivariate_normal([1.7, 1.8], covariance, (1_000, n)):
        one, other = (pd.DataFrame({"seed": range(n), "error": column}) for column in errors.T)
        # In another order of the seeds: pairs are found by seed.
        means.append(paired(one, other.iloc[::-1], "error").mean())
    expected = (sigmas[0] ** 2 + sigmas[1] ** 2 - 2 * rho * sigmas[0] * sigmas[1]) / n
    assert np.var(means, ddof=1) == pytest.approx(expected, rel=4 * np.sqrt(2 / 1_000))
