"""Tests of pruning_core.figures.estimators: lines and points lie where the numbers say."""

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from pruning_core.figures import estimators as figures
from pruning_core.theory.estimator_quality import Quality
from pruning_core.theory.one_gate import LogisticGate

GATE = LogisticGate()


@pytest.fixture(scope="module")
def along() -> Figure:
    t = torch.linspace(0, 1, 21, dtype=torch.float64)
    slopes = torch.tensor([GATE.derivative(value) for value in t.tolist()])
    return figures.loss_along_a_gate(t, GATE.loss(t), slopes, torch.tensor([5, 12]))


def xs(line: Line2D) -> list[float]:
    return np.asarray(line.get_xydata())[:, 0].tolist()


def ys(line: Line2D) -> list[float]:
    return np.asarray(line.get_xydata())[:, 1].tolist()


def test_tangents_and_chord_are_those_of_the_loss(along: Figure) -> None:
    at_0, at_1, chord, *_ = along.axes[0].lines
    off, on = GATE.loss(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    assert ys(at_0) == pytest.approx([off, off + GATE.derivative(0)])
    assert ys(at_1) == pytest.approx([on - GATE.derivative(1), on])
    assert ys(chord) == pytest.approx([off, on])


def test_the_worth_by_each_line_is_written_beside_it(along: Figure) -> None:
    texts = [text.get_text() for text in along.axes[0].texts]
    numbers = (GATE.worth, -GATE.derivative(1), -GATE.derivative(0))
    for text, number in zip(texts, numbers, strict=True):
        assert text.endswith(f"worth {number:.0f}")


def test_the_slopes_below_have_the_mean_that_is_drawn(along: Figure) -> None:
    below = along.axes[1]
    curve, level = (line for line in below.lines if line.get_marker() == "None")
    mean = np.trapezoid(ys(curve), xs(curve))
    assert ys(level) == pytest.approx([-GATE.worth] * 2)
    assert mean == pytest.approx(-GATE.worth, rel=0.01)


def test_a_look_is_a_point_on_both_curves(along: Figure) -> None:
    for axis in along.axes:
        points = [line for line in axis.lines if line.get_marker() == "D"]
        assert [xs(line)[0] for line in points] == pytest.approx([0.25, 0.6])
        curve = next(line for line in axis.lines if len(xs(line)) == 21)
        for line in points:
            assert ys(line)[0] == pytest.approx(np.interp(xs(line)[0], xs(curve), ys(curve)))


def test_no_bar_of_bias_reaches_below_zero_and_every_point_has_its_name() -> None:
    found = {
        "biased": Quality(0.4, 0.01, 0.2, 1.0),
        "unbiased": Quality(0.03, 0.03, 0.7, 1.0),
        "covered": Quality(0.03, 0.03, 0.68, 1.0),
    }
    axis = figures.bias_and_noise(found).axes[0]
    assert [text.get_text() for text in axis.texts] == list(found)
    bars = [bar for bar in axis.collections if isinstance(bar, LineCollection)]
    starts = [float(np.asarray(bar.get_segments()[0])[0, 0]) for bar in bars]
    assert starts == pytest.approx([(0.4**2 - 0.01**2) ** 0.5 - 0.02, 0, 0])
    points = [line for line in axis.lines if line.get_marker() in ("o", "s", "^")]
    assert [line.get_markersize() for line in points] == [11, 11, 5]


def test_a_name_below_another_point_does_not_run_into_it() -> None:
    found = {
        "upper": Quality(0.10, 0.01, 0.75, 1.0),
        "just below": Quality(0.09, 0.01, 0.63, 1.0),
        "elsewhere": Quality(0.02, 0.01, 0.40, 1.0),
    }
    axis = figures.bias_and_noise(found).axes[0]
    raised = {
        text.get_text(): text.get_position()[1] > 0
        for text in axis.texts
        if isinstance(text, Annotation)
    }
    assert raised == {"upper": True, "just below": False, "elsewhere": True}
