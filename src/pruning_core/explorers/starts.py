"""Where each start of Bernoulli pruning ended, as an explorer."""

from __future__ import annotations

import json

import altair as alt
import numpy as np
import pandas as pd

from pruning_core.explorers.chart import COLOURS, WIDTH, Explorer, choice, computed, inline
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError
from pruning_core.studies.intervals import interval, mean_interval
from pruning_core.studies.tables import runs

MEASURES = {
    "test_error_percent": "final test error, %",
    "pixels": "pixels left",
    "first": "first hidden layer",
    "second": "second hidden layer",
}


def where_starts_end(archive: Archive) -> Explorer:
    """Error and architecture of every recorded start, seed by seed; one of them in colour.

    Raises:
        StudyError: if nothing is recorded.
    """
    rows = runs(archive, "robustness")
    if not len(rows):
        raise StudyError("no run of robustness is recorded yet")
    sizes = np.array([architecture.split("-") for architecture in rows["architecture"]], dtype=int)
    rows = rows.assign(pixels=sizes[:, 0], first=sizes[:, 1], second=sizes[:, 2])
    starts = list(dict.fromkeys(rows["point"]))
    means, told = [], {}
    for start in starts:
        group = rows.loc[rows["point"] == start]
        label, parts = f"{start}, n = {len(group)}", []
        for measure, name in MEASURES.items():
            values = group[measure].to_numpy(dtype=float)
            mean, low, high = mean_interval(values)
            digits = 2 if measure == "test_error_percent" else 1
            unit = " %" if name.endswith("%") else ""
            parts.append(f"{name.removesuffix(', %')} {interval(values, digits)}{unit}")
            means.append(
                {"label": label, "measure": measure, "mean": mean, "low": low, "high": high}
            )
        told[start] = [f"{label}: {'; '.join(parts[:2])};", f"{'; '.join(parts[2:])}."]
    table = pd.DataFrame(means).round(3)
    size = rows.groupby("point")["point"].transform("size").astype(str)
    seeds = rows[list(MEASURES)].assign(label=rows["point"] + ", n = " + size).round(3)
    panels = [
        _strip(table.loc[table["measure"] == measure].drop(columns="measure"), measure)
        for measure in MEASURES
    ]
    return Explorer(
        alt.concat(*panels, columns=2, data=inline(seeds)).add_params(
            choice("start", "start", starts[0], starts), *computed(told=json.dumps(told))
        ),
        "told[start]",
        "A start whose dot lies beside the others', with an interval that does not reach them, ends"
        " differently. Most rows should look alike.",
    )


_CHOSEN = "split(datum.label, ', n = ')[0] == start"


def _strip(means: pd.DataFrame, measure: str) -> alt.LayerChart | alt.FacetChart:
    """Seeds as ticks, mean and interval, a row for each start."""
    x = {"title": MEASURES[measure], "scale": alt.Scale(zero=False, padding=8)}
    y = alt.Y("label:N", title=None, sort=None).axis(labelLimit=150)
    colour = alt.condition(_CHOSEN, alt.value(COLOURS[0]), alt.value("currentColor"))
    faint = alt.condition(_CHOSEN, alt.value(1), alt.value(0.35))
    told = "datum.label + ': ' + datum.mean + ' [' + datum.low + ', ' + datum.high + ']'"
    data = alt.Chart().transform_calculate(told=told)
    marks = alt.layer(
        data.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", **x), x2="high:Q", tooltip="told:N"),
        data.mark_point(size=50, filled=True).encode(x=alt.X("mean:Q", **x), tooltip="told:N"),
        data=inline(means),
    )
    seed = f"split(datum.label, ',')[0] + ', one seed: ' + datum.{measure}"
    ticks = (
        alt.Chart()
        .transform_calculate(told=seed)
        .mark_tick(thickness=1.5, size=16)
        .encode(x=alt.X(f"{measure}:Q", **x), tooltip="told:N")
    )
    return (
        alt.layer(ticks, marks)
        .encode(y=y, color=colour, opacity=faint)
        .properties(width=WIDTH // 2 - 130, height={"step": 22})
    )
