"""Tests of the entry that cites a page."""

import html
import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def cite(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    return importlib.import_module("cite")


def test_the_entry_says_what_the_citation_file_says(cite: ModuleType) -> None:
    entry = cite.bibtex("book/flattening", "A price")
    fields = dict(re.findall(r"^  (\w+) += \{(.*)\},?$", entry, flags=re.M))
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert entry.startswith("@incollection{pruning-core:flattening,\n")
    assert fields["title"] == "A price"
    assert f'title: "{fields["booktitle"]}"' in text
    assert f"version: {fields['note'].removeprefix('Version ')}\n" in text
    assert f'date-released: "{fields["year"]}' in text
    assert fields["author"] == "{the pruning_core authors}"


def test_every_page_of_the_book_can_be_cited_under_a_name_of_its_own(book_html: Path) -> None:
    keys = []
    for path in (book_html / "book").glob("*.html"):
        text = html.unescape(path.read_text(encoding="utf-8"))
        (key,) = re.findall(r"@incollection\{(.*),\n", text)
        keys.append(key)
    assert len(keys) == len(set(keys)) >= 31
