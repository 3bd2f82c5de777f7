"""Tests of the figures of chapters one to seven that compute: what is drawn is what they claim."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from pruning_core.figures import determinism, evidence, hyperprior, training
from pruning_core.hyperprior import Flattening

PRIOR = Flattening(1.0)


def words(figure: Figure) -> list[str]:
    """Every text within the axes of a figure."""
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def curves(figure: Figure) -> np.ndarray:
    """The thin curves of the fan, shape (curves, points, 2)."""
    (axis,) = figure.axes
    (fan,) = [c for c in axis.collections if isinstance(c, LineCollection)]
    return np.stack(fan.get_segments())


def test_the_fan_is_convex_and_touches_its_line_from_above() -> None:
    fan = curves(hyperprior.envelope(PRIOR, curves=24))
    theta, nats = fan[0, :, 0], fan[..., 1]
    slopes = np.diff(nats, axis=1) / np.diff(theta)
    assert (np.diff(slopes, axis=1) > 0).all()
    above = nats - theta * PRIOR.log_gamma
    assert above.min() > -1e-9
    # A curve of its own for each place: the touching points are spread evenly.
    np.testing.assert_allclose(theta[above.argmin(1)], (np.arange(24) + 0.5) / 24, atol=0.015)


def test_the_strong_curves_carry_their_prior_probability() -> None:
    figure = hyperprior.envelope(PRIOR, shown=(0.5,))
    expected = 1 / (1 + np.e)  # π* = θ/(γ − (γ − 1)θ) at θ = ½
    assert f"π = {expected:.2f}" in words(figure)


def test_the_dent_lies_where_the_curves_are_missing_and_under_all_that_are_left() -> None:
    gap = (0.4, 0.6)
    figure = hyperprior.dent(PRIOR, gap, curves=50)
    fan, (line,) = curves(figure), figure.axes[0].get_lines()
    theta, hollow = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    inside = (theta > gap[0] + 0.02) & (theta < gap[1] - 0.02)
    assert hollow[inside].min() > 1e-5
    assert np.abs(hollow[(theta < gap[0]) | (theta > gap[1])]).max() < 1e-9
    assert (fan[..., 1].min(0) > hollow - 1e-9).all()
    assert len(fan) == 40


def recorded() -> pd.DataFrame:
    """Two runs of one point: the second epoch is the last with gates."""

    def noted(low: int, high: int) -> str:
        return json.dumps({"gate": {"units": low + high, "histogram": [low, 0, 0, high]}})

    texts = [noted(9, 0), noted(1, 3), "{}", noted(9, 0), noted(0, 6), "{}"]
    runs, epochs = ["a"] * 3 + ["b"] * 3, [1, 2, 3] * 2
    return pd.DataFrame({"point": "p", "run": runs, "epoch": epochs, "theta": texts})


def test_the_last_theta_is_that_of_the_last_epoch_with_gates_of_every_run() -> None:
    assert hyperprior.last_theta(recorded()).tolist() == [1, 0, 0, 9]
    with pytest.raises(ValueError, match="no run has noted θ"):
        hyperprior.last_theta(recorded().query("epoch == 3"))


def test_the_histogram_shows_shares_in_percent() -> None:
    figure = hyperprior.theta_at_the_end(recorded(), {"p": "title"})
    (steps,) = figure.axes[0].patches
    values, edges, _ = steps.get_data()  # pyright: ignore[reportAttributeAccessIssue]
    assert values.tolist() == [10, 0, 0, 90]
    assert edges.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_every_bar_ends_at_the_log_evidence() -> None:
    figure = evidence.evidence_as_bars({"near": (-5.25, 0.25), "far": (-7.0, 2.0)})
    bars = figure.axes[0].patches
    ends = [bar.get_x() + bar.get_width() for bar in bars]  # pyright: ignore
    assert ends == pytest.approx([-5.25, -7.0, -5.0, -5.0])
    assert {"0.25", "2.00", "near", "far", "log evidence"} <= set(words(figure))


def test_a_bound_and_a_divergence_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sum to -5\.0 and to -4\.0"):
        evidence.evidence_as_bars({"one": (-6.0, 1.0), "other": (-6.0, 2.0)})


def test_the_landscape_marks_its_saddle() -> None:
    table = torch.tensor([200.0, 160.0, 150.0, 165.0], dtype=torch.float64)
    paths = torch.rand(3, 1, 2, dtype=torch.float64)
    figure = determinism.landscape(table, 10.0, torch.zeros(0, dtype=torch.float64), paths)
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() == "X"]
    h = 165.0 - 160.0 - 150.0 + 200.0
    (mark,) = marks
    expected = [30.0 / h, 40.0 / h]
    assert [float(np.asarray(v)[0]) for v in mark.get_data()] == pytest.approx(expected)


def test_theta_in_motion_counts_the_fates_of_all_units() -> None:
    theta = torch.linspace(0, 1, 5).expand(4, 5)  # 0, ¼ removed; ½, ¾, 1 kept
    figure = training.theta_in_motion({"gate": theta}, {"gate": "five units"})
    assert words(figure) == ["2\nremoved", "3\nkept"]


def test_lines_of_cost_and_error_are_named_at_their_ends() -> None:
    record = {"epoch": 1, "seconds": 2.0, "test_error_percent": 3.0}
    faster = record | {"seconds": 1.0}
    figure = training.cost_and_error({"dense": [record], "pruned": [faster]})
    assert words(figure)[:2] == ["pruned", "dense"]
    assert all(axis.get_legend() is None for axis in figure.axes)


def test_the_bars_of_the_masks_stand_in_the_order_of_their_names() -> None:
    masks = {"exact": torch.tensor([0.1, 0.2, 0.3, 0.4]), "one": torch.tensor([0.0, 0.0, 1.0, 0.0])}
    figure = evidence.over_masks({"row": masks})
    exact, one = figure.axes
    heights = [[bar.get_extents().height for bar in axis.patches] for axis in (exact, one)]
    assert heights[0] == pytest.approx([h * heights[1][1] / 100 for h in (10, 30, 20, 40)])
    assert [round(height, 6) for height in heights[1]] == [0, round(heights[1][1], 6), 0, 0]
    assert {"10", "20", "30", "40", "100", "0"} == set(words(figure))
    assert [label.get_text() for label in one.get_xticklabels()] == ["none", "1", "2", "both"]
