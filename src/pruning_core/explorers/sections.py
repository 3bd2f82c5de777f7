"""An explorer of recorded networks whose sections leave: θ of each, epoch by epoch."""

from __future__ import annotations

import json
from string import ascii_lowercase

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
from pruning_core.studies import depth
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError
from pruning_core.studies.record_files import settings_of
from pruning_core.studies.tables import MODELS, epochs, runs, setting

STUDIES = ("layers", "layers-fashion-mnist", "layers-cnn", "layers-cnn-fashion-mnist")
DATASETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
SEEDS = 2
"""So many of each start's seeds can be chosen, for the size of the page."""


def gated_runs(archive: Archive) -> pd.DataFrame:
    """The recorded runs that pay for sections, with gates on these alone.

    With the columns ``study``, ``start`` (sections at the start), ``price`` (nats), ``settled``
    (the epoch after which gates are) and ``network``, what readers call all but the start.

    Raises:
        StudyError: if there are none.
    """
    found = [rows.assign(study=name) for name in STUDIES if len(rows := runs(archive, name))]
    rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    if len(rows):
        of_sections = (setting(rows, "gates") == "layers") & (setting(rows, "price") == "units")
        rows = rows.loc[of_sections & (rows["method"] == "bernoulli")]
    if not len(rows):
        studies = ", ".join(STUDIES)
        raise StudyError(f"no run of {studies} with gates on its sections is recorded yet")
    starts = [len(line) for line in map(depth.inside, rows["model"], rows["architecture"])]
    prices = [settings.log_gamma[-1] for settings in settings_of(rows)]
    named = zip(rows["model"], rows["dataset"], prices, strict=True)
    return rows.assign(
        start=starts,
        price=prices,
        settled=setting(rows, "bernoulli_epochs"),
        network=[
            f"{MODELS[model].removeprefix('the residual ')} on {DATASETS[dataset]}, {price:g} nats"
            for model, dataset, price in named
        ],
    )


def sections_in_motion(archive: Archive) -> Explorer:
    """θ of every section over the epochs, how many are left, and the test error."""
    known = gated_runs(archive)
    table = trajectories_of(archive)
    # A letter for each network, whose name would stand in every row of the page.
    letters = dict(zip(dict.fromkeys(table["network"]), ascii_lowercase, strict=False))
    table["network"] = [letters[network] for network in table["network"]]
    names = {letter: network for network, letter in letters.items()}
    starts, seeds = (sorted(set(table[name])) for name in ("start", "seed"))
    x = alt.X("epoch:Q", title="epoch").scale(domain=[0, max(table["epoch"])], nice=False)
    data = alt.Chart().transform_filter(
        "datum.network == network && datum.start == start && datum.seed == seed"
    )
    blocks = (
        data.transform_calculate(thetas="split(datum.theta, ' ')")
        .transform_calculate(place="sequence(length(datum.thetas))")
        .transform_flatten(["place"])
        .transform_calculate(
            theta="parseInt(datum.thetas[datum.place]) / 100",
            section="datum.place + 1",
            low="datum.place + 0.6",
            high="datum.place + 1.4",
            begin="datum.epoch - 0.85",
            told="'section ' + datum.section + (datum.theta > 0 ? ': θ = ' + datum.theta : ' is'"
            " + ' closed') + ' after epoch ' + datum.epoch",
        )
        .transform_filter("datum.theta > 0")
        .mark_rect(fill=COLOURS[0], clip=True)
        .encode(
            x=x,
            x2="begin:Q",
            y=alt.Y("low:Q", title="section, from the input")
            .scale(domain=[0.4, max(starts) + 0.6], nice=False)
            .axis(values=[1, 5, 10, 15, 20], grid=False),
            y2="high:Q",
            opacity=alt.Opacity("theta:Q", title="θ of the section")
            .scale(domain=[0, 1], range=[0.12, 1])
            .legend(symbolType="square", symbolFillColor=COLOURS[0], values=[0.1, 0.5, 1]),
            tooltip="told:N",
        )
    )
    counted = data.transform_calculate(
        told="datum.left + ' sections left after epoch ' + datum.epoch"
    )
    size = alt.Y("left:Q", title="sections").scale(domain=[0, max(starts)], nice=False)
    wrong = data.transform_calculate(told="datum.error + ' % after epoch ' + datum.epoch")
    lowest, highest = float(0.9 * min(table["error"])), float(np.ceil(max(table["error"])))
    error = alt.Y("error:Q", title="test error, %").scale(
        type="log", nice=False, domain=[lowest, highest]
    )
    panels = over_epochs(
        x,
        "settled",
        (blocks, 210, 12),
        (counted, "left", size.axis(values=[0, 5, 10, 15, 20]), 90),
        (wrong, "error", error.axis(values=[1, 2, 5, 10, 20, 50]), 100),
    )
    shown = known.loc[known["seed"].isin(seeds)].to_dict("records")
    ends = {
        f"{letters[row['network']]}|{row['start']}|{row['seed']}": (
            f"{int(row['sections_left'])} are left, the final test error is"
            f" {row['test_error_percent']:.2f} %"
        )
        for row in shown
    }
    settled = {letters[row["network"]]: row["settled"] for row in shown}
    deepest = max(starts)
    first = table.loc[table["network"] == "a"]
    price = known.loc[known["network"] == names["a"], "price"].iloc[0]
    return Explorer(
        alt.concat(*panels, columns=1, data=inline(table)).add_params(
            choice("network", "network", next(iter(names)), names),
            choice("start", "sections at the start", deepest, starts),
            choice("seed", "seed", seeds[0], seeds),
            *computed(
                ends=json.dumps(ends),
                settled=f"({json.dumps(settled)})[network]",
                called=f"({json.dumps(names)})[network]",
            ),
        ),
        "['One ' + called + ' a section, with ' + start + ' sections at the start,"
        " seed ' + seed + '.',"
        " 'At the end ' + ends[network + '|' + start + '|' + seed] + '.']",
        "Which sections leave, how early, and how many stay: turn the number at the start and see"
        " how much the number at the end follows.",
        predict=_prediction(first, price, deepest, seeds[0]),
    )


def _prediction(table: pd.DataFrame, price: float, start: int, seed: int) -> Prediction:
    """How many stay?"""
    own = (table["start"] == start) & (table["seed"] == seed)
    run = table.loc[own].set_index("epoch")
    left = int(run["left"].iloc[-1])
    thirds = (f"at most {start // 3}", f"{start // 3 + 1} to {2 * start // 3}")
    quarter = max(run.index) / 4
    early = (start - run["left"].loc[: int(quarter)].iloc[-1]) / max(start - left, 1)
    return Prediction(
        f"A network starts with {start} sections, each of which has to be worth {price:g} nats."
        " How many will it keep?",
        [*thirds, f"more than {2 * start // 3}"],
        min(3 * (left - 1) // start, 2),
        f"This run keeps {left}. Of those that leave, {100 * early:.0f} % have left when a quarter"
        " of the training is over.",
        (0.1, 1, 0.1),
    )


def trajectories_of(archive: Archive) -> pd.DataFrame:
    """A row for each epoch: the test error, the sections left, and θ of each, in percent."""
    known = gated_runs(archive)
    seeds = sorted(set(known["seed"]))[:SEEDS]
    known = known.loc[known["seed"].isin(seeds), ["run", "network", "start", "study"]]
    noted = pd.concat([epochs(archive, study) for study in known["study"].unique()])
    noted = depth.over_epochs(known.merge(noted, on="run"))
    thetas = [
        depth.theta_of_sections(theta, start) or (np.array(units) > 0).astype(float)
        for theta, start, units in zip(
            noted["theta"],
            noted["start"],
            map(depth.inside, noted["model"], noted["architecture"]),
            strict=True,
        )
    ]
    return pd.DataFrame(
        {name: noted[name] for name in ("network", "start", "seed", "epoch")}
        | {"left": noted["sections"], "error": noted["test_error_percent"].round(2)}
        | {"theta": [" ".join(f"{round(100 * t)}" for t in theta) for theta in thetas]}
    )
