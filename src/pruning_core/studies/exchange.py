"""What the gates of recorded runs were doing, and what a unit was exchanged for, in nats."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pandas as pd

from pruning_core.studies.tables import setting

TRAINING_IMAGES = 60_000
"""Over which the recorded loss is a mean, where the split is "test"."""


def with_expected_off(runs: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Runs with ``expected_off``: how many of the units left a draw of the gates turns off.

    The sum of 1 − θ over the units left, after the last epoch in which gates are drawn.

    Args:
        runs: recorded runs with gates.
        epochs: their trajectories.
    """
    noted = _last(epochs.loc[epochs["theta"] != "{}"])
    off = {
        run: sum(gate["units"] * (1 - gate["mean"]) for gate in json.loads(theta).values())
        for run, theta in zip(noted["run"], noted["theta"], strict=True)
    }
    return runs.assign(expected_off=[off[run] for run in runs["run"]])


def rates(runs: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Nats of training loss that each unit bought, between neighbouring prices of one series.

    Args:
        runs: Bernoulli runs without weight decay at one price each, their points named by the
            series and the price.
        epochs: their trajectories.

    Returns:
        By series and the two prices, the rise in the training loss over the fall in units, in the
        last epoch in which gates were drawn and in the last of all, of the plain network; and "J
        gained", by how much the plain network of the higher price has the smaller objective
        L + K log γ at the lower price, in nats. All are from means over n seeds.
    """
    drawn, plain = _nats(epochs.loc[epochs["theta"] != "{}"]), _nats(epochs)
    points: dict[tuple[str, float], list[np.ndarray]] = {}
    for row, price in zip(runs.to_dict("records"), setting(runs, "log_gamma"), strict=True):
        run = row["run"]
        values = np.array([drawn[run], plain[run], row["surviving_units"]])
        points.setdefault((row["point"].split()[0], price), []).append(values)
    found = []
    for (series, low), (other, high) in pairwise(sorted(points)):
        if series != other:
            continue
        few, many = points[series, high], points[series, low]
        rise_drawn, rise_plain, units = np.mean(few, axis=0) - np.mean(many, axis=0)
        found.append(
            {
                "series": series,
                "price": low,
                "next price": high,
                "nats per unit, drawn": -rise_drawn / units,
                "nats per unit, plain": -rise_plain / units,
                "J gained": -low * units - rise_plain,
                "n": min(len(few), len(many)),
            }
        )
    return pd.DataFrame(found).set_index(["series", "price", "next price"])


def _last(epochs: pd.DataFrame) -> pd.DataFrame:
    """The last of these epochs of each run."""
    return epochs.sort_values(by="epoch").drop_duplicates("run", keep="last")


def _nats(epochs: pd.DataFrame) -> dict[str, float]:
    """By run, the training loss of the last of these epochs, in nats over all images."""
    last = _last(epochs)
    return dict(zip(last["run"], TRAINING_IMAGES * last["loss"], strict=True))
