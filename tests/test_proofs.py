"""Tests of proofs that are folded away."""

from collections.abc import Iterator

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page
from scratch_book import ScratchBook

PAGE = """\
# A page

```{prf:proof}
:class: dropdown
By *counting*, it holds.
```

```{prf:proof}
Plainly.
```
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ScratchBook:
    names = ["sphinx_togglebutton", "sphinx_proof", "proofs"]
    return ScratchBook(tmp_path_factory.mktemp("book"), names, {"page": PAGE})


@pytest.fixture
def page(built: ScratchBook, browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.goto(built.address("page"))
    yield page
    page.close()


def test_a_folded_proof_has_a_title_and_any_other_begins_as_ever(built: ScratchBook) -> None:
    page = BeautifulSoup(built.page("page"), "html.parser")
    folded, plain = page.select("div.proof")
    assert [p.get_text() for p in folded.select("p")] == ["Proof", "By counting, it holds."]
    assert [p.get_text() for p in folded.select(".admonition-title")] == ["Proof"]
    assert plain.get_text(strip=True) == "Proof. Plainly."


@pytest.mark.browser
def test_its_title_opens_it(page: Page) -> None:
    folded = page.locator("div.proof.dropdown")
    text = folded.get_by_text("By counting")
    assert not text.is_visible()
    folded.get_by_role("button").click()
    assert text.is_visible()
