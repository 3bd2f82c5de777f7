"""Explorers as the pages of the built book show them, for the tests of both."""

from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Page

PLACES = {  # by name, the page and the place among its explorers
    "hyper_prior": ("playground", 0),
    "life_of_a_unit": ("playground", 1),
    "penalties": ("playground", 2),
    "joint_descent": ("playground", 3),
    "hyper_prior_of_its_chapter": ("flattening", 0),
    "life_of_a_unit_of_its_chapter": ("convergence", 0),
    "penalties_of_its_chapter": ("what-learning-lambda-does", 0),
    "sections_in_motion": ("layers-that-leave", 0),
    "theta_in_motion": ("turn-the-results", 0),
    "which_pixels": ("turn-the-results", 1),
    "size_of_lenet_300_100": ("turn-the-results", 2),
    "size_of_lenet_5": ("turn-the-results", 3),
    "zeros_of_lenet_300_100": ("turn-the-results", 4),
    "zeros_of_lenet_5": ("turn-the-results", 5),
    "starts": ("turn-the-results", 6),
}

PAGES = sorted({page for page, _ in PLACES.values()})
DRAWING = ".chart svg:not(.ghost)"
"""The drawing of an explorer, and not its ghost."""


def open_page(page: Page, book_html: Path, name: str) -> None:
    """A page of the book, with all its explorers drawn."""
    page.goto((book_html / "book" / f"{name}.html").as_uri())
    page.wait_for_function("() => !document.querySelector('.explorer:not(.live)')")


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

    def readout(self) -> str:
        """What it says in words, with plain spaces."""
        return self.element.locator(".readout").inner_text().replace("\xa0", " ")

    def picture(self) -> str:
        """The drawing, as SVG."""
        return self.element.locator(DRAWING).evaluate("svg => svg.innerHTML")
