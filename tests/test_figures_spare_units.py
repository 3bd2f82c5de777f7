"""Tests of pruning_core.figures.spare_units: what is drawn is what was recorded, and the flow."""

import json

import numpy as np
import pandas as pd
import pytest

from pruning_core.figures import spare_units as figures
from pruning_core.theory.spare_unit import SpareUnit


def recorded() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two seeds of one point at 10 nats, one of another at 20."""
    rows = pd.DataFrame(
        {
            "run": ["a", "b", "c"],
            "point": ["hidden log_gamma=10", "hidden log_gamma=10", "pixels log_gamma=20"],
            "undecided_percent": [6.0, 8.0, 0.5],
            "settings": [json.dumps({"log_gamma": [p]}) for p in (10.0, 10.0, 20.0)],
        }
    )
    # In no order, with a first epoch that must not be read.
    epochs = pd.DataFrame(
        {
            "run": ["c", "b", "a", "a", "b", "c"],
            "epoch": [1, 2, 2, 1, 1, 2],
            "loss": [9.0, 0.03, 0.01, 9.0, 9.0, 0.4],
        }
    )
    return rows, epochs


def test_the_loss_left_is_that_of_the_last_epoch_in_prices() -> None:
    found = figures.loss_left(*recorded(), num_examples=1000)
    assert found.index.tolist() == ["hidden log_gamma=10", "pixels log_gamma=20"]
    assert found["loss"].tolist() == pytest.approx([(1 + 3) / 2, 20])
    assert found["undecided_percent"].tolist() == [7, 0.5]
    assert found["price"].tolist() == [10, 20]


def test_every_point_is_drawn_in_its_series_and_named_by_its_price() -> None:
    points = figures.loss_left(*recorded(), num_examples=1000)
    series = {"pixels": "with pixels", "hidden": "without"}
    (axis,) = figures.undecided_against_loss(points, series).axes
    drawn = {str(line.get_label()): line.get_xydata() for line in axis.lines}
    assert np.asarray(drawn["without"]) == pytest.approx(np.array([[2.0, 7.0]]))
    assert np.asarray(drawn["with pixels"]) == pytest.approx(np.array([[20.0, 0.5]]))
    assert {text.get_text() for text in axis.texts} == {"the price of one unit", "10", "20"}


def test_the_spare_unit_leaves_without_decay_and_stays_with_enough() -> None:
    unit = SpareUnit(20.0, 1000.0)
    decays = {"none": 0.0, "much": 3 * unit.least_decay}
    worth, theta = figures.fates_of_a_spare_unit(unit, decays, 2e4).axes
    ends = [float(np.asarray(line.get_ydata())[-1]) for line in theta.lines]
    assert ends == [0, 1]
    limit, *lines = worth.lines
    assert list(np.asarray(limit.get_ydata())) == [1, 1]
    last = [float(np.asarray(line.get_ydata())[-1]) for line in lines]
    assert last[0] < 1 < last[1]
