"""What the gates of recorded runs were doing, and what a unit was exchanged for, in nats."""

from __future__ import annotations

import json
from itertools import pairwise

import pandas as pd

TRAINING_IMAGES = 60_000
"""Over which the recorded loss is a mean, where the split is "test"."""


def expected_off(epochs: pd.DataFrame) -> dict[str, float]:
    """Of each run, how many of the units left a draw of the gates turns off, when θ settles.

    The sum of 1 − θ over the units left; taken from the last epoch whose θ are recorded.

    Args:
        epochs: of :func:`pruning_core.studies.tables.epochs`.
    """
    noted = epochs[epochs["theta"] != "{}"].sort_values("epoch").groupby("run").tail(1)
    return {
        run: sum(gate["units"] * (1 - gate["mean"]) for gate in json.loads(theta).values())
        for run, theta in zip(noted["run"], noted["theta"], strict=True)
    }


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
    prices = [json.loads(settings)["log_gamma"][0] for settings in runs["settings"]]
    known = runs.assign(
        series=runs["point"].str.split().str[0],
        price=prices,
        drawn=runs["run"].map(_last_loss(epochs[epochs["theta"] != "{}"])),
        plain=runs["run"].map(_last_loss(epochs)),
    )
    found = []
    for series, own in known.groupby("series", sort=False):
        means = own.groupby("price")[["drawn", "plain", "surviving_units"]].mean()
        n = own.groupby("price").size()
        for low, high in pairwise(means.index):
            rise = means.loc[high] - means.loc[low]
            units = -rise["surviving_units"]
            found.append(
                {
                    "series": series,
                    "price": low,
                    "next price": high,
                    "nats per unit, drawn": rise["drawn"] / units,
                    "nats per unit, plain": rise["plain"] / units,
                    "J gained": low * units - rise["plain"],
                    "n": min(n[low], n[high]),
                }
            )
    return pd.DataFrame(found).set_index(["series", "price", "next price"])


def _last_loss(epochs: pd.DataFrame) -> pd.Series:
    """Of each run, the training loss of the last of these epochs, in nats over all images."""
    last = epochs.sort_values("epoch").groupby("run").tail(1).set_index("run")
    return TRAINING_IMAGES * last["loss"]
