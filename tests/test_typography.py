"""Numbers stay on one line with what belongs to them."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from scratch_book import ScratchBook

from pruning_core.studies import ROOT
from pruning_core.studies.answers import advice
from pruning_core.studies.typography import tied

SPACE = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    "text",
    [
        "95~% of them",
        "10~seeds, 28~nats and 90~epochs",
        "1.59~±~0.08~% error",
        "0.23 [−0.09, 0.56]~%~≤~1",
        "1.71 [1.65, 1.78]~×~≤~1",
        "−0.012 [−∞, 0.052]~points~≤~0",
        "n =~10",
        "95~% zeros",
    ],
)
def test_numbers_keep_their_units(text: str) -> None:
    assert tied(text.replace("~", " ")) == text.replace("~", SPACE)


@pytest.mark.parametrize("text", ["a percent of seeds", "ten points", "3 pointsmen", "the % sign"])
def test_other_words_may_part(text: str) -> None:
    assert tied(text) == text


def test_the_advice_has_no_loose_unit() -> None:
    loose = re.findall(r"\d [%±] ?", advice(ROOT))
    assert loose == []


def test_in_the_book_numbers_stay_with_their_units_but_code_is_as_it_was(tmp_path: Path) -> None:
    text = "# A page\n\nIt is 95 % of 3 epochs.\n\nIn code: `95 %`, $95\\ \\%$ and 1 word.\n"
    book = ScratchBook(tmp_path, ["typography"], {"page": text})
    page = BeautifulSoup(book.page("page"), "html.parser")
    first, second = (p.get_text() for p in page.select("article section p")[:2])
    assert first == "It is 95\N{NO-BREAK SPACE}% of 3\N{NO-BREAK SPACE}epochs."
    assert second == "In code: 95 %, \\(95\\ \\%\\) and 1 word."
