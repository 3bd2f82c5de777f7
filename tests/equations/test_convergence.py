"""The chapter on the region of attraction, against scipy's ODE solvers and adversarial losses."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pruning_core.theory.dynamics import Bounds, OneUnit, noisy_descent

CASES = [Bounds(0.5, 1.0, 0.3), Bounds(0.4, 2.0, 0.0, 0.5), Bounds(3.0, 5.0, 2.0, 1.7)]
HALF_OPEN = [Bounds(0.5, 1.0, 0.5, 1.0, 0.25), Bounds(3.0, 5.0, 3.0, 0.4, 0.5)]
"""With a region of attraction, and a share of the gates half open."""


def test_eq_convergence_flow() -> None:
    """It is minus the gradient of J, by finite differences."""
    unit = OneUnit(Bounds(0.5, 1.2, 0.3), limit=1.5)

    def objective(state: np.ndarray) -> float:
        theta, w = state
        loss_on, loss_off = 7.0 - float(unit.worth(w)), 7.0
        return theta * loss_on + (1 - theta) * loss_off + 0.15 * w**2 + 0.5 * theta

    for theta, w in [(0.3, 0.4), (0.9, 1.7), (0.05, 0.01)]:
        found = np.concatenate(unit.velocity(np.array([theta]), np.array([w])))
        steps = 1e-6 * np.eye(2)
        at = np.array([theta, w])
        slope = [(objective(at + step) - objective(at - step)) / 2e-6 for step in steps]
        assert found == pytest.approx(-np.array(slope), abs=1e-7)


@pytest.mark.parametrize("limit", [1.5, float("inf")])
def test_eq_convergence_half_open(limit: float) -> None:
    """ẇ is minus the derivative of the mean loss over the mixture of gates, by quadrature."""
    unit = OneUnit(Bounds(0.5, 1.2, 0.3, fraction=0.25), limit)
    t = (np.arange(4000) + 0.5) / 4000

    def objective(theta: float, w: float) -> float:
        half_open = -float(unit.worth(t * w).mean())  # a gate at t makes a weight of t w
        return 0.75 * theta * -float(unit.worth(w)) + 0.25 * half_open + 0.15 * w**2

    for theta, w in [(0.3, 0.4), (0.9, 1.7), (0.0, 0.0), (0.0, 1e-4), (0.5, -0.8)]:
        _, found = unit.velocity(np.array([theta]), np.array([w]))
        slope = (objective(theta, w + 1e-5) - objective(theta, w - 1e-5)) / 2e-5
        assert found[0] == pytest.approx(-slope, abs=1e-6)
        assert abs(unit.half_open_gradient(w)) <= 1.2 / 2 + 1e-12


@pytest.mark.parametrize("bounds", [*CASES, *HALF_OPEN])
def test_eq_convergence_mu(bounds: Bounds) -> None:
    """It is the growth rate of the worst case, and ((1 − f)κ, μ) its left eigenvector."""
    forcing = (1 - bounds.fraction) * bounds.kappa
    jacobian = np.array([[0, bounds.theta_rate * bounds.kappa], [forcing, -bounds.decay]])
    values, vectors = np.linalg.eig(jacobian.T)
    top = int(values.argmax())
    assert bounds.mu == pytest.approx(float(values[top]))
    ratio = bounds.mu / forcing
    assert ratio == pytest.approx(float(vectors[1, top] / vectors[0, top]))


def adversary(
    bounds: Bounds, state: np.ndarray, seed: int, stretches: int = 250, worst: float = 0.8
) -> np.ndarray:
    """Where a unit ends whose loss changes its mind at random, within the bounds, or is the worst.

    Its first entry is θ. The gradient of the open gate and that of the half-open ones point where
    they like.
    """
    generator = np.random.default_rng(seed)
    f, span = bounds.fraction, 0.2 / bounds.mu
    for _ in range(stretches):
        is_worst = generator.uniform() < worst
        ways = generator.standard_normal((2, len(state) - 1))
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        ways *= generator.uniform(0, 1, (2, 1))
        share = 1.0 if is_worst else generator.uniform(-1, 1)

        def rhs(
            _: float,
            s: np.ndarray,
            is_worst: bool = is_worst,
            ways: np.ndarray = ways,
            share: float = share,
        ) -> np.ndarray:
            size = float(np.linalg.norm(s[1:]))
            first, second = (s[1:] / size,) * 2 if is_worst and size > 0 else ways
            raw = bounds.theta_rate * (share * bounds.kappa * size - bounds.log_gamma)
            theta_dot = max(raw, 0.0) if s[0] <= 0 else raw
            pushed = (1 - f) * max(s[0], 0) * first + f / 2 * second
            return np.array([theta_dot, *(-bounds.decay * s[1:] + bounds.kappa * pushed)])

        state = solve_ivp(rhs, (0, span), state, max_step=span / 4, rtol=1e-6).y[:, -1]
        state[0] = np.clip(state[0], 0, 1)
    return state


def attacked(bounds: Bounds, seed: int) -> np.ndarray:
    """Where three weights and θ end that start just inside the region."""
    generator = np.random.default_rng(seed)
    norm = generator.uniform(0, 1) * bounds.largest_norm
    slope = (1 - bounds.fraction) * bounds.kappa / bounds.mu
    theta = min((bounds.largest_norm - norm) / slope * 0.99, 1.0)
    w = generator.standard_normal(3)
    assert bounds.in_region(theta, norm)
    return adversary(bounds, np.array([theta, *(w * norm / np.linalg.norm(w))]), seed)


@pytest.mark.parametrize("bounds", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_thm_convergence_region(bounds: Bounds, seed: int) -> None:
    """Three weights, a loss that changes its mind at random within the bounds: θ reaches 0."""
    end = attacked(bounds, seed)
    assert end[0] == 0
    assert np.linalg.norm(end[1:]) < bounds.saddle[1]


@pytest.mark.parametrize("bounds", HALF_OPEN)
@pytest.mark.parametrize("seed", range(3))
def test_thm_convergence_half_open(bounds: Bounds, seed: int) -> None:
    """The same with half-open gates, whose gradient points where it likes; w stays below r*."""
    end = attacked(bounds, seed)
    assert end[0] == 0
    assert np.linalg.norm(end[1:]) < bounds.saddle[1]


@pytest.mark.parametrize("bounds", [CASES[0], CASES[1], *HALF_OPEN])
def test_thm_convergence_sharp(bounds: Bounds) -> None:
    """A hair above the edge, the worst case ends at θ = 1; a hair below, at 0 (scipy's flow)."""
    rate, kappa, f = bounds.theta_rate, bounds.kappa, bounds.fraction

    def worst_case(_: float, s: np.ndarray) -> list[float]:
        forcing = kappa * ((1 - f) * s[0] + f / 2)
        return [rate * (kappa * s[1] - bounds.log_gamma), forcing - bounds.decay * s[1]]

    def left(_: float, s: np.ndarray) -> float:
        return s[0] * (1 - s[0])

    left.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
    for theta in (0.02, 0.1):
        edge = bounds.largest_norm - theta * (1 - f) * kappa / bounds.mu
        for factor, end in ((0.999, 0.0), (1.001, 1.0)):
            start = [theta, factor * edge]
            assert bool(bounds.in_region(*start)) == (end == 0)
            path = solve_ivp(worst_case, (0, 60), start, events=left, rtol=1e-9, max_step=0.05)
            assert path.y[0, -1] == pytest.approx(end, abs=1e-6)


@pytest.mark.parametrize("case", [*HALF_OPEN, Bounds(28.0, 9.0, 0.3, 2.0, 0.25)])
def test_thm_convergence_no_region(case: Bounds) -> None:
    """The worst case from everywhere: all die at 1.2 of the decay that is needed, none at 0.8."""
    theta = np.array([0.0, 0.0, 0.1, 0.5, 1.0])
    norm = np.array([0.0, 0.9, 0.3, 0.0, 0.5]) * case.log_gamma / case.kappa
    for factor in (0.0, 0.8):
        short = replace(case, decay=factor * case.needed_decay)
        assert not short.is_safe
        assert not short.in_region(theta, norm).any()
        duration = 60 / case.mu + 40 * case.saddle[1] / (case.fraction * case.kappa)
        thetas, _ = OneUnit(short).integrate(theta, norm, duration, steps=9000)
        assert list(thetas[-1]) == [1] * 5
    enough = replace(case, decay=1.2 * case.needed_decay)
    assert enough.is_safe
    inside = enough.in_region(theta, norm)
    assert inside.any()
    thetas, norms = OneUnit(enough).integrate(theta[inside], norm[inside], 200 / case.mu, 9000)
    assert (thetas[-1] == 0).all()
    rest = case.fraction * case.kappa / (2 * enough.decay)
    assert norms[-1] == pytest.approx(rest, rel=1e-3)


def test_random_starts_end_where_the_edge_says() -> None:
    """Five hundred of them, in the worst case, on a lattice of fractions and decays."""
    generator = np.random.default_rng(0)
    theta = generator.uniform(0, 1, 500)
    for fraction in (0.0, 0.25, 0.5):
        for decay in (0.3, 0.45, 0.6):
            bounds = Bounds(0.5, 1.0, decay, 1.3, fraction)
            norm = generator.uniform(0, 1.6, 500)
            clear = abs(norm - bounds.largest_norm + (1 - fraction) * theta / bounds.mu) > 0.01
            thetas, _ = OneUnit(bounds).integrate(theta, norm, 60.0, steps=3000)
            expected = np.where(bounds.in_region(theta, norm), 0, 1)
            if bounds.is_safe:
                assert list(thetas[-1][clear]) == list(expected[clear])
            else:
                assert (thetas[-1] == 1).all()


@pytest.mark.parametrize("bounds", [*CASES, *HALF_OPEN])
def test_cor_convergence_parts(bounds: Bounds) -> None:
    """Box and triangle lie inside the region, point by point; the saddle on its edge."""
    theta, norm = np.random.default_rng(0).uniform(0, [[1], [1.5 * bounds.largest_norm]], (2, 9999))
    triangle = bounds.in_triangle(theta, norm)
    parts = bounds.in_box(theta, norm) | triangle
    assert parts.any()
    assert triangle.any() == (bounds.fraction == 0)
    assert bounds.in_region(theta, norm)[parts].all()
    theta_star, norm_star = bounds.saddle
    assert bounds.in_region(0.999 * theta_star, 0.999 * norm_star)
    assert not bounds.in_region(1.001 * theta_star, 1.001 * norm_star)


@pytest.mark.parametrize("bounds", [CASES[0], *HALF_OPEN])
@pytest.mark.parametrize("seed", range(3))
def test_thm_convergence_rescaled(bounds: Bounds, seed: int) -> None:
    """Three weights, each step of each rescaled at random, signs of gradients too: all die."""
    generator = np.random.default_rng(seed)
    f, log_gamma = bounds.fraction, bounds.log_gamma
    theta_star, norm_star = bounds.saddle
    shares = generator.uniform(0.2, 1, 3)
    shares /= np.linalg.norm(shares)  # κ_j/κ
    theta, w = 0.97 * theta_star, 0.97 * norm_star * shares
    for step in range(4000):
        worst = (step // 100) % 4 > 0
        direction = np.ones(3) if worst else generator.uniform(-1, 1, 3)
        pushed = bounds.kappa * shares * direction * ((1 - f) * theta + f / 2)
        slope = bounds.decay * w - pushed
        # Either by the sign alone, as Adam nearly does, or by any positive factor.
        scale = 1 / np.maximum(abs(slope), 1e-3) if step % 2 else generator.exponential(1, 3)
        rate = 2e-3 / max(1.0, 2e-3 * bounds.decay * scale.max())  # no step beyond its target
        w = w - np.minimum(rate * scale, 0.5 / bounds.decay) * slope
        worth = bounds.kappa * (shares @ w if worst else generator.uniform(-1, 1) * norm_star)
        assert (abs(w) < norm_star * shares).all()
        theta = max(theta + 2e-3 * generator.exponential() * (min(worth, log_gamma) - log_gamma), 0)
    assert theta == 0


def test_the_line_does_not_withstand_adam() -> None:
    """Starts between box and line die by the flow, and survive where weights move by Adam."""
    bounds = Bounds(0.5, 1.0, 0.3)
    unit, theta, norm = OneUnit(bounds), np.array([0.1, 0.45]), np.array([0.55, 0.1])
    assert bounds.in_region(theta, norm).all()
    assert not bounds.in_box(theta, norm).any()
    assert (unit.integrate(theta, norm, 60.0)[0][-1] == 0).all()
    assert (unit.adam(theta, norm, 60.0)[0][-1] == 1).any()


def test_eq_convergence_time() -> None:
    """The worst case dies within the bound, and not much sooner."""
    bounds = Bounds(0.5)
    theta, norm = 0.3, 0.1
    level = bounds.kappa * bounds.log_gamma / bounds.mu
    bound = np.log(level / (level - 0.3 - 0.1)) / bounds.mu
    thetas, _ = OneUnit(bounds).integrate(theta, norm, 5.0, steps=5000)
    hit = 5.0 * int((thetas[:, 0] > 0).sum()) / 5000
    assert 0.5 * bound < hit <= bound


def test_eq_convergence_depth() -> None:
    """Mean distance of θ from 1 under noise, by simulation; the walk is made of finite steps."""
    unit = OneUnit(Bounds(0.5), limit=1.5)
    step, noise = 1 / 500, 6.0
    thetas, _ = noisy_descent(
        unit, 1.0, 3.0, weight_step=1e-12, theta_step=step, noise=noise, units=300, steps=6000
    )
    excess = float(unit.worth(3.0)) / 0.5 - 1
    expected = step * noise**2 / (2 * excess)
    measured = float((1 - thetas[2000:]).mean())
    assert measured == pytest.approx(expected, rel=0.5)
    assert measured == pytest.approx(expected - 0.5826 * step * noise, rel=0.1)
