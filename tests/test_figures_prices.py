"""Tests of pruning_core.figures.prices."""

import numpy as np
import pytest

from pruning_core.figures.prices import prices_of_units


def test_prices_are_those_of_the_whole_network_at_its_full_size() -> None:
    figure = prices_of_units({"weights": 0.1, "macs": 0.0025})
    weights, macs = (
        {str(line.get_label()): np.asarray(line.get_ydata()) for line in axis.get_lines()}
        for axis in figure.axes
    )
    assert list(weights) == list(macs) == ["filter 1", "filter 2", "hidden unit"]
    assert weights["filter 2"][-1] == pytest.approx(0.1 * (25 * 20 + 16 * 500))
    assert macs["filter 1"][-1] == pytest.approx(0.0025 * (26 * 576 + 25 * 64 * 50))
    # A tenth of all layers: a tenth of the price, but for what is done on the image itself.
    assert weights["filter 2"][0] == pytest.approx(0.1 * weights["filter 2"][-1])
    assert macs["filter 1"][0] == pytest.approx(0.0025 * (26 * 576 + 25 * 64 * 5))
