"""One style, one colour-blind-safe palette, readable on a phone.

A figure is a :class:`Picture`, made within ``with mpl.rc_context(STYLE):``. A panel is at most
``WIDTH`` inches wide, so that its text is 11 pixels high on a phone of 390; panels beside each
other may share 6 inches, for a page sets them below each other where it is narrow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
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

_OFFSETS = [(7, 0), (-7, 0), (0, 10), (0, -10), (7, 10), (-7, 10), (7, -10), (-7, -10)]
_OFFSETS += [(dx, dy) for dy in (20, -20, 30, -30) for dx in (7, -7)]
"""Where a label may stand, in points from its place."""

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
    return image.convert("RGB").quantize(colours, method=Image.Quantize.MAXCOVERAGE)


def legend_below(figure: Figure, axes: Axes) -> None:
    """What the lines of the axes are, below them, in as many columns as find room."""
    handles, labels = axes.get_legend_handles_labels()
    room = 13 * figure.get_figwidth()  # letters of ten points
    columns = max(1, int(room / (7 + max(map(len, labels)))))
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(columns, len(labels)),
        fontsize=10,
        frameon=False,
    )


def label_beside(
    axis: Axes,
    label: str,
    place: tuple[float, float],
    taken: list[Bbox],
    anyhow: bool = True,
    **style: Any,
) -> None:
    """A label near a place of drawn axes, where it covers nothing that is taken; takes its own.

    Args:
        axis: of a figure that has been drawn, so that places on it are known.
        label: the text.
        place: in the units of the data.
        taken: boxes, in pixels; the label's is added.
        anyhow: if there is no room, stand at the last place tried instead of nowhere.
        style: of the text.
    """
    frame = axis.get_window_extent()
    for dx, dy in _OFFSETS:
        text = axis.annotate(
            label,
            place,
            xytext=(dx, dy),
            textcoords="offset points",
            ha="left" if dx > 0 else "right" if dx < 0 else "center",
            va="center",
            fontsize=10,
            **style,
        )
        box = text.get_window_extent()
        free = not any(box.overlaps(other) for other in taken)
        if free and frame.contains(*box.min) and frame.contains(*box.max):
            taken.append(box)
            return
        if not anyhow or (dx, dy) != _OFFSETS[-1]:
            text.remove()


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
