"""Sphinx extension: pages on which the reader writes a digit and recorded networks read it.

``{first-screen}`` asks what a neuron is worth: one network at a time, and a slider over their
prices. ``{draw-a-digit}`` sets the dense network beside another. Both begin with a test digit;
what PyTorch makes of it stands in the page until the script takes over, and stays where there is
none: in print. The digits and the networks are those of :mod:`digit_networks`, in one JavaScript
file that only these two pages load.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

from docutils import nodes
from jinja2 import Environment, FileSystemLoader
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from torch import Tensor

from digit_networks import (
    MODELS,
    POINTS,
    PRICES,
    ROOT,
    Reader,
    a,
    as_script,
    digits,
    readers,
    sentence,
)

HERE = Path(__file__).parent
NETWORKS = "digit-networks.js"
PAGES = {"draw-a-digit": "draw_a_digit.html", "first-screen": "first_screen.html"}
MARK = "<!-- content -->"
BESIDE = f"price-{PRICES[3]}"
"""The network beside the dense one until the reader moves the slider: at the recommended price."""

PAPER, LIT, UNREAD, CHALK = (13, 19, 26), (31, 66, 94), (62, 68, 76), (255, 241, 214)
"""Colours on the blackboard, as in digits.js: what has left, what is there, ink unread, ink."""

GONE = (26, 34, 43)
"""Of a unit that has left, on the ground `PAPER`."""

PIXEL, UNIT = 8, 9
"""Distance from one to the next, in units of the drawing."""

COLUMNS = ((268, 12, 300), (412, 4, 100))
"""Of each hidden layer: where it begins, how many units stand side by side, how many there were."""


class Page(SphinxDirective):
    """One of `PAGES`, from its template; the content of the directive stands at its mark."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        used = [*HERE.glob("*digit*"), *HERE.glob("first_screen*"), *(ROOT / MODELS).rglob("*.*")]
        for path in used:
            self.env.note_dependency(str(path))
        before, mark, after = rendered(self.name).partition(MARK)
        found: list[nodes.Node] = [nodes.raw("", before, format="html")]
        if mark:
            content = nodes.container(classes=["digit-content"])
            self.state.nested_parse(self.content, self.content_offset, content)
            found += [content, nodes.raw("", after, format="html")]
        return found


def rendered(name: str) -> str:
    """The HTML of one of `PAGES`, as it stands there before the script takes over."""
    environment = Environment(loader=FileSystemLoader(HERE), trim_blocks=True, autoescape=True)
    first = digits().turning if name == "first-screen" else 0
    template = environment.get_template(PAGES[name])
    return template.render(STILLS[name](first), first=first, readers=readers())


def two_networks(first: int) -> dict[str, Any]:
    """What the template of draw-a-digit shows before its script runs."""
    image = digits().images[first] / 255
    stop = list(POINTS).index(BESIDE)
    shown = [readers()[0], readers()[stop]]
    first_answer, second_answer = (a(answer(reader, image)) for reader in shown)
    return {
        "stop": stop,
        "said": f"Both networks read {first_answer}."
        if first_answer == second_answer
        else f"Dense reads {first_answer}, {shown[1].spoken} {second_answer}.",
        "panels": [
            {
                "reader": reader,
                "pixels": pixels(reader, image),
                "shares": reader.layers(image)[-1].tolist(),
            }
            for reader in shown
        ],
    }


def one_network(first: int) -> dict[str, Any]:
    """What the template of the first screen shows before its script runs: where the digit turns."""
    image = digits().images[first] / 255
    answers = [answer(reader, image) for reader in readers()]
    stop = next(n for n, (before, now) in enumerate(pairwise(answers), 1) if now != before)
    shown = readers()[stop]
    return {
        "answers": answers,
        "stop": stop,
        "shown": shown,
        "pixels": pixels(shown, image),
        "units": units(shown, image),
        "shares": shown.layers(image)[-1].tolist(),
        "happened": sentence(digits().labels[first], answers),
    }


STILLS = {"draw-a-digit": two_networks, "first-screen": one_network}


def answer(reader: Reader, image: Tensor) -> int:
    """The digit that a network reads in an image of shape (28, 28)."""
    return int(reader.layers(image)[-1].argmax())


def pixels(reader: Reader, image: Tensor) -> list[dict[str, Any]]:
    """The squares of what a network sees: lit if it is read, chalk where there is ink."""
    read = set(reader.at_work[0])
    return [
        {
            "x": pixel % 28 * PIXEL,
            "y": pixel // 28 * PIXEL,
            "fill": mixed(LIT, CHALK, ink) if pixel in read else mixed(PAPER, UNREAD, ink),
        }
        for pixel, ink in enumerate(image.flatten().tolist())
    ]


def units(reader: Reader, image: Tensor) -> list[list[dict[str, Any]]]:
    """The squares of the hidden layers: first the units that are left, as bright as they answer."""
    found = []
    values = reader.layers(image)[1:-1]
    for (left, across, count), layer, kept in zip(COLUMNS, values, reader.at_work[1:], strict=True):
        shares = (layer / layer.max().clamp(min=1e-6))[kept].tolist()
        found.append(
            [
                {
                    "x": left + unit % across * UNIT,
                    "y": unit // across * UNIT,
                    "fill": mixed(LIT, CHALK, shares[unit])
                    if unit < len(shares)
                    else mixed(GONE, GONE, 0.0),
                }
                for unit in range(count)
            ]
        )
    return found


def mixed(ground: tuple[int, ...], ink: tuple[int, ...], share: float) -> str:
    """A colour between two, for SVG."""
    levels = [int(low + share * (high - low) + 0.5) for low, high in zip(ground, ink, strict=True)]
    return "#" + "".join(f"{level:02x}" for level in levels)


def write_networks(app: Sphinx) -> None:
    """Put the networks and the test digits among the static files."""
    if app.builder.name == "html":
        path = Path(app.outdir) / "_static" / NETWORKS
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_script(), encoding="utf-8")


def load_where_used(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """The style where there is something to style; the scripts too, unless it is to be printed."""
    for name in PAGES:
        if f'class="digits {name}"' in context.get("body", ""):
            for style in ("digits.css", f"{name}.css"):
                app.add_css_file(style)
            if app.builder.name == "html":
                for script in (NETWORKS, "digits.js", f"{name}.js"):
                    app.add_js_file(script)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives, and the files for the pages that use them."""
    for name in PAGES:
        app.add_directive(name, Page)
    app.connect("builder-inited", write_networks)
    app.connect("html-page-context", load_where_used)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
