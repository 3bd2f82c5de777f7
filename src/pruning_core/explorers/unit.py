"""Explorer: the life of a unit, in the plane of θ and ‖w‖, when only the bounds are known."""

from __future__ import annotations

import altair as alt
import pandas as pd

from pruning_core.explorers.chart import (
    COLOURS,
    WIDTH,
    Explorer,
    computed,
    inline,
    remembered,
    slider,
)
from pruning_core.figures.style import REMOVED

STARTS = [
    (0.1, 0.1), (0.3, 0.2), (0.55, 0.05), (0.9, 0.1), (0.05, 0.55), (0.3, 0.55),
    (0.7, 0.35), (0.15, 0.85), (0.5, 0.8), (0.05, 1.15), (0.9, 0.6), (0.3, 1.2),
]  # fmt: skip
"""θ and ‖w‖, where the trajectories begin."""

STEPS = 240
TOP = 1.5
FATES = ("dies", "survives")


def life_of_a_unit() -> Explorer:
    """Regions of attraction of :class:`~pruning_core.theory.dynamics.Bounds`, and the worst flow.

    The worst case is a unit worth κ‖w‖, whose flow is linear until θ reaches 0 or 1: a sum of two
    exponentials in the distance from the saddle. Beyond, it runs along the edge. One unit of the
    reader's own starts where a page's chart is clicked.
    """
    turned = [
        slider("logGamma", "price log γ, nats", 0.5, 0.1, 1.5, 0.05),
        slider("decay", "weight decay λ", 0.3, 0, 1, 0.05),
        slider("kappa", "κ, nats per unit of r", 1, 0.5, 2, 0.1),
        slider("eta", "speed η of θ", 1, 0.2, 10, 0.2),
        slider("ownTheta", "your unit: θ", 0.9, 0.02, 0.98, 0.02),
        slider("ownNorm", "your unit: r", 0.2, 0, 1.5, 0.02),
    ]
    follow = computed(
        mu="2 * eta * kappa * kappa / (decay + sqrt(decay * decay + 4 * eta * kappa * kappa))",
        thetaStar="decay * logGamma / (kappa * kappa)",
        normStar="logGamma / kappa",
        largest="eta * kappa * logGamma / (mu * mu)",
        rest="kappa / max(decay, 0.01)",
        ownUp="(decay + mu) * (ownTheta - thetaStar) + eta * kappa * (ownNorm - normStar)",
    )
    chart = alt.layer(*_regions(), *_trajectories(), *_saddle())
    return Explorer(
        chart.properties(width=WIDTH - 60, height=330).add_params(*turned, *follow),
        "['Saddle at θ = ' + format(thetaStar, '.2f') + ', r = ' + format(normStar, '.2f')"
        " + (thetaStar < 1 ? '. Whatever starts below the line from' : ', out of reach:'),"
        " thetaStar < 1 ? 'r = ' + format(largest, '.2f') + ' at θ = 0 to ' + (largest > kappa / mu"
        " ? 'r = ' + format(largest - kappa / mu, '.2f') + ' at θ = 1'"
        " : 'θ = ' + format(largest * mu / kappa, '.2f') + ' at r = 0') + ' dies.'"
        " : 'every unit dies.',"
        f" 'Your unit ' + (ownUp > 0 && thetaStar < 1 ? '{FATES[1]}.' : '{FATES[0]}.')]",
        "Click in the chart to drop a unit of your own, or set it with the last two sliders. Where"
        " it lies, above the line through the saddle or below, decides whether it survives.",
        click=("ownTheta", "ownNorm"),
    )


_REGIONS = ("region in which it dies", "box", "triangle")
_X = alt.X("theta:Q", title="θ").scale(domain=[0, 1], nice=False)
_Y = alt.Y("norm:Q", title="r, the norm of the weights").scale(domain=[0, TOP], nice=False)


def _regions() -> list[alt.Chart]:
    edge = alt.Chart(alt.sequence(0, 1.001, 0.01, as_="theta")).transform_calculate(
        norm="max(0, largest - kappa / mu * datum.theta)",
        triangle="normStar - datum.theta / sqrt(eta)",
        edge=f"'{_REGIONS[0]}'",
        inner=f"'{_REGIONS[2]}'",
    )
    box = alt.Chart(alt.sequence(0, 1)).transform_calculate(
        theta="0", norm="0", right="min(1, thetaStar)", top=f"min({TOP}, normStar)"
    )
    look = alt.Scale(domain=list(_REGIONS), range=[[1, 0], [2, 2], [6, 4]])
    key = alt.Legend(title=None, symbolStrokeColor="currentColor", symbolStrokeWidth=1.3)
    dash = [alt.StrokeDash(f"{place}:N", scale=look, legend=key) for place in ("edge", "inner")]
    line = {"clip": True, "color": "currentColor", "strokeWidth": 1.3}
    area = edge.mark_area(clip=True, color="currentColor", opacity=0.12)
    return [
        area.encode(x=_X, y=_Y),
        remembered(edge, "edge").mark_line(**line).encode(x=_X, y=_Y, strokeDash=dash[0]),
        edge.mark_line(**line).encode(x=_X, y="triangle:Q", strokeDash=dash[1]),
        box.mark_rect(clip=True, fill="currentColor", fillOpacity=0.12, stroke="currentColor",
                      strokeWidth=1.3, strokeDash=[2, 2])
        .encode(x=_X, x2="right:Q", y=_Y, y2="top:Q"),
    ]  # fmt: skip


def _trajectories() -> list[alt.Chart]:
    starts = pd.DataFrame(STARTS, columns=["theta0", "norm0"])
    # What comes down along θ = 1, where the saddle is out of reach, leaves it at one point.
    corner = pd.DataFrame([{"theta0": 1, "norm0": -1}])
    # The reader's own comes last; where it starts follows the sliders.
    own = len(starts) + 1
    rows = pd.concat([starts, corner, corner]).assign(start=range(own + 1))
    in_time = {"groupby": ["start"], "sort": [alt.SortField("step")]}
    flow = (
        alt.Chart(inline(rows))
        .transform_calculate(own=f"datum.start == {own}")
        .transform_filter("datum.own || datum.norm0 >= 0 || thetaStar > 1")
        .transform_calculate(
            theta0="datum.own ? ownTheta : datum.theta0",
            norm0="datum.own ? ownNorm : datum.norm0 < 0 ? normStar : datum.norm0",
            up="((decay + mu) * (datum.theta0 - thetaStar)"
            " + eta * kappa * (datum.norm0 - normStar)) / (decay + 2 * mu)",
            down="datum.theta0 - thetaStar - datum.up",
            fate=f"datum.up > 0 && thetaStar < 1 ? '{FATES[1]}' : '{FATES[0]}'",
            step=f"sequence({STEPS + 1})",
        )
        .transform_flatten(["step"])
        .transform_calculate(
            time=f"datum.step / {STEPS} * 8 / mu",
            growing="datum.up * exp(mu * datum.time)",
            fading="datum.down * exp(-(decay + mu) * datum.time)",
            free="thetaStar + datum.growing + datum.fading",
            freeNorm="normStar"
            " + (mu * datum.growing - (decay + mu) * datum.fading) / (eta * kappa)",
            left="datum.step > 0 && (datum.free <= 0 || datum.free >= 1) ? 1 : 0",
        )
        .transform_window(frame=[None, 0], outside="sum(left)", **in_time)
        .transform_window(before="lag(free)", beforeNorm="lag(freeNorm)", **in_time)
        # The first point outside is moved back to the edge; the second is where that leads to.
        .transform_filter("datum.outside <= 2")
        .transform_calculate(
            theta="clamp(datum.outside == 2 ? datum.before : datum.free, 0, 1)",
            back="datum.outside ? (datum.free - datum.theta) / (datum.free - datum.before) : 0",
            norm="datum.outside == 2 ? (datum.theta == 0 ? 0 : thetaStar < 1 ? rest : normStar)"
            " : datum.outside ? datum.freeNorm - datum.back * (datum.freeNorm - datum.beforeNorm)"
            " : datum.freeNorm",
            angle="180 / PI * atan2((datum.beforeNorm - datum.freeNorm) * height"
            f" / {TOP}, (datum.free - datum.before) * width)",
        )
    )
    look = alt.Scale(domain=list(FATES), range=[REMOVED, COLOURS[0]])
    encoding = {"x": _X, "y": _Y, "color": alt.Color("fate:N", scale=look, title=None)}
    wide = {
        "strokeWidth": alt.condition("datum.own", alt.value(4), alt.value(1.6)),
        "opacity": alt.condition("datum.own", alt.value(1), alt.value(0.7)),
    }
    begin = flow.transform_filter("datum.step == 0 && datum.theta0 < 1")
    size = alt.condition("datum.own", alt.value(170), alt.value(45))
    on_the_way = "datum.outside == 0 && (datum.step == 12 || datum.step == 45)"
    told = "'θ = ' + format(datum.theta0, '.2f') + ', r = ' + format(datum.norm0, '.2f')"
    return [
        flow.mark_line(clip=True).encode(detail="start:N", order="step:Q", **wide, **encoding),
        flow.transform_filter(on_the_way)
        .mark_point(clip=True, filled=True, shape="triangle-right", size=70, opacity=1)
        .encode(angle=alt.Angle("angle:Q", scale=None), **encoding),
        begin.transform_calculate(told=f"{told} + ': ' + datum.fate")
        .mark_point(clip=True, filled=True, opacity=1)
        .encode(size=size, tooltip="told:N", **encoding),
    ]


def _saddle() -> list[alt.Chart]:
    place = alt.Chart(alt.sequence(0, 1)).transform_calculate(theta="thetaStar", norm="normStar")
    square = {"shape": "square", "filled": True, "color": "currentColor", "size": 70, "opacity": 1}
    return [
        remembered(place, "saddle").mark_point(clip=True, **square).encode(x=_X, y=_Y),
        place.transform_filter(f"datum.theta <= 1 && datum.norm <= {TOP}")
        .mark_text(text="saddle", align="left", dx=9, dy=-9, fontSize=12)
        .encode(x=_X, y=_Y),
    ]
