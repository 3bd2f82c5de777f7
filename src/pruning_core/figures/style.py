"""One style, one colour-blind-safe palette, readable on a phone.

A figure is a :class:`Picture`, made within ``with mpl.rc_context(STYLE):``. A panel is at most
``WIDTH`` inches wide, so that its text is 11 pixels high on a phone of 390; panels beside each
other may share 6 inches, for a page sets them below each other where it is narrow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pruning_core.figures import svg

PALETTE = sns.color_palette("colorblind")
KEPT, REMOVED, DENSE = PALETTE[0], "#c8875b", "#555555"
LOOKS = (
    (PALETTE[0], "o", "-"),
    (PALETTE[1], "s", "--"),
    (PALETTE[2], "^", "-."),
    (PALETTE[4], "D", ":"),
    (DENSE, "v", (0, (5, 1))),
)
"""Colour, marker and dashes of up to five lines."""

WIDTH = 4.3
"""Inches, of a panel with no other beside it."""

STYLE: Any = {
    "figure.dpi": 85,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
}


def few_colours(image: Image.Image, colours: int) -> Image.Image:
    """The same picture, opaque, in a palette of its own: as PNG a third of the size."""
    return image.convert("RGB").quantize(colours)


class _FewColours(FigureCanvasAgg):
    """Draws as its base does and writes PNG in few colours."""

    def print_png(self, filename_or_obj: Any, **options: Any) -> None:
        self.draw()
        image = few_colours(Image.fromarray(np.asarray(self.buffer_rgba())), 32)
        image.save(filename_or_obj, format="png", optimize=True)


class Picture(Figure):
    """A figure that a notebook keeps as SVG, and as a small PNG for where SVG is not trusted."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _FewColours(self)

    def _repr_svg_(self) -> str:
        return svg.draw(self)
