"""Sphinx extension: the drawings of notebooks follow the theme, and a caption offers them as SVG.

A drawing of `pruning_core.figures` goes into the page itself instead of beside it. Its colours
become variables that have another value in the dark, and its panels are set below each other where
the page is narrow. The file that the caption links to stays as it was.
"""

import math
import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from pruning_core.figures.compact import SVG, XLINK
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.writers.html5 import HTML5Translator

LEAST = 11
"""Pixels, of text."""

NARROW = 342
"""Pixels; a drawing that needs more scrolls on a phone, and so has to take the focus."""

PIXELS = 1.5
"""In a point, at most: letters of 11 points are as large as those of the text."""

GROUND, INK = 0.21, 0.9
"""Lightness (OKLab) of the page and its text in the dark."""

CONTRAST = 5.0
"""Of a colour with the page in the dark."""

COLOUR = re.compile(r"#([0-9a-f]{6})\b")

STYLE = f"{{{SVG}}}style"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


class Download(nodes.inline, nodes.Element):
    """In a caption: a link to the file of the image ``uri``."""


class OfferFiles(SphinxPostTransform):
    """Adds a link to each caption of a drawing."""

    default_priority = 200  # after myst-nb has chosen among the kinds of an output
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        for figure in self.document.findall(nodes.figure):
            drawings = [i for i in figure.findall(nodes.image) if i["uri"].endswith(".svg")]
            captions = [c for c in figure.children if isinstance(c, nodes.caption)]
            if drawings and captions:
                captions[0] += Download(uri=drawings[0]["uri"], figure=figure["ids"][:1])


def visit_download(self: HTML5Translator, node: Download) -> None:
    """Write the link; the image has been given its place by now."""
    builder = self.builder
    if builder.name not in {"html", "singlehtml"} or node["uri"] not in builder.images:
        raise nodes.SkipNode
    numbers = {key: value for found in builder.fignumbers.values() for key, value in found.items()}
    number = ".".join(map(str, numbers.get(next(iter(node["figure"]), ""), ())))
    label = f"Download figure {number} as SVG".replace("  ", " ")
    address = f"{builder.imgpath}/{builder.images[node['uri']]}"
    self.body.append(
        f' <a class="download-figure" href="{address}" download aria-label="{label}">SVG</a>'
    )
    raise nodes.SkipNode


def visit_image(self: HTML5Translator, node: nodes.image) -> None:
    """Write a drawing into the page; another image as ever."""
    root = _root(Path(self.builder.srcdir) / node["uri"])
    if root is None or self.builder.name not in {"html", "singlehtml"}:
        type(self).visit_image(self, node)
        return
    alternative = self.attval(node.get("alt", ""))
    self.body.append(inlined(root, alternative))
    raise nodes.SkipNode


def _root(path: Path) -> ElementTree.Element | None:
    """The root of a drawing of the package, or None for any other image."""
    if path.suffix != ".svg":
        return None
    root = ElementTree.parse(path).getroot()
    return root if "data-pieces" in root.attrib else None


def inlined(root: ElementTree.Element, alternative: str) -> str:
    """A drawing as part of a page.

    Args:
        root: as :func:`pruning_core.figures.svg.draw` makes it; is changed.
        alternative: text, escaped.
    """
    colours: set[str] = set()
    styles = dict(re.findall(r"\.(f\w+s\d+)\{(.*?)\}", root[0].text or ""))
    _follow_the_theme(root, styles, colours)
    rows: dict[str, list[str]] = {}
    widths = []
    for number, piece in enumerate(root.get("data-pieces", "").split("; ")):
        row, *box = piece.split()
        svg = ElementTree.Element(f"{{{SVG}}}svg", {"viewBox": " ".join(box)})
        svg.extend([c for c in root if c.get("class") == f"piece piece{number}"])
        if number == 0:
            svg.extend([c for c in root if c.tag == f"{{{SVG}}}defs"])
        width = float(box[2])
        least = width * LEAST / min(_sizes(svg), default=LEAST)
        svg.set("style", f"--full: {PIXELS * width:.0f}px; --least: {math.ceil(least)}px")
        if 2 * least < NARROW:
            svg.set("class", "small")
        widths.append(least)
        rows.setdefault(row, []).append(ElementTree.tostring(svg, encoding="unicode"))
    focus = ' tabindex="0"' if max(widths) > NARROW else ""
    body = "".join(f'<div class="pieces">{"".join(row)}</div>' for row in rows.values())
    values = "; ".join(f"--c-{c}: {in_the_dark(c)}" for c in sorted(colours))
    style = f'@media screen {{ html[data-theme="dark"] .drawing {{ {values} }} }}'
    return (
        f'<div class="drawing" role="img" aria-label="{alternative}"{focus}>'
        f"<style>{style}</style>{body}</div>"
    )


def _follow_the_theme(
    element: ElementTree.Element, styles: dict[str, str], colours: set[str], kept: bool = False
) -> None:
    """Styles take the place of their classes, and variables that of colours; note these.

    What lies on a map keeps its colours.
    """
    element[:] = [c for c in element if c.tag != STYLE and c.get("class") != "paper"]
    for child in element:
        fixed = kept or child.get("class") == "kept"
        if child.get("class") in styles:
            style = styles[child.attrib.pop("class")]
            colours |= set() if fixed else set(COLOUR.findall(style))
            child.set("style", style if fixed else COLOUR.sub(r"var(--c-\1,#\1)", style))
        _follow_the_theme(child, styles, colours, fixed)


def _sizes(svg: ElementTree.Element) -> list[float]:
    """Of every text, the size of its largest letters; indices may be smaller."""
    sizes = []
    for text in svg.iter(f"{{{SVG}}}text"):
        styles = " ".join(part.get("style", "") for part in text.iter())
        sizes.append(max(map(float, re.findall(r"font-size:([\d.]+)", styles)), default=LEAST))
    return sizes


@cache
def in_the_dark(colour: str) -> str:
    """The colour of the same meaning on a dark page.

    White is the page and black its text, which change with the theme; greys lie between them, the
    other way around. Other colours keep their hue and get lighter until they can be told from the
    page; very pale ones, of areas, get as dark as greys would.
    """
    named = {"ffffff": "var(--pst-color-background)", "000000": "var(--pst-color-text-base)"}
    if colour in named:
        return named[colour]
    lightness, a, b = _oklab(colour)
    chroma = math.hypot(a, b)
    if chroma < 0.02 or lightness > 0.93:
        return _hex(INK - (INK - GROUND) * lightness**1.5, a, b)
    while _luminance(_hex(lightness, a, b)) + 0.05 < CONTRAST * (_luminance(PAGE) + 0.05):
        lightness += 0.01
    return _hex(lightness, a, b)


PAGE = "#15181c"
"""The page in the dark, as in book.css."""


def _linear(colour: str) -> list[float]:
    parts = [int(colour.lstrip("#")[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]


def _luminance(colour: str) -> float:
    """As WCAG defines it."""
    red, green, blue = _linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _oklab(colour: str) -> tuple[float, float, float]:
    red, green, blue = _linear(colour)
    l, m, s = (
        math.cbrt(x * red + y * green + z * blue)
        for x, y, z in (
            (0.4122214708, 0.5363325363, 0.0514459929),
            (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005),
        )
    )
    return (
        0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
        1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
        0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
    )


def _hex(lightness: float, a: float, b: float) -> str:
    """Of OKLab; what no screen shows is cut off."""
    l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    parts = (
        4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
        -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
        -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s,
    )
    shown = [
        12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055
        for c in (min(max(part, 0.0), 1.0) for part in parts)
    ]
    return "#" + "".join(f"{round(255 * c):02x}" for c in shown)


def load_where_used(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """The style, where there is a drawing or a caption."""
    if re.search(r'class="drawing"|<figcaption>', context.get("body", "")):
        app.add_css_file("figures.css")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of it."""
    app.add_node(Download, html=(visit_download, None))
    app.add_node(nodes.image, override=True, html=(visit_image, None))
    app.add_post_transform(OfferFiles)
    app.connect("html-page-context", load_where_used)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
