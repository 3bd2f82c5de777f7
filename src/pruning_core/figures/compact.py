"""matplotlib's SVG in a third of the bytes, without anything that is gone from sight."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from xml.etree import ElementTree

import numpy as np

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
FONTS = "DejaVu Sans, Verdana, Arial, sans-serif"
"""The first is what positions were computed with; the second has the same widths."""

_MARK = "\ue000"
"""Before every name, until it is the figure's own: several figures share a page."""

_SEEN = 1500
"""Points of a line; of more, those within 0.4 points of width share their extremes."""

_OUTLINE = ".outlined text{paint-order:stroke;stroke:#ffffff;stroke-width:2.5px}"
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_ROUNDED = {"d", "x", "y", "width", "height", "transform", "viewBox", "points"}


def compact(source: str, box: Sequence[str], attributes: Mapping[str, str]) -> str:
    """The same drawing: styles as classes, equal marks as one, places to a tenth of a point.

    Args:
        source: SVG as matplotlib writes it, with text as text.
        box: what is shown: x, y, width and height in points.
        attributes: more of the root.
    """
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(source)  # comments and the document's type are gone
    for child in list(root):
        if child.tag.endswith("metadata") or child.find(f"{{{SVG}}}style") is not None:
            root.remove(child)
    used = dict.fromkeys(re.findall(r"(?:url\(|href=\")#([^\")]+)", source))
    _tidy(root, {name: f"{_MARK}i{number}" for number, name in enumerate(used)})
    _join(root, {e.attrib["id"]: e for e in root.iter() if "id" in e.attrib})
    size = {"width": f"{box[2]}pt", "height": f"{box[3]}pt", "viewBox": " ".join(box)}
    look = {"style": f"font-family: {FONTS}; stroke-linejoin: round"}
    root.attrib = {**size, **look, **attributes}
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
            moved = re.sub(r"translate\(\S+", f"translate({lines[2]}", line.get("transform", ""))
            line.set("transform", moved)
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
    """Of a long line, the points that can be told from the one before.

    One from left to right that has still more is left with its extremes in each bit of width.
    """
    if len(path) < 2000 or re.search("[CQ]", path):
        return path
    return "".join(map(_thinned_part, re.findall("M[^M]+", path)))


def _thinned_part(part: str) -> str:
    points = re.findall(r"[ML](\S+) ([^MLz]+)", part)
    places = np.array(points, dtype=float)
    kept = [0]
    if len(places) > _SEEN and (np.diff(places[:, 0]) >= 0).all():
        columns = np.flatnonzero(np.diff(places[:, 0] // 0.4)) + 1
        for same in np.split(np.arange(len(places)), columns):
            heights = places[same, 1]
            ends = [same[i] for i in (0, int(heights.argmin()), int(heights.argmax()), -1)]
            kept.extend(sorted({int(index) for index in ends}))
    else:
        for index, place in enumerate(places):
            if np.abs(place - places[kept[-1]]).max() >= 0.3 or index == len(places) - 1:
                kept.append(index)
    return "M" + "L".join(" ".join(points[index]) for index in kept) + "z" * part.endswith("z")


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
