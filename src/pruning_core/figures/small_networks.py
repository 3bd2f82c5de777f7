"""What limits a small network: the errors of the found one and of those beside it."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from pruning_core.figures.results import seeds_and_interval
from pruning_core.figures.style import STYLE, WIDTH, Picture
from pruning_core.studies import small_networks as study

_ROWS = {
    study.FOUND: "found",
    study.SCRATCH: "found, from scratch",
    study.SAME: "wide, same pixels",
    study.LATTICE: "wide, lattice",
    study.RANDOM: "wide, random pixels",
    study.ALL: "wide, all pixels",
}
"""What each kind is called, from top to bottom."""


def errors(table: pd.DataFrame) -> Figure:
    """Test error of every network of the recorded study: seeds, mean and interval; a panel a price.

    Args:
        table: a row for each network and seed, as the study writes it.
    """
    every = table["test_error_percent"]
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 5.6), layout="constrained")
        panels = figure.subplots(len(study.PRICES), sharex=True)
        panels[0].set_xlim(every.min() - 0.1, every.max() + 0.1)
        for axis, price in zip(panels, study.PRICES, strict=True):
            for row, kind in enumerate(_ROWS):
                point = study.Network(kind, None if kind == study.ALL else price).point
                own = table.loc[table["point"] == point, "test_error_percent"]
                if len(own):
                    seeds_and_interval(axis, own.to_numpy(), row)
            axis.set_yticks(range(len(_ROWS)), list(_ROWS.values()), fontsize=10)
            axis.set(title=f"{price} nats a unit", ylim=(len(_ROWS) - 0.5, -0.5))
        panels[-1].set_xlabel("test error, percent")
    return figure
