"""What all explorers share: how one is stored in a notebook, its look, and its controls."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from matplotlib.colors import to_hex
from PIL import Image

from pruning_core.figures.style import PALETTE

MIME = "application/vnd.vegalite.v5+json"
"""As which JupyterLab draws a chart; these charts hold nothing newer."""

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
COLOURS = [to_hex(colour) for colour in PALETTE]
DASHES = [[1, 0], [6, 3], [6, 2, 1, 2], [2, 2], [10, 3], [10, 2, 2, 2]]
WIDTH = 560
"""Of a whole chart, in pixels; a page makes it narrower where there is no room."""

_INK = {f"{part}Color": "currentColor" for part in ("label", "title")}
_LINES = {f"{part}Color": "currentColor" for part in ("domain", "grid", "tick")}
CONFIG: dict[str, Any] = {
    "background": None,
    "font": "sans-serif",
    "aria": False,  # of single marks: the whole chart has one description
    "view": {"stroke": None},
    "axis": {**_INK, **_LINES, "gridOpacity": 0.12, "domainOpacity": 0.6, "tickOpacity": 0.6}
    | {"labelFlush": False, "labelSeparation": 4}
    | {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"},
    "legend": {**_INK, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    | {"orient": "top", "symbolType": "stroke", "symbolSize": 400, "symbolStrokeWidth": 2}
    | {"labelLimit": 0, "titleLimit": 0},
    "title": {"color": "currentColor", "anchor": "start", "fontSize": 13, "fontWeight": "normal"}
    | {"subtitleColor": "currentColor", "subtitleFontStyle": "italic", "subtitleFontSize": 12},
    "line": {"strokeWidth": 2},
    "text": {"color": "currentColor"},
    "rule": {"color": "currentColor"},
}


@dataclass(frozen=True)
class Prediction:
    """A question that a page asks before it shows all of the chart.

    Args:
        question: what will be seen.
        choices: two or three answers.
        right: place of the right one.
        answer: what is seen, and why, whichever was chosen.
        hides: from where to where the chart is covered, as shares of its width, and from where
            down, as a share of its height.
        sets: the controls that the answer turns, by their parameters.
    """

    question: str
    choices: Sequence[str]
    right: int
    answer: str
    hides: tuple[float, float, float] | None = None
    sets: Mapping[str, Any] | None = None


class Explorer:
    """A chart with controls, what it says in words, and a picture for where neither can be drawn.

    A notebook stores its Vega-Lite specification, which JupyterLab draws with controls of its own,
    and the picture, with the controls where they start. A page of the book draws the specification
    with native controls (`book/_ext/explorers.js`), and prints the picture. What stands in the
    specification's ``usermeta`` is for the page alone. There, marks named by :func:`remembered`
    leave a trace of the setting before.

    Args:
        chart: without configuration; its parameters with a ``bind`` are the controls.
        readout: Vega expression for a list of lines of text, which follow the controls.
        look: a sentence or two, on what to look at.
        shared: parameters of which a page has one control for all its explorers that share it.
        follows: by shared parameter of other explorers, one of this explorer and the values that
            it takes with each of the other's.
        click: the parameters that a click on the chart sets, across and up.
        predict: what the page asks first.
    """

    def __init__(
        self,
        chart: alt.TopLevelMixin,
        readout: str,
        look: str,
        *,
        shared: Sequence[str] = (),
        follows: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
        click: tuple[str, str] | None = None,
        predict: Prediction | None = None,
    ) -> None:
        self.spec: dict[str, Any] = chart.to_dict()
        given = {
            "shared": list(shared),
            "follows": {name: list(rule) for name, rule in (follows or {}).items()},
            "click": list(click or ()),
            "predict": asdict(predict) if predict else None,
        }
        subtitle = textwrap.wrap(look, 92)
        self.spec |= {
            "$schema": SCHEMA,
            "config": CONFIG,
            "title": {"text": {"expr": "readout"}, "subtitle": subtitle, "offset": 12},
            "params": [*self.spec.get("params", []), {"name": "readout", "expr": readout}],
            "usermeta": {name: value for name, value in given.items() if value},
        }

    @property
    def controls(self) -> dict[str, dict[str, Any]]:
        """The ``bind`` of each control, by the name of its parameter."""
        return {p["name"]: p["bind"] for p in self.spec["params"] if "bind" in p}

    def picture(self) -> bytes:
        """PNG in few colours, on white; what to look at stands in its caption."""
        title = {**self.spec["title"], "subtitle": ""}
        changed = {"config": CONFIG | {"background": "white"}, "title": title}
        full = vl_convert.vegalite_to_png({**self.spec, **changed})
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(full)) as image:
            image.convert("RGB").quantize(24, kmeans=3).save(buffer, format="png", optimize=True)
        return buffer.getvalue()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return {
            MIME: self.spec,
            "image/png": base64.b64encode(self.picture()).decode(),
            "text/plain": f"<Explorer: {', '.join(self.controls)}>",
        }


def slider(name: str, label: str, value: float, low: float, high: float, step: float) -> Any:
    """A parameter that a native range input turns."""
    bind = alt.binding_range(min=low, max=high, step=step, name=label)
    return alt.param(name=name, value=value, bind=bind)


def choice(name: str, label: str, value: Any, options: Mapping[Any, str] | Sequence[Any]) -> Any:
    """A parameter with these values alone, by the text shown; numbers are turned by a slider.

    JupyterLab has a list to choose from for numbers too.
    """
    texts = options if isinstance(options, Mapping) else {option: str(option) for option in options}
    bind = alt.binding_select(options=list(texts), labels=list(texts.values()), name=label)
    return alt.param(name=name, value=value, bind=bind)


def computed(**expressions: str) -> list[Any]:
    """Parameters that follow others, by Vega expressions; each may use those before it."""
    return [alt.param(name=name, expr=expression) for name, expression in expressions.items()]


def remembered(chart: alt.Chart, name: str) -> alt.Chart:
    """The chart, of whose marks a page shows faintly where they were before the last change."""
    return chart.properties(name=f"remembered_{name}")


def over_epochs(
    x: alt.X,
    settled: str,
    blocks: tuple[alt.Chart, int, int],
    *lines: tuple[alt.Chart, str, alt.Y, int],
) -> list[alt.FacetChart | alt.LayerChart]:
    """Panels of one run over its epochs: blocks, and lines below them.

    Args:
        x: the epoch.
        settled: Vega expression for the epoch after which gates are settled.
        blocks: marks, how high their panel is, and at which height words have room.
        lines: what is shown and told (``told``) of a column, its name, its axis, and how high.
    """
    moment = alt.Chart(alt.sequence(0, 1)).transform_calculate(epoch=settled).encode(x=x)
    end = moment.mark_rule(strokeDash=[4, 3])
    name = moment.mark_text(text="gates settled", align="right", dx=-5, y=blocks[2], fontSize=11)
    marks = {"color": COLOURS[0], "point": {"size": 16, "color": COLOURS[0]}, "clip": True}
    drawn = [(alt.layer(blocks[0], end, name), blocks[1])]
    for data, column, y, height in lines:
        line = remembered(data, column).mark_line(**marks).encode(x=x, y=y, tooltip="told:N")
        drawn.append((alt.layer(line, end), height))
    return [panel.properties(height=height, width=WIDTH - 70) for panel, height in drawn]


def lines(grid: Any, curves: Mapping[str, str], **given: str) -> alt.Chart:
    """Lines of a ``value`` for each ``series``, by Vega expressions.

    Args:
        grid: data in whose variable the curves are.
        curves: by name of the series.
        given: what they are computed from, by name.
    """
    chart = alt.Chart(grid)
    for name, expression in {**given, **curves}.items():
        chart = chart.transform_calculate(**{name: expression})
    return chart.transform_fold(list(curves), as_=["series", "value"]).mark_line(clip=True)


def inline(rows: pd.DataFrame) -> alt.Data:
    """A table as part of the specification, in one string; numbers would take a line each."""
    kinds = {name: "number" for name in rows.columns if rows[name].dtype.kind in "if"}
    values = rows.to_csv(index=False, lineterminator="\n")
    return alt.Data(values=values, format=alt.CsvDataFormat(type="csv", parse=kinds))


def series(field: str, names: Sequence[str], **legend: Any) -> dict[str, Any]:
    """Colour and dash of lines, the same for all people: encodings ``color`` and ``strokeDash``."""
    domain, look = list(names), alt.Legend(title=None, **legend)
    colours = alt.Scale(domain=domain, range=COLOURS[: len(domain)])
    dashes = alt.Scale(domain=domain, range=DASHES[: len(domain)])
    return {
        "color": alt.Color(f"{field}:N", scale=colours, legend=look),
        "strokeDash": alt.StrokeDash(f"{field}:N", scale=dashes, legend=look),
    }


def powers(low: int, high: int, step: int = 1) -> alt.Axis:
    """A logarithmic axis from 10^low to 10^high with labels such as 10⁻⁶."""
    digits = f"['⁰','¹','²','³','⁴','⁵','⁶','⁷','⁸','⁹'][abs({_EXPONENT})]"
    label = f"{_EXPONENT} == 0 ? '1' : '10' + ({_EXPONENT} < 0 ? '⁻' : '') + {digits}"
    return alt.Axis(values=[10.0**k for k in range(low, high + 1, step)], labelExpr=label)


_EXPONENT = "round(log(datum.value) / LN10)"
