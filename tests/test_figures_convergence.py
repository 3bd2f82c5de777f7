"""Tests of pruning_core.figures.convergence: fates have colours, regions are drawn where asked."""

import numpy as np
import pandas as pd
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


def test_adam_has_fates_of_its_own() -> None:
    unit, starts = OneUnit(BOUNDS, limit=1.5), np.array([[0.1, 0.1], [0.45, 0.1], [0.9, 0.8]])
    fates = []
    for adam in (False, True):
        (axis,) = figures.phase_portrait(unit, starts, steps=6000, adam=adam).axes
        lines = [line for line in axis.lines if len(np.asarray(line.get_xydata())) > 1000]
        assert [np.asarray(line.get_xydata())[0].tolist() for line in lines] == starts.tolist()
        fates.append([same_color(line.get_color(), REMOVED) for line in lines])
        for line in lines:
            assert np.asarray(line.get_xydata())[-1, 0] in (0, 1)
    assert fates == [[True, True, False], [True, False, False]]


ROWS = pd.DataFrame(
    {
        "network": "LeNet-300-100 at 28 nats",
        "gate": ["gate0", "gate0", "gate1", "gate2"],
        "price": 28.0,
        "decay": [0.0, 0.0, 4.0, 4.0],
        "theta": 0.0,
        "norm": [0.5, 2.0, 1.0, 1.0],
        "gradient": [0.0, 20.0, 10.0, 40.0],
        "worth": [0.0, 4.0, -20.0, 0.0],
        "theta_rate": 1.0,
    }
)


def test_what_is_inside_is_what_the_bounds_say() -> None:
    found = figures.inside(ROWS, 0.25)
    assert found["kappa"].tolist() == [0, 20, 20, 40]
    # Without decay nothing is safe when gates are half open; closed, κr < log γ decides.
    assert found["needed_decay"].tolist() == pytest.approx([0, 50 / 28, 50 / 28, 200 / 28])
    assert found["inside"].tolist() == [False, False, True, False]
    assert found["inside_closed"].tolist() == [True, False, True, False]


def test_the_norms_at_removal_are_shares_of_the_units() -> None:
    figure = figures.norms_at_removal(figures.inside(ROWS, 0.25))
    (axis,) = figure.axes
    first = np.asarray(axis.lines[0].get_xydata())
    assert first.tolist() == [[1e-3, 50.0], [20 * 2 / 28, 100.0]]
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["pixels", "hidden 1", "hidden 2"]
