"""Explorer: the flattening hyper-prior beside a fixed prior and a Beta one of the same price."""

from __future__ import annotations

import altair as alt

from pruning_core.explorers.chart import (
    WIDTH,
    Explorer,
    computed,
    lines,
    powers,
    remembered,
    series,
    slider,
)

NAMES = ("flattening", "fixed", "Beta")
PANEL = {"width": WIDTH // 2 - 65, "height": 190}
NEWTON_STEPS = 8


def hyper_prior() -> Explorer:
    """Density of π, its best value, the cost of a unit and where θ comes to rest.

    All closed forms of :mod:`pruning_core.hyperprior`, as Vega expressions.
    """
    price = slider("price", "price log γ, nats", 4, 0.5, 12, 0.5)
    chart = alt.concat(_densities(), _best_pi(), _costs(), _resting_places(), columns=2)
    return Explorer(
        chart.add_params(price, *computed(gamma="exp(price)", **_log_b(), b=f"exp({_LAST})")),
        "['γ = ' + format(gamma, ',.3~r') + ', fixed π = ' + format(1 / (1 + gamma), '.2~r')"
        " + ', Beta(1, ' + format(b, ',.3~r') + '): each has a price of '"
        " + format(price, '.1f') + ' nats.',"
        " 'A unit worth one nat more comes to rest at θ = 1, '"
        " + format(1 / (1 + exp(-1)), '.2f') + ' and '"
        " + format((exp(price + 1) - b) / (exp(price + 1) - 1), '.2f') + '.']",
        "In the third panel the price is the slope of the straight line, which alone has no bend."
        " In the fourth, it is where flattening jumps, while the other two rise gradually.",
    )


_LAST = f"logB{NEWTON_STEPS}"


def _log_b() -> dict[str, str]:
    """Newton's steps to the log b at which Beta(1, b) has the price, from below: it is concave."""
    steps = {"logB0": "max(price - 1, price / 20)"}
    for k in range(NEWTON_STEPS):
        x = f"logB{k}"
        gap = f"log(1 - exp(-{x}))"
        steps[f"logB{k + 1}"] = f"{x} + ({x} - (exp({x}) - 1) * {gap} - price) / (exp({x}) * {gap})"
    return steps


def _densities() -> alt.LayerChart | alt.FacetChart:
    curves = lines(
        alt.sequence(-6, 0.001, 0.02, as_="log10_pi"),
        {
            "flattening": "(gamma - 1) / price / (1 + (gamma - 1) * datum.pi)",
            "Beta": "b * pow(1 - datum.pi, b - 1)",
        },
        pi="pow(10, datum.log10_pi)",
    ).transform_filter("datum.value > 1e-3")
    x = alt.X("pi:Q", title="prior probability π").scale(type="log", domain=[1e-6, 1], clamp=True)
    y = alt.Y("value:Q", title="density p(π)").scale(type="log", domain=[1e-3, 1e5])
    point = alt.Chart(alt.sequence(0, 1)).transform_calculate(
        pi="1 / (1 + gamma)", series="'fixed'"
    )
    return alt.layer(
        remembered(curves, "densities").encode(
            x=x.axis(powers(-6, 0, 2)), y=y.axis(powers(-2, 4, 2)), **series("series", NAMES)
        ),
        point.mark_rule(strokeWidth=2).encode(x="pi:Q", **series("series", NAMES)),
    ).properties(**PANEL)


def _best_pi() -> alt.Chart:
    curves = lines(
        alt.sequence(0.005, 1.0001, 0.005, as_="theta"),
        {
            "flattening": "datum.theta / (gamma - (gamma - 1) * datum.theta)",
            "fixed": "1 / (1 + gamma)",
            "Beta": "datum.theta / b",
        },
    )
    y = alt.Y("value:Q", title="best π", axis=powers(-8, 0, 2))
    y = y.scale(type="log", domain=[1e-8, 1])
    curves = remembered(curves, "best")
    return curves.encode(x=_THETA, y=y, **series("series", NAMES)).properties(**PANEL)


def _costs() -> alt.Chart:
    curves = lines(
        alt.sequence(0, 1.0001, 0.005, as_="theta"),
        {
            "flattening": "price * datum.theta",
            "fixed": "datum.on + datum.off + price * datum.theta",
            "Beta": f"datum.off + datum.theta * {_LAST}"
            " - (b - datum.theta) * log(1 - datum.theta / b)",
        },
        on="datum.theta > 0 ? datum.theta * log(datum.theta) : 0",
        off="datum.theta < 1 ? (1 - datum.theta) * log(1 - datum.theta) : 0",
    )
    y = alt.Y("value:Q", title="cost of the unit, nats").scale(domain=[-1, 12], nice=False)
    curves = remembered(curves, "costs")
    return curves.encode(x=_THETA, y=y, **series("series", NAMES)).properties(**PANEL)


def _resting_places() -> alt.Chart:
    curves = lines(
        alt.sequence(0, 16.001, 0.05, as_="worth"),
        {
            "flattening": "datum.worth > price ? 1 : 0",
            "fixed": "1 / (1 + exp(price - datum.worth))",
            "Beta": f"datum.worth > {_LAST} ? (exp(datum.worth) - b) / (exp(datum.worth) - 1) : 0",
        },
    )
    x = alt.X("worth:Q", title="what the unit is worth, nats").scale(domain=[0, 16])
    y = alt.Y("value:Q", title="θ at rest").scale(domain=[0, 1])
    curves = remembered(curves, "rest")
    return curves.encode(x=x, y=y, **series("series", NAMES)).properties(**PANEL)


_THETA = alt.X("theta:Q", title="posterior probability θ").scale(domain=[0, 1])
