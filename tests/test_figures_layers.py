"""Tests of pruning_core.figures.layers and of pruning_core.studies.depth, on the recorded runs."""

import json

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from pruning_core.figures import layers as figures
from pruning_core.studies import depth

DEEP = "784-100-100-0-7-0"
ROWS = pd.DataFrame({"model": ["residual-perceptron"] * 2, "architecture": [DEEP, "784-9-0-0-3-4"]})
EPOCHS = pd.DataFrame(
    {
        "model": ["residual-perceptron"] * 4,
        "run": ["a", "b", "a", "b"],
        "epoch": [1, 1, 2, 2],
        "architecture": [
            [784, 9, 3, 3, 3],
            [784, 9, 3, 0, 3],
            [784, 9, 3, 0, 0],
            [784, 9, 3, 0, 3],
        ],
    }
)


def test_sections_are_told_from_what_is_in_front_of_them() -> None:
    assert depth.inside("residual-perceptron", DEEP) == [100, 0, 7, 0]
    assert depth.inside("residual-cnn", [16, 0, 5]) == [0, 5]
    expected = [[True, False, True, False], [False, False, True, True]]
    np.testing.assert_array_equal(depth.sections_left(ROWS), expected)
    assert list(depth.over_epochs(EPOCHS)["sections"]) == [3, 2, 1, 2]


def test_theta_of_a_section_that_has_left_is_0() -> None:
    noted = json.dumps({"sections.1.gate": {"mean": 0.25, "histogram": [1]}, "gate0": {"mean": 1}})
    assert depth.theta_of_sections(noted, 3) == [0.0, 0.25, 0.0]
    assert depth.theta_of_sections("{}", 3) == []


def test_depths_begin_at_the_start_and_pass_through_the_mean() -> None:
    panels = {"one price": {"from 3": depth.over_epochs(EPOCHS)}}
    (axis,) = figures.depth_over_epochs(panels).axes
    first, second, mean = axis.get_lines()
    np.testing.assert_array_equal(first.get_ydata(), [3, 3, 1])
    np.testing.assert_array_equal(second.get_ydata(), [3, 2, 2])
    np.testing.assert_array_equal(mean.get_ydata(), [3, 2.5, 1.5])
    assert mean.get_label() == "from 3, n = 2"


def test_bars_are_shares_of_the_seeds() -> None:
    (axis,) = figures.which_are_left({"from 4": depth.sections_left(ROWS)}).axes
    bars = [bar.get_height() for bar in axis.patches if isinstance(bar, Rectangle)]
    assert bars == [50, 0, 100, 50]


def test_the_section_that_has_left_is_not_drawn() -> None:
    above, below = figures.sections_beside_their_paths().axes
    texts = [[text.get_text() for text in axis.texts] for axis in (above, below)]
    assert {"F₂", "ξ₂"} <= set(texts[0])
    assert not {"F₂", "ξ₂"} & set(texts[1])
    assert texts[1].count("+") == 2
