"""The chapter on the region of attraction, against scipy's ODE solvers and adversarial losses."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pruning_core.theory.dynamics import Bounds, OneUnit, noisy_descent

CASES = [Bounds(0.5, 1.0, 0.3), Bounds(0.4, 2.0, 0.0, 0.5), Bounds(3.0, 5.0, 2.0, 1.7)]


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


@pytest.mark.parametrize("bounds", CASES)
def test_eq_convergence_mu(bounds: Bounds) -> None:
    """It is the growth rate of the worst case, and (κ, μ) its left eigenvector."""
    jacobian = np.array([[0, bounds.theta_rate * bounds.kappa], [bounds.kappa, -bounds.decay]])
    values, vectors = np.linalg.eig(jacobian.T)
    top = int(values.argmax())
    assert bounds.mu == pytest.approx(float(values[top]))
    ratio = bounds.mu / bounds.kappa
    assert ratio == pytest.approx(float(vectors[1, top] / vectors[0, top]))


@pytest.mark.parametrize("bounds", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_thm_convergence_region(bounds: Bounds, seed: int) -> None:
    """Three weights, a loss that changes its mind at random within the bounds: θ reaches 0."""
    generator = np.random.default_rng(seed)
    norm = generator.uniform(0, 1) * bounds.largest_norm
    theta = min((bounds.largest_norm - norm) * bounds.mu / bounds.kappa * 0.99, 1.0)
    w = generator.standard_normal(3)
    state = np.array([theta, *(w * norm / np.linalg.norm(w))])
    assert bounds.in_region(theta, norm)
    span = 0.2 / bounds.mu
    for _ in range(250):
        worst = generator.uniform() < 0.8
        direction = generator.standard_normal(3)
        worth_share = 1.0 if worst else generator.uniform(-1, 1)

        def rhs(
            _: float,
            s: np.ndarray,
            worst: bool = worst,
            direction: np.ndarray = direction,
            share: float = worth_share,
        ) -> np.ndarray:
            size = np.linalg.norm(s[1:])
            outward = s[1:] / size if worst and size > 0 else direction / np.linalg.norm(direction)
            raw = bounds.theta_rate * (share * bounds.kappa * size - bounds.log_gamma)
            theta_dot = max(raw, 0.0) if s[0] <= 0 else raw
            return np.array(
                [theta_dot, *(-bounds.decay * s[1:] + max(s[0], 0) * bounds.kappa * outward)]
            )

        state = solve_ivp(rhs, (0, span), state, max_step=span / 4, rtol=1e-6).y[:, -1]
        state[0] = np.clip(state[0], 0, 1)
    assert state[0] == 0
    assert np.linalg.norm(state[1:]) < bounds.saddle[1]


@pytest.mark.parametrize("bounds", [CASES[0], CASES[1]])
def test_thm_convergence_sharp(bounds: Bounds) -> None:
    """A hair above the edge, the worst case ends at θ = 1; a hair below, at 0 (scipy's flow)."""
    rate, kappa = bounds.theta_rate, bounds.kappa

    def worst_case(_: float, s: np.ndarray) -> list[float]:
        return [rate * (kappa * s[1] - bounds.log_gamma), kappa * s[0] - bounds.decay * s[1]]

    def left(_: float, s: np.ndarray) -> float:
        return s[0] * (1 - s[0])

    left.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
    for theta in (0.02, 0.1):
        edge = bounds.largest_norm - theta * kappa / bounds.mu
        for factor, end in ((0.999, 0.0), (1.001, 1.0)):
            start = [theta, factor * edge]
            path = solve_ivp(worst_case, (0, 60), start, events=left, rtol=1e-9, max_step=0.05)
            assert path.y[0, -1] == pytest.approx(end, abs=1e-6)


@pytest.mark.parametrize("bounds", CASES)
def test_cor_convergence_parts(bounds: Bounds) -> None:
    """Box and triangle lie inside the region, point by point; the saddle on its edge."""
    theta, norm = np.random.default_rng(0).uniform(0, [[1], [1.5 * bounds.largest_norm]], (2, 9999))
    parts = bounds.in_box(theta, norm) | bounds.in_triangle(theta, norm)
    assert parts.any()
    assert bounds.in_region(theta, norm)[parts].all()
    theta_star, norm_star = bounds.saddle
    assert bounds.in_region(0.999 * theta_star, 0.999 * norm_star)
    assert not bounds.in_region(1.001 * theta_star, 1.001 * norm_star)


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
