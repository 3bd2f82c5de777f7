"""The chapter on priors, against densities of scipy, quadrature and minimisation."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import minimize
from torch import Tensor

from pruning_core.baselines.penalties import Bridge, GroupLasso, Lasso, Penalty, Ridge
from pruning_core.baselines.sparsity_priors import Count, Horseshoe, StudentT
from pruning_core.halo import bridge_threshold

ROOT_TAU = math.sqrt(2 * math.pi)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def minimiser(price: Callable[[float], float], data: float) -> float:
    """argmin_w ½(w − z)² + P(w), on a grid and then on a finer one around the best point."""

    def cost(w: float) -> float:
        return 0.5 * (w - data) ** 2 + price(w)

    low, high, at, grid = -1.0, data + 1.0, 0, np.zeros(1)
    for _ in range(2):
        grid = np.linspace(low, high, 4001)
        at = int(np.argmin([cost(float(w)) for w in grid]))
        low, high = grid[max(at - 1, 0)], grid[min(at + 1, 4000)]
    best = float(grid[at])
    return 0.0 if cost(0.0) <= cost(best) else best


@pytest.mark.parametrize(
    ("penalty", "log_density"),
    [
        (Ridge(0.7), partial(stats.norm.logpdf, scale=(2 * 0.7) ** -0.5)),
        (Lasso(0.7), partial(stats.laplace.logpdf, scale=1 / 0.7)),
        (StudentT(2.0, math.sqrt(3) * 0.5), partial(stats.t.logpdf, df=3, scale=0.5)),
        (Bridge(0.7), partial(stats.gennorm.logpdf, beta=1 / 3, scale=0.7**-3.0)),
    ],
)
def test_eq_penalty_map(penalty: Penalty, log_density: Callable[[float], float]) -> None:
    """Differences of scipy's log densities, and the mode of a posterior built from them."""
    for first, second in ((0.3, 2.0), (-1.5, 0.1)):
        rise = penalty.value([number(first)]) - penalty.value([number(second)])
        assert float(rise) == pytest.approx(log_density(second) - log_density(first))
    mode = minimiser(lambda w: -float(log_density(w)), 2.0)
    assert float(penalty.thresholded(number(2.0))) == pytest.approx(mode, abs=1e-3)


PRICES = {
    "ridge": (lambda w: 0.5 * w**2, 0.0),
    "lasso": (lambda w: 0.8 * abs(w), 0.8),
    "Student-t": (lambda w: 2.0 * math.log1p(w**2 / 3.0), 0.0),
    "bridge": (lambda w: 0.8 * abs(w) ** (1 / 3), bridge_threshold(0.8)[0]),
    "count": (lambda w: 0.8 * (w != 0), math.sqrt(1.6)),
}


@pytest.mark.parametrize("name", list(PRICES))
def test_prop_penalty_kink(name: str) -> None:
    """Minimisation just inside the interval of data gives 0, just outside it does not."""
    price, threshold = PRICES[name]
    if threshold:
        assert minimiser(price, 0.99 * threshold) == 0
    assert abs(minimiser(price, 1.01 * threshold + 0.01)) > 1e-4


@pytest.mark.parametrize("name", list(PRICES))
def test_eq_penalty_threshold(name: str) -> None:
    price, threshold = PRICES[name]
    sizes = np.geomspace(1e-8, 10, 200_001)
    least = min(w / 2 + price(w) / w for w in sizes)
    assert least == pytest.approx(threshold, abs=1e-6)


def test_prop_penalty_large() -> None:
    """Shrinkage of ever larger data, by minimisation."""
    for name, limit in (("bridge", 0.0), ("Student-t", 0.0), ("count", 0.0), ("lasso", 0.8)):
        shrinkage = [z - minimiser(PRICES[name][0], z) for z in (10.0, 100.0, 1000.0)]
        assert shrinkage[0] + 1e-5 >= shrinkage[1] >= shrinkage[2] - 1e-5
        assert shrinkage[2] == pytest.approx(limit, abs=0.01)


def test_prop_penalty_convex() -> None:
    """An elastic net and a Huber-like price with a kink: neither shrinks by less than its slope."""
    elastic = lambda w: 0.5 * abs(w) + 0.1 * w**2  # noqa: E731
    bent = lambda w: max(0.5 * abs(w), abs(w) - 1.0)  # noqa: E731
    for price in (elastic, bent):
        for data in (0.7, 2.0, 9.0):
            assert data - minimiser(price, data) >= 0.5 - 1e-6


@pytest.mark.parametrize(("tau_square", "jumps"), [(0.4, True), (0.6, False), (3.0, False)])
def test_the_rule_of_student_t_jumps_where_it_is_narrow(tau_square: float, jumps: bool) -> None:
    """With s = 2, where τ² < s/4; the steps of a smooth rule shrink with those of the data."""
    data = torch.linspace(0, 6, 1201, dtype=torch.float64)
    steps = StudentT(2.0, math.sqrt(tau_square)).thresholded(data).diff()
    assert bool(steps.max() > 0.1) == jumps


def normal(w: float, variance: float) -> float:
    return math.exp(-(w**2) / (2 * variance)) / math.sqrt(variance) / ROOT_TAU


def mean_over_scales(seen: float, function: Callable[[float], float], noise: float) -> float:
    """Mean of a function of the horseshoe's scale a, given a draw of variance a² + noise."""

    def mass(a: float) -> float:
        return normal(seen, a**2 + noise) * 2 / (math.pi * (1 + a**2))

    total, _ = quad(mass, 0, np.inf)
    return quad(lambda a: mass(a) * function(a), 0, np.inf)[0] / total


def test_eq_penalty_laplace() -> None:
    s = 1.3
    for w in (0.2, 1.0, 4.0):
        total, _ = quad(
            lambda v, w=w: normal(w, v) * s**2 / 2 * math.exp(-(s**2) * v / 2), 0, np.inf
        )
        assert total == pytest.approx(stats.laplace.pdf(w, scale=1 / s), rel=1e-6)


def test_eq_penalty_student() -> None:
    nu, a = 3.0, 0.5
    variance = partial(stats.invgamma.pdf, a=nu / 2, scale=nu * a**2 / 2)
    for w in (0.2, 1.0, 4.0):
        total, _ = quad(lambda v, w=w: normal(w, v) * float(variance(v)), 0, np.inf, limit=200)
        assert total == pytest.approx(stats.t.pdf(w, nu, scale=a), rel=1e-6)


def test_prop_penalty_precision() -> None:
    """Quadrature of the posterior of a horseshoe's scale, against the slope from E₁."""
    previous = math.inf
    for w in (0.3, 1.0, 3.0):
        precision = mean_over_scales(w, lambda a: a**-2, noise=0.0)
        (slope,) = Horseshoe().slopes([number(w)])
        assert float(slope) / w == pytest.approx(precision, rel=1e-5)
        assert precision < previous
        previous = precision


def test_eq_penalty_horseshoe() -> None:
    for w in (0.05, 0.7, 5.0):
        total, _ = quad(lambda a, w=w: normal(w, a**2) * stats.halfcauchy.pdf(a), 0, np.inf)
        (value,) = Horseshoe().values([number(w)])
        assert math.exp(-float(value)) / math.sqrt(2 * math.pi**3) == pytest.approx(total, rel=1e-5)


def test_prop_penalty_bounds() -> None:
    k = 1 / math.sqrt(2 * math.pi**3)
    for w in (1e-3, 0.1, 1.0, 8.0):
        total, _ = quad(lambda u, w=w: k * math.exp(-(w**2) * u / 2) / (1 + u), 0, np.inf)
        assert k / 2 * math.log1p(4 / w**2) < total < k * math.log1p(2 / w**2)


def test_eq_penalty_mean() -> None:
    """E[w | z] by quadrature over the scale of w."""
    for z in (0.5, 2.0, 6.0):
        mean = z * mean_over_scales(z, lambda a: a**2 / (1 + a**2), noise=1.0)
        assert float(Horseshoe().thresholded(number(z))) == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("price", [0.6, 4.0])
def test_eq_penalty_group(price: float) -> None:
    """A proximal step of the package, against minimisation from several starts."""
    data = np.array([1.0, -2.0, 0.5, 0.3])
    group = torch.tensor(data)[None].clone()
    GroupLasso(price / 2, [[(group, 0)]]).shrink_(1.0)
    cost = lambda w: 0.5 * ((w - data) ** 2).sum() + price * np.linalg.norm(w)  # noqa: E731
    starts = (data, 0.5 * data, np.full(4, 1e-3))
    best = min((minimize(cost, x, method="Nelder-Mead", tol=1e-10) for x in starts), key=cost_of)
    np.testing.assert_allclose(group[0].numpy(), best.x, atol=1e-4)


def cost_of(result: object) -> float:
    return float(getattr(result, "fun"))  # noqa: B009


def test_eq_penalty_gate() -> None:
    """Both settings of the gate and a grid of slab values are tried."""
    pi, slab = 0.1, 1e4
    for z in (1.5, 2.0, 2.2, 3.0):
        grid = np.linspace(-5, 5, 10_001)
        on = 0.5 * (z - grid) ** 2 + grid**2 / (2 * slab) - math.log(pi)
        off = 0.5 * z**2 + grid**2 / (2 * slab) - math.log(1 - pi)
        kept = bool(on.min() < off.min())
        rule = Count(math.log((1 - pi) / pi)).thresholded(number(z))
        assert kept == bool(rule != 0)
