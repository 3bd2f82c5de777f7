"""A run while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pruning_core.figures.style import DENSE, KEPT, PALETTE, STYLE


def progress(
    trajectory: Sequence[Mapping[str, Any]],
    recorded: pd.DataFrame,
    weights_total: int,
    label: str,
    values: np.ndarray,
) -> Figure:
    """Test error and size after every epoch, what is learned of the gates or weights, the record.

    Args:
        trajectory: as :class:`pruning_core.experiments.loop.Trainer` has it; one epoch at least.
        recorded: operating points of the same model, with columns weights_percent and error.
        weights_total: of the dense network.
        label: what ``values`` are.
        values: θ of every unit, or log₁₀ |w| of the weights that are not zero; shape (n,).
    """
    epochs = [record["epoch"] for record in trajectory]
    errors = [record["test_error_percent"] for record in trajectory]
    kept = [100 * record["weights_kept"] / weights_total for record in trajectory]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 5.4), layout="constrained")
        (error, size), (histogram, plane) = figure.subplots(2, 2)
        error.plot(epochs, errors, ".-", color=KEPT)
        error.set(title="test error, percent", xlabel="epoch")
        size.plot(epochs, kept, ".-", color=KEPT)
        size.set(title="weights kept, percent", xlabel="epoch", ylim=(0, 104))
        histogram.hist(values, bins=40, color=KEPT)
        histogram.set(title=label, yscale="log")
        plane.plot(
            recorded["weights_percent"], recorded["error"], "o", color=DENSE, ms=4, label="recorded"
        )
        plane.plot(kept[-1], errors[-1], "*", color=PALETTE[1], ms=14, label="this run")
        plane.set(title="error against weights kept", xscale="log")
        plane.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
        plane.minorticks_off()
        plane.legend()
        for axis in (error, size):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
