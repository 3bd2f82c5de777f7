"""Tests of the words that lead to the glossary."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]


@pytest.fixture
def terms(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    return importlib.import_module("terms")


def test_the_words_are_those_of_the_glossary(terms: ModuleType) -> None:
    words = terms.terms()
    assert words["macs"] == "MACs"
    assert words["price of a unit"] == "price of a unit"
    assert len(words) >= 39


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A gate closes", ["gate"]),
        ("Gates close", ["Gates"]),
        ("the price of a unit", ["price of a unit"]),
        ("spike-and-slab priors", ["spike-and-slab", "priors"]),
        ("a gated unit-free integrate", []),
    ],
)
def test_a_word_is_found_whole_in_the_singular_or_the_plural(
    terms: ModuleType, text: str, found: list[str]
) -> None:
    assert [match[0] for match in terms.pattern().finditer(text)] == found


def test_in_the_book_only_the_first_use_leads_there(book_html: Path) -> None:
    page = BeautifulSoup((book_html / "book" / "flattening.html").read_text("utf-8"), "html.parser")
    links = [link["href"] for link in page.select("article a:has(> .term)")]
    assert "glossary.html#term-hyper-prior" in links
    assert len(links) == len(set(links))
    before, _, _ = str(page.select_one("article")).partition('class="term"')
    prose = re.sub(r"<(h\d|code|a)\b.*?</\1>", "", before, flags=re.S)
    assert "gate" not in re.sub(r"<[^>]*>", "", prose).split()
