"""Drawings in the page: in its colours in either mode, legible on a phone, offered as files."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from playwright.sync_api import Browser, Page

from pruning_core.figures import svg
from pruning_core.figures.compact import SVG
from pruning_core.figures.style import DENSE, PALETTE, STYLE, WIDTH, Picture

ROOT = Path(__file__).parents[1]
EXTENSION = ROOT / "book" / "_ext" / "figures.py"
extension: Any = runpy.run_path(str(EXTENSION))

PAPER = {"light": "#ffffff", "dark": extension["PAGE"]}


def drawing(width: float = 6.0, size: float = 11) -> ElementTree.Element:
    """Two panels beside each other: curves, and a map with letters on it."""
    with mpl.rc_context(STYLE | {"font.size": size}):
        figure = Picture(figsize=(width, 3), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], color=PALETTE[0])
        left.plot([1, 0], color=DENSE)
        right.imshow(np.eye(3), cmap="Blues")
        right.text(1, 1, "on it", color="#0a0a0a")
    return ElementTree.fromstring(svg.draw(figure))


def contrast(one: str, other: str) -> float:
    light, dark = sorted(map(extension["_luminance"], (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", [to_hex(c)[1:] for c in (*PALETTE[:5], DENSE)])
def test_a_colour_can_be_told_from_a_dark_page_and_keeps_its_hue(colour: str) -> None:
    dark = extension["in_the_dark"](colour)
    assert contrast(dark, extension["PAGE"]) >= 4.5
    before, after = extension["_oklab"](colour), extension["_oklab"](dark)
    if np.hypot(*before[1:]) > 0.03:
        turned = np.angle(complex(*after[1:]) / complex(*before[1:]), deg=True)
        assert abs(turned) < 12


def test_greys_are_turned_around_and_paper_and_ink_are_the_pages() -> None:
    steps = ["222222", "555555", "999999", "cccccc", "e6e6e6"]
    turned = [extension["_luminance"](extension["in_the_dark"](grey)) for grey in steps]
    assert turned == sorted(turned, reverse=True)
    assert turned[-1] > extension["_luminance"](extension["PAGE"])
    assert "background" in extension["in_the_dark"]("ffffff")
    assert "text" in extension["in_the_dark"]("000000")


def test_oklab_there_and_back() -> None:
    for colour in ("#0173b2", "#de8f05", "#123456", "#fefefe"):
        assert extension["_hex"](*extension["_oklab"](colour)) == colour


def test_colours_become_variables_but_not_on_a_map() -> None:
    html = extension["inlined"](drawing(), "what it shows")
    blue = to_hex(PALETTE[0])
    assert f"var(--c-{blue[1:]},{blue})" in html
    assert re.search(rf'data-theme="dark"[^}}]*--c-{blue[1:]}: #', html)
    assert "#0a0a0a" in html
    assert "--c-0a0a0a" not in html
    curves = html.split("<svg")[1]
    assert "var(--c-" in curves
    assert not re.search(r"(fill|stroke):#", curves)


def test_a_drawing_is_an_image_with_a_name_and_takes_the_focus_only_where_it_scrolls() -> None:
    narrow, wide = drawing(), drawing(width=12, size=8)
    one, other = (extension["inlined"](root, "what it shows") for root in (narrow, wide))
    for html in (one, other):
        assert html.startswith('<div class="drawing" role="img" aria-label="what it shows"')
        assert html.count("<svg") == 2
    assert "tabindex" not in one
    assert 'tabindex="0"' in other


def test_a_panel_alone_fits_a_phone() -> None:
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, 3), layout="constrained")
        figure.subplots().text(0, 0, "small", fontsize=10)
    html = extension["inlined"](ElementTree.fromstring(svg.draw(figure)), "x")
    assert "tabindex" not in html


def test_every_part_of_a_drawing_is_on_the_page() -> None:
    root = drawing()
    texts = {text.text for text in root.iter(f"{{{SVG}}}text")}
    html = extension["inlined"](root, "x")
    assert {t.text for t in ElementTree.fromstring(html).iter(f"{{{SVG}}}text")} == texts


DRAWINGS = """() => Array.from(document.querySelectorAll(".drawing"), drawing => {
    const sizes = Array.from(drawing.querySelectorAll("text"), text => {
        const matrix = text.getScreenCTM();
        const parts = [text, ...text.querySelectorAll("tspan")];
        const own = parts.map(part => parseFloat(part.style.fontSize)).filter(Number.isFinite);
        return Math.max(...own) * Math.hypot(matrix.a, matrix.b);
    });
    return {
        smallest: Math.min(...sizes), scrolls: drawing.scrollWidth > drawing.clientWidth,
        focus: drawing.tabIndex, name: drawing.ariaLabel,
    };
})"""

INK = """() => getComputedStyle(document.querySelector(".drawing text")).fill"""

CAPTIONS = """() => Array.from(document.querySelectorAll("figure:has(.drawing)"), figure => ({
    number: figure.querySelector("figcaption .caption-number")?.textContent,
    label: figure.querySelector("a.download-figure")?.ariaLabel,
    file: figure.querySelector("a.download-figure")?.href,
}))"""


@pytest.fixture(scope="module")
def phone(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def pages(book_html: Path) -> list[Path]:
    """The pages of the book that have drawings."""
    found = sorted((book_html / "book").glob("*.html"))
    return [page for page in found if 'class="drawing"' in page.read_text(encoding="utf-8")]


@pytest.mark.browser
def test_the_drawings_of_the_book_can_be_read_on_a_phone(phone: Page, pages: list[Path]) -> None:
    assert len(pages) >= 15
    for page in pages:
        phone.goto(page.as_uri())
        for found in phone.evaluate(DRAWINGS):
            assert found["smallest"] >= 10.9, f"{page.stem}: {found['name']}"
            assert found["focus"] == 0 or not found["scrolls"], f"{page.stem}: {found['name']}"
            assert len(found["name"].split()) >= 4, page.stem


@pytest.mark.browser
def test_ink_is_light_on_dark_and_dark_on_paper(phone: Page, pages: list[Path]) -> None:
    phone.goto(pages[0].as_uri())
    dark = phone.evaluate(INK)
    phone.emulate_media(media="print")
    printed = phone.evaluate(INK)
    phone.emulate_media(media="screen")
    shown = [list(map(int, re.findall(r"\d+", colour)[:3])) for colour in (dark, printed)]
    as_hex = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in shown]
    assert contrast(as_hex[0], PAPER["dark"]) > 7
    assert contrast(as_hex[1], PAPER["light"]) > 7


@pytest.mark.browser
def test_every_caption_offers_its_figure_by_number(phone: Page, pages: list[Path]) -> None:
    numbers = []
    for page in pages:
        phone.goto(page.as_uri())
        for found in phone.evaluate(CAPTIONS):
            number = found["number"].removeprefix("Fig. ").strip()
            assert found["label"] == f"Download figure {number} as SVG"
            file = Path(urlsplit(found["file"]).path)
            assert ElementTree.parse(file).getroot().tag == f"{{{SVG}}}svg"
            numbers.append(number)
    assert numbers
    assert len(set(numbers)) == len(numbers)
