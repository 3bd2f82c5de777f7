"""Tests of where an identifier may be broken."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]


@pytest.fixture
def identifiers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    return importlib.import_module("identifiers")


@pytest.mark.parametrize(
    ("literal", "parts"),
    [
        ("pruning_core.BernoulliPruner", ["pruning_", "core.", "BernoulliPruner"]),
        ("book/flattening", ["book/", "flattening"]),
        ("total_steps=steps", ["total_", "steps=", "steps"]),
        ("__init__", ["__init__"]),
        ("0.25", ["0.25"]),
        ("compact_(optimizer)", ["compact_(optimizer)"]),
        ("prune(model, x)", ["prune(", "model, x)"]),
    ],
)
def test_a_literal_is_broken_after_dots_and_underscores(
    identifiers: ModuleType, literal: str, parts: list[str]
) -> None:
    context: dict[str, Any] = {"body": f'a_b <span class="pre">{literal}</span> c_d'}
    identifiers.allow_breaks(None, "", "", context, None)
    assert context["body"] == f'a_b <span class="pre">{"<wbr>".join(parts)}</span> c_d'


@pytest.mark.browser
def test_no_identifier_of_the_book_is_split_on_a_phone(browser: Browser, book_html: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    for name in ("notation", "flattening", "priors-as-penalties", "your-own-network"):
        page.goto((book_html / "book" / f"{name}.html").as_uri())
        page.wait_for_function("!document.documentElement.classList.contains('sets-mathematics')")
        split = page.evaluate(SPLIT)
        assert split == [], name
    context.close()


SPLIT = r"""() => {
  const found = [];
  for (const literal of document.querySelectorAll('article code .pre')) {
    for (const node of literal.childNodes) {
      if (node.nodeType !== Node.TEXT_NODE || !/^\w+\W?$/.test(node.data)) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const rows = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
      if (rows.size > 1) found.push(node.data);
    }
  }
  return found;
}"""
