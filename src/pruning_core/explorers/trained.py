"""Explorers of single recorded networks: θ in motion, and the pixels that survive."""

from __future__ import annotations

import json

import altair as alt
import numpy as np
import pandas as pd

from pruning_core.explorers.chart import (
    COLOURS,
    Explorer,
    Prediction,
    choice,
    computed,
    inline,
    over_epochs,
)
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError
from pruning_core.studies.masks import load_masks
from pruning_core.studies.tables import epochs, runs, setting

STUDY = "lenet-300-100"
START = 28.0
"""At this price, in nats, the explorers start, as the text does."""

SEEDS = 2
"""So many of each point's seeds can be chosen, for the size of the page."""

SHOWN_EPOCHS = (*range(1, 13), *range(15, 30, 3), *range(30, 1000, 10))
"""Most happens in the first; the last of a run is shown as well."""

BINS = 10
LAYERS = ("pixels", "first hidden layer", "second hidden layer")


def gated_runs(archive: Archive) -> pd.DataFrame:
    """The recorded runs whose pixels have a gate, with the price ``log_gamma`` in nats.

    Raises:
        StudyError: if there are none.
    """
    rows = runs(archive, STUDY)
    rows = rows.loc[setting(rows, "gate_inputs").astype(bool)]
    if not len(rows):
        raise StudyError(f"no run of {STUDY} with gates on its pixels is recorded yet")
    return rows.assign(log_gamma=setting(rows, "log_gamma"))


def page_prices(archive: Archive) -> list[float]:
    """Prices in nats that the one control of a page goes through."""
    return sorted(set(gated_runs(archive)["log_gamma"]))


def theta_in_motion(archive: Archive) -> Explorer:
    """How θ is spread over the epochs, with the units left and the test error."""
    known = gated_runs(archive)
    prices, seeds = page_prices(archive), sorted(set(known["seed"]))[:SEEDS]
    table = trajectories_of(archive)
    x = alt.X("epoch:Q", title="epoch").scale(domain=[0, max(table["epoch"])], nice=False)
    data = alt.Chart().transform_filter("datum.price == price && datum.seed == seed")
    blocks = (
        data.transform_filter("datum.theta0 != null && length(datum.theta0) > 0")
        .transform_calculate(
            counts="split([datum.theta0, datum.theta1, datum.theta2][place], ' ')",
            bin=f"sequence({BINS})",
        )
        .transform_flatten(["bin"])
        .transform_calculate(
            units="parseInt(datum.counts[datum.bin])",
            low=f"datum.bin / {BINS}",
            high=f"(datum.bin + 1) / {BINS}",
            begin="datum.epoch - 0.85",
            told="datum.units + (datum.units > 1 ? ' units' : ' unit') + ' with θ from '"
            " + datum.low + ' to ' + datum.high + ' after epoch ' + datum.epoch",
        )
        .transform_filter("datum.units > 0")
        .mark_rect(fill=COLOURS[0], clip=True)
        .encode(
            x=x,
            x2="begin:Q",
            y=alt.Y("low:Q", title="θ").scale(domain=[0, 1], nice=False),
            y2="high:Q",
            opacity=alt.Opacity("units:Q", title="units with such a θ")
            .scale(type="log", domain=[1, 784], range=[0.25, 1])
            .legend(symbolType="square", values=[1, 10, 100, 700]),
            tooltip="told:N",
        )
    )
    left = data.transform_calculate(
        left="[datum.size0, datum.size1, datum.size2][place]",
        told="datum.left + ' units left after epoch ' + datum.epoch",
    )
    size = alt.Y("left:Q", title="units left").scale(type="log", nice=False, domain=[8, 1000])
    wrong = data.transform_calculate(told="datum.error + ' % after epoch ' + datum.epoch")
    error = alt.Y("error:Q", title="test error, %").scale(type="log", nice=False, domain=[1, 60])
    panels = over_epochs(
        x,
        "settled['' + price]",
        (blocks, 190, 95),
        (left, "left", size.axis(values=[10, 30, 100, 300, 700]), 90),
        (wrong, "error", error.axis(values=[1, 2, 5, 10, 20, 50]), 110),
    )
    ends = {
        f"{row['log_gamma']:g}|{row['seed']}": f"{row['architecture']} left, final test error"
        f" {row['test_error_percent']:.2f} %"
        for row in known.to_dict("records")
        if row["seed"] in seeds
    }
    phases = dict(zip(known["log_gamma"], setting(known, "bernoulli_epochs"), strict=True))
    settles = {f"{price:g}": int(epochs) for price, epochs in phases.items()}
    start = START if START in prices else prices[0]
    return Explorer(
        alt.concat(*panels, columns=1, data=inline(table)).add_params(
            choice("price", "price log γ, nats", start, {p: f"{p:g}" for p in prices}),
            choice("seed", "seed", seeds[0], seeds),
            choice("layer", "layer", LAYERS[0], LAYERS),
            *computed(
                place=f"indexof({list(LAYERS)}, layer)",
                ends=json.dumps(ends),
                settled=json.dumps(settles),
            ),
        ),
        "['One network: log γ = ' + price + ' nats, seed ' + seed + '. At the end',"
        " ends[price + '|' + seed] + '.']",
        "Where the columns of blocks thin out between 0 and 1, the layer has decided. At the"
        " dearest prices, watch the error: the network nearly dies, and comes back.",
        shared=["price"],
        predict=_prediction(table, start, seeds[0]),
    )


def _prediction(table: pd.DataFrame, price: float, seed: int) -> Prediction:
    """When do the pixels decide?"""
    run = table.loc[(table["price"] == price) & (table["seed"] == seed)].set_index("epoch")
    between = {}
    for epoch, text in run["theta0"].items():
        counts = [int(count or 0) for count in text.split(" ")] if text else []
        if counts:
            between[epoch] = 100 * sum(counts[1:-1]) / sum(counts)
    few = next(epoch for epoch, share in between.items() if share < 5 and epoch > 1)
    last = max(run.index)
    third = min(int(3 * (few - 1) / last), 2)
    return Prediction(
        f"At {price:g} nats the units of a layer begin undecided. By when will fewer than 5 %"
        " of the pixels have a θ between 0.1 and 0.9?",
        ["in the first third of the training", "in the second third", "only in the last third"],
        third,
        f"After epoch {few} of {last} it is {between[few]:.1f} % of the pixels of this run.",
        (0.32, 1, 0.1),
    )


def trajectories_of(archive: Archive) -> pd.DataFrame:
    """A row for each epoch that is shown: error, units left, and histograms of θ.

    A histogram is the counts of ten bins, with nothing for 0; it is empty once gates are settled.
    """
    known = gated_runs(archive)
    seeds = sorted(set(known["seed"]))[:SEEDS]
    known = known.loc[known["seed"].isin(seeds), ["run", "log_gamma"]]
    noted = known.merge(epochs(archive, STUDY), on="run")
    last = noted.groupby("run")["epoch"].transform("max")
    noted = noted.loc[noted["epoch"].isin(SHOWN_EPOCHS) | (noted["epoch"] == last)]
    sizes = np.stack(list(noted["architecture"]))
    spread = [json.loads(theta) for theta in noted["theta"]]
    return pd.DataFrame(
        {"price": noted["log_gamma"], "seed": noted["seed"], "epoch": noted["epoch"]}
        | {"error": noted["test_error_percent"].round(2)}
        | {f"size{layer}": sizes[:, layer] for layer in range(3)}
        | {
            f"theta{layer}": [_counts(theta, f"gate{layer}") for theta in spread]
            for layer in range(3)
        }
    )


def _counts(theta: dict[str, dict[str, list[int]]], gate: str) -> str:
    if gate not in theta:
        return ""
    counts = np.reshape(theta[gate]["histogram"], (BINS, -1)).sum(1)
    return " ".join(str(count) if count else "" for count in counts)


def which_pixels(archive: Archive) -> Explorer:
    """The share of the recorded seeds whose network reads each pixel, at each price."""
    shares = pixel_counts(archive)
    prices = sorted(shares["price"])
    grid = (
        alt.Chart(inline(shares))
        .transform_filter("datum.price == price")
        .transform_calculate(pixel="sequence(784)")
        .transform_flatten(["pixel"])
        .transform_calculate(
            seeds="parseInt(substring(datum.counts, datum.pixel, datum.pixel + 1), 36)",
            share="datum.seeds / datum.n",
            left="datum.pixel % 28",
            right="datum.left + 1",
            top="floor(datum.pixel / 28)",
            bottom="datum.top + 1",
            told="'row ' + datum.top + ', column ' + datum.left + ': read by ' + datum.seeds"
            " + ' of ' + datum.n + ' networks'",
        )
        .transform_filter("datum.seeds > 0")
    )
    x = alt.X("left:Q", axis=None).scale(domain=[0, 28], nice=False)
    y = alt.Y("top:Q", axis=None).scale(domain=[0, 28], nice=False, reverse=True)
    share = (
        alt.Opacity("share:Q", title="share of the networks that read it")
        .scale(domain=[0.1, 1], range=[0.22, 1])
        .legend(symbolType="square", symbolFillColor=COLOURS[0], values=[0.1, 0.4, 0.7, 1])
    )
    frame = alt.Chart(alt.sequence(0, 1)).transform_calculate(left="0", top="0", end="28")
    chart = alt.layer(
        frame.mark_rect(fillOpacity=0, stroke="currentColor", strokeOpacity=0.4)
        .encode(x=x, x2="end:Q", y=y, y2="end:Q"),
        grid.mark_rect(fill=COLOURS[0], strokeWidth=0)
        .encode(x=x, x2="right:Q", y=y, y2="bottom:Q", opacity=share, tooltip="told:N"),
    )  # fmt: skip
    told = {
        f"{row['price']:g}": [
            f"each of n = {row['n']} networks",
            f"reads {row['least']} to {row['most']} of 784 pixels; all read {row['always']}.",
        ]
        for row in shares.to_dict("records")
    }
    start = START if START in prices else prices[0]
    return Explorer(
        chart.properties(width=308, height=308).add_params(
            choice("price", "price log γ, nats", start, {p: f"{p:g}" for p in prices}),
            *computed(told=json.dumps(told)),
        ),
        "['log γ = ' + price + ' nats: ' + told['' + price][0], told['' + price][1]]",
        "As the price rises, the ragged rim goes first, and the core on which all networks agree"
        " shrinks as well.",
        shared=["price"],
    )


def pixel_counts(archive: Archive) -> pd.DataFrame:
    """A row for each price: ``n`` networks, and of each pixel how many read it, to the base 36.

    Raises:
        StudyError: if no mask is recorded.
    """
    masks = load_masks(archive)
    known = gated_runs(archive)
    known = known.loc[known["run"].isin(list(masks))]
    if not len(known):
        raise StudyError("no mask is recorded; run python -m pruning_core.studies.masks")
    rows = []
    for price, group in known.groupby("log_gamma"):
        read = np.stack([masks[key] for key in group["run"]])
        counts = read.sum(0)
        rows.append(
            {"price": price, "n": len(read), "least": read.sum(1).min(), "most": read.sum(1).max()}
            | {"always": int((counts == len(read)).sum()), "never": int((counts == 0).sum())}
            | {"counts": "".join(np.base_repr(count, 36) for count in counts)}
        )
    return pd.DataFrame(rows)
