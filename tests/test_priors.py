"""Tests of pruning_core.theory.priors, against scipy's densities and quadrature."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from scipy.integrate import quad, simpson

from pruning_core.theory import priors

ALL: dict[str, priors.LogDensity] = {
    "normal": priors.normal,
    "laplace": priors.laplace,
    "student_t": priors.student_t,
    "horseshoe": priors.horseshoe,
    "halo": priors.halo,
    "halo, normalised": lambda w: priors.halo(w, shape=1.0),
}
by_name = pytest.mark.parametrize("name", list(ALL))


def density(prior: priors.LogDensity) -> Callable[[float], float]:
    return lambda w: float(prior(torch.tensor([w], dtype=torch.float64)).exp())


@by_name
def test_it_integrates_to_one_and_has_the_median_asked_for(name: str) -> None:
    prior = priors.with_median(ALL[name], 0.7)
    # In the logarithm of |w|, where tails and peaks are both seen.
    for low, high in ((-30, math.log(0.7)), (math.log(0.7), 15)):
        u = torch.linspace(low, high, 1001, dtype=torch.float64)
        half = 2 * simpson((prior(u.exp()) + u).exp().numpy(), x=u.numpy())
        assert half == pytest.approx(0.5, abs=1e-3)


def test_closed_forms_are_those_of_scipy() -> None:
    weights = torch.tensor([-3.0, 0.0, 0.4], dtype=torch.float64)
    for prior, expected in (
        (priors.normal, stats.norm.logpdf(weights)),
        (priors.laplace, stats.laplace.logpdf(weights)),
        (priors.student_t, stats.t.logpdf(weights, 3)),
    ):
        torch.testing.assert_close(prior(weights), torch.tensor(expected))


@pytest.mark.parametrize("weight", [0.01, 1.0, 20.0])
def test_the_horseshoe_is_its_mixture(weight: float) -> None:
    expected, _ = quad(
        lambda u: (
            stats.norm.pdf(weight, scale=math.exp(u))
            * stats.halfcauchy.pdf(math.exp(u))
            * math.exp(u)
        ),
        -20,
        20,
        limit=400,
    )
    assert density(priors.horseshoe)(weight) == pytest.approx(expected, rel=1e-6)


@by_name
@pytest.mark.parametrize("observed", [-1.0, 0.5, 4.0])
def test_the_posterior_mean_is_that_of_quadrature(name: str, observed: float) -> None:
    # Both sides of 0, without the piece below e^−25 where no mass is.
    u = torch.linspace(-25, 4, 1001, dtype=torch.float64)
    w = torch.cat([-u.exp().flip(0), u.exp()])
    joint = ALL[name](w).exp().numpy() * stats.norm.pdf(observed, loc=w.numpy())
    expected = simpson(w.numpy() * joint, x=w.numpy()) / simpson(joint, x=w.numpy())
    found = float(priors.posterior_mean(ALL[name], torch.tensor([observed])))
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("observed", [-1.0, 0.5, 4.0])
def test_the_spike_and_slab_mean_is_bayes_rule(observed: float) -> None:
    spike = 0.8 * stats.norm.pdf(observed)
    slab, _ = quad(
        lambda w: 0.2 * stats.norm.pdf(w, scale=3) * stats.norm.pdf(observed, loc=w), -40, 40
    )
    first, _ = quad(
        lambda w: w * 0.2 * stats.norm.pdf(w, scale=3) * stats.norm.pdf(observed, loc=w), -40, 40
    )
    z = torch.tensor([observed], dtype=torch.float64)
    found = float(priors.spike_and_slab_mean(z, share=0.2, deviation=3.0))
    assert found == pytest.approx(first / (spike + slab), rel=1e-6)
