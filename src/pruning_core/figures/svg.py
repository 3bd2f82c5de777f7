"""A figure as SVG that is small, the same each time, and can be taken apart.

Text stays text, without the fonts. What a page needs to know is in the names of groups: see
:func:`draw`.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection, QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from pruning_core.figures.compact import compact

_MANY = 400
"""A collection of more parts than this becomes an image."""

_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pruning_core",
    "path.simplify_threshold": 0.2,
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def draw(figure: Figure) -> str:
    """The figure as SVG.

    Its panels that stand beside each other are pieces, groups of the class ``piece``; the root
    says in ``data-pieces`` where each is, as "row x y width height", so that they may be set below
    each other. The class ``kept`` is for what lies on the colours of a map and must not change its
    own, ``paper`` for the ground and ``outlined`` for text with an outline in the paper's colour.
    """
    figure.draw_without_rendering()
    pieces = _pieces(figure)
    effects = _name_groups(figure, pieces)
    file, engine = io.StringIO(), figure.get_layout_engine()
    try:
        figure.set_layout_engine("none")  # nothing moves after the pieces were cut
        with mpl.rc_context(_SETTINGS):
            figure.savefig(file, format="svg", dpi=150, metadata=_NO_METADATA)
    finally:
        figure.set_layout_engine(engine)
        for text, effect in effects.items():
            text.set_path_effects(effect)
    whole = Bbox.union([piece.box for piece in pieces])
    places = [" ".join([str(piece.row), *_numbers(piece.box)]) for piece in pieces]
    return compact(file.getvalue(), _numbers(whole), {"data-pieces": "; ".join(places)})


def _numbers(box: Bbox) -> list[str]:
    return [f"{value:.1f}" for value in (*box.min, box.width, box.height)]


class _Piece(NamedTuple):
    """Some of a figure's children, and the box that they share, in points from the upper left."""

    children: list[Artist]
    box: Bbox
    row: int = 0


def _pieces(figure: Figure) -> list[_Piece]:
    """Cut along the gaps between the children: into rows, and rows into pieces."""
    renderer = figure.canvas.get_renderer()  # pyright: ignore[reportAttributeAccessIssue]
    scale, height = 72 / figure.dpi, 72 * figure.get_figheight()
    parts = []
    for child in figure.get_children():
        box = child.get_tightbbox(renderer) if child is not figure.patch else None
        if box is not None and child.get_visible() and box.width > 0 and box.height > 0:
            x0, y0, x1, y1 = np.asarray(box.extents) * scale
            parts.append(_Piece([child], Bbox([[x0, height - y1], [x1, height - y0]])))
    parts = _together(parts)
    rows = [_runs(row, 0) for row in _runs(parts, 1)]
    joined: list[list[list[_Piece]]] = []
    for row in rows:
        if joined and len(row) == 1 and len(joined[-1]) == 1:
            joined[-1] = [joined[-1][0] + row[0]]
        else:
            joined.append(row)
    found = []
    for number, row in enumerate(joined):
        boxes = [Bbox.union([part.box for part in run]) for run in row]
        top, bottom = min(b.y0 for b in boxes), max(b.y1 for b in boxes)
        for run, box in zip(row, boxes, strict=True):
            children = [child for part in run for child in part.children]
            box = Bbox([[box.x0 - 3, top - 3], [box.x1 + 3, bottom + 3]])
            found.append(_Piece(children, box, number))
    return found


def _together(parts: list[_Piece]) -> list[_Piece]:
    """Join what makes no sense apart: a map and its scale, axes that share their labels."""

    def belong(one: Artist, other: Artist) -> bool:
        if not (isinstance(one, Axes) and isinstance(other, Axes)):
            return False
        if other in getattr(one, "_colorbar_info", {}).get("parents", ()):
            return True
        here, there = one.get_position(), other.get_position()
        above = here.x0 < there.x1 and there.x0 < here.x1
        shared_x, shared_y = one.get_shared_x_axes(), one.get_shared_y_axes()
        if above and shared_x.joined(one, other):
            return not _has_labels(one.xaxis)
        if not above and shared_y.joined(one, other):
            return not _has_labels(one.yaxis)
        return False

    groups: list[list[_Piece]] = []
    for part in parts:
        near = [
            group
            for group in groups
            if any(
                belong(a, b) or belong(b, a)
                for one in group
                for a in one.children
                for b in part.children
            )
        ]
        groups = [group for group in groups if group not in near]
        groups.append([*(one for group in near for one in group), part])
    return [
        _Piece([c for part in group for c in part.children], Bbox.union([p.box for p in group]))
        for group in groups
    ]


def _has_labels(axis: Axis) -> bool:
    return any(text.get_visible() and text.get_text() for text in axis.get_ticklabels())


def _runs(parts: list[_Piece], axis: int) -> list[list[_Piece]]:
    """Parts that overlap along an axis, 0 or 1, stay together."""
    runs: list[list[_Piece]] = []
    end = float("-inf")
    for part in sorted(parts, key=lambda part: part.box.min[axis]):
        if part.box.min[axis] >= end:
            runs.append([])
        runs[-1].append(part)
        end = max(end, part.box.max[axis])
    return runs


def _name_groups(figure: Figure, pieces: list[_Piece]) -> dict[Text, Any]:
    """Give groups the names that become classes; return the outlines of text, taken away."""
    figure.patch.set_gid("paper-0")
    for text in figure.findobj(Text):
        anchor = {"right": "end", "center": "middle"}.get(text.get_horizontalalignment())
        if "\n" in text.get_text() and anchor and text.get_rotation() == 0:
            box = text.get_window_extent()
            place = {"end": box.x1, "middle": (box.x0 + box.x1) / 2}[anchor]
            text.set_gid(f"lines-{anchor}-{place * 72 / figure.dpi:.2f}")
    for number, piece in enumerate(pieces):
        for index, child in enumerate(piece.children):
            child.set_gid(f"piece{number}-{index}")
    for index, axes in enumerate(figure.axes):
        filled = [c for c in axes.collections if isinstance(c, ContourSet) and c.filled]
        if axes.images or filled or any(isinstance(c, QuadMesh) for c in axes.collections):
            beside = {axes.xaxis, axes.yaxis, *axes.spines.values()}
            on_it = [a for a in axes.get_children() if a not in beside]
            on_it = [a for a in on_it if not isinstance(a, Text) or a in axes.texts]
            on_it += [*axes.xaxis.get_gridlines(), *axes.yaxis.get_gridlines()]
            for number, artist in enumerate(on_it):
                artist.set_gid(f"kept-{index}-{number}")
    for collection in figure.findobj(Collection):
        paths, offsets = collection.get_paths(), collection.get_offsets()
        parts = max(len(paths) if paths else 0, len(np.asarray(offsets)))
        if parts > _MANY or isinstance(collection, QuadMesh):
            collection.set_rasterized(True)
    effects = {t: t.get_path_effects() for t in figure.findobj(Text) if t.get_path_effects()}
    for number, text in enumerate(effects):
        text.set_path_effects([])
        text.set_gid(f"outlined-{number}")
    return effects
