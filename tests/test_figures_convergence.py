"""Tests of pruning_core.figures.convergence: fates have colours, regions are drawn where asked."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.lines import Line2D

from pruning_core.figures import convergence as figures
from pruning_core.figures.style import KEPT, REMOVED
from pruning_core.theory.dynamics import Bounds, OneUnit

BOUNDS = Bounds(log_gamma=0.5, kappa=1.0, decay=0.3)
STARTS = np.array([[0.1, 0.1], [0.9, 0.8], [0.3, 0.2]])


def portrait(*, regions: bool) -> Axes:
    unit = OneUnit(BOUNDS, limit=1.5)
    return figures.phase_portrait(unit, STARTS, steps=600, regions=regions).axes[0]


def trajectories(axis: Axes) -> list[Line2D]:
    return [line for line in axis.lines if len(np.asarray(line.get_xydata())) == 601]


def test_a_trajectory_has_the_colour_of_its_fate() -> None:
    found = trajectories(portrait(regions=True))
    assert len(found) == len(STARTS)
    for line, start in zip(found, STARTS, strict=True):
        path = np.asarray(line.get_xydata())
        assert path[0].tolist() == start.tolist()
        dies = path[-1, 0] == 0
        assert dies == bool(BOUNDS.in_region(*start))
        assert same_color(line.get_color(), REMOVED if dies else KEPT)


@pytest.mark.parametrize("regions", [True, False])
def test_regions_and_saddle_are_drawn_where_they_are_asked_for(*, regions: bool) -> None:
    axis = portrait(regions=regions)
    assert bool(axis.patches) == bool(axis.collections) == regions
    assert ("saddle" in [text.get_text() for text in axis.texts]) == regions
    assert len(trajectories(axis)) == len(STARTS)


def test_the_edge_of_the_region_passes_through_the_saddle() -> None:
    bounds = [BOUNDS, Bounds(log_gamma=0.25, kappa=1.0, decay=0.3)]
    figure = figures.region_against(BOUNDS, prices=(0.5, 0.25), decays=(0.3,))
    for axis, cases in zip(figure.axes, (bounds, bounds[:1]), strict=True):
        edges = [line for line in axis.lines if len(np.asarray(line.get_xydata())) == 2]
        for edge, case in zip(edges, cases, strict=True):
            (_, at_0), (_, at_1) = np.asarray(edge.get_xydata())
            theta, norm = case.saddle
            assert (1 - theta) * at_0 + theta * at_1 == pytest.approx(norm)
