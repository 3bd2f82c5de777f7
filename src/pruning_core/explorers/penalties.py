"""Explorer: HALO's marginal penalty and its thresholding rule, beside those of other penalties."""

from __future__ import annotations

import altair as alt

from pruning_core.explorers.chart import (
    WIDTH,
    Explorer,
    choice,
    computed,
    lines,
    remembered,
    series,
)

NAMES = ("HALO", "lasso", "hard", "ridge")
PANEL = {"width": WIDTH // 2 - 60, "height": 260}
RIDGE = 0.3
LARGEST = 4
_STOPS = [float(f"{0.19 * 10 ** (k / 10):.2g}") for k in range(-14, 9)]


def penalties() -> Explorer:
    """Rule and price, turned by ξ and ψ, at one threshold for all that have one.

    Ridge has none, and stands still.
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
        "['HALO, with λ at its best, costs ' + format(c, '.3f') + ' × ∛|w|.',"
        " 'The weight is zero up to z = ' + format(threshold, '.3f') + ' and jumps there to '"
        " + format(jump, '.3f') + '. A weight of 1 has λ* = '"
        " + format(pow(2 * xi / psi, 1 / 3), '.2f') + '.']",
        "On the left, HALO's rule and the lasso's stay at 0 up to the same threshold; above it"
        " HALO jumps towards the diagonal, and the lasso stays a whole threshold below it.",
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
    x = alt.X("z:Q", title="weight without a penalty, z").scale(domain=[0, LARGEST])
    y = alt.Y("value:Q", title="weight with it, T(z)").scale(domain=[0, LARGEST])
    look = {**series("series", NAMES), "x": x, "y": y, "detail": "part:N"}
    parts = (remembered(curves, "rules"), remembered(halo, "halo"))
    return alt.layer(*(part.encode(**look) for part in parts)).properties(**PANEL)


def _prices() -> alt.Chart:
    curves = lines(
        alt.sequence(0, LARGEST + 0.001, 0.02, as_="w"),
        {
            "HALO": "c * pow(datum.w, 1 / 3)",
            "lasso": "threshold * datum.w",
            "hard": "datum.w > 0 ? threshold * threshold / 2 : 0",
            "ridge": f"{RIDGE} * datum.w * datum.w",
        },
    )
    x = alt.X("w:Q", title="weight w").scale(domain=[0, LARGEST])
    y = alt.Y("value:Q", title="price of it, nats").scale(domain=[0, LARGEST])
    curves = remembered(curves, "prices")
    return curves.encode(**series("series", NAMES), x=x, y=y).properties(**PANEL)
