"""Tests of pruning_core.figures.feature_selection: what is counted is what is drawn."""

import numpy as np
import torch

from pruning_core.figures import feature_selection as figures


def test_selected_weights_are_drawn_and_counted_by_whether_they_have_an_effect() -> None:
    truth = torch.tensor([0.0, 2.0, 0.0, -1.0, 0.0])
    found = {
        "all": torch.tensor([0.1, 1.9, 0.2, -0.9, 0.3]),
        "one": torch.tensor([0.0, 0.0, 0.0, -0.5, 0.0]),
    }
    first, second = figures.weights_found(truth, found).axes
    assert first.get_title(loc="left") == "all: 2 with effect, 3 without"
    assert second.get_title(loc="left") == "one: 1 with effect, 0 without"
    for axis, weights in zip((first, second), found.values(), strict=True):
        dots = [np.asarray(line.get_xydata()) for line in axis.lines if line.get_marker() == "o"]
        drawn = {int(feature): float(w) for points in dots for feature, w in points}
        assert drawn == {int(i): float(weights[i]) for i in weights.nonzero()}
        (crosses,) = (line for line in axis.lines if line.get_marker() == "x")
        assert np.asarray(crosses.get_xydata()).tolist() == [[1, 2], [3, -1]]
