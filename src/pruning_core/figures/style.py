"""One style, one colour-blind-safe palette, readable on a phone.

A figure is made within ``with mpl.rc_context(STYLE):``, 6 inches wide to fill the column of text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

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
        image = few_colours(Image.fromarray(np.asarray(self.buffer_rgba())), 96)
        image.save(filename_or_obj, format="png", optimize=True)


class Picture(Figure):
    """A figure that is kept small, wherever it is shown or saved."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _FewColours(self)
