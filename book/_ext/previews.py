"""Sphinx extension: a link shows on hover or focus what it leads to.

Equations, theorems and the like, exercises, figures, terms of the glossary and references: what a
page's links lead to goes into the page itself, since one that was opened from a file may not read
another. `previews.js` shows it.
"""

import html
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx

TARGETS = ", ".join(
    f"{kind}[id]"
    for kind in (
        "div.math",
        "div.proof",
        "div.exercise",
        "div.citation",
        "dl.glossary dt",
        "figure",
    )
)
LEFT_OUT = "a.headerlink, a.download-figure, span.backrefs, script"


class WrittenPage:
    """A page as Sphinx wrote it.

    Args:
        path: of its HTML.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")

    @cached_property
    def soup(self) -> BeautifulSoup:
        """Its elements."""
        return BeautifulSoup(self.text, "html.parser")

    @cached_property
    def targets(self) -> dict[str, Tag]:
        """What can be shown of it, by the name in an address."""
        return {str(element["id"]): element for element in self.soup.select(TARGETS)}

    def links(self) -> set[str]:
        """Addresses of the places in this book that its text leads to."""
        found = {str(a["href"]) for a in self.soup.select("article a.internal[href*='#']")}
        return {address for address in found if not urlsplit(address).scheme}


def write_previews(app: Sphinx, error: Exception | None) -> None:
    """Put into every page what its links lead to."""
    if error is not None or app.builder.name != "html":
        return
    names = [app.builder.get_target_uri(name) for name in sorted(app.env.found_docs)]
    pages = {name: WrittenPage(Path(app.outdir) / name) for name in names}
    for name, page in pages.items():
        previews = []
        for address in sorted(page.links()):
            target = urlsplit(urljoin(name, address))
            there = pages.get(target.path)
            shown = there and there.targets.get(unquote(target.fragment))
            if shown:
                address = html.escape(address)
                previews.append(f'<template data-preview="{address}">{excerpt(shown)}</template>')
        before, end, after = page.text.rpartition("</body>")
        page.path.write_text("\n".join([before, *previews, end + after]), encoding="utf-8")


def excerpt(target: Tag) -> str:
    """What is shown of a target, in which nothing has a name of its own."""
    if target.name == "dt":
        meaning = target.find_next_sibling("dd")
        shown = BeautifulSoup(f"<dl>{target}{meaning}</dl>", "html.parser")
    else:
        shown = BeautifulSoup(str(target), "html.parser")
    for file in shown.select("a.download-figure[href]"):  # in place of the drawing in the page
        for drawing in shown.select(".drawing"):
            alternative = str(drawing["aria-label"])
            drawing.replace_with(shown.new_tag("img", src=str(file["href"]), alt=alternative))
    for element in shown.select(LEFT_OUT):
        element.decompose()
    for element in shown.select("[id]"):
        del element["id"]
    for link in shown.select("a[href]"):
        link.unwrap()
    return str(shown)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register for the end of the build, and the script for every page."""
    app.connect("build-finished", write_previews)
    app.add_css_file("previews.css")
    app.add_js_file("previews.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
