"""Figures as SVG: small, the same each time, with text as text and panels that can be set apart."""

import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patheffects import withStroke

from pruning_core.figures import svg
from pruning_core.figures.compact import SVG
from pruning_core.figures.style import PALETTE, STYLE, WIDTH, Picture

NS = {"s": SVG}


def picture(
    fill: Callable[[Axes], Any] = lambda axis: axis.plot([0, 1]), grid: Any = 1, **options: Any
) -> Picture:
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.0, 3.0), layout="constrained")
        for axis in np.ravel(figure.subplots(*np.atleast_1d(grid), **options)):
            fill(axis)
    return figure


def drawn(figure: Picture) -> ElementTree.Element:
    return ElementTree.fromstring(svg.draw(figure))


def boxes(root: ElementTree.Element) -> list[tuple[int, np.ndarray]]:
    """The pieces: row, and x, y, width, height."""
    pieces = [piece.split() for piece in root.attrib["data-pieces"].split("; ")]
    return [(int(row), np.array(box, dtype=float)) for row, *box in pieces]


def test_it_is_the_same_each_time_and_says_nothing_of_the_hour() -> None:
    one, other = (svg.draw(picture(grid=(1, 2))) for _ in range(2))
    assert one == other
    assert "metadata" not in one
    assert "matplotlib" not in one


def test_text_is_text_of_the_size_asked_for() -> None:
    def fill(axis: Axes) -> None:
        axis.set(title="a title & more", xlabel="$x^2$ of θ")
        axis.annotate("small", (0.5, 0.5), fontsize=10)

    root = drawn(picture(fill))
    texts = {"".join(text.itertext()): text for text in root.iterfind(".//s:text", NS)}
    assert {"a title & more", "small", "0.0", "1.0"} <= texts.keys()
    rules = (root.findtext("s:style", namespaces=NS) or "").split("}")
    sizes = {rule[1:].split("{")[0]: rule for rule in rules}
    assert "font-size:11px" in sizes[texts["a title & more"].attrib["class"]]
    assert "font-size:10px" in sizes[texts["small"].attrib["class"]]


def test_every_class_and_every_name_that_is_used_is_defined_and_is_the_figures_own() -> None:
    one, other = drawn(picture()), drawn(picture(lambda axis: axis.plot([0, 2], [1, 3])))
    names = []
    for root in (one, other):
        style = root.findtext("s:style", namespaces=NS) or ""
        ids = {e.attrib["id"] for e in root.iter() if "id" in e.attrib}
        named = [e.attrib["class"] for e in root.iter() if "class" in e.attrib]
        classes = {name for name in named if re.fullmatch(r"f[0-9a-f]{5}s\d+", name)}
        assert classes
        assert all(f".{name}{{" in style for name in classes)
        for element in root.iter():
            for key, value in element.attrib.items():
                if key != "style" and "#" in value:
                    assert value.removeprefix("url(").strip("#)") in ids
        names.append(ids | classes)
    assert names[0]
    assert names[0].isdisjoint(names[1])


@pytest.mark.parametrize(
    ("grid", "options", "rows"),
    [
        ((1, 2), {}, [0, 0]),
        ((2, 1), {}, [0]),
        ((2, 2), {}, [0, 0, 1, 1]),
        ((1, 2), {"sharey": True}, [0]),
        ((2, 2), {"sharex": True}, [0, 0]),
    ],
)
def test_panels_beside_each_other_are_pieces_if_each_has_its_numbers(
    grid: tuple[int, int], options: dict[str, Any], rows: list[int]
) -> None:
    figure = picture(grid=grid, **options)
    root = drawn(figure)
    found = boxes(root)
    assert [row for row, _ in found] == rows
    groups = root.findall(".//s:g[@class]", NS)
    held = {name for g in groups for name in [g.attrib["class"]] if name.startswith("piece ")}
    assert held == {f"piece piece{i}" for i in range(len(rows))}
    for row, (x, _, width, height) in found:
        beside = [box for r, box in found if r == row and box[0] > x]
        assert all(x + width <= box[0] + 6 for box in beside), "pieces overlap"
        assert width > 60
        assert height > 60


def test_a_legend_below_is_a_row_of_its_own_and_a_scale_stays_with_its_map() -> None:
    figure = picture(lambda axis: axis.plot([0, 1], label="a line"), grid=(1, 2))
    figure.legend(loc="outside lower center")
    assert [row for row, _ in boxes(drawn(figure))] == [0, 0, 1]

    figure = picture(lambda axis: None)
    image = figure.axes[0].imshow(np.eye(4))
    figure.colorbar(image, ax=figure.axes[0])
    assert len(boxes(drawn(figure))) == 1


def test_what_lies_on_a_map_keeps_its_colours_and_what_is_beside_it_does_not() -> None:
    def fill(axis: Axes) -> None:
        axis.imshow(np.eye(4))
        axis.text(1, 1, "on it")
        axis.set_title("beside it")

    root = drawn(picture(fill))
    on_it = {t.text for g in root.iterfind(".//s:g[@class='kept']", NS) for t in g}
    assert "on it" in on_it
    assert "beside it" not in on_it
    for plain in (lambda axis: axis.plot([0, 1]), lambda axis: axis.contour(np.eye(9))):
        assert not drawn(picture(plain)).findall(".//s:g[@class='kept']", NS)
    filled = drawn(picture(lambda axis: axis.contourf(np.eye(9))))
    assert filled.findall(".//s:g[@class='kept']", NS)


def test_thousands_of_marks_become_an_image_and_a_few_do_not() -> None:
    places = np.random.default_rng(0).random((2, 5000))
    many = svg.draw(picture(lambda axis: axis.scatter(*places)))
    few = svg.draw(picture(lambda axis: axis.scatter(*places[:, :50])))
    assert "<image" in many
    assert "<image" not in few
    assert len(many) < 200_000


def test_equal_marks_are_joined_where_they_were() -> None:
    figure = picture(lambda axis: axis.plot([0, 0.3, 0.7, 1], [0, 1, 2, 3], "|", ms=10))
    paths = [p.attrib["d"] for p in drawn(figure).iterfind(".//s:path", NS)]
    (ticks,) = [d for d in paths if d.count("M") == 4]
    ends = np.array(re.findall(r"M(\S+) (\S+)L(\S+) ([\d.]+)", ticks), dtype=float)
    assert np.allclose(np.abs(ends[:, 1] - ends[:, 3]), 10, atol=0.2)
    places = [[x, 72 * 3.0 - (top + bottom) / 2] for x, top, _, bottom in ends]
    found = figure.axes[0].transData.inverted().transform(np.array(places) * figure.dpi / 72)
    assert np.allclose(found, [[0, 0], [0.3, 1], [0.7, 2], [1, 3]], atol=0.02)

    dots = drawn(picture(lambda axis: axis.plot([0, 0.3, 0.7, 1], [0, 1, 2, 3], "o")))
    groups = [g for g in dots.iterfind(".//s:g", NS) if len(g.findall("s:use", NS)) == 4]
    assert len(groups) == 1
    assert not any("class" in use.attrib for use in groups[0])


def test_lines_of_a_label_share_their_edge_in_any_font() -> None:
    figure = picture(lambda axis: axis.set_yticks([0, 1], ["a\nmuch longer line", "b"]))
    texts = {t.text: t for t in drawn(figure).iterfind(".//s:text", NS)}
    places = [texts[line].attrib["transform"] for line in ("a", "much longer line")]
    assert places[0].split()[0] == places[1].split()[0]
    assert float(texts["b"].attrib["x"]) == pytest.approx(float(places[0].split()[0][10:]), abs=1)


def test_an_outline_of_letters_is_a_class_and_comes_back() -> None:
    effects = [withStroke(linewidth=2, foreground="white")]
    figure = picture()
    text = figure.axes[0].text(0.5, 0.5, "name", path_effects=effects)
    outlined = drawn(figure).find(".//s:g[@class='outlined']/s:text", NS)
    assert outlined is not None
    assert outlined.text == "name"
    assert text.get_path_effects() == effects


def test_a_curve_takes_few_bytes_and_stays_where_it_is() -> None:
    x = np.linspace(0, 1, 5000)
    figure = picture(lambda axis: axis.plot(x, np.sin(20 * x), color=PALETTE[0]))
    root = drawn(figure)
    rules = root.findtext("s:style", namespaces=NS) or ""
    blue = next(r for r in rules.split("}") if to_hex(PALETTE[0]) in r).split("{")[0].strip(".")
    path = max((p.attrib["d"] for p in root.iterfind(f".//*[@class='{blue}']")), key=len)
    assert len(path) < 4_000
    points = np.array([p.split() for p in path.strip("M").split("L")], dtype=float)
    axis = figure.axes[0]
    places = axis.transData.inverted().transform(
        [[x, 72 * 3.0 - y] for x, y in points] * np.array(figure.dpi / 72)
    )
    assert np.abs(places[:, 1] - np.sin(20 * places[:, 0])).max() < 0.02


def test_a_notebook_keeps_both_kinds() -> None:
    """IPython's own inline backend adds the PNG, as it does for every figure."""
    data, _ = DisplayFormatter().format(picture())
    assert data["image/svg+xml"].startswith("<svg")
    assert 4 <= WIDTH <= 4.4
