"""Tests of the book's page of checks: every test of an equation stands under its chapter."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    return importlib.import_module("checks")


def test_every_file_of_tests_has_a_chapter_of_its_own_in_the_order_of_the_book(
    checks: ModuleType,
) -> None:
    found = checks.chapters()
    assert set(found) == set(checks.tests())
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    places = [toc.index(f"book/{page.stem}\n") for page in found.values()]
    assert places == sorted(set(places))


def test_a_chapter_is_found_by_what_it_refers_to_and_named_by_its_title(
    checks: ModuleType,
) -> None:
    page = checks.chapters()["test_flattening"]
    assert page.name == "flattening.ipynb"
    text = page.read_text(encoding="utf-8")
    assert "eq-flattening-cost" in text
    assert f'"# {checks.title_of(page)}\\n"' in text


def test_a_file_that_no_chapter_refers_to_is_named(
    checks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "tests", lambda: {"test_lost": {"test_eq_lost": ""}})
    with pytest.raises(ValueError, match="test_lost"):
        checks.chapters()
