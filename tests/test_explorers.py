"""The explorers: what they compute and show, in the built book's pages in a real Chromium."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page

from pruning_core.explorers.chart import MIME
from pruning_core.hyperprior import Fixed, Flattening, beta_of_price, resting_theta

ROOT = Path(__file__).parents[1]
PLACES = {  # by name, the page and the place among its explorers
    "hyper_prior": ("flattening", 0),
}

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(browser: Browser, book_html: Path) -> Iterator[Callable[[str], Page]]:
    """Each page, opened once."""
    opened: dict[str, Page] = {}

    def page(name: str) -> Page:
        if name not in opened:
            opened[name] = browser.new_page(viewport={"width": 1280, "height": 900})
            opened[name].goto((book_html / "book" / f"{name}.html").as_uri())
            opened[name].wait_for_function(
                "() => document.querySelectorAll('.explorer:not(.live)').length === 0"
            )
        return opened[name]

    yield page
    for one in opened.values():
        one.close()


class Shown:
    """An explorer as a page shows it."""

    def __init__(self, page: Page, place: int) -> None:
        self.page = page
        self.element = page.locator(".explorer").nth(place)

    def turn(self, **signals: Any) -> None:
        """As the controls do."""
        self.element.evaluate(
            """async (element, signals) => {
                for (const [name, value] of Object.entries(signals)) {
                    element.view.signal(name, value);
                }
                await element.view.runAsync();
            }""",
            signals,
        )

    def rows(self, *fields: str) -> list[dict[str, Any]]:
        """These columns of all drawn marks that have them: points of lines, dots, areas."""
        return self.element.evaluate(
            """(element, fields) => {
                const found = [];
                const search = item => {
                    const {datum, items = []} = item;
                    if (datum && fields.every(field => field in datum)) {
                        found.push(Object.fromEntries(fields.map(f => [f, datum[f]])));
                    }
                    items.forEach(search);
                };
                search(element.view.scenegraph().root);
                return found;
            }""",
            fields,
        )

    def column(self, field: str, *others: str, **where: Any) -> torch.Tensor:
        """A column of them, where the others have these values."""
        rows = self.rows(field, *others, *where)
        wanted = [row for row in rows if all(row[key] == value for key, value in where.items())]
        return torch.tensor([row[field] for row in wanted], dtype=torch.float64)

    def picture(self) -> str:
        """The drawing, as SVG."""
        return self.element.locator(".chart svg").evaluate("svg => svg.innerHTML")


@pytest.fixture(params=PLACES)
def shown(request: pytest.FixtureRequest, pages: Callable[[str], Page]) -> Shown:
    """Each of the explorers."""
    page, place = PLACES[request.param]
    return Shown(pages(page), place)


@pytest.fixture
def explorer(pages: Callable[[str], Page]) -> Callable[[str], Shown]:
    """One of them, by name."""
    return lambda name: Shown(pages(PLACES[name][0]), PLACES[name][1])


def outputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """The notebook and the data of every explorer that is stored."""
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                if MIME in output.get("data", {}):
                    yield path.stem, output["data"]


def test_every_explorer_of_the_notebooks_is_tested_here() -> None:
    found = [name for name, _ in outputs()]
    assert sorted(found) == sorted(page for page, _ in PLACES.values())


def test_a_notebook_stores_the_specification_once_and_a_picture() -> None:
    for name, data in outputs():
        assert set(data) == {MIME, "image/png", "text/plain"}, name
        assert "http" not in json.dumps(data[MIME]).replace(data[MIME]["$schema"], ""), name


# --- controls ---


def test_every_control_is_turned_by_the_keyboard_and_changes_the_picture(shown: Shown) -> None:
    controls = shown.element.locator(".controls :is(input, select)")
    assert controls.count() >= 1
    for index in range(controls.count()):
        control = controls.nth(index)
        control.scroll_into_view_if_needed()
        control.focus()
        before, text = shown.picture(), shown.element.locator(".readout").inner_text()
        kind = control.evaluate("control => control.type")
        forth, back = ("Space", "Space") if kind == "checkbox" else ("ArrowRight", "ArrowLeft")
        if control.evaluate("control => control.value === control.max"):
            forth, back = back, forth
        shown.page.keyboard.press(forth)
        changed = """([element, before]) =>
            element.querySelector(".chart svg").innerHTML !== before"""
        handle = shown.element.element_handle()
        shown.page.wait_for_function(changed, arg=[handle, before], timeout=5000)
        shown.page.keyboard.press(back)
        shown.page.wait_for_function(
            "([e, text]) => e.querySelector('.readout').innerText === text", arg=[handle, text]
        )


def test_every_control_has_a_name_and_says_its_value(shown: Shown) -> None:
    for control in shown.element.locator(".controls :is(input, select)").all():
        name = control.evaluate("control => control.labels[0].textContent")
        assert len(name) >= 3
        if control.get_attribute("type") == "range":
            assert control.get_attribute("aria-valuetext")


def test_what_is_drawn_fits_and_has_a_description(shown: Shown) -> None:
    chart = shown.element.locator(".chart")
    assert len((chart.get_attribute("aria-label") or "").split()) >= 4
    box, room = chart.locator("svg").bounding_box(), shown.element.bounding_box()
    assert box is not None
    assert room is not None
    assert 0.5 * room["width"] < box["width"] <= room["width"]


def test_without_scripts_and_in_print_there_is_a_picture_and_no_dead_slider(
    browser: Browser, book_html: Path
) -> None:
    for name in {page for page, _ in PLACES.values()}:
        address = (book_html / "book" / f"{name}.html").as_uri()
        plain = browser.new_context(java_script_enabled=False).new_page()
        plain.goto(address)
        for picture in plain.locator(".explorer").all():
            assert picture.locator("img").is_visible()
            assert picture.locator("input, select").count() == 0
        plain.context.close()
        printed = browser.new_page()
        printed.goto(address)
        printed.wait_for_selector(".explorer.live")
        printed.emulate_media(media="print")
        for drawn in printed.locator(".explorer.live").all():
            assert drawn.locator("svg").is_visible()
            for control in drawn.locator("input").all():
                assert not control.is_visible()
        printed.close()


def test_only_pages_with_an_explorer_load_the_drawing_library(book_html: Path) -> None:
    loading = {
        path.stem
        for path in (book_html / "book").glob("*.html")
        if "_static/explorers.js" in path.read_text(encoding="utf8")
    }
    assert loading == {page for page, _ in PLACES.values()}


# --- closed forms ---


def same(found: torch.Tensor, expected: torch.Tensor, within: float = 1e-6) -> None:
    assert len(found) > 10
    torch.testing.assert_close(found, expected.double(), rtol=within, atol=within)


@pytest.mark.parametrize("price", [0.5, 1.0, 4.0, 7.5, 12.0])
def test_hyper_priors_are_those_of_the_package(
    explorer: Callable[[str], Shown], price: float
) -> None:
    shown = explorer("hyper_prior")
    shown.turn(price=price)
    fixed = Fixed(1 / (1 + np.exp(price)))
    priors = {"flattening": Flattening(price), "fixed": fixed, "Beta": beta_of_price(price)}
    for name, prior in priors.items():
        theta = shown.column("theta", "on", "off", series=name)
        same(shown.column("value", "on", "off", series=name), prior.cost(theta))
        worth = shown.column("worth", series=name)
        decided = (worth - price).abs() > 1e-9
        rest = resting_theta(prior, worth)
        same(shown.column("value", "worth", series=name)[decided], rest[decided], 1e-5)
    for name in ("flattening", "Beta"):
        pi = shown.column("pi", "log10_pi", series=name)
        density = priors[name].log_density(pi).exp()
        same(shown.column("value", "log10_pi", series=name), density)
