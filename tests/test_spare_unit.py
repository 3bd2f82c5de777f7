"""Tests of the spare unit against scipy's solvers."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq, minimize

from pruning_core.theory.spare_unit import LARGEST_WORTH, SpareUnit

RATE = 1 / 300


def loss(margin: float) -> float:
    return math.log1p(math.exp(-margin))


def objective(unit: SpareUnit, theta: float, v: float, w: float) -> float:
    """J in nats, written down anew."""
    expected = theta * loss(v + w) + (1 - theta) * loss(v)
    ridge = unit.decay / 2 * (v * v + w * w)
    return unit.num_examples * expected + ridge + unit.log_gamma * theta


def test_the_flow_goes_down_the_objective() -> None:
    unit = SpareUnit(20.0, 1000.0, 3.0)
    for at in ([0.3, 1.2, 0.7], [0.8, 3.0, 2.5], [0.5, 0.1, 0.0]):
        slope = [
            (objective(unit, *(at + h)) - objective(unit, *(at - h))) / 2e-5
            for h in 1e-5 * np.eye(3)
        ]
        speed = np.array([RATE / unit.log_gamma, 1 / 1000, 1 / 1000])
        assert unit.velocity(np.array(at), RATE) == pytest.approx(-speed * slope, abs=1e-7)


def test_no_spare_unit_is_ever_worth_more_than_the_largest_worth() -> None:
    best = minimize(lambda v: loss(2 * v[0]) - loss(v[0]), [1.0])
    assert pytest.approx(-best.fun) == LARGEST_WORTH
    with pytest.raises(ValueError, match="the most that the unit is ever worth"):
        SpareUnit(189.0, 1000.0)


@pytest.mark.parametrize(("log_gamma", "examples"), [(20.0, 1000.0), (28.0, 60_000.0), (1.0, 9.0)])
def test_without_decay_every_price_is_passed_at_the_time_that_is_said(
    log_gamma: float, examples: float
) -> None:
    unit = SpareUnit(log_gamma, examples)

    def dear(_: float, state: np.ndarray) -> float:
        return float(unit.worth(state[0], state[0])) - log_gamma

    dear.terminal, dear.direction = True, -1  # pyright: ignore[reportFunctionMemberAccess]
    found = solve_ivp(
        lambda _, s: [math.exp(-2 * s[0]) / (1 + math.exp(-2 * s[0]))],
        (0, 3 * unit.time_priced_out),
        [0.0],
        events=dear,
        rtol=1e-10,
        atol=1e-12,
    )
    assert found.t_events[0][0] == pytest.approx(unit.time_priced_out, rel=1e-6)
    assert found.y_events[0][0] == pytest.approx([unit.priced_out], rel=1e-6)


@pytest.mark.parametrize("decay", [0.01, 0.3, 5.0])
def test_with_decay_the_weights_rest_where_the_objective_is_least(decay: float) -> None:
    unit = SpareUnit(20.0, 1000.0, decay)
    best = minimize(
        lambda x: objective(unit, 1.0, x[0], x[1]) / 1000, [1.0, 2.0], method="BFGS", tol=1e-12
    )
    assert best.x == pytest.approx([unit.resting_weight] * 2, rel=1e-4)


def test_the_least_decay_is_where_the_worth_at_rest_is_the_price() -> None:
    def gap(decay: float) -> float:
        rest = SpareUnit(20.0, 1000.0, decay).resting_weight
        return float(SpareUnit(20.0, 1000.0).worth(rest, rest)) - 20.0

    least = float(brentq(gap, 1e-3, 10))  # pyright: ignore[reportArgumentType]
    assert SpareUnit(20.0, 1000.0).least_decay == pytest.approx(least)


@pytest.mark.parametrize("factor", [0.0, 0.2, 0.8])
def test_below_the_least_decay_the_unit_leaves_late(factor: float) -> None:
    unit = SpareUnit(20.0, 1000.0, factor * SpareUnit(20.0, 1000.0).least_decay)
    times, path = unit.integrate(40_000, RATE)
    theta = path[:, 0]
    assert theta[-1] == 0
    begins, ends = times[theta < 0.98][0], times[theta < 0.02][0]
    assert begins > unit.time_priced_out
    # Under way for far longer than one that is worth nothing: that needs 1/RATE.
    assert ends - begins > 1.5 / RATE


@pytest.mark.parametrize("factor", [1.3, 3.0, 30.0])
def test_above_the_least_decay_the_unit_stays(factor: float) -> None:
    unit = SpareUnit(20.0, 1000.0, factor * SpareUnit(20.0, 1000.0).least_decay)
    _, path = unit.integrate(40_000, RATE, start=0.9)
    assert (path[:, 0] == 1).all()
    assert path[-1, 1:] == pytest.approx([unit.resting_weight] * 2, rel=1e-6)


def test_the_flow_is_that_of_another_solver() -> None:
    unit = SpareUnit(20.0, 1000.0)
    times, path = unit.integrate(3000, RATE)
    begin = int(np.flatnonzero(path[:, 0] < 1)[0])
    found = solve_ivp(
        lambda _, s: unit.velocity(s, RATE),
        (times[begin], 1900),
        path[begin],
        rtol=1e-9,
        atol=1e-10,
    )
    theta = float(np.interp(1900, times, path[:, 0]))
    assert 0.02 < theta < 0.98
    assert found.y[0, -1] == pytest.approx(theta, abs=1e-3)
