"""Tests of dynamics: the regions, the projection, and the integrator against scipy."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pruning_core.theory.dynamics import Bounds, OneUnit, noisy_descent

BOUNDS = Bounds(0.5, kappa=1.3, decay=0.3, theta_rate=0.8)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"log_gamma": 0.0}, "log_gamma"),
        ({"log_gamma": 1.0, "kappa": -1.0}, "kappa"),
        ({"log_gamma": 1.0, "theta_rate": float("nan")}, "theta_rate"),
        ({"log_gamma": 1.0, "decay": -0.1}, "decay"),
    ],
)
def test_numbers_out_of_range_are_named(arguments: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Bounds(**arguments)


def test_a_unit_that_is_worth_nothing_at_best_is_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        OneUnit(BOUNDS, limit=0.0)


@pytest.mark.parametrize("limit", [1.5, float("inf")])
def test_the_unit_keeps_the_bounds(limit: float) -> None:
    unit, w = OneUnit(BOUNDS, limit), np.linspace(-5, 5, 101)
    assert (np.abs(unit.gradient(w)) <= 1.3 + 1e-12).all()
    assert (np.abs(unit.worth(w)) <= 1.3 * np.abs(w) + 1e-12).all()
    slope = (unit.worth(w + 1e-6) - unit.worth(w - 1e-6)) / 2e-6
    assert unit.gradient(w) == pytest.approx(-slope, abs=1e-6)


def test_theta_stays_between_0_and_1() -> None:
    thetas, _ = OneUnit(BOUNDS, limit=1.5).integrate([0.0, 0.2, 1.0], [0.0, 0.1, 2.0], 20.0)
    assert thetas.min() == 0
    assert thetas.max() == 1
    assert list(thetas[-1]) == [0, 0, 1]


def test_the_integrator_agrees_with_scipy() -> None:
    unit = OneUnit(Bounds(0.5, decay=0.1), limit=1.5)

    def rhs(_: float, state: np.ndarray) -> list[float]:
        theta_dot, w_dot = unit.velocity(state[:1], state[1:])
        return [float(theta_dot[0]), float(w_dot[0])]

    expected = solve_ivp(rhs, (0, 0.8), [0.6, 0.3], rtol=1e-10, atol=1e-12).y[:, -1]
    theta, w = unit.integrate(0.6, 0.3, 0.8, steps=200)
    assert [theta[-1, 0], w[-1, 0]] == pytest.approx(expected, abs=1e-8)


def test_units_without_noise_follow_the_flow() -> None:
    unit = OneUnit(Bounds(0.5, decay=0.1), limit=1.5)
    theta_step, weight_step = 1e-3, 2e-3
    thetas, weights = noisy_descent(
        unit, 0.6, 0.3, units=2, steps=400, theta_step=theta_step, weight_step=weight_step, noise=0
    )
    rate = theta_step / weight_step / 0.5  # both steps in units of time
    flow = OneUnit(Bounds(0.5, decay=0.1, theta_rate=rate), 1.5)
    theta, w = flow.integrate(0.6, 0.3, 400 * weight_step)
    assert thetas[-1] == pytest.approx(theta[-1, 0], abs=2e-3)
    assert weights[-1] == pytest.approx(w[-1, 0], abs=2e-3)


def test_a_unit_absorbed_at_zero_stays_there() -> None:
    unit = OneUnit(Bounds(0.5), limit=1.5)
    thetas, _ = noisy_descent(unit, 0.9, 1.0, steps=300, theta_step=0.1, absorbing=True)
    dead = thetas == 0
    assert dead.any()
    assert (dead[1:] >= dead[:-1]).all()
