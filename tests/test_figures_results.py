"""Tests of pruning_core.figures.results: labels that can be read."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation

from pruning_core.figures.results import error_against_size


def labels(rows: pd.DataFrame) -> list[Annotation]:
    figure = error_against_size(rows, "size", "size", {"a": "one", "b": "other"})
    figure.draw_without_rendering()
    return [text for text in figure.axes[0].texts if isinstance(text, Annotation)]


@pytest.mark.parametrize("distance", [0, 0.01, 0.02])
def test_labels_of_points_close_together_cover_neither_each_other_nor_the_points(
    distance: float,
) -> None:
    generator = np.random.default_rng(1)
    places = {"a large": 10, "a small": 2, "b large": 10 + 10 * distance, "b small": 2.2}
    rows = pd.DataFrame(
        {"point": point, "size": size, "test_error_percent": 1 + generator.random() / 100}
        for point, size in places.items()
        for _ in range(3)
    )
    found = labels(rows)
    assert sorted(text.get_text() for text in found) == ["large", "large", "small", "small"]
    boxes = [text.get_window_extent() for text in found]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    points = found[0].axes
    assert points is not None
    for box in boxes:
        for at in found:
            assert not box.contains(*points.transData.transform(at.xy))


def test_a_series_of_unequal_numbers_of_seeds_says_how_many_each_point_has() -> None:
    rows = pd.DataFrame(
        {"point": point, "size": size, "test_error_percent": 1.0 + seed / 10}
        for point, size, seeds in (("a large", 9, 3), ("a small", 2, 2), ("b large", 5, 2))
        for seed in range(seeds)
    )
    told = [text.get_text() for text in labels(rows)]
    assert told == ["large, n = 3", "small, n = 2", "large"]
