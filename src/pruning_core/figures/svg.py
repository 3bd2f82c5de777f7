"""A figure as SVG that is small, the same each time, and can be taken apart.

Text stays text, without the fonts. What a page needs to know is in the names of groups: see
:func:`draw`.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple
from xml.etree import ElementTree

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

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
FONTS = "DejaVu Sans, Verdana, Arial, sans-serif"
"""The first is what positions were computed with; the second has the same widths."""

_MANY = 400
"""A collection of more parts than this becomes an image."""

_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pruning_core",
    "path.simplify_threshold": 0.2,
}
_MARK = "\ue000"
"""Before every name, until it is the figure's own: several figures share a page."""

_SEEN = 1500
"""Points of a line; of more, those within 0.4 points of width share their extremes."""

_OUTLINE = ".outlined text{paint-order:stroke;stroke:#ffffff;stroke-width:2.5px}"
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_ROUNDED = {"d", "x", "y", "width", "height", "transform", "viewBox", "points"}


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
    return _compact(file.getvalue(), pieces)


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
        fixed = any(isinstance(c, QuadMesh | ContourSet) for c in axes.collections)
        for number, artist in enumerate(axes.get_children() if fixed or axes.images else ()):
            if artist not in (axes.xaxis, axes.yaxis, *axes.spines.values()) and not (
                isinstance(artist, Text) and artist not in axes.texts
            ):
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


def _compact(source: str, pieces: list[_Piece]) -> str:
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(source)  # of matplotlib: comments and the document's type go
    for child in list(root):
        if child.tag.endswith("metadata") or child.find(f"{{{SVG}}}style") is not None:
            root.remove(child)
    used = dict.fromkeys(re.findall(r"(?:url\(|href=\")#([^\")]+)", source))
    _tidy(root, {name: f"{_MARK}i{number}" for number, name in enumerate(used)})
    _join(root, {e.attrib["id"]: e for e in root.iter() if "id" in e.attrib})
    whole = Bbox.union([piece.box for piece in pieces])
    numbers = [f"{value:.1f}" for value in (*whole.min, whole.width, whole.height)]
    width, height = numbers[2:]
    root.attrib = {
        "width": f"{width}pt",
        "height": f"{height}pt",
        "viewBox": " ".join(numbers),
        "style": f"font-family: {FONTS}; stroke-linejoin: round",
        "data-pieces": "; ".join(
            f"{p.row} {p.box.x0:.1f} {p.box.y0:.1f} {p.box.width:.1f} {p.box.height:.1f}"
            for p in pieces
        ),
    }
    style = ElementTree.Element(f"{{{SVG}}}style")
    style.text = _OUTLINE + _classes(root)
    root.insert(0, style)
    text = ElementTree.tostring(root, encoding="unicode")
    text = re.sub(r"<[^>]*>", lambda tag: tag[0].replace('"', "'"), text)  # for JSON
    return text.replace(_MARK, f"f{hashlib.sha256(text.encode()).hexdigest()[:5]}")


def _join(element: ElementTree.Element, marks: dict[str, ElementTree.Element]) -> None:
    """Many equal marks become one path, if they are ticks, else a group that has their style."""
    for child in element:
        _join(child, marks)
    children: list[ElementTree.Element] = []
    for (tag, mark, style), run in groupby(element, _look):
        found = list(run)
        if len(found) < 3 or not tag.endswith("}use"):
            children.extend(found)
            continue
        drawing = marks[mark.lstrip("#")]
        ends = re.fullmatch(r"M(\S+) (\S+)L(\S+) (\S+)", drawing.attrib["d"])
        if ends is None:
            joined = ElementTree.Element(f"{{{SVG}}}g", {"style": style})
            for child in found:
                child.attrib.pop("style", None)
            joined.extend(found)
        else:
            x0, y0, x1, y1 = map(float, ends.groups())
            places = [(float(c.attrib["x"]), float(c.attrib["y"])) for c in found]
            lines = (f"M{x + x0:.1f} {y + y0:.1f}L{x + x1:.1f} {y + y1:.1f}" for x, y in places)
            opacity = re.findall("stroke-opacity:[^;]*", style)
            style = ";".join([drawing.get("style", ""), *opacity])
            joined = ElementTree.Element(f"{{{SVG}}}path", {"d": "".join(lines), "style": style})
        children.append(joined)
    element[:] = children


def _look(element: ElementTree.Element) -> tuple[str, str, str]:
    """What makes it like its neighbour, but for the place."""
    return element.tag, element.get(f"{{{XLINK}}}href", ""), element.get("style", "")


def _classes(root: ElementTree.Element) -> str:
    """Give a class to every style; return the rules."""
    names: dict[str, str] = {}
    for element in root.iter():
        style = element.attrib.pop("style", "") if element is not root else ""
        if style:
            element.set("class", names.setdefault(style, f"{_MARK}s{len(names)}"))
    return "".join(f".{name}{{{style}}}" for style, name in names.items())


def _tidy(element: ElementTree.Element, ids: dict[str, str]) -> None:
    """Round numbers, turn names into classes, leave out what says nothing."""
    if not element.tag.endswith(("}text", "}tspan")):
        element.text = None
    children: list[ElementTree.Element] = []
    for child in element:
        child.tail = None
        _tidy(child, ids)
        if child.tag.endswith("}g") and not child.attrib:
            children.extend(child)
        elif not (child.tag.endswith(("}g", "}defs")) and len(child) == 0):
            children.append(child)
    element[:] = children
    name = element.get("id", "")
    found = re.fullmatch(r"(paper|kept|outlined|piece\d+)-[\d-]+", name)
    if found:
        kind = found[1]
        element.set("class", f"piece {kind}" if kind.startswith("piece") else kind)
    lines = re.fullmatch(r"lines-(\w+)-(.*)", name)
    if lines:  # whose places are right in one font only
        for line in element:
            style = re.sub(";?text-anchor:[^;]*", "", line.get("style", ""))
            line.set("style", f"{style};text-anchor:{lines[1]}")
            line.set("x", lines[2])
    if name in ids:
        element.set("id", ids[name])
    else:
        element.attrib.pop("id", None)
    for key, value in list(element.attrib.items()):
        if key == "transform" and value.startswith("rotate(-0 "):
            del element.attrib[key]
        elif key in _ROUNDED:
            value = " ".join(_rounded(value).split())
            element.set(key, _thinned(re.sub(r" ?([MLCQz]) ?", r"\1", value)))
        elif key == "style":
            element.set(key, ";".join(_declarations(value)))
        elif "#" in value:
            element.set(key, re.sub(r"(?<=#)[^)]+", lambda name: ids[name[0]], value))


def _rounded(numbers: str) -> str:
    """Without zeros at the end; a long line has points enough to do with one decimal."""
    places = 1 if len(numbers) > 150 else 2
    return _NUMBER.sub(lambda n: f"{float(n[0]):.{places}f}".rstrip("0").rstrip("."), numbers)


def _thinned(path: str) -> str:
    """Of a line from left to right: where it is left with more points than can be seen."""
    points = re.findall(r"[ML](\S+) ([^MLCQz]+)", path)
    if len(points) < _SEEN or re.search("[CQz]", path) or path.count("M") > 1:
        return path
    places = np.array(points, dtype=float)
    if (np.diff(places[:, 0]) < 0).any():
        return path
    kept: list[int] = []
    for same in np.split(np.arange(len(places)), np.flatnonzero(np.diff(places[:, 0] // 0.4)) + 1):
        ends = {same[0], same[places[same, 1].argmin()], same[places[same, 1].argmax()], same[-1]}
        kept.extend(sorted(ends))
    return "M" + "L".join(" ".join(points[index]) for index in kept)


def _declarations(style: str) -> Iterator[str]:
    """Of a style: sizes of text without the family, which the root has."""
    for declaration in filter(None, (part.strip() for part in style.split(";"))):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            found = re.fullmatch(r"(.*?)([\d.]+)px (.*)", value)
            assert found, f"matplotlib wrote a font that this does not read: {value}"
            yield f"font-size:{found[2]}px"
            yield from (f"font-style:{s}" for s in ("italic", "oblique") if s in found[1])
            yield from ["font-weight:bold"] * ("bold" in found[1] or "700" in found[1])
        elif key == "opacity":  # which a group would apply to all of it at once
            yield f"fill-opacity:{value};stroke-opacity:{value}"
        elif key != "font-family":
            yield f"{key}:{value}"
