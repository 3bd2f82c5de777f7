"""Explorer: HALO's marginal penalty and its thresholding rule, beside those of other penalties."""

from __future__ import annotations

import altair as alt
import pandas as pd
import torch

from pruning_core.explorers.chart import (
    WIDTH,
    Explorer,
    choice,
    computed,
    inline,
    lines,
    series,
)
from pruning_core.figures.priors import Horseshoe, StudentT

NAMES = ("HALO", "lasso", "hard", "ridge", "Student-t", "horseshoe")
PANEL = {"width": WIDTH // 2 - 60, "height": 260}
RIDGE, STUDENT_T, HORSESHOE = 0.3, StudentT(0.545, 0.3), Horseshoe()
LARGEST = 4
_STOPS = [float(f"{0.19 * 10 ** (k / 10):.2g}") for k in range(-14, 9)]


def penalties() -> Explorer:
    """Price and rule, turned by ξ and ψ, at one threshold for all that have one.

    Student's t and the horseshoe have no ξ and no ψ; they are those of the chapter on priors.
    """
    turned = [choice("xi", "ξ, price of the weights", 0.19, _STOPS)]
    turned += [choice("psi", "ψ, price of the coefficients", 0.19, _STOPS)]
    follow = computed(
        c="3 * pow(2, -2 / 3) * pow(xi, 1 / 3) * pow(psi, 2 / 3)",
        jump="pow(4 * c / 3, 0.6)",
        threshold="jump + c / 3 * pow(jump, -2 / 3)",
    )
    return Explorer(
        alt.concat(_rules(), _prices(), columns=2).add_params(*turned, *follow),
        "['HALO, with λ at its best, is the bridge c|w|^(1/3), c = ' + format(c, '.3f') + '.',"
        " 'It is zero up to z = ' + format(threshold, '.3f') + ', where w jumps to '"
        " + format(jump, '.3f') + '. A weight of 1 has λ* = '"
        " + format(pow(2 * xi / psi, 1 / 3), '.2f') + '.']",
    )


def _rules() -> alt.LayerChart | alt.FacetChart:
    curves = lines(
        alt.sequence(0, LARGEST + 0.001, 0.02, as_="z"),
        {
            "lasso": "max(datum.z - threshold, 0)",
            "hard": "datum.z > threshold ? datum.z : 0",
            "ridge": f"datum.z / (1 + 2 * {RIDGE})",
        },
    ).transform_calculate(part="datum.series == 'hard' && datum.z > threshold ? 1 : 0")
    # Of HALO's rule the inverse is a closed form: z by w, from the jump on.
    halo = (
        alt.Chart(alt.sequence(0, 121, as_="step"))
        .transform_calculate(
            part="datum.step < 20 ? 0 : 1",
            value=f"datum.part ? jump + (datum.step - 20) / 100 * ({LARGEST} - jump) : 0",
            z="datum.part ? datum.value + c / 3 * pow(datum.value, -2 / 3)"
            " : threshold * datum.step / 19",
            series="'HALO'",
        )
        .mark_line(clip=True)
    )
    z = torch.linspace(0, LARGEST, 81, dtype=torch.float64)
    rules = {"Student-t": STUDENT_T.thresholded(z), "horseshoe": HORSESHOE.thresholded(z)}
    still = _table("z", z, rules).mark_line(clip=True)
    x = alt.X("z:Q", title="z, where the data want the weight").scale(domain=[0, LARGEST])
    y = alt.Y("value:Q", title="w, where it ends").scale(domain=[0, LARGEST])
    look = {**series("series", NAMES, columns=3), "x": x, "y": y, "detail": "part:N"}
    return alt.layer(*(part.encode(**look) for part in (still, curves, halo))).properties(**PANEL)


def _prices() -> alt.LayerChart | alt.FacetChart:
    curves = lines(
        alt.sequence(0, LARGEST + 0.001, 0.02, as_="w"),
        {
            "HALO": "c * pow(datum.w, 1 / 3)",
            "lasso": "threshold * datum.w",
            "hard": "datum.w > 0 ? threshold * threshold / 2 : 0",
            "ridge": f"{RIDGE} * datum.w * datum.w",
            "Student-t": f"{STUDENT_T.strength} * log(1 + pow(datum.w / {STUDENT_T.scale}, 2))",
        },
    )
    w = torch.linspace(0, LARGEST, 81, dtype=torch.float64)[1:]
    still = _table("w", w, {"horseshoe": HORSESHOE.values([w])[0]}).mark_line(clip=True)
    x = alt.X("w:Q", title="weight w").scale(domain=[0, LARGEST])
    y = alt.Y("value:Q", title="price, nats").scale(domain=[-1, LARGEST])
    look = {**series("series", NAMES, columns=3), "x": x, "y": y}
    return alt.layer(*(part.encode(**look) for part in (still, curves))).properties(**PANEL)


def _table(name: str, places: torch.Tensor, curves: dict[str, torch.Tensor]) -> alt.Chart:
    """Curves that no slider turns, as numbers to four digits after the point."""
    rows = [
        {name: round(place, 4), "value": round(value, 4), "series": label, "part": 0}
        for label, values in curves.items()
        for place, value in zip(places.tolist(), values.tolist(), strict=True)
    ]
    return alt.Chart(inline(pd.DataFrame(rows)))
