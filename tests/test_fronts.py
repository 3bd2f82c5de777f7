"""Tests of pruning_core.studies.fronts; front and lead have theirs in test_published.py."""

import math

import pandas as pd
import pytest

from pruning_core.studies.fronts import at_equal_size

FRONT = pd.DataFrame(
    {
        "point": ["a", "a", "b", "c"],
        "weights_kept": [900, 1100, 4000, 100],
        "test_error_percent": [1.9, 2.1, 1.0, 5.0],
    }
)


def point(size: float, error: float) -> pd.DataFrame:
    """Two runs of these means."""
    return pd.DataFrame(
        {
            "weights_kept": [size - 10, size + 10],
            "test_error_percent": [error - 0.1, error + 0.1],
        }
    )


def test_a_point_of_the_front_itself_is_neither_better_nor_worse() -> None:
    assert at_equal_size(point(4000, 1.0), point(1000, 2.0), FRONT) == pytest.approx(0)
    halfway = point(2000, 1.5)  # in the logarithm of 1000 and 4000
    assert at_equal_size(halfway, point(1000, 2.0), FRONT) == pytest.approx(0)
    assert at_equal_size(point(1000, 2.0), halfway, FRONT) == pytest.approx(0)


def test_at_the_same_size_it_is_the_difference_of_the_errors() -> None:
    assert at_equal_size(point(700, 2.2), point(700, 2.5), FRONT) == pytest.approx(-0.3)


def test_both_sides_of_a_bend_of_the_front_count() -> None:
    """From 4000 to 316 weights it rises by 1 and then by 1.5 points."""
    smaller = point(1000 / 10**0.5, 3.3)
    assert at_equal_size(smaller, point(4000, 1.0), FRONT) == pytest.approx(-0.2)


def test_beyond_the_front_there_is_nothing_to_compare_with() -> None:
    assert math.isnan(at_equal_size(point(50, 9.0), point(1000, 2.0), FRONT))
    assert math.isnan(at_equal_size(point(1000, 2.0), point(5000, 0.9), FRONT))
