"""Sphinx extension: at the end of a page, how to cite it, as BibTeX."""

import html
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx

CITATION = Path(__file__).parents[2] / "CITATION.cff"

BOX = """
<details class="cite-page">
<summary>Cite this page</summary>
<div class="highlight notranslate"><pre>{entry}</pre></div>
</details>
"""


def bibtex(page: str, title: str) -> str:
    """The entry of a page of the book."""
    book = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    authors = " and ".join(f"{{{author['name']}}}" for author in book["authors"])
    key = page.rsplit("/", 1)[-1]
    return (
        f"@incollection{{pruning-core:{key},\n"
        f"  author    = {{{authors}}},\n"
        f"  title     = {{{title}}},\n"
        f"  booktitle = {{{book['title']}}},\n"
        f"  year      = {{{book['date-released'][:4]}}},\n"
        f"  note      = {{Version {book['version']}}}\n"
        "}"
    )


def add_box(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Put it below the text."""
    if app.builder.name == "html" and doctree is not None:
        title = html.unescape(context["title"])
        context["body"] += BOX.format(entry=html.escape(bibtex(page, title)))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register for every page."""
    app.connect("html-page-context", add_box)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
