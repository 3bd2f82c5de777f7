"""One style, one colour-blind-safe palette, readable on a phone.

A figure is made within ``with mpl.rc_context(STYLE):``, 6 inches wide to fill the column of text.
"""

from __future__ import annotations

from typing import Any

import seaborn as sns

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
