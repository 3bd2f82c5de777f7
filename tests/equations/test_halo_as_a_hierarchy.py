"""The chapter on HALO as a hierarchy, against quadrature, root finding and Monte Carlo."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import expon, gamma, laplace, norm

from pruning_core.halo import negative_log_prior, normalised_coefficient, optimal_coefficient
from pruning_core.theory import priors

PRICES = pytest.mark.parametrize(("xi", "psi"), [(1.0, 1.0), (0.2, 3.0)])


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def marginal(weight: float, xi: float, psi: float, shape: int = 3) -> float:
    """∫ Laplace(w | λ²/ξ) Gamma(λ | shape, ψ) dλ, by scipy's densities and quadrature in log λ."""

    def integrand(u: float) -> float:
        c = math.exp(u)
        given = laplace.pdf(weight, scale=c**2 / xi)
        return float(given * gamma.pdf(c, shape, scale=1 / psi) * c)

    return quad(integrand, -12, 6, limit=400)[0]


@PRICES
@pytest.mark.parametrize("normaliser", [False, True])
def test_eq_hierarchy_prior(xi: float, psi: float, normaliser: bool) -> None:
    """exp(−negative_log_prior) integrates to 1 over w and λ."""

    def density(w: float, c: float) -> float:
        price = negative_log_prior(number(w), number(c), xi, psi, normaliser=normaliser)
        return float((-price).exp())

    def of_coefficient(c: float) -> float:
        return quad(density, 0, 40 * c**2 / xi, args=(c,))[0] * 2

    total, _ = quad(of_coefficient, 1e-6, 30 / psi, epsrel=1e-5)
    assert total == pytest.approx(1, abs=1e-3)


@PRICES
@pytest.mark.parametrize(("shape", "power"), [(3, -1), (2, 0), (1, 1), (1, 0), (1, -1), (4, 2)])
def test_eq_hierarchy_family(shape: int, power: int, xi: float, psi: float) -> None:
    """In μ = λ^(−a), or log λ at a = 0, −log p is P and 2 − k − a logarithms of λ, but a constant.

    The density of μ is a difference of scipy's distribution function of λ at both ends of a bin.
    """

    def price(w: float, c: float) -> float:
        middle = math.log(c) if power == 0 else c**-power
        low, high = middle - 1e-6 * (width := abs(middle) + 1), middle + 1e-6 * width
        ends = [math.exp(u) if power == 0 else u ** (-1 / power) for u in (low, high)]
        of_coordinate = abs(float(gamma.cdf(ends, shape, scale=1 / psi) @ [-1, 1])) / (2e-6 * width)
        return -float(laplace.logpdf(w, scale=c**2 / xi)) - math.log(of_coordinate)

    places = [(0.7, 0.4 / psi), (0.1, 0.9 / psi), (2.0, 2.5 / psi)]
    left = [
        price(w, c) - (xi * w / c**2 + psi * c + (2 - shape - power) * math.log(c))
        for w, c in places
    ]
    assert left == pytest.approx([left[0]] * 3, abs=1e-4)


@PRICES
def test_eq_hierarchy_inverse(xi: float, psi: float) -> None:
    """In μ = 1/λ, differences of −log p are differences of P: a histogram of 1/λ says so.

    Two million draws; the logarithm of a ratio of two counts has an error of about 0.02.
    """
    generator = torch.Generator().manual_seed(0)
    c = torch.empty(2_000_000, dtype=torch.float64).exponential_(psi, generator=generator)
    counts = [int(((1 / c > psi * m) & (1 / c < psi * (m + 0.04))).sum()) for m in (0.48, 1.48)]
    # w given λ is Laplace; at w = 0.7 its density multiplies the weight of a draw.
    centres = [psi * 0.5, psi * 1.5]
    logs = [
        math.log(n) + laplace.logpdf(0.7, scale=1 / (xi * m**2))
        for n, m in zip(counts, centres, strict=True)
    ]
    penalties = [xi * 0.7 * m**2 + psi / m for m in centres]
    assert logs[0] - logs[1] == pytest.approx(penalties[1] - penalties[0], abs=0.06)


@PRICES
@pytest.mark.parametrize("weight", [1e-8, 0.3, 1e8])
def test_eq_hierarchy_root(weight: float, xi: float, psi: float) -> None:
    """A bracketing root finder agrees, and so do both limits."""
    root = brentq(lambda c: psi * c**3 + 2 * c**2 - 2 * xi * weight, 0, 1e6, xtol=1e-14)
    assert float(normalised_coefficient(number(weight), xi, psi)) == pytest.approx(root, rel=1e-6)
    if weight == 1e-8:
        assert root == pytest.approx((xi * weight) ** 0.5, rel=1e-3)
    if weight == 1e8:
        large = float(optimal_coefficient(number(weight), xi, psi))
        assert root == pytest.approx(large, rel=0.02)


@pytest.mark.parametrize("shape", [3, 1])
@pytest.mark.parametrize("weight", [1e-3, 0.3, 20.0])
def test_eq_hierarchy_marginal(weight: float, shape: int) -> None:
    """The package's quadrature is scipy's, and other prices only change the scale."""
    found = float(priors.halo(number(weight), shape=shape).exp())
    assert found == pytest.approx(marginal(weight, 1, 1, shape), rel=1e-5)
    scale = 1 / (0.2 * 3.0**2)
    assert marginal(weight * scale, 0.2, 3.0, shape) * scale == pytest.approx(found, rel=1e-5)


@PRICES
def test_eq_hierarchy_zero(xi: float, psi: float) -> None:
    """Near 0 the marginal has the height ξψ²/4 and falls like a square root."""
    height = xi * psi**2 / 4
    w = 1e-6 / (xi * psi**2)
    fall = 1 - marginal(w, xi, psi) / height
    assert fall == pytest.approx(psi * math.sqrt(math.pi * xi * w), rel=0.01)


@PRICES
def test_eq_hierarchy_tail(xi: float, psi: float) -> None:
    """Far out it is the bridge's exponential times |w|^(1/6)."""
    w = 3e4 / (xi * psi**2)
    best = (2 * xi * w / psi) ** (1 / 3)
    price = 3 * 2 ** (-2 / 3) * (xi * w * psi**2) ** (1 / 3)
    form = xi * psi**3 / 4 * math.sqrt(2 * math.pi * best / (3 * psi)) * math.exp(-price)
    assert marginal(w, xi, psi) == pytest.approx(form, rel=0.02)


@pytest.mark.parametrize("weight", [0.05, 0.7, 4.0])
def test_eq_hierarchy_normal(weight: float) -> None:
    """A Laplace is a normal whose variance is exponential with mean 2b²."""
    b = 0.8
    mixed, _ = quad(
        lambda d: norm.pdf(weight, scale=d) * expon.pdf(d**2, scale=2 * b**2) * 2 * d, 0, 30
    )
    assert mixed == pytest.approx(laplace.pdf(weight, scale=b), rel=1e-6)


def test_eq_hierarchy_slopes() -> None:
    """Slopes of −log p at a large weight, by finite differences, as the table has them."""
    w = number(1e3)
    step = 1e-4 * w
    for prior, expected in (
        (priors.normal, w),
        (priors.laplace, 1.0),
        (priors.student_t, 4 / w),
        (priors.horseshoe, 2 / w),
        (priors.halo, 2 ** (-2 / 3) * w ** (-2 / 3)),
    ):
        slope = (prior(w - step) - prior(w + step)) / (2 * step)
        assert float(slope) == pytest.approx(float(expected), rel=0.03)


@pytest.mark.parametrize("prior", [priors.laplace, priors.student_t, priors.halo])
def test_eq_hierarchy_tweedie(prior: priors.LogDensity) -> None:
    """E[w | z] = z + d/dz log m(z), with m by quadrature and its derivative by differences."""

    def log_evidence(z: float) -> float:
        w = torch.linspace(-20, 20, 4_000, dtype=torch.float64)
        w = w.sign() * w.abs() ** 2 / 20  # closer together near 0, where the prior has its peak
        values = prior(w).exp()
        values = values * torch.from_numpy(norm.pdf(z - w.numpy()))
        return math.log(float(torch.trapezoid(values, w)))

    for z in (0.5, 3.0):
        slope = (log_evidence(z + 1e-3) - log_evidence(z - 1e-3)) / 2e-3
        found = float(priors.posterior_mean(prior, torch.tensor([z])))
        assert found == pytest.approx(z + slope, abs=2e-3)
