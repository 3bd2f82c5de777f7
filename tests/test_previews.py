"""Tests of the previews: links show what they lead to, in a real Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page, expect
from scratch_book import ScratchBook

FIRST = """\
# First

$$
a = b
$$ (eq-first)

```{prf:theorem} A theorem
:label: thm-first
It holds that $a = b$, as {eq}`eq-first` says.
```

```{glossary}
gate
  A number by which a unit is multiplied.
```
"""

SECOND = """\
# Second

See {eq}`eq-first`, then {prf:ref}`thm-first`, a {term}`gate`, and [the first page](first.md).

With $b = a$, see {eq}`eq-first` again.
"""

MATHJAX = """
from importlib.resources import files
html_static_path += [str(files("sphinx-mathjax-offline") / "static/mathjax/tex-svg-full.js")]
mathjax_path = "tex-svg-full.js"
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ScratchBook:
    folder = tmp_path_factory.mktemp("book")
    pages = {"first": FIRST, "second": SECOND}
    return ScratchBook(folder, ["sphinx_proof", "previews"], pages, more=MATHJAX)


def test_a_page_holds_once_what_its_links_lead_to(built: ScratchBook) -> None:
    page = BeautifulSoup(built.page("second"), "html.parser")
    found = {t["data-preview"]: t for t in page.select("template[data-preview]")}
    assert set(found) == {
        "first.html#equation-eq-first",
        "first.html#thm-first",
        "first.html#term-gate",
    }
    texts = {name: " ".join(t.get_text().split()) for name, t in found.items()}
    assert texts["first.html#equation-eq-first"].replace(" ", "") == r"(1)\[a=b\]"
    assert texts["first.html#thm-first"].startswith("Theorem 1 (A theorem) It holds that")
    assert texts["first.html#term-gate"].startswith("gate")


def test_what_is_shown_has_neither_names_nor_links(built: ScratchBook) -> None:
    for page in ("first", "second"):
        soup = BeautifulSoup(built.page(page), "html.parser")
        assert soup.select("template")
        assert not soup.select("template [id], template a[href]")


@pytest.fixture
def page(built: ScratchBook, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 800, "height": 600})
    page = context.new_page()
    page.goto(built.address("second"))
    page.wait_for_function("window.MathJax?.startup?.promise?.then(() => true)")
    yield page
    context.close()


@pytest.mark.browser
def test_a_link_shows_its_equation_while_the_pointer_rests_on_it(page: Page) -> None:
    preview = page.get_by_role("tooltip")
    link = page.get_by_role("link", name="(1)").first
    link.hover()
    expect(preview).to_be_visible()
    expect(preview.locator("mjx-container")).to_be_visible()
    assert link.get_attribute("aria-describedby") == preview.get_attribute("id")
    box, at = preview.bounding_box(), link.bounding_box()
    assert box is not None
    assert at is not None
    assert at["y"] < box["y"] < at["y"] + 60
    assert 0 <= box["x"] <= 800 - box["width"]
    page.mouse.move(box["x"] + 5, box["y"] + 5)  # it stays while one points at it
    page.wait_for_timeout(500)
    expect(preview).to_be_visible()
    page.mouse.move(1, 1)
    expect(preview).to_be_hidden()
    assert link.get_attribute("aria-describedby") is None


@pytest.mark.browser
def test_focus_shows_it_and_escape_dismisses_it(page: Page) -> None:
    preview = page.get_by_role("tooltip")
    link = page.get_by_role("link", name="Theorem 1")
    link.evaluate("link => link.previousElementSibling.focus()")
    page.keyboard.press("Tab")
    expect(preview).to_contain_text("It holds that")
    expect(preview).to_be_visible()
    page.keyboard.press("Escape")
    expect(preview).to_be_hidden()


@pytest.mark.browser
def test_a_link_to_a_whole_page_shows_nothing(page: Page) -> None:
    page.get_by_role("link", name="the first page").hover()
    page.wait_for_timeout(600)
    expect(page.locator(".preview")).to_be_hidden()


def test_every_preview_of_the_book_has_words_or_mathematics(book_html: Path) -> None:
    shown = 0
    for path in (book_html / "book").glob("*.html"):
        for template in BeautifulSoup(path.read_text("utf-8"), "html.parser").select("template"):
            shown += 1
            assert len(template.get_text().split()) >= 3 or template.select("img, .math"), template
    assert shown > 300
